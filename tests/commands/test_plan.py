"""Beyond the trained horizon, and beyond what is known: roll-outs, policies, and rows of the future in the data."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from forecast.cli.app import app
from forecast.commands import detect as detection
from forecast.commands.export import export
from forecast.commands.plan import plan
from forecast.commands.predict import predict
from forecast.commands.train import train
from forecast.config.load import load_config
from forecast.data.contract import make_contract
from forecast.data.panel import read_panel
from forecast.errors import ConfigError, DataError, RunError
from forecast.forecasters.preparation import prepare
from forecast.runs.loaded import read_trained
from forecast.runs.run import Run
from forecast.windows.windows import Imputation, Windows
from tests.shops import NOISE, config, future, priced, rmse_of


@pytest.mark.slow
def test_a_recursive_decoder_and_a_long_roll_out_continue_their_own_forecasts(project, tmp_path, caplog):
    sections = {"known_covariates": "price", "calendar": "day_of_week"}
    path = config(project, priced(), **sections)
    run = train(
        load_config(path, {"model.decoder": "recursive", "training.early_stopping": None}),
        tmp_path / "run",
    )
    assert rmse_of(run) < 4 * NOISE
    days = pd.date_range("2021-02-04", periods=8)
    table = pd.concat([pd.DataFrame({"day": days, "shop": shop, "price": np.linspace(0, 1, 8)}) for shop in ("south", "north")])
    table.to_csv(tmp_path / "future.csv", index=False)
    short = predict(run, future=tmp_path / "future.csv")
    with caplog.at_level("WARNING"):
        long = predict(run, future=tmp_path / "future.csv", steps=8)
    assert "steps 4 to 8 are forecast from earlier forecasts" in caplog.text
    assert len(long) == 16
    np.testing.assert_array_equal(long[long.step <= 3].forecast, short.forecast)
    np.testing.assert_allclose(long.forecast[:8], 20 + 5 * np.sin(3 * np.linspace(0, 1, 8)), atol=6 * NOISE)
    needs = {need.column: str(need.last)[:10] for need in plan(run, output=tmp_path / "plan.csv", steps=8)}
    assert needs == {"sales": "2021-02-03", "price": "2021-02-11"}
    assert len(pd.read_csv(tmp_path / "plan.csv")) == 16
    assert export(run, "onnx", tmp_path / "made").difference_scaled < 1e-4
    with pytest.raises(RunError, match=r"301 steps exceed the limit of 100 times the horizon \(3\)"):
        predict(run, steps=301)


@pytest.fixture(scope="module")
def segmented(tmp_path_factory):
    """A run whose parallel decoder reads the known price of a whole segment of 4 steps; the horizon is 6."""
    folder = tmp_path_factory.mktemp("segments")
    priced(rows=200).to_csv(folder / "data.csv", index=False)
    (folder / "config.yaml").write_text(
        "data: {path: data.csv, timestamp: day, target: sales, series_id: shop, known_covariates: price}\n"
        "splits: {validation: 40, test: 40}\nwindows: {lookback: 8, horizon: 6}\n"
        "model: {units: 8, decoder: parallel, segment: 4}\ntraining: {epochs: 2}\n"
    )
    return train(folder / "config.yaml", folder / "run")


def prices(run, days):
    stamps = pd.date_range("2020-07-19", periods=days)
    rows = [pd.DataFrame({"day": stamps, "shop": shop, "price": np.arange(days) / 12}) for shop in ("north", "south")]
    path = run.directory.parent / f"{days}-days.csv"
    pd.concat(rows).to_csv(path, index=False)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(("steps", "known_steps"), [(1, 4), (4, 4), (5, 6), (6, 6), (7, 10), (12, 12)])
def test_the_first_steps_are_the_same_however_many_are_forecast(segmented, steps, known_steps):
    whole = predict(segmented, future=prices(segmented, 12), steps=12)
    first = predict(segmented, future=prices(segmented, known_steps), steps=steps)
    pd.testing.assert_frame_equal(first.reset_index(drop=True), whole[whole.step <= steps].reset_index(drop=True), rtol=1e-5)
    ends = {need.column: need.last for need in plan(segmented, steps=steps)}
    assert ends["price"] == pd.Timestamp("2020-07-18") + pd.Timedelta(days=known_steps)


@pytest.mark.slow
def test_a_segment_whose_covariates_are_incomplete_is_refused(segmented):
    with pytest.raises(DataError, match=r"values are missing over the horizon \(6\).*\n.*computes whole segments of 4 steps"):
        predict(segmented, future=prices(segmented, 1), steps=1)


@pytest.mark.slow
def test_detection_forecasts_as_the_run_did(segmented, caplog):
    trained = read_trained(segmented, "scored")
    of_data = detection._forecast_points(segmented, trained, trained.intervals, segmented.directory.parent / "data.csv")
    assert "the last 3 rows of each series are not compared" in caplog.text
    assert len(of_data) == 2 * (200 - 8 - 3)
    table = pd.read_csv(segmented.predictions_file, parse_dates=["timestamp"]).query("step == 1")
    both = table.merge(of_data, on=["series_id", "timestamp"], suffixes=("", "_detected"))
    assert len(both) == len(table)
    np.testing.assert_allclose(both.forecast_detected, both.forecast, rtol=1e-5)


def test_a_roll_out_feeds_forecasts_back():
    rows = np.arange(20, dtype=np.float32)[:, None] * np.array([1, 10], np.float32)  # a target, and a known covariate
    windows = Windows(rows, rows[:, 1:], rows[:, :1], np.array([5, 8]), np.zeros(2, int), 3, 5)

    def forward(inputs):  # two steps: the sum of the lookback, and what is known of the second step
        return np.stack([inputs["past"][..., 0].sum(axis=1), inputs["known"][:, 1, 0]], axis=1)[..., None]

    # 2 + 3 + 4 = 9, known at step 6; then 4 + 9 + 60 = 73, ...
    assert windows.forecast_with(forward, 2)[0, :, 0].tolist() == [9, 60, 4 + 9 + 60, 80, 60 + 73 + 80]


@pytest.mark.slow
def test_past_covariates_cannot_be_rolled_out(priced_run, project):
    with pytest.raises(RunError, match="this network can forecast at most 3 steps, not 4, because `visits` is unknown"):
        predict(priced_run, steps=4)
    with pytest.raises(RunError, match="--steps must be 1 or more, not 0"):
        predict(priced_run, steps=0)
    path = config(project, priced(), past_covariates="visits")
    with pytest.raises(ConfigError, match="`visits` is unknown after the first step"):
        prepare(load_config(path, {"model.decoder": "recursive"}))


@pytest.mark.slow
def test_policies_for_what_is_missing_ahead(project, tmp_path, caplog):
    keys = {"known_covariates": ["price", "visits"], "missing_known": {"price": "hold"}}
    path = config(project, priced(), **keys)
    run = train(load_config(path, {"training.epochs": 15}), tmp_path / "run")
    metrics = run.read_json(run.metrics_file)
    assert metrics["missing_known"]["price"]["policy"] == "hold"
    assert metrics["missing_known"]["price"]["mae"] > 3 * metrics["test"]["forecast"]["total"]["mae"]
    table = pd.read_csv(future(run)).assign(visits=1.0)
    last = priced().groupby("shop").price.last()
    table.assign(price=table.shop.map(last)).to_csv(tmp_path / "held.csv", index=False)
    table.drop(columns="price").to_csv(tmp_path / "without.csv", index=False)
    held = predict(run, future=tmp_path / "held.csv").forecast
    with caplog.at_level("WARNING"):
        np.testing.assert_allclose(predict(run, future=tmp_path / "without.csv").forecast, held, rtol=1e-6)
    assert (
        "`price` lacks values over the horizon (6 in total). They are replaced according to data.missing_known: hold."
        in caplog.text
    )
    told = {need.column: need.missing for need in plan(run, output=tmp_path / "plan.csv")}
    assert told == {"sales": None, "price": "hold", "visits": None}
    table.drop(columns="visits").to_csv(tmp_path / "without.csv", index=False)
    with pytest.raises(DataError, match="no column `visits`"):
        predict(run, future=tmp_path / "without.csv")


def test_policies_are_checked(project):
    path = config(project, priced(), known_covariates="price", missing_known={"visits": "hold"})
    with pytest.raises(ConfigError, match="missing_known names 'visits', which is not among the known covariates"):
        load_config(path)
    path = config(project, priced(), known_covariates="price", missing_known={"price": "seasonal"})
    with pytest.raises(ConfigError, match="seasonal needs a whole season of 7 steps in the lookback of 6"):
        prepare(load_config(path, {"windows.lookback": 6}))


def test_assumptions_use_the_lookback_only():
    seen = np.array([[1.0, 2.0, 3.0, 8.0]])
    told = {policy: Imputation(0, policy, 3).values(seen, 4)[0].tolist() for policy in ("hold", "seasonal", "drop")}
    assert told == {"hold": [8] * 4, "seasonal": [2, 3, 8, 2], "drop": [3.5] * 4}


@pytest.mark.slow
def test_all_that_is_known_ahead_may_be_missing(project, tmp_path, caplog):
    path = config(project, priced(), known_covariates="price", missing_known={"price": "drop"})
    shown = CliRunner().invoke(app, ["train", str(path), "--set", "training.epochs=1", "--run-dir", str(tmp_path / "run")])
    run = Run.open(tmp_path / "run")
    pd.read_csv(future(run)).drop(columns="price").to_csv(tmp_path / "empty.csv", index=False)
    np.testing.assert_array_equal(predict(run, future=tmp_path / "empty.csv").forecast, predict(run).forecast)
    assert "If `price` is missing over the horizon and is replaced (drop), the MAE is " in shown.output


AHEAD = ["2021-02-04", "2021-02-05", "2021-02-06"]


def with_future(days=AHEAD, shops=("north", "south")):
    """Sales up to 3 February, and the price of some days after it."""
    price = np.linspace(0.4, 0.6, len(days))
    ahead = pd.concat([pd.DataFrame({"day": days, "shop": shop, "price": price}) for shop in shops])
    return pd.concat([priced().astype({"day": str}), ahead]), ahead


@pytest.mark.slow
def test_rows_of_the_future_in_the_training_file(project, tmp_path):
    table, ahead = with_future()
    path = config(project, table, known_covariates="price")
    run = train(load_config(path, {"training.epochs": 3}), tmp_path / "run")
    forecast = pd.read_csv(run.forecast_file)
    assert forecast.timestamp.str[:10].tolist() == AHEAD * 2
    ahead.to_csv(tmp_path / "future.csv", index=False)
    for again in (predict(run), predict(run, future=tmp_path / "future.csv"), predict(run, path.parent / "data.csv")):
        np.testing.assert_allclose(again.forecast, forecast.forecast, rtol=1e-6)
    ahead.assign(price=ahead.price + 1).to_csv(tmp_path / "future.csv", index=False)
    assert not np.allclose(predict(run, future=tmp_path / "future.csv").forecast, forecast.forecast), "a given file goes first"


@pytest.mark.slow
def test_rows_of_the_future_that_end_too_early(project, tmp_path, caplog):
    path = config(project, with_future(AHEAD[:2], ["north"])[0], known_covariates="price")
    with caplog.at_level("WARNING"):
        run = train(load_config(path, {"training.epochs": 1}), tmp_path / "run")
    assert "forecast.csv was not written" in caplog.text
    assert "values are missing over the horizon (4): `price` of 'north' at 2021-02-06" in caplog.text
    assert not run.forecast_file.exists()


def test_rows_of_the_future_change_nothing_of_the_past(project):
    def prepared(table):
        return prepare(load_config(config(project, table, known_covariates="price")))

    before, after = prepared(priced()), prepared(with_future()[0])
    changed = with_future()[0]
    changed.loc[changed.sales.isna(), "price"] = 99.0
    for other in (after, prepared(changed)):
        np.testing.assert_array_equal(other.panel.values, before.panel.values)
        np.testing.assert_array_equal(other.scaler.scale, before.scaler.scale)
        for part, windows in before.windows.items():
            for name, values in windows.inputs().items():
                np.testing.assert_array_equal(other.windows[part].inputs()[name], values)
    assert make_contract(after.panel).columns == make_contract(before.panel).columns
    assert after.panel.future_covariates.price.tolist() == [0.4, 0.5, 0.6] * 2
    assert after.panel.record[0].to_json() == {
        "what": "future rows with known covariates only",
        "rows": 6,
        "first": ["row 802 (2021-02-04 00:00:00)", "row 803 (2021-02-05 00:00:00)", "row 804 (2021-02-06 00:00:00)"],
    }


def test_rows_of_the_future_are_repaired_as_all_rows_are(project):
    hours = pd.date_range("2020-01-01", periods=24 * 60, freq="h").astype(str)
    table = pd.DataFrame({"day": hours, "shop": "north", "price": np.arange(24 * 60) % 24, "sales": 1.0 * np.arange(24 * 60)})
    table.loc[24 * 55 :, "sales"] = np.nan
    table = pd.concat([table, table.tail(1)])  # the last hour twice
    path = config(
        project,
        table,
        known_covariates="price",
        resample={"freq": "D", "how": "mean"},
        duplicates="last",
        missing_values="forward",
    )
    told = read_panel(load_config(path).data).future_covariates
    assert told.price.tolist() == [11.5] * 5
    assert str(told.index[0][1]) == "2020-02-25 00:00:00"


def test_rows_without_any_value_are_no_future(project):
    table, _ = with_future()
    table.loc[table.sales.isna(), "price"] = np.nan
    with pytest.raises(DataError, match="`sales` is empty in 6 of 806 rows"):
        prepare(load_config(config(project, table, known_covariates="price")))
    stopped = priced()  # sales are missing at the end, visits are still counted
    stopped.loc[stopped.day >= "2021-02-01", "sales"] = np.nan
    keys = {"known_covariates": "price", "past_covariates": "visits", "missing_values": "forward"}
    panel = prepare(load_config(config(project, stopped, **keys))).panel
    assert (panel.future_covariates, len(panel.values)) == (None, 800)


def test_covariates_are_repaired_by_their_names(project):
    table = priced()
    table.loc[[3, 4], "price"] = np.nan  # of both series
    keys = {"known_covariates": "price", "past_covariates": "visits"}
    with pytest.raises(DataError, match="`price` is empty in 4 of 800 rows"):
        prepare(load_config(config(project, table, **keys)))
    panel = prepare(load_config(config(project, table, **keys, missing_values="interpolate"))).panel
    assert panel.record[0].ranges[0].column == "price"
    with pytest.raises(DataError, match="`price` has 1 gap longer than the data.max_gap of 1"):
        prepare(load_config(config(project, table, **keys, missing_values="interpolate", max_gap=1)))
    table["price"] = np.nan
    with pytest.raises(DataError, match=r"`price` has no values\."):
        prepare(load_config(config(project, table, **keys, missing_values="interpolate")))


def test_a_series_that_stops_before_the_others_has_no_future_of_its_own(project):
    table = priced()
    table.loc[(table.shop == "south") & (table.day >= "2020-12-01"), "sales"] = np.nan
    problem = r"`sales` (is empty in 65 of 800 rows|has 1 gap longer than the data.max_gap of 24 steps): .*\n"
    remedy = r".*If a series ends before its known covariates, remove the rows after its last measured value"
    for policy in ("error", "interpolate", "forward"):
        with pytest.raises(DataError, match=problem + remedy):
            prepare(load_config(config(project, table, known_covariates="price", missing_values=policy)))
    panel = prepare(load_config(config(project, table[table.sales.notna()], known_covariates="price"))).panel
    assert np.diff(panel.offsets).tolist() == [400, 335]


@pytest.mark.slow
def test_a_future_file_is_compared_with_the_training_data(priced_run, tmp_path, caplog):
    table = pd.read_csv(future(priced_run))
    path = tmp_path / "future.csv"
    table.assign(price=100 * table.price).to_csv(path, index=False)
    with pytest.raises(DataError, match=r"`price` is about 50, but was about 0.5.* in training: a factor of about 10\^2"):
        predict(priced_run, future=path)
    table.assign(price=1.5 + table.price).to_csv(path, index=False)
    with caplog.at_level("WARNING"):
        predict(priced_run, future=path)
    assert "`price` ranges from 1.6 to 2.4, but ranged from " in caplog.text
    table.assign(shop=table.shop.str.upper()).to_csv(path, index=False)
    with pytest.raises(
        DataError, match="the file has no row for any step to forecast. The first row is for series 'NORTH' at 2021-02-04"
    ):
        predict(priced_run, future=path)


@pytest.mark.slow
def test_plan_writes_the_file_as_the_data_is_written(project, tmp_path):
    table, _ = with_future(AHEAD[:2])
    table = table.assign(shop="Köln " + table.shop, sales=table.sales.round(3), price=table.price.round(3))
    path = config(project, table, known_covariates="price", delimiter=";", decimal=",", encoding="latin-1")
    table.to_csv(path.parent / "data.csv", index=False, sep=";", decimal=",", encoding="latin-1")
    run = train(load_config(path, {"training.epochs": 1}), tmp_path / "run")
    plan(run, output=tmp_path / "future.csv")
    template = pd.read_csv(tmp_path / "future.csv", sep=";", decimal=",", encoding="latin-1")
    assert template.price.tolist()[:2] == [0.4, 0.6], "what the data tells already"
    with pytest.raises(DataError, match=r"values are missing over the horizon \(2\): `price` of 'Köln north' at 2021-02-06"):
        predict(run, future=tmp_path / "future.csv")
    template.fillna(0.5).to_csv(tmp_path / "future.csv", index=False, sep=";", decimal=",", encoding="latin-1")
    assert len(predict(run, future=tmp_path / "future.csv")) == 6


@pytest.mark.slow
def test_a_horizon_over_a_day_that_begins_at_one_o_clock(tmp_path):
    days = pd.date_range(end="2024-09-06", periods=120).strftime("%Y-%m-%d")
    pd.DataFrame({"t": days, "y": np.arange(120) % 7, "price": np.arange(120) % 3}).to_csv(tmp_path / "a.csv", index=False)
    (tmp_path / "a.yaml").write_text(
        "data: {path: a.csv, timestamp: t, target: y, known_covariates: price, timezone: America/Santiago}\n"
        "splits: {validation: 20, test: 20}\nwindows: {lookback: 7, horizon: 3}\nmodel: {units: 2}\ntraining: {epochs: 1}\n"
    )
    run = train(tmp_path / "a.yaml", tmp_path / "run")
    plan(run, output=tmp_path / "future.csv")
    template = pd.read_csv(tmp_path / "future.csv")
    assert template.t.tolist() == ["2024-09-07 00:00:00-04:00", "2024-09-08 01:00:00-03:00", "2024-09-09 00:00:00-03:00"]
    template.assign(price=1).to_csv(tmp_path / "future.csv", index=False)
    forecast = predict(run, future=tmp_path / "future.csv")
    assert forecast.timestamp.map(str).tolist() == template.t.tolist()
    template.assign(price=1, t=template.t.str[:10]).to_csv(tmp_path / "future.csv", index=False)
    pd.testing.assert_frame_equal(predict(run, future=tmp_path / "future.csv"), forecast)
