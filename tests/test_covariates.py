"""Covariates reach exactly as far as they must: past ones to the cutoff, known ones to the step that is forecast."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from forecast.config import calendar_columns
from forecast.errors import ConfigError, DataError, ForecastError, RunError
from forecast.exports import export
from forecast.future import plan
from forecast.loading import load_config
from forecast.prediction import predict
from forecast.time_features import CYCLES, calendar_features
from forecast.training import prepare, train
from forecast.windows import Assumption, Windows

NOISE = 0.1


def priced(rows=400, shops=("north", "south"), seed=0):
    """Sales that follow from the price of the day, and nothing else."""
    rng = np.random.default_rng(seed)
    tables = []
    for shop in shops:
        price = rng.uniform(0, 1, rows)
        sales = 20 + 5 * np.sin(3 * price) + rng.normal(0, NOISE, rows)
        days = pd.date_range("2020-01-01", periods=rows)
        tables.append(
            pd.DataFrame({"day": days, "shop": shop, "price": price, "visits": rng.uniform(0, 9, rows), "sales": sales})
        )
    return pd.concat(tables)


def config(project, table, **data):
    keys = {"timestamp": "day", "target": "sales", "series_id": "shop"} | data
    return project(
        table,
        data=keys,
        splits={"validation": 60, "test": 60},
        windows={"lookback": 7, "horizon": 3},
        model={"units": [16], "normalization": "none"},
        training={"epochs": 40, "learning_rate": 0.01, "early_stopping": {"patience": 10}},
    )


def rmse_of(run):
    return run.read_json(run.metrics)["test"]["forecast"]["total"]["rmse"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Trained with the price known ahead, the visits known up to the cutoff, and the day of the week."""
    folder = tmp_path_factory.mktemp("covariates")
    priced().to_csv(folder / "data.csv", index=False)
    (folder / "config.yaml").write_text(
        "data: {path: data.csv, timestamp: day, target: sales, series_id: shop, known_covariates: price,"
        " past_covariates: visits, calendar: day_of_week}\nsplits: {validation: 60, test: 60}\n"
        "windows: {lookback: 7, horizon: 3}\nmodel: {units: 16, normalization: none}\n"
        "training: {epochs: 40, learning_rate: 0.01, early_stopping: {patience: 10}}\n"
    )
    return train(folder / "config.yaml", folder / "run")


def future(run, **changes):
    """The next three days of both shops."""
    days = pd.date_range("2021-02-04", periods=3)
    table = pd.concat([pd.DataFrame({"day": days, "shop": shop, "price": [0.1, 0.5, 0.9]}) for shop in ("south", "north")])
    path = run.directory.parent / "future.csv"
    table.assign(**changes).to_csv(path, index=False)
    return path


@pytest.mark.slow
def test_a_known_covariate_brings_the_error_to_the_noise(run):
    assert rmse_of(run) < 2 * NOISE
    ahead = predict(run, future=future(run))
    expected = 20 + 5 * np.sin(3 * np.array([0.1, 0.5, 0.9] * 2))
    np.testing.assert_allclose(ahead.forecast, expected, atol=5 * NOISE)
    by_keras = predict(run, future=future(run), runtime="keras")
    np.testing.assert_allclose(ahead.forecast, by_keras.forecast, rtol=1e-5)


@pytest.mark.slow
def test_yesterdays_price_or_none_does_not(project, tmp_path):
    without = train(config(project, priced()), tmp_path / "without")
    assert rmse_of(without) > 10 * NOISE
    shifted = priced()
    shifted["price"] = shifted.groupby("shop").price.shift(1)
    late = train(config(project, shifted.dropna(), known_covariates="price"), tmp_path / "late")
    assert rmse_of(late) > 10 * NOISE


def test_windows_see_past_covariates_to_the_cutoff_and_known_ones_beyond(project):
    table = priced()
    keys = {"past_covariates": "visits", "known_covariates": "price", "calendar": ["day_of_week"]}
    prepared = prepare(load_config(config(project, table, **keys)))
    panel, windows = prepared.panel, prepared.windows["train"]
    assert panel.columns == ["sales", "visits", "price", "day_of_week_sin", "day_of_week_cos"]
    assert (panel.known, windows.known.shape[1]) == (3, 3)
    seen, first = windows.inputs(np.array([5])), windows.first[5]
    scaled = prepared.scaler.apply(panel.values, panel.series)
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
def test_plan_writes_what_predict_asks_for(run, tmp_path):
    needs = {
        need.column: (need.role, str(need.first)[:10], str(need.last)[:10]) for need in plan(run, output=tmp_path / "future.csv")
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
        DataError, match=r"6 cells of the horizon are missing: `price` of 'north' at 2021-02-04 00:00:00, .* and 3 more"
    ):
        predict(run, future=tmp_path / "future.csv")
    filled = predict(run, future=future(run))
    template.assign(price=[0.1, 0.5, 0.9] * 2).to_csv(tmp_path / "filled.csv", index=False)
    assert predict(run, future=tmp_path / "filled.csv").equals(filled)
    with pytest.raises(RunError, match="future.csv: this file exists"):
        plan(run, output=tmp_path / "future.csv")


