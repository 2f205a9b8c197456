"""The leak certificate passes what is clean, and finds leaks that were planted."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from forecast.cli.app import app
from forecast.config.load import load_config
from forecast.evaluation import Fitted
from forecast.evaluation.leakage import UNSEEN, certify, check_covariates, check_leaks
from forecast.forecasters import preparation
from forecast.forecasters.preparation import prepare
from forecast.windows import scaling
from forecast.windows.splits import Splits
from forecast.windows.windows import Windows
from tests.conftest import seasonal_rows


def failed(checks) -> set[str]:
    return {check.subject for check in checks if not check.passed}


def forward(inputs):
    return np.repeat(inputs["past"][:, -1:, :1], 3, axis=1)


def fit(prepared, forward):
    return Fitted(prepared, [forward], None)


@pytest.fixture
def visited(project):
    """Two shops with gaps, visits known up to the cutoff, and a price that is known ahead."""
    shops = []
    for seed, shop in enumerate(("north", "south")):
        rng, months = np.random.default_rng(seed), pd.date_range("2010-01-01", periods=120, freq="MS")
        table = pd.DataFrame({"shop": shop, "month": months, "sales": seasonal_rows(seed=seed)})
        shops.append(table.assign(visits=rng.normal(size=120), price=rng.normal(size=120)))
    table = pd.concat(shops, ignore_index=True)
    table.loc[[20, 21, 83, 84, 101, 150], "sales"] = np.nan
    columns = {"series_id": "shop", "past_covariates": "visits", "known_covariates": "price", "missing_values": "interpolate"}

    def write(change=None, **sections):
        return project(table if change is None else change(table.copy()), data=columns, **sections)

    return write


def test_clean_data_and_configs_pass(visited):
    config = visited(model={"segment": 3, "decoder": "parallel"}, scaling={"transform": "log1p"})
    checks = check_leaks(config)
    assert {check.subject for check in checks} >= {"scaler", "train windows", "validation windows", "test windows", "forecasts"}
    assert not failed(checks)
    assert not failed(certify(fit(prepare(load_config(config)), forward)))


@pytest.mark.parametrize("align", ["dates", "ends"])
def test_ragged_series_raise_no_alarm(visited, align):
    """One begins after the training part and is only scored, one ends early."""

    def ragged(table):
        late = table[(table.shop == "north") & (table.month >= "2016-01-01")].assign(shop="late")
        return pd.concat([table[(table.shop == "north") | (table.month < "2018-01-01")], late])

    config = visited(ragged, splits={"validation": 24, "test": 24, "align": align})
    text = config.read_text().replace("series_id: shop", "series_id: shop\n  short_series: skip")
    config.write_text(text)
    prepared = prepare(load_config(config))
    assert len(prepared.panel.series_ids) == 3
    checks = check_leaks(config)
    assert not failed(checks)
    assert {"scaler", "train windows", "forecasts"} <= {check.subject for check in checks}
    assert not failed(certify(fit(prepared, forward)))


def test_a_recursive_decoder_with_covariates_is_checked(visited):
    def without(table):
        return table.drop(columns="visits")

    config = visited(without, model={"decoder": "recursive"})
    config.write_text(config.read_text().replace("  past_covariates: visits\n", ""))
    assert not failed(check_leaks(config))


def test_a_scaler_of_the_whole_frame_is_found(visited, monkeypatch):
    whole = lambda self, lookback: [slice(begin, end) for begin, *_, end in self.borders]  # noqa: E731
    monkeypatch.setattr(Splits, "scaler_rows", whole)
    assert {"scaler", "train windows"} <= failed(check_leaks(visited()))
    assert {"scaler", "training windows"} <= failed(certify(fit(prepare(load_config(visited())), forward)))


def test_windows_that_see_the_target_to_come_are_found(visited, monkeypatch):
    """A target shifted into the past covariates by our own code."""
    honest = preparation.scale_panel

    def shifted(panel, scaler):
        scaled = honest(panel, scaler)
        scaled[:-1, 1] = scaled[1:, 0]
        return scaled

    config = visited()
    monkeypatch.setattr(preparation, "scale_panel", shifted)
    assert "forecasts" in failed(check_leaks(config))
    looks_ahead = lambda inputs: np.repeat(inputs["past"][:, -1:, 1:2], 3, axis=1)  # noqa: E731
    assert "forecasts" in failed(certify(fit(prepare(load_config(config)), looks_ahead)))


def test_a_lookback_that_reaches_too_far_is_found(visited, monkeypatch):
    config, honest = visited(), Windows.past_values
    monkeypatch.setattr(
        Windows, "past_values", lambda self, chosen=slice(None): honest(replace(self, first=self.first + 1), chosen)
    )
    assert "forecasts" in failed(check_leaks(config))


@pytest.mark.parametrize(("column", "shift"), [("visits", 1), ("visits", 3), ("price", 0), ("price", 2)])
def test_a_covariate_that_is_the_target_to_come_is_found(visited, column, shift):
    def plant(table):
        later = table.groupby("shop").sales.shift(-shift)
        return table.assign(**{column: (3 * later + 1).fillna(0.0)})

    checks = check_leaks(visited(plant))
    assert failed(checks) == {f"covariate `{column}`"}
    when = {0: "of the same step", 1: "1 step later"}.get(shift, f"{shift} steps later")
    assert f"is a copy of `sales` {when}" in {check.result for check in checks}


AHEAD = {
    "centred average": lambda sales, noise: sales.rolling(5, center=True).mean(),
    "centred average of a season": lambda sales, noise: sales.rolling(12, center=True).mean(),
    "sum of what comes": lambda sales, noise: sales.shift(-1) + sales.shift(-2),
    "difference to come": lambda sales, noise: sales.diff().shift(-1),
}
HONEST = {
    "trailing average": lambda sales, noise: sales.rolling(5).mean(),
    "long trailing average": lambda sales, noise: sales.rolling(24).mean(),
    "rounded trailing average": lambda sales, noise: sales.rolling(5).mean().round(1),
    "lagged target": lambda sales, noise: sales.shift(12),
    "exponential average": lambda sales, noise: sales.ewm(alpha=0.1).mean(),
    "leading indicator": lambda sales, noise: sales.diff().shift(-1) + 0.5 * sales.diff().std() * noise,
    "calendar": lambda sales, noise: pd.Series(np.sin(2 * np.pi * np.arange(len(sales)) / 12), sales.index),
    "trend": lambda sales, noise: pd.Series(np.arange(float(len(sales))), sales.index),
    "noise": lambda sales, noise: noise,
}


def with_visits(visited, make, column="visits"):
    def plant(table):
        noise = pd.Series(np.random.default_rng(9).normal(size=len(table)), table.index)
        made = table.groupby("shop", group_keys=False).sales.apply(lambda sales: make(sales.interpolate(), noise[sales.index]))
        return table.assign(**{column: made.bfill().ffill()})

    return prepare(load_config(visited(plant)))


@pytest.mark.parametrize("column", ["visits", "price"])
@pytest.mark.parametrize(("name", "steps"), list(zip(AHEAD, [2, 5, 2, 1], strict=True)))
def test_a_covariate_that_is_made_of_targets_to_come_is_found(visited, name, steps, column):
    (check,) = [check for check in check_covariates(with_visits(visited, AHEAD[name], column)) if not check.passed]
    assert check.subject == f"covariate `{column}`"
    when = "1 step later" if steps == 1 else f"{steps} steps later"
    explained = "They explain 100.0% of the variance that the past leaves unexplained"
    assert check.result == f"is computed from values of `sales` up to {when}. {explained}"


def test_a_known_covariate_that_is_made_of_the_target_of_its_step_is_found(visited):
    checks = check_covariates(with_visits(visited, HONEST["trailing average"], "price"))
    (check,) = [check for check in checks if not check.passed]
    assert check.result.startswith("is computed from values of `sales` of the same step")


def test_a_covariate_that_may_be_made_of_targets_to_come_is_doubtful(visited):
    def noisy(sales, noise):
        return sales.rolling(3, center=True).mean() + 0.02 * noise

    checks = check_covariates(with_visits(visited, noisy))
    assert not failed(checks)
    (doubt,) = [check.result for check in checks if check.doubtful]
    assert doubt.startswith("may be computed from values of `sales` up to 1 step later. They explain 9")
    assert doubt.endswith(". Check that it is known at its timestamp.")


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_covariate_raises_no_alarm(visited, name):
    checks = check_covariates(with_visits(visited, HONEST[name]))
    assert [check.result for check in checks] == ["reveals no later target value"] * 2


@pytest.mark.parametrize("values", [np.zeros(12), np.tile([3.0, 1.0], 6)], ids=["line", "season"])
def test_a_target_that_repeats_its_past_raises_no_alarm(visited, values):
    """Whatever is the target to come was the target before: nothing is known too early."""

    def plant(table):
        step = table.groupby("shop").cumcount()
        sales = values[step % 12] if values[0] else step * 3.4
        return table.assign(sales=sales, visits=1e5 * np.asarray(sales) + 7)

    assert not failed(check_covariates(prepare(load_config(visited(plant)))))


def test_an_imputation_across_the_cutoff_is_found(visited, monkeypatch):
    honest = scaling.fit_scaler

    def with_filled(panel, *rest):
        return honest(replace(panel, filled=np.zeros_like(panel.filled)), *rest)

    def gap_at_the_border(table):
        table.loc[[82, 83, 84, 85, 202, 203, 204, 205], "sales"] = np.nan
        return table

    config = visited(gap_at_the_border, scaling={"method": "standard"})
    assert not failed(check_leaks(config))
    monkeypatch.setattr(preparation, "fit_scaler", with_filled)
    assert "scaler" in failed(check_leaks(config))


def test_the_command(visited):
    config = str(visited())
    shown = CliRunner().invoke(app, ["check-leaks", config])
    assert shown.exit_code == 0
    assert "scaler did not change" in shown.stdout
    assert UNSEEN in shown.stdout
    assert f"No leak found. Next: forecast train {config}" in shown.stdout
    planted = str(visited(lambda table: table.assign(visits=table.groupby("shop").sales.shift(-1).fillna(0.0))))
    found = CliRunner().invoke(app, ["check-leaks", planted, "--json"])
    assert found.exit_code == 1
    assert json.loads(found.stdout)["passed"] is False
