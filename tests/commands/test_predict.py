"""`predict` refuses rows it cannot continue, and says which."""

from __future__ import annotations

import pandas as pd
import pytest

from forecast.commands.predict import predict
from forecast.commands.train import train
from forecast.commands.update import UpdateOptions, update
from forecast.errors import DataError, RunError
from tests.conftest import seasonal_rows


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prediction")
    months = pd.date_range("2010-01-01", periods=120, freq="MS")
    shops = [pd.DataFrame({"month": months, "shop": name, "sales": seasonal_rows()}) for name in ("north", "south")]
    pd.concat(shops).to_csv(folder / "data.csv", index=False)
    (folder / "config.yaml").write_text(
        "data: {path: data.csv, timestamp: month, target: sales, series_id: shop}\n"
        "windows: {lookback: 12, horizon: 3}\nscaling: {transform: log1p}\nmodel: {units: 4}\ntraining: {epochs: 1}\n"
    )
    return train(folder / "config.yaml", folder / "run")


def newer(rows=12, shop="south", start="2020-01-01", **columns):
    months = pd.date_range(start, periods=rows, freq="MS")
    return pd.DataFrame({"month": months, "shop": shop, "sales": seasonal_rows(rows)} | columns)


def test_some_series_in_any_order(run, tmp_path):
    pd.concat([newer(), newer(20, "north")]).to_csv(tmp_path / "new.csv", index=False)
    both = predict(run, tmp_path / "new.csv")
    newer().to_csv(tmp_path / "one.csv", index=False)
    alone = predict(run, tmp_path / "one.csv")
    assert both.series_id.tolist() == ["north"] * 3 + ["south"] * 3
    assert alone.timestamp.tolist() == pd.date_range("2021-01-01", periods=3, freq="MS").tolist()
    assert alone.forecast.tolist() == pytest.approx(both.forecast[both.series_id == "south"].tolist(), rel=1e-5)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (newer(11), "new.csv: series 'south' has 11 rows, but the network needs a lookback of 12 rows"),
        (
            newer(shop="soth"),
            r"series 'soth' was not in the training data.\n  Did you mean `south`\? To forecast it anyway, add --new-series.",
        ),
        (newer().rename(columns={"sales": "sale"}), r"no column `sales`.\n  Did you mean `sale`\?"),
        (newer(sales=-2.0), "log1p, but `sales` is -2"),
        (newer(sales=1e31), "`sales` is infinite or beyond"),
        (newer().drop(index=3), "the spacing is not one step of freq MS in 1 place"),
    ],
    ids=["short", "unknown series", "column", "log1p", "huge", "gap"],
)
def test_rows_that_cannot_be_continued(run, tmp_path, table, message):
    table.to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(DataError, match=message):
        predict(run, tmp_path / "new.csv")


def test_not_a_run(run, tmp_path):
    with pytest.raises(RunError, match=r"is not a run directory.\n  Create one with: forecast train CONFIG"):
        predict(tmp_path)
    with pytest.raises(RunError, match=r"rum: this directory does not exist.\n  Did you mean `.*/run`\?"):
        predict(run.directory.with_name("rum"))


@pytest.mark.slow
def test_both_runtimes_agree(run):
    by_numpy, by_keras = predict(run), predict(run, runtime="keras")
    assert by_numpy.forecast.tolist() == pytest.approx(by_keras.forecast.tolist(), rel=1e-5)
    with pytest.raises(RunError, match=r"there is no runtime `kera`.\n  Did you mean `keras`\?"):
        predict(run, runtime="kera")


def test_training_compares_both_runtimes(run):
    assert 0 < run.read_json(run.metrics_file)["runtime_difference"] <= 1e-5


def test_a_new_series_is_forecast_where_it_is_allowed(run, tmp_path, caplog):
    pd.concat([newer(), newer(shop="west").assign(sales=lambda rows: 1000 * rows.sales)]).to_csv(
        tmp_path / "new.csv", index=False
    )
    both = predict(run, tmp_path / "new.csv", new_series=True)
    assert "series that were not in the training data are scaled using their own rows (1 in total): west." in caplog.text
    assert both.series_id.unique().tolist() == ["south", "west"]
    assert both.forecast[both.series_id == "west"].between(2e4, 1e5).all()
    assert predict(run, tmp_path / "new.csv", new_series=True).equals(both)


@pytest.mark.slow
def test_every_form_and_order_of_a_panel_forecasts_the_same(tmp_path):
    """A wide file whose columns are in no order is trained on, and one row per cell; each run then reads five orders of both
    kinds of file."""
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    names = [f" s{number}" if number % 2 else f"s{number} " for number in range(11, 0, -1)]
    months = pd.date_range("2010-01-01", periods=60, freq="MS", name="month")
    wide = pd.DataFrame({name: seasonal_rows(60, seed) * 10 ** (seed % 3) for seed, name in enumerate(names)}, months)
    long = wide.melt(var_name="shop", value_name="sales", ignore_index=False)
    wide.to_csv(tmp_path / "wide.csv")
    long.to_csv(tmp_path / "long.csv")
    rest = (
        "splits: {validation: 12, test: 12}\nwindows: {lookback: 6, horizon: 2}\n"
        "model: {units: 2}\ntraining: {epochs: 1}\nintervals: {level: 80}\n"
    )
    forms = {"wide": "wide: true", "long": "series_id: shop"}
    runs = {}
    for form, key in forms.items():
        config = tmp_path / f"{form}.yaml"
        config.write_text(f"data: {{path: {form}.csv, timestamp: month, target: sales, {key}}}\n{rest}")
        runs[form] = train(config, tmp_path / form)
    expected = predict(runs["wide"])
    assert expected.series_id.unique().tolist() == sorted(name.strip() for name in names)
    pd.testing.assert_frame_equal(predict(runs["long"]), expected)
    orders = [names, names[::-1], sorted(names), names[3:] + names[:3], names[::2] + names[1::2]]
    for number, order in enumerate(orders):
        table = {"wide": wide[order], "long": long.set_index("shop", append=True).loc[(slice(None), order), :]}
        table["long"] = table["long"].reset_index("shop").sample(frac=1, random_state=number)
        for form, rows in table.items():
            rows.to_csv(tmp_path / "rows.csv")
            rows.to_parquet(tmp_path / "rows.parquet")
            for file in ("rows.csv", "rows.parquet"):
                pd.testing.assert_frame_equal(predict(runs[form], tmp_path / file), expected)
    longer = pd.concat([wide, wide[-12:].shift(3, freq="MS")[-3:]])
    longer.rename(columns=str.strip)[sorted(name.strip() for name in names)].iloc[-10:].to_csv(tmp_path / "newer.csv")
    updated = predict(
        update(runs["wide"], tmp_path / "newer.csv", tmp_path / "updated", options=UpdateOptions(intervals_only=True))
    )
    assert updated.series_id.tolist() == expected.series_id.tolist()