@pytest.mark.slow
def test_a_future_that_is_missing_or_of_no_use(run, project, tmp_path):
    assert not run.forecast.exists()
    with pytest.raises(
        RunError, match=r"this forecast needs `price` over its 3 steps.\n  Write a file to fill: forecast plan RUN"
    ):
        predict(run)
    with pytest.raises(DataError, match="is there twice"):
        predict(run, future=future(run, day="2021-02-04"))
    plain = train(config(project, priced(), calendar=["month", "day_of_week"]), tmp_path / "plain")
    assert plain.forecast.exists(), "the calendar knows the future by itself"
    with pytest.raises(RunError, match="this run has no known covariates"):
        predict(plain, future=future(run))


@pytest.mark.slow
def test_an_export_takes_known_covariates(run, tmp_path):
    made = export(run, "onnx", tmp_path / "made")
    assert made.difference_scaled < 1e-5
    with np.load(made.directory / "example.npz") as example:
        assert {name: values.shape[1:] for name, values in example.items()} == {"past": (7, 5), "known": (3, 3), "series": (1,)}


def promoted(rows=300, seed=0):
    """Shops whose sales jump on rare promotion days: up in the north, down in the south, by their size."""
    rng = np.random.default_rng(seed)
    tables = []
    for number, (region, size) in enumerate([("north", 1), ("south", 1), ("north", 3), ("south", 3)]):
        promotion = (rng.uniform(0, 1, rows) < 0.1).astype(float)
        sales = 20 + {"north": 5, "south": -5}[region] * size * promotion + rng.normal(0, NOISE, rows)
        days = pd.date_range("2020-01-01", periods=rows)
        table = {"day": days, "shop": f"shop {number}", "region": region, "size": size, "promotion": promotion, "sales": sales}
        tables.append(pd.DataFrame(table))
    return pd.concat(tables)


STATIC = {"static_covariates": "size", "static_categories": "region"}


@pytest.mark.slow
def test_what_is_static_tells_the_series_apart(project, tmp_path, caplog):
    def trained(name, **static):
        path = config(project, promoted(), known_covariates="promotion", **static)
        keys = {"scaling.per": "all", "windows.lookback": 2, "model.linear_skip": False, "model.decoder": "seq2seq"}
        return train(load_config(path, keys), tmp_path / name)

    run = trained("static", **STATIC)
    assert rmse_of(run) < 0.5 * rmse_of(trained("plain"))
    future = promoted().groupby("shop").tail(3).assign(promotion=1.0)
    future["day"] = pd.to_datetime(future.day) + pd.Timedelta(days=3)
    future.to_csv(tmp_path / "future.csv", index=False)
    ahead = predict(run, future=tmp_path / "future.csv")
    jumps = ahead.groupby("series_id").forecast.mean() - 20
    np.testing.assert_allclose(jumps, [5, -5, 15, -15], atol=2)
    np.testing.assert_allclose(ahead.forecast, predict(run, future=tmp_path / "future.csv", runtime="keras").forecast, rtol=1e-4)
    made = export(run, "keras", tmp_path / "made")
    with np.load(made.directory / "example.npz") as example:
        assert set(example) == {"past", "known", "series"}, "an export looks up what is static by the series"

    newer = promoted(seed=1).groupby("shop").tail(9).replace({"region": "south"}, "east")
    newer.to_csv(tmp_path / "newer.csv", index=False)
    with caplog.at_level("WARNING"):
        unseen = predict(run, tmp_path / "newer.csv", future=tmp_path / "future.csv")
    assert "`region` 'east' was not in the training data; taken as the average of all" in caplog.text
    assert np.isfinite(unseen.forecast).all()
    vectors = run.read_weights(10**6)["embedding_1/embeddings"]
    np.testing.assert_allclose(vectors[0], vectors[1:].mean(axis=0), rtol=1e-6)


