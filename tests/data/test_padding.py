"""Rows that are added before short series are marked, are no target, and are gone where the rows of a file count."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from forecast.config.load import load_config
from forecast.data.contract import make_contract
from forecast.errors import ConfigError
from forecast.forecasters.preparation import prepare


@pytest.fixture
def padded(tmp_path):
    """Two series of 30 and 12 rows, whose values encode series and time."""
    shops = []
    for name, rows, level in (("a", 30, 100.0), ("b", 12, 200.0)):
        months = pd.date_range("2015-01-01", periods=rows, freq="MS")
        shops.append(pd.DataFrame({"month": months, "shop": name, "sales": level + np.arange(rows)}))

    def write(horizon=2, held_out=4):
        pd.concat(shops).to_csv(tmp_path / "data.csv", index=False)
        (tmp_path / "config.yaml").write_text(
            "data: {path: data.csv, timestamp: month, target: sales, series_id: shop, short_series: pad}\n"
            f"splits: {{validation: {held_out}, test: {held_out}, align: ends}}\nscaling: {{method: none}}\n"
            f"windows: {{lookback: 6, horizon: {horizon}}}\n"
        )
        return tmp_path / "config.yaml"

    return write


def test_every_measured_row_but_the_first_is_a_target(padded):
    prepared = prepare(load_config(padded()))
    train = prepared.windows["train"]
    for series, level, rows in ((0, 100, 22), (1, 200, 4)):
        targets = train.select(train.series == series).targets()[..., 0]
        assert targets.tolist() == [[level + row, level + row + 1] for row in range(1, rows - 1)]


def test_the_network_is_told_which_rows_were_observed(padded):
    prepared = prepare(load_config(padded()))
    inputs = prepared.windows["train"].inputs()
    assert prepared.panel.columns == ["sales", "observed"]
    assert inputs["past"][0].tolist() == [[100, 0]] * 5 + [[100, 1]]
    assert (inputs["known"] == 1).all()


def test_the_panel_without_padding_is_that_of_the_file(padded):
    config = load_config(padded())
    panel = prepare(config).panel
    plain = panel.without_padding()
    assert plain.target_values[:, 0].tolist() == [*range(100, 130), *range(200, 212)]
    assert plain.offsets.tolist() == [0, 30, 42]
    assert panel.begins.tolist() == [6, 42]
    assert make_contract(panel).rows == 42
    assert len(panel.ticks) == 30


def test_a_series_without_training_rows_is_scaled_like_the_others(padded):
    config = padded(held_out=6)
    config.write_text(config.read_text().replace("none", "standard"))
    scaler = prepare(load_config(config)).scaler
    assert scaler.offset[1].tolist() == [200, 0]
    assert scaler.scale[1].tolist() == scaler.scale[0].tolist()


def test_a_horizon_that_no_training_set_holds_is_refused(padded):
    with pytest.raises(ConfigError, match="no series has more training rows than the horizon, which is 9"):
        prepare(load_config(padded(horizon=9, held_out=11)))
