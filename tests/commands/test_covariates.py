"""Covariates reach exactly as far as they must: past ones to the cutoff, known ones to the step that is forecast."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from forecast.cli.app import app
from forecast.commands.export import export
from forecast.commands.plan import plan
from forecast.commands.predict import predict
from forecast.commands.train import train
from forecast.config.load import load_config
from forecast.config.schema import name_calendar_columns
from forecast.data.calendar import CYCLES, make_calendar_features
from forecast.errors import DataError, ForecastError, RunError
from forecast.forecasters.preparation import prepare
from forecast.reports.report import report
from tests.shops import NOISE, config, future, priced, rmse_of


@pytest.mark.slow
def test_a_known_covariate_brings_the_error_to_the_noise(priced_run):
    assert rmse_of(priced_run) < 2 * NOISE
    ahead = predict(priced_run, future=future(priced_run))
    expected = 20 + 5 * np.sin(3 * np.array([0.1, 0.5, 0.9] * 2))
    np.testing.assert_allclose(ahead.forecast, expected, atol=5 * NOISE)
    by_keras = predict(priced_run, future=future(priced_run), runtime="keras")
    np.testing.assert_allclose(ahead.forecast, by_keras.forecast, rtol=1e-5)


@pytest.mark.slow
def test_yesterdays_price_or_none_does_not(project, tmp_path):
    few = {"training.epochs": 5}
    without = train(load_config(config(project, priced()), few), tmp_path / "without")
    assert rmse_of(without) > 10 * NOISE
    shifted = priced()
    shifted["price"] = shifted.groupby("shop").price.shift(1)
    late = train(load_config(config(project, shifted.dropna(), known_covariates="price"), few), tmp_path / "late")
    assert rmse_of(late) > 10 * NOISE


def test_windows_see_past_covariates_to_the_cutoff_and_known_ones_beyond(project):
    table = priced()
    keys = {"past_covariates": "visits", "known_covariates": "price", "calendar": ["day_of_week"]}
    prepared = prepare(load_config(config(project, table, **keys)))
    panel, windows = prepared.panel, prepared.windows["train"]
    assert panel.columns == ["sales", "visits", "price", "day_of_week_sin", "day_of_week_cos"]
    assert (panel.known_channels, windows.known_covariates.shape[1]) == (3, 3)
    seen, first = windows.inputs(np.array([5])), windows.first[5]
    scaled = prepared.scaler.apply(panel.values, panel.series)
    np.testing.assert_array_equal(scaled[:, 3:], panel.values[:, 3:].astype(np.float32))  # the calendar stays as it is
    np.testing.assert_array_equal(seen["past"][0], scaled[first - 7 : first])
    np.testing.assert_array_equal(seen["known"][0], scaled[first : first + 3, 2:])
    changed = panel.values.copy()
    changed[first:, :2] += 100  # targets and past covariates after the cutoff
    again = prepared.scaler.apply(changed, panel.series)
    np.testing.assert_array_equal(again[first - 7 : first], scaled[first - 7 : first])
    np.testing.assert_array_equal(again[:, 2:], scaled[:, 2:])


@pytest.mark.parametrize("column", ["visits", "price"])
def test_covariates_are_scaled_by_training_rows(project, column):
    table = priced()
    keys = {"past_covariates": "visits", "known_covariates": "price"}
    before = prepare(load_config(config(project, table, **keys))).scaler
    late = pd.to_datetime(table.day) >= "2020-10-07"  # the first day of the validation part
    after = prepare(load_config(config(project, table.assign(**{column: table[column] + 50 * late}), **keys))).scaler
    np.testing.assert_array_equal(before.offset, after.offset)
    np.testing.assert_array_equal(before.scale, after.scale)


@pytest.mark.slow
def test_plan_writes_what_predict_asks_for(priced_run, tmp_path):
    needs = {
        need.column: (need.role, str(need.first)[:10], str(need.last)[:10])
        for need in plan(priced_run, output=tmp_path / "future.csv")
    }
    assert needs == {
        "sales": ("target", "2021-01-28", "2021-02-03"),
        "visits": ("past covariate", "2021-01-28", "2021-02-03"),
        "price": ("known covariate", "2021-01-28", "2021-02-06"),
    }
    template = pd.read_csv(tmp_path / "future.csv")
    assert template.columns.tolist() == ["day", "shop", "price"]
    assert len(template) == 6
    with pytest.raises(
        DataError, match=r"values are missing over the horizon \(6\): `price` of 'north' at 2021-02-04 00:00:00, .* and 3 more"
    ):
        predict(priced_run, future=tmp_path / "future.csv")
    filled = predict(priced_run, future=future(priced_run))
    template.assign(price=[0.1, 0.5, 0.9] * 2).to_csv(tmp_path / "filled.csv", index=False)
    assert predict(priced_run, future=tmp_path / "filled.csv").equals(filled)
    with pytest.raises(RunError, match="future.csv: this file already exists"):
        plan(priced_run, output=tmp_path / "future.csv")


@pytest.mark.slow
def test_a_future_that_is_missing_or_of_no_use(priced_run, project, tmp_path):
    assert not priced_run.forecast_file.exists()
    with pytest.raises(RunError, match=r"this forecast needs `price` over 3 steps.\n  Write a template with: forecast plan RUN"):
        predict(priced_run)
    with pytest.raises(DataError, match="4 repeated timestamps"):
        predict(priced_run, future=future(priced_run, day="2021-02-04"))
    path = config(project, priced(), calendar=["month", "day_of_week"])
    plain = train(load_config(path, {"training.epochs": 1}), tmp_path / "plain")
    assert plain.forecast_file.exists(), "the calendar knows the future by itself"
    with pytest.raises(RunError, match="this run has no known covariates"):
        predict(plain, future=future(priced_run))


@pytest.mark.slow
def test_an_export_takes_known_covariates(priced_run, tmp_path):
    made = export(priced_run, "onnx", tmp_path / "made")
    assert made.difference_scaled < 1e-5
    with np.load(made.directory / "example.npz") as example:
        assert {name: values.shape[1:] for name, values in example.items()} == {"past": (7, 5), "known": (3, 3), "series": (1,)}


@pytest.mark.parametrize("name", CYCLES)
def test_cycles_run_from_0_to_1_and_close(name):
    stamps = pd.date_range("2023-01-01", "2025-01-01", freq="h", inclusive="left")
    fraction = CYCLES[name](stamps)
    assert fraction.min() == 0
    assert 0.8 < fraction.max() < 1
    pair = make_calendar_features(stamps, [name])
    assert list(pair) == name_calendar_columns([name])
    np.testing.assert_allclose(sum(values**2 for values in pair.values()), 1)


def test_the_calendar_is_that_of_the_local_time():
    noon = pd.DatetimeIndex(["2024-07-01 12:00"]).tz_localize("UTC").tz_convert("Asia/Tokyo")
    assert CYCLES["hour"](noon).tolist() == [21 / 24]


def test_holidays(monkeypatch):
    days = pd.date_range("2024-12-24", "2024-12-26", freq="12h").tz_localize("Europe/Berlin")
    assert make_calendar_features(days, ["holidays(DE)"])["holiday_DE"].tolist() == [0, 0, 1, 1, 1]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ForecastError, match=r"data.calendar: holidays\(DE\) needs `holidays`, which is not installed"):
        make_calendar_features(days, ["holidays(DE)"])


@pytest.mark.slow
def test_the_first_forecast_is_added_to_the_report(priced_run, tmp_path):
    shutil.copytree(priced_run.directory, tmp_path / "run")
    page = report(tmp_path / "run")
    assert '"label":"future"' not in page.read_text()
    done = CliRunner().invoke(app, ["predict", str(tmp_path / "run"), "--future", str(future(priced_run))])
    assert done.exit_code == 0, done.output
    assert '"label":"future"' in page.read_text()