def test_what_is_static_does_not_change(project):
    table = promoted().reset_index(drop=True)
    table.loc[700, "region"] = "east"
    with pytest.raises(DataError, match=r"data.csv:702: `region` of series 'shop 2' is 'north' in row 602 and 'east' in row 702"):
        prepare(load_config(config(project, table, **STATIC)))
    table.loc[700, "region"] = np.nan
    with pytest.raises(DataError, match="`region` is empty in 1 rows: row 702"):
        prepare(load_config(config(project, table, **STATIC)))


def test_static_numbers_are_scaled_by_series_that_are_trained_on(project):
    table = promoted()
    late = table[table.shop == "shop 3"].tail(70).assign(shop="late", size=1000, region="west")
    keys = {"short_series": "skip", **STATIC}
    prepared = prepare(load_config(config(project, pd.concat([table, late]), **keys)))
    scaler = prepared.scaler.static
    assert (scaler.offset.tolist(), scaler.scale.tolist(), scaler.vocabulary) == ([2], [1], [["north", "south"]])
    seen = prepared.windows["test"].inputs()
    series = np.array(prepared.panel.series_ids)[prepared.windows["test"].series]
    assert seen["categories"][series == "late"].max() == 0
    np.testing.assert_allclose(seen["static"][series == "late"], 998)
    assert seen["categories"][series == "shop 1"].min() == 2


@pytest.mark.slow
def test_a_recursive_decoder_and_a_long_roll_out_continue_their_own_forecasts(project, tmp_path, caplog):
    sections = {"known_covariates": "price", "calendar": "day_of_week"}
    path = config(project, priced(), **sections)
    run = train(load_config(path, {"model.decoder": "recursive", "training.early_stopping": None}), tmp_path / "run")
    assert rmse_of(run) < 4 * NOISE
    days = pd.date_range("2021-02-04", periods=8)
    table = pd.concat([pd.DataFrame({"day": days, "shop": shop, "price": np.linspace(0, 1, 8)}) for shop in ("south", "north")])
    table.to_csv(tmp_path / "future.csv", index=False)
    short = predict(run, future=tmp_path / "future.csv")
    with caplog.at_level("WARNING"):
        long = predict(run, future=tmp_path / "future.csv", steps=8)
    assert "steps 4 to 8 continue the forecast itself" in caplog.text
    assert len(long) == 16
    np.testing.assert_array_equal(long[long.step <= 3].forecast, short.forecast)
    np.testing.assert_allclose(long.forecast[:8], 20 + 5 * np.sin(3 * np.linspace(0, 1, 8)), atol=6 * NOISE)
    needs = {need.column: str(need.last)[:10] for need in plan(run, output=tmp_path / "plan.csv", steps=8)}
    assert needs == {"sales": "2021-02-03", "price": "2021-02-11"}
    assert len(pd.read_csv(tmp_path / "plan.csv")) == 16
    assert export(run, "onnx", tmp_path / "made").difference_scaled < 1e-4
    with pytest.raises(RunError, match="301 steps are more than 100 horizons of 3"):
        predict(run, steps=301)


def test_a_roll_out_feeds_forecasts_back():
    rows = np.arange(20, dtype=np.float32)[:, None] * np.array([1, 10], np.float32)  # a target, and a known covariate
    windows = Windows(rows, rows[:, 1:], rows[:, :1], np.array([5, 8]), np.zeros(2, int), 3, 5)

    def forward(inputs):  # two steps: the sum of the lookback, and what is known of the second step
        return np.stack([inputs["past"][..., 0].sum(axis=1), inputs["known"][:, 1, 0]], axis=1)[..., None]

    # 2 + 3 + 4 = 9, known at step 6; then 4 + 9 + 60 = 73, ...
    assert windows.forecast_by(forward, 2)[0, :, 0].tolist() == [9, 60, 4 + 9 + 60, 80, 60 + 73 + 80]


def test_past_covariates_cannot_be_rolled_out(run, project):
    with pytest.raises(
        RunError, match="4 steps are more than the 3 that this network forecasts at once, and `visits` is unknown"
    ):
        predict(run, steps=4)
    path = config(project, priced(), past_covariates="visits")
    with pytest.raises(ConfigError, match="nobody knows `visits` in between"):
        prepare(load_config(path, {"model.decoder": "recursive"}))


