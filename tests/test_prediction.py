"""`predict` refuses rows it cannot continue, and says which."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest

from forecast.errors import DataError, RunError
from forecast.prediction import predict
from forecast.runs import Run
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
        (newer(shop="soth"), r"series 'soth' was not in the training data.\n  Did you mean `south`\?"),
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
    with pytest.raises(RunError, match=r"rum: is not a run directory.\n  Did you mean `run`\?"):
        predict(run.directory.with_name("rum"))


DAMAGES = {
    "weights cut": ("weights", lambda data: data[:40], "weights.safetensors: cannot be read"),
    "network cut": ("network", lambda data: data[:40], "network.json: cannot be read"),
    "scaler cut": ("scaler", lambda data: data[:40], "scaler.json: cannot be read"),
    "scaler empty": ("scaler", lambda data: b"{}", "the scaler is damaged"),
    "scaler of another run": ("scaler", lambda data: data.replace(b'"south"', b'"south", "west"'), "the scaler is damaged"),
    "no layers": (
        "network",
        lambda data: b'{"version": 1, "past": [12, 1], "layers": [{}]}',
        "the description of the network is damaged",
    ),
    "network of another kind": ("network", lambda data: data.replace(b'"recurrent"', b'"magic"'), "network is damaged"),
    "a layer without weights": (
        "network",
        lambda data: data.replace(b'"kernel"', b'"colonel"'),
        "differ in `recurrent_1/colonel`",
    ),
    "no freq": ("contract", lambda data: b"[]", "this is no data contract"),
    "no state": ("status", lambda data: b"[]", "has the unknown state None"),
}


@pytest.mark.parametrize(("name", "damage", "message"), DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_run_is_refused(run, tmp_path, name, damage, message):
    shutil.copytree(run.directory, tmp_path / "copy")
    path = getattr(Run(tmp_path / "copy"), name)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RunError, match=message):
        predict(tmp_path / "copy")


@pytest.mark.parametrize("change", ["missing", "unknown", "shape", "nan", "integers"])
def test_foreign_weights_are_refused(run, tmp_path, change):
    shutil.copytree(run.directory, tmp_path / "copy")
    copy = Run(tmp_path / "copy")
    weights = copy.read_weights()
    bias = weights.pop("linear_skip/bias")
    weights |= {
        "missing": {},
        "unknown": {"linear_skip/bias": bias, "extra/bias": bias},
        "shape": {"linear_skip/bias": bias.T.copy()},
        "nan": {"linear_skip/bias": bias * np.nan},
        "integers": {"linear_skip/bias": bias.astype(np.int32)},
    }[change]
    copy.write_weights(weights)
    with pytest.raises(RunError, match="differ in `|is not .* finite numbers"):
        predict(copy)
