"""Scalers agree with scikit-learn, undo what they do, and survive JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

from forecast.config import ScalingConfig, SplitsConfig
from forecast.errors import DataError
from forecast.scaling import Scaler, check_scaled, fit_scaler
from forecast.splits import make_splits
from tests.panels import coded_panel

PANEL = coded_panel(40, 60, targets=2)
SPLITS = make_splits(PANEL, SplitsConfig(validation=10, test=10))
PEERS = {
    "minmax": (ScalingConfig(), MinMaxScaler()),
    "minmax -1 to 1": (ScalingConfig(range=[-1, 1]), MinMaxScaler((-1, 1))),
    "standard": (ScalingConfig(method="standard"), StandardScaler()),
    "robust": (ScalingConfig(method="robust"), RobustScaler()),
}


@pytest.mark.parametrize(("config", "peer"), PEERS.values(), ids=PEERS.keys())
def test_equals_scikit_learn_fitted_on_training_rows(config, peer):
    scaled = fit_scaler(PANEL, SPLITS, config).apply(PANEL.values, PANEL.series)
    for first, train_end, last in [(0, 20, 40), (40, 80, 100)]:
        expected = peer.fit(PANEL.values[first:train_end]).transform(PANEL.values[first:last])
        np.testing.assert_allclose(scaled[first:last], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("method", ["minmax", "standard", "robust", "none"])
@pytest.mark.parametrize("transform", ["none", "log1p"])
def test_undo_is_the_inverse_after_json(method, transform):
    fitted = fit_scaler(PANEL, SPLITS, ScalingConfig(method=method, transform=transform))
    scaler = Scaler.from_json(json.loads(json.dumps(fitted.to_json())))
    np.testing.assert_array_equal(scaler.offset, fitted.offset)
    windows = PANEL.values[np.array([[0, 1, 2], [97, 98, 99]])]  # (windows, steps, targets)
    series = np.array([0, 1])
    np.testing.assert_allclose(scaler.undo(scaler.apply(windows, series), series), windows, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("method", ["minmax", "standard", "robust"])
def test_constant_training_rows_are_only_shifted(method):
    panel = coded_panel(40, 60, targets=2)
    panel.values[:20, 1] = 0.1  # whose standard deviation over 20 rows is not 0 but 1e-17
    scaler = fit_scaler(panel, SPLITS, ScalingConfig(method=method))
    assert scaler.scale[0, 1] == 1.0
    assert scaler.apply(np.array([[0.0, 1.1]]), np.array([0]))[0, 1] == pytest.approx(1.0)


def test_log1p_needs_values_above_minus_one():
    panel = coded_panel(30)
    panel.values[3] = -1.5
    with pytest.raises(DataError, match="log1p, but `y0` is -1.5 at 2020-01-04"):
        fit_scaler(panel, make_splits(panel, SplitsConfig()), ScalingConfig(transform="log1p"))


def test_values_beyond_float32_are_refused():
    panel = coded_panel(30)
    panel.values[3] = 1e300  # `read_panel` would refuse it
    scaler = fit_scaler(panel, make_splits(panel, SplitsConfig()), ScalingConfig(method="none"))
    with pytest.raises(DataError, match=r"`y0` is 1e\+300 at 2020-01-04 00:00:00, too large for a network"):
        check_scaled(panel, scaler.apply(panel.values, panel.series))
