"""A run that combines the network with baselines: what is chosen, scored, stored and forecast."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest

from forecast.commands.predict import predict
from forecast.commands.train import train
from forecast.commands.update import UpdateOptions, update
from forecast.config.load import load_config
from forecast.errors import RunError
from forecast.evaluation import Fitted, check_leaks
from forecast.forecasters.baselines import forecast_baselines
from forecast.forecasters.combination import Combination
from forecast.forecasters.preparation import prepare
from forecast.runs import Run, make_continuing_windows, read_rows_to_continue, read_trained
from forecast.training import fit_regressions
from tests.conftest import seasonal_rows, write_project

LENGTHS = [8, 9, 20, 40, 120, 1000, 3000]  # Rows of series in a panel.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def combined(tmp_path_factory, explained):
    """A run whose forecast is a combination, and its config."""
    folder = tmp_path_factory.mktemp("combined")
    config = write_project(folder, baselines=["theta", "boosting"], combine="weighted")
    with explained():
        return train(config, folder / "run"), config


def test_the_table_shows_the_combination_the_network_and_every_baseline(combined):
    run, _ = combined
    metrics = run.read_json(run.metrics_file)
    assert {"forecast", "network", "theta", "linear", "boosting"} <= metrics["test"].keys()
    assert {"network", "theta", "boosting"} <= metrics["compared"].keys()
    assert sum(metrics["combination"]["weights"].values()) == pytest.approx(1)
    predictions = pd.read_csv(run.predictions_file)
    weights = metrics["combination"]["weights"]
    expected = sum(weight * predictions[name] for name, weight in weights.items())
    assert predictions.forecast.to_numpy() == pytest.approx(expected.to_numpy(), rel=1e-5)
    assert run.read_json(run.leakage)["passed"]
    assert "The combination is " in run.report.read_text()


def test_predict_combines_the_same_members(combined):
    run, _ = combined
    trained = read_trained(run)
    panel = read_rows_to_continue(run, trained, None)
    trained = trained.for_panel(panel)
    windows = make_continuing_windows(panel, trained)
    network = trained.scaler.undo(windows.forecast_with(trained.forward("numpy")), windows.series)
    names = [name for name in trained.combination.members if name != "network"]
    points = forecast_baselines(names, panel, trained.scaler, windows, trained.regressions, trained.combination.season_length)
    expected = trained.combination.apply({"network": network, **points}).ravel()
    table = predict(run)
    assert table.forecast.to_numpy() == pytest.approx(expected, rel=1e-5)
    assert (table["q0.025"] < table.forecast).all()
    assert (table.forecast < table["q0.975"]).all()


def test_predict_from_newer_rows_is_that_from_all_rows(combined, tmp_path):
    run, config = combined
    table = pd.read_csv(config.parent / "data.csv")
    table.to_csv(tmp_path / "same.csv", index=False)
    pd.testing.assert_frame_equal(predict(run), predict(run, tmp_path / "same.csv"), rtol=1e-6, check_exact=False)


def test_the_test_set_chooses_no_weight(combined):
    run, config = combined
    chosen = []
    for changed in (False, True):
        prepared = prepare(load_config(config))
        if changed:
            prepared.panel.values[prepared.splits.rows_of("test")[0][0] :] += 500  # The scaled windows of the other sets stay.
        regressions, _ = fit_regressions(prepared)
        fitted = Fitted(prepared, [lambda inputs: np.zeros((len(inputs["past"]), 3, 1), np.float32)], regressions)
        chosen.append(fitted.choose_combination().combination)
    assert chosen[0] == chosen[1]


def test_a_damaged_combination_is_refused(combined, tmp_path):
    run, _ = combined
    copy = Run(shutil.copytree(run.directory, tmp_path / "copy"))
    for name in ("oracle", "arima"):  # The config does not ask for ARIMA.
        copy.write(copy.combination, Combination(method="mean", weights={name: 1.0}, season_length=12))
        copy.seal()
        with pytest.raises(RunError, match="names a member that does not exist"):
            predict(copy)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("features", -1, "names an input that does not exist"),
        ("features", 10**6, "names an input that does not exist"),
        ("values", np.nan, "has values that are not numbers"),
    ],
)
def test_damaged_trees_are_refused(combined, tmp_path, name, value, message):
    run, _ = combined
    copy = Run(shutil.copytree(run.directory, tmp_path / "copy"))
    arrays = copy.read_arrays(copy.linear, 10**6)
    damaged = arrays[f"boosting/{name}"].copy()
    damaged[0, 0, 0] = value
    copy.write_arrays(copy.linear, arrays | {f"boosting/{name}": damaged})
    copy.seal()
    with pytest.raises(RunError, match=message):
        predict(copy)


def test_series_of_any_length_are_trained_on_and_forecast(tmp_path):
    rows = []
    for number, length in enumerate(LENGTHS):
        months = pd.date_range(end="2019-12-01", periods=length, freq="MS")
        values = {4: np.full(length, 7.0), 5: np.zeros(length)}.get(number, seasonal_rows(length, number) * 10.0**number)
        rows.append(pd.DataFrame({"month": months, "shop": f"s{number}", "sales": values}))
    pd.concat(rows).to_csv(tmp_path / "data.csv", index=False)
    (tmp_path / "config.yaml").write_text(
        "data: {path: data.csv, timestamp: month, target: sales, series_id: shop, short_series: pad}\n"
        "splits: {validation: 6, test: 6, align: ends}\nscaling: {method: none, transform: log1p}\n"
        "windows: {lookback: 24, horizon: 6, stride: 4}\nmodel: {cell: gru, units: 8, segment: 12, decoder: parallel}\n"
        "training: {epochs: 2, loss: mae}\ncombine: weighted\nbaselines: [theta, ets, boosting]\n"
    )
    run = train(tmp_path / "config.yaml", tmp_path / "run")
    forecast = predict(run)
    assert forecast.groupby("series_id").size().to_dict() == {f"s{number}": 6 for number in range(7)}
    assert np.isfinite(forecast.select_dtypes("number").to_numpy()).all()
    assert run.read_json(run.contract)["rows"] == sum(LENGTHS)
    assert forecast[forecast.series_id == "s5"].forecast.to_numpy() == pytest.approx(0, abs=0.5)


def test_padded_series_pass_the_leak_check(tmp_path):
    shops = []
    for name, rows in (("long", 60), ("short", 20)):
        months = pd.date_range("2015-01-01", periods=rows, freq="MS")
        shops.append(pd.DataFrame({"month": months, "shop": name, "sales": seasonal_rows(rows)}))
    pd.concat(shops).to_csv(tmp_path / "data.csv", index=False)
    (tmp_path / "config.yaml").write_text(
        "data: {path: data.csv, timestamp: month, target: sales, series_id: shop, short_series: pad}\n"
        "splits: {validation: 6, test: 6, align: ends}\nwindows: {lookback: 12, horizon: 3}\nmodel: {units: 4}\n"
    )
    checks = check_leaks(tmp_path / "config.yaml")
    assert {"scaler", "forecasts"} <= {check.subject for check in checks}
    assert all(check.passed for check in checks)


def test_a_padded_run_is_updated_with_newer_rows(tmp_path):
    shops = []
    for name, rows in (("long", 66), ("short", 26)):
        months = pd.date_range(end="2020-06-01", periods=rows, freq="MS")
        shops.append(pd.DataFrame({"month": months, "shop": name, "sales": seasonal_rows(rows)}))
    table = pd.concat(shops)
    newer = table[table.month > "2020-03-01"]
    table[table.month <= "2020-03-01"].to_csv(tmp_path / "data.csv", index=False)
    newer.to_csv(tmp_path / "newer.csv", index=False)
    (tmp_path / "config.yaml").write_text(
        "data: {path: data.csv, timestamp: month, target: sales, series_id: shop, short_series: pad}\n"
        "splits: {validation: 6, test: 6, align: ends}\nwindows: {lookback: 12, horizon: 3}\n"
        "model: {units: 4}\ntraining: {epochs: 1}\ncombine: mean\n"
    )
    run = train(tmp_path / "config.yaml", tmp_path / "run")
    new = update(run, tmp_path / "newer.csv", tmp_path / "new", options=UpdateOptions(even_if_worse=True))
    assert new.read_json(new.contract)["rows"] == len(table)
    assert predict(new).timestamp.min() == pd.Timestamp("2020-07-01")