@pytest.mark.slow
def test_policies_for_what_is_missing_ahead(project, tmp_path, caplog, capsys):
    keys = {"known_covariates": ["price", "visits"], "missing_known": {"price": "hold"}}
    path = config(project, priced(), **keys)
    run = train(load_config(path, {"training.epochs": 15}), tmp_path / "run")
    metrics = run.read_json(run.metrics)
    assert metrics["missing_known"]["price"]["policy"] == "hold"
    assert metrics["missing_known"]["price"]["mae"] > 3 * metrics["test"]["forecast"]["total"]["mae"]
    table = pd.read_csv(future(run)).assign(visits=1.0)
    last = priced().groupby("shop").price.last()
    table.assign(price=table.shop.map(last)).to_csv(tmp_path / "held.csv", index=False)
    table.drop(columns="price").to_csv(tmp_path / "without.csv", index=False)
    held = predict(run, future=tmp_path / "held.csv").forecast
    with caplog.at_level("WARNING"):
        np.testing.assert_allclose(predict(run, future=tmp_path / "without.csv").forecast, held, rtol=1e-6)
    assert "`price` is missing in 6 cells of the horizon: hold" in caplog.text
    table.drop(columns="visits").to_csv(tmp_path / "without.csv", index=False)
    with pytest.raises(DataError, match="no column `visits`"):
        predict(run, future=tmp_path / "without.csv")


def test_policies_are_checked(project):
    path = config(project, priced(), known_covariates="price", missing_known={"visits": "hold"})
    with pytest.raises(ConfigError, match="missing_known names 'visits', which is no known covariate"):
        load_config(path)
    path = config(project, priced(), known_covariates="price", missing_known={"price": "seasonal"})
    with pytest.raises(ConfigError, match="seasonal needs a whole season of 7 steps in the lookback of 6"):
        prepare(load_config(path, {"windows.lookback": 6}))


def test_assumptions_use_the_lookback_only():
    seen = np.array([[1.0, 2.0, 3.0, 8.0]])
    told = {policy: Assumption(0, policy, 3).values(seen, 4)[0].tolist() for policy in ("hold", "seasonal", "drop")}
    assert told == {"hold": [8] * 4, "seasonal": [2, 3, 8, 2], "drop": [3.5] * 4}


@pytest.mark.slow
def test_rows_of_the_future_in_the_training_file(project, tmp_path):
    table, days = priced(), ["2021-02-04", "2021-02-05", "2021-02-06"]
    ahead = pd.concat([pd.DataFrame({"day": days, "shop": shop, "price": [0.4, 0.5, 0.6]}) for shop in ("north", "south")])
    path = config(project, pd.concat([table.astype({"day": str}), ahead]), known_covariates="price")
    run = train(load_config(path, {"training.epochs": 3}), tmp_path / "run")
    forecast = pd.read_csv(run.forecast)
    assert forecast.timestamp.str[:10].tolist() == ["2021-02-04", "2021-02-05", "2021-02-06"] * 2
    ahead.to_csv(tmp_path / "future.csv", index=False)
    np.testing.assert_allclose(predict(run, future=tmp_path / "future.csv").forecast, forecast.forecast)
    newer = path.parent / "data.csv"
    np.testing.assert_allclose(predict(run, newer).forecast, forecast.forecast)


@pytest.mark.parametrize("name", CYCLES)
def test_cycles_run_from_0_to_1_and_close(name):
    stamps = pd.date_range("2023-01-01", "2025-01-01", freq="h", inclusive="left")
    fraction = CYCLES[name](stamps)
    assert fraction.min() == 0
    assert 0.8 < fraction.max() < 1
    pair = calendar_features(stamps, [name])
    assert list(pair) == calendar_columns([name])
    np.testing.assert_allclose(sum(values**2 for values in pair.values()), 1)


def test_the_calendar_is_that_of_the_local_time():
    noon = pd.DatetimeIndex(["2024-07-01 12:00"]).tz_localize("UTC").tz_convert("Asia/Tokyo")
    assert CYCLES["hour"](noon).tolist() == [21 / 24]


def test_holidays(monkeypatch):
    days = pd.date_range("2024-12-24", "2024-12-26", freq="12h").tz_localize("Europe/Berlin")
    assert calendar_features(days, ["holidays(DE)"])["holiday_DE"].tolist() == [0, 0, 1, 1, 1]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ForecastError, match=r"data.calendar: holidays\(DE\) needs `holidays`, not installed here"):
        calendar_features(days, ["holidays(DE)"])
