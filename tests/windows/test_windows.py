"""Windows hold what they say; values encode series and time, so an off-by-one shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from forecast.config.schema import Config, SplitsConfig
from forecast.data.panel import Panel
from forecast.errors import ConfigError
from forecast.windows.checks import check_subsets, drop_short_series
from forecast.windows.normalization import compute_window_statistics
from forecast.windows.splits import SUBSETS, make_splits
from forecast.windows.windows import Imputation, Windows, make_last_windows, make_windows
from tests.panels import coded_panel


def config(lookback=4, horizon=2, stride=1, validation=6, test=6) -> Config:
    return Config.model_validate(
        {
            "data": {"path": "x.csv", "timestamp": "t", "target": "y0"},
            "splits": {"validation": validation, "test": test, "align": "ends"},
            "windows": {"lookback": lookback, "horizon": horizon, "stride": stride},
        }
    )


def windows_of(panel, part, settings):
    stride = settings.windows.stride if part == "train" else 1
    return make_windows(panel, panel.values, make_splits(panel, settings.splits), part, settings.windows, stride)


def test_past_ends_where_future_begins():
    windows = windows_of(coded_panel(30, 20, targets=2), "train", config())
    assert windows.past_values()[0, :, 0].tolist() == [0, 1, 2, 3]
    assert windows.targets()[0].tolist() == [[4, 4.1], [5, 5.1]]
    assert windows.past_values().shape == (len(windows), 4, 2)
    assert windows.targets().shape == (len(windows), 2, 2)
    second = windows.series == 1
    assert windows.past_values()[second][0, :, 0].tolist() == [1000, 1001, 1002, 1003]
    np.testing.assert_array_equal(windows.targets()[:, 0, 0], windows.past_values()[:, -1, 0] + 1)


def test_parts_share_no_target_and_look_back_into_each_other():
    panel, settings = coded_panel(30, 24), config()
    targets = {part: set(windows_of(panel, part, settings).targets().ravel()) for part in SUBSETS}
    assert not targets["train"] & targets["validation"]
    assert not targets["validation"] & targets["test"]
    assert not targets["train"] & targets["test"]
    assert set.union(*targets.values()) == set(panel.values.ravel()) - {0, 1, 2, 3, 1000, 1001, 1002, 1003}
    first_test = windows_of(panel, "test", settings)
    assert first_test.past_values()[0].ravel().tolist() == [20, 21, 22, 23]
    assert first_test.targets()[0].ravel().tolist() == [24, 25]


def test_stride():
    panel, settings = coded_panel(30), config(stride=3)
    assert windows_of(panel, "train", settings).first.tolist() == [4, 7, 10, 13, 16]


def test_windows_copy_nothing_until_asked():
    panel = coded_panel(1000)
    windows = windows_of(panel, "train", config(lookback=500))
    assert windows.past is panel.values
    assert np.shares_memory(windows.future, panel.values)
    assert windows.past_values(np.array([3, 1]))[:, 0, 0].tolist() == [3, 1]


def test_windows_with_a_filled_cutoff_or_target_are_left_out():
    panel, settings = coded_panel(30, targets=2), config()
    panel.filled[12, 1] = True
    assert windows_of(panel, "train", settings).first.tolist() == [4, 5, 6, 7, 8, 9, 10, 14, 15, 16]


def test_networks_learn_from_windows_with_gaps():
    panel, settings = coded_panel(30, targets=2), config(horizon=4)
    panel.filled[[12, 13], 1] = True
    splits = make_splits(panel, settings.splits)
    windows = make_windows(panel, panel.values, splits, "train", settings.windows, with_gaps=True)
    assert windows.first.tolist() == [4, 5, 6, 7, 8, 9, 10, 11, 12], "a filled cutoff knows the future"
    targets = windows.targets(slice(6, 7))[0]  # Rows 10 to 13.
    np.testing.assert_array_equal(np.isnan(targets), [[False, False]] * 2 + [[False, True]] * 2)
    panel.filled[[10, 11], 0] = True
    fewer = make_windows(panel, panel.values, splits, "train", settings.windows, with_gaps=True)
    assert fewer.first.tolist() == [4, 5, 6, 7, 8], "half of the rows were measured"


def test_last_windows_forecast_what_comes_after_each_series():
    panel = coded_panel(10, 20, targets=2)
    last = make_last_windows(panel, panel.values, 3, 2)
    assert (last.first.tolist(), last.series.tolist()) == ([10, 30], [0, 1])
    assert last.past_values()[..., 0].tolist() == [[7, 8, 9], [1017, 1018, 1019]]
    earlier = make_last_windows(panel, panel.values, 3, 2, count=2, before=1)
    assert (earlier.first.tolist(), earlier.series.tolist()) == ([8, 9, 28, 29], [0, 0, 1, 1])
    assert len(make_last_windows(panel, panel.values, 3, 2, count=100)) == 8 + 18, "as many as look back into the series"
    told = replace(panel, targets=["y0"], known_channels=1)
    ahead = make_last_windows(told, told.values, 3, 2, np.array([[[5], [6]], [[7], [8]]]))
    assert ahead.inputs()["known"].tolist() == [[[5], [6]], [[7], [8]]]
    np.testing.assert_allclose(ahead.past_values(), last.past_values())


@pytest.mark.parametrize(("column", "known"), [(0, [[40, 500], [40, 600]]), (1, [[50, 400], [60, 400]])])
def test_what_is_assumed_comes_from_the_past_of_its_own_column(column, known):
    rows = np.arange(20.0)[:, None] * [1, 10, 100]  # a target, and two known covariates
    windows = Windows(rows, rows[:, 1:], rows[:, :1], np.array([5]), np.zeros(1, int), lookback=3, horizon=2)
    assert windows.impute(Imputation(column, "hold", 1)).inputs()["known"][0].tolist() == known


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"lookback": 17}, r"windows.lookback is 17, but series 's1' has 18 training rows.\n  Use at most 16 \(18 - horizon 2\)"),
        (
            {"horizon": 30, "test": 30, "validation": 1},
            r"lookback is 4, but series 's1' has 0 training rows .*\n  Use smaller splits.validation and splits.test, a shorter",
        ),
        ({"test": 1}, "the test set of series 's0' has 1 row, fewer than the horizon of 2"),
        ({"validation": 1}, "the validation set of series 's0' has 1 row"),
    ],
    ids=["lookback", "horizon", "test", "validation"],
)
def test_parts_without_a_window(keys, message):
    panel, settings = coded_panel(40, 30), config(**keys)
    with pytest.raises(ConfigError, match=message):
        check_subsets(*drop_short_series(panel, make_splits(panel, settings.splits), settings), settings)


def test_the_largest_lookback_named_does_fit():
    panel, settings = coded_panel(40, 30), config(lookback=14, validation=2, test=8)  # The validation set has one window.
    check_subsets(*drop_short_series(panel, make_splits(panel, settings.splits), settings), settings)
    panel, settings = coded_panel(40, 30), config(lookback=16)
    check_subsets(*drop_short_series(panel, make_splits(panel, settings.splits), settings), settings)
    assert len(windows_of(panel, "train", settings)) == 12


@pytest.mark.parametrize(
    ("method", "centre", "scale"), [("none", 0, 1), ("last", 3, 1), ("mean", 2, 1), ("revin", 2, np.sqrt(2 / 3 + 1e-5))]
)
def test_window_statistics(method, centre, scale):
    centres, scales = compute_window_statistics(np.array([[[1.0], [2.0], [3.0]]]), method)
    assert centres.shape == scales.shape == (1, 1, 1)
    assert (centres.item(), scales.item()) == (centre, scale)


def ragged() -> Panel:
    """Four series of 40, 40, 3 and 10 days; the last one begins 30 days later, when the training part is over."""
    panel = coded_panel(40, 40, 3, 10)
    return replace(panel, timestamps=panel.timestamps[:83].append(panel.timestamps[:10] + pd.Timedelta(days=30)))


def test_short_series_are_refused_or_skipped():
    panel, settings = ragged(), config()
    settings = settings.model_copy(update={"splits": SplitsConfig(validation=6, test=6)})
    splits = make_splits(panel, settings.splits)
    message = r"series 's3' has 0 training rows \(2 of 4 series have no training window\).\n.* or set data.short_series: pad"
    with pytest.raises(ConfigError, match=message):
        drop_short_series(panel, splits, settings)
    skipping = settings.model_copy(update={"data": settings.data.model_copy(update={"short_series": "skip"})})
    kept, parts = drop_short_series(panel, splits, skipping)
    assert kept.series_ids == ["s0", "s1", "s3"]
    assert [(repair.rows, repair.first) for repair in kept.record] == [(1, ["s2"]), (1, ["s3"])]
    assert parts.borders.tolist() == [[0, 28, 34, 40], [40, 68, 74, 80], [80, 80, 84, 90]]
    assert kept.values[80, 0] == 3000
    counts = {
        part: np.bincount(make_windows(kept, kept.values, parts, part, settings.windows).series, minlength=3).tolist()
        for part in ("train", "validation", "test")
    }
    assert counts == {"train": [23, 23, 0], "validation": [5, 5, 0], "test": [5, 5, 5]}
