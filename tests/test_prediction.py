"""`predict` refuses rows it cannot continue, and says which."""

from __future__ import annotations

import pandas as pd
import pytest

from forecast.errors import DataError, RunError
from forecast.prediction import predict
from forecast.training import train
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
        (newer(11), "new.csv: series 'south' has 11 rows, but the network looks back on 12"),
        (newer(shop="soth"), r"series 'soth' was not in the training data.\n  Did you mean `south`\? Or allow it: --new-series."),
        (newer().rename(columns={"sales": "sale"}), r"no column `sales`.\n  Did you mean `sale`\?"),
        (newer(sales=-2.0), "log1p, but `sales` is -2"),
        (newer(sales=1e31), "`sales` is infinite or beyond"),
        (newer().drop(index=3), "the spacing is not one step of freq MS in 1 places"),
    ],
    ids=["short", "unknown series", "column", "log1p", "huge", "gap"],
)
def test_rows_that_cannot_be_continued(run, tmp_path, table, message):
    table.to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(DataError, match=message):
        predict(run, tmp_path / "new.csv")


def test_not_a_run(run, tmp_path):
    with pytest.raises(RunError, match=r"is not a run directory.\n  Make one with: forecast train CONFIG"):
        predict(tmp_path)
    with pytest.raises(RunError, match=r"rum: does not exist.\n  Did you mean `.*/run`\?"):
        predict(run.directory.with_name("rum"))


@pytest.mark.slow
def test_both_runtimes_agree(run):
    by_numpy, by_keras = predict(run), predict(run, runtime="keras")
    assert by_numpy.forecast.tolist() == pytest.approx(by_keras.forecast.tolist(), rel=1e-5)
    with pytest.raises(RunError, match=r"there is no runtime `kera`.\n  Did you mean `keras`\?"):
        predict(run, runtime="kera")


def test_training_compares_both_runtimes(run):
    assert 0 < run.read_json(run.metrics)["runtime_difference"] <= 1e-5


def test_a_new_series_is_forecast_where_it_is_allowed(run, tmp_path, caplog):
    pd.concat([newer(), newer(shop="west").assign(sales=lambda rows: 1000 * rows.sales)]).to_csv(
        tmp_path / "new.csv", index=False
    )
    both = predict(run, tmp_path / "new.csv", new_series=True)
    assert "1 series were not in the training data: west; scaled by their own rows." in caplog.text
    assert both.series_id.unique().tolist() == ["south", "west"]
    assert both.forecast[both.series_id == "west"].between(2e4, 1e5).all()
    assert predict(run, tmp_path / "new.csv", new_series=True).equals(both)
