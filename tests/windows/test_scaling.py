"""Scalers agree with scikit-learn, undo what they do, and survive JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

from forecast.config.schema import ScalingConfig, SplitsConfig, WindowsConfig
from forecast.data.rows import StaticCovariates
from forecast.errors import DataError
from forecast.windows.scaling import Scaler, check_scaled, fit_scaler
from forecast.windows.splits import make_splits
from tests.panels import coded_panel

PANEL = coded_panel(40, 60, targets=2)
WINDOWS = WindowsConfig(lookback=2, horizon=1)
SPLITS = make_splits(PANEL, SplitsConfig(validation=10, test=10, align="ends"))
PEERS = {
    "minmax": (ScalingConfig(), MinMaxScaler()),
    "minmax -1 to 1": (ScalingConfig(range=[-1, 1]), MinMaxScaler((-1, 1))),
    "standard": (ScalingConfig(method="standard"), StandardScaler()),
    "robust": (ScalingConfig(method="robust"), RobustScaler()),
}


@pytest.mark.parametrize("factor", [1, 0.001])
@pytest.mark.parametrize(("config", "peer"), PEERS.values(), ids=PEERS.keys())
def test_equals_scikit_learn_fitted_on_training_rows(config, peer, factor):
    values = factor * PANEL.values
    scaled = fit_scaler(replace(PANEL, values=values), SPLITS, config, WINDOWS).apply(values, PANEL.series)
    for first, train_end, last in [(0, 20, 40), (40, 80, 100)]:
        expected = peer.fit(values[first:train_end]).transform(values[first:last])
        np.testing.assert_allclose(scaled[first:last], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("method", ["minmax", "standard", "robust", "none"])
@pytest.mark.parametrize("transform", ["none", "log1p"])
def test_undo_is_the_inverse_after_json(method, transform):
    fitted = fit_scaler(PANEL, SPLITS, ScalingConfig(method=method, transform=transform), WINDOWS)
    scaler = Scaler.from_json(json.loads(json.dumps(fitted.to_json())))
    np.testing.assert_array_equal(scaler.offset, fitted.offset)
    windows = PANEL.values[np.array([[0, 1, 2], [97, 98, 99]])]  # (windows, steps, targets)
    series = np.array([0, 1])
    np.testing.assert_allclose(scaler.undo(scaler.apply(windows, series), series), windows, rtol=1e-5, atol=1e-4)


def test_no_scaling_leaves_values_as_they_are():
    scaled = fit_scaler(PANEL, SPLITS, ScalingConfig(method="none"), WINDOWS).apply(PANEL.values, PANEL.series)
    np.testing.assert_array_equal(scaled, PANEL.values.astype(np.float32))


def test_each_quantile_is_scaled_back_by_itself():
    scaler = fit_scaler(PANEL, SPLITS, ScalingConfig(), WINDOWS)
    scaled, series = np.random.default_rng(0).normal(size=(2, 4, 2, 3)), np.array([1, 0])  # the last axis: quantiles
    each = scaler.undo_quantiles(scaled, series)
    for number in range(3):
        np.testing.assert_array_equal(each[..., number], scaler.undo(scaled[..., number], series))


@pytest.mark.parametrize("per", ["series", "all"])
def test_new_series_are_scaled_by_their_own_rows_or_as_all_are(per):
    config = ScalingConfig(per=per)
    scaler = fit_scaler(PANEL, SPLITS, config, WINDOWS)
    new = replace(coded_panel(10, 5, targets=2), series_ids=["new", "newer"])
    both = scaler.extend(new, config)
    assert both.series_ids == ["s0", "s1", "new", "newer"]
    expected = {"series": ([[0, 0.1], [1000, 1000.1]], [[9, 9], [4, 4]]), "all": ([[0, 0.1]] * 2, [[1039, 1039]] * 2)}[per]
    np.testing.assert_allclose(both.offset, [*scaler.offset, *expected[0]], atol=1e-9)
    np.testing.assert_allclose(both.scale, [*scaler.scale, *expected[1]])


def test_what_is_static_is_scaled_by_the_series_that_are_trained_on():
    numbers = np.array([[1.0, 5.0, 0.0], [5.0, 5.0, 0.5], [9.0, 9.0, 0.25]])  # the third series has no training window
    static = StaticCovariates(numbers, np.array([["x"], ["y"], ["z"]], dtype=object))
    panel = replace(coded_panel(23, 40, 22), static=static)
    scaler = fit_scaler(panel, make_splits(panel, SplitsConfig(validation=10, test=10, align="ends")), ScalingConfig(), WINDOWS)
    inputs = scaler.static.apply(static)
    assert inputs["static"].tolist() == [[-1, 0, -1], [1, 0, 1], [3, 4, 0]]
    assert inputs["categories"].tolist() == [[1], [2], [0]]


@pytest.mark.parametrize("method", ["minmax", "standard", "robust"])
def test_constant_training_rows_are_only_shifted(method):
    panel = coded_panel(40, 60, targets=2)
    panel.values[:20, 1] = 0.1  # whose standard deviation over 20 rows is not 0 but 1e-17
    scaler = fit_scaler(panel, SPLITS, ScalingConfig(method=method), WINDOWS)
    assert scaler.scale[0, 1] == 1.0
    assert scaler.apply(np.array([[0.0, 1.1]]), np.array([0]))[0, 1] == pytest.approx(1.0)


@pytest.mark.parametrize("value", [-1.5, -1])
def test_log1p_needs_values_above_minus_one(value):
    panel = coded_panel(30)
    panel.values[3] = value
    with pytest.raises(DataError, match=f"log1p, but `y0` is {value} at 2020-01-04"):
        fit_scaler(panel, make_splits(panel, SplitsConfig()), ScalingConfig(transform="log1p"), WINDOWS)


def test_values_beyond_float32_are_refused():
    panel = coded_panel(30)
    panel.values[3] = 1e300  # `read_panel` would refuse it
    scaler = fit_scaler(panel, make_splits(panel, SplitsConfig()), ScalingConfig(method="none"), WINDOWS)
    with pytest.raises(DataError, match=r"`y0` is 1e\+300 at 2020-01-04 00:00:00, which is too large for a network"):
        check_scaled(panel, scaler.apply(panel.values, panel.series))


def test_one_scaling_for_all_series():
    scaler = fit_scaler(PANEL, SPLITS, ScalingConfig(method="standard", per="all"), WINDOWS)
    train = np.concatenate([PANEL.values[:20], PANEL.values[40:80]])
    np.testing.assert_allclose(scaler.offset, [train.mean(axis=0)] * 2)
    np.testing.assert_allclose(scaler.scale, [train.std(axis=0)] * 2)


def test_a_series_without_training_rows_is_scaled_by_its_first_lookback():
    panel = coded_panel(60, 60)
    late = replace(panel, timestamps=panel.timestamps[:60].append(panel.timestamps[:60] + pd.Timedelta(days=50)))
    splits = make_splits(late, SplitsConfig(validation=20, test=20))
    assert splits.borders.tolist() == [[0, 60, 60, 60], [60, 80, 100, 120]]
    later = make_splits(late, SplitsConfig(validation="2020-01-21", test="2020-02-10"))
    assert later.borders.tolist() == [[0, 20, 40, 60], [60, 60, 60, 120]]
    scaler = fit_scaler(late, later, ScalingConfig(), WindowsConfig(lookback=5, horizon=1))
    assert (scaler.offset[1, 0], scaler.scale[1, 0]) == (1000, 4)
    moved = replace(late, values=late.values + 7 * (np.arange(120) >= 65)[:, None])
    assert fit_scaler(moved, later, ScalingConfig(), WindowsConfig(lookback=5, horizon=1)).offset[1, 0] == 1000
