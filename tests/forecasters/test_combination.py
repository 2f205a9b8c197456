"""A combination weighs its members by the validation set, and shifts the output of the network to its own forecast."""

from __future__ import annotations

import numpy as np
import pytest

from forecast.forecasters.combination import Combination, choose_weights
from forecast.windows.scaling import Scaler, StaticScaler

RNG = np.random.default_rng(0)
ACTUAL = RNG.normal(size=(40, 3, 1))
SCALES = np.ones((40, 1))


def off_by(size, seed):
    return ACTUAL + size * np.random.default_rng(seed).normal(size=ACTUAL.shape)


def test_weights_follow_the_errors():
    points = {"network": off_by(0.1, 1), "theta": off_by(0.1, 2), "naive": off_by(3, 3)}
    weights = choose_weights(points, ACTUAL, SCALES, independent=1000)
    assert sum(weights.values()) == pytest.approx(1)
    assert weights["naive"] < 0.02
    assert 0.3 < weights["network"] < 0.7


def test_a_useless_network_has_no_weight():
    points = {"network": off_by(5, 1), "theta": off_by(0.1, 2)}
    assert choose_weights(points, ACTUAL, SCALES, independent=1000) == {"network": 0, "theta": 1}


def test_without_evidence_members_of_similar_errors_weigh_the_same():
    points = {"network": ACTUAL + 0.1, "theta": ACTUAL + 0.12, "naive": ACTUAL + 3}
    assert choose_weights(points, ACTUAL, SCALES, independent=0) == {"network": 0.5, "theta": 0.5, "naive": 0}


def test_members_that_forecast_the_same_share_a_weight():
    points = {"network": ACTUAL + 0.1, "naive": ACTUAL - 0.11, "seasonal_naive": ACTUAL - 0.11, "theta": ACTUAL - 0.112}
    weights = choose_weights(points, ACTUAL, SCALES, independent=0)
    assert weights["network"] == pytest.approx(0.5, abs=0.02)
    assert weights["naive"] == weights["seasonal_naive"] == pytest.approx(weights["theta"], abs=0.01)


@pytest.mark.parametrize(("independent", "takes_part"), [(1, True), (4, False), (100, False)])
def test_the_fewer_windows_there_are_the_larger_errors_may_be(independent, takes_part):
    points = {"network": ACTUAL + 0.1, "theta": ACTUAL + 0.15}
    assert (choose_weights(points, ACTUAL, SCALES, independent)["theta"] > 0.25) == takes_part


def test_exact_members_that_agree_share_the_weight():
    points = {"network": ACTUAL, "theta": ACTUAL, "naive": ACTUAL + 1}
    assert choose_weights(points, ACTUAL, SCALES, independent=0) == {"network": 0.5, "theta": 0.5, "naive": 0}


def test_series_of_any_size_count_alike():
    sizes = np.where(np.arange(40) < 20, 1.0, 1000.0)[:, None, None]
    on_small, on_large = (
        off_by(np.where((sizes == 1) == small, 0.1, 1), seed) * sizes for seed, small in ((1, True), (2, False))
    )
    weights = choose_weights({"a": on_small, "b": on_large}, ACTUAL * sizes, SCALES * sizes[:, 0], independent=1000)
    assert weights["a"] > 0.3  # Otherwise the errors of large series would decide alone.


def test_a_scale_that_is_undefined_does_not_count():
    scales = SCALES.copy()
    scales[:39] = np.nan
    points = {"network": off_by(5, 1), "theta": off_by(0.1, 2)}
    points["network"][39] = ACTUAL[39]
    assert choose_weights(points, ACTUAL, scales, independent=1000)["network"] == 1


@pytest.mark.parametrize("transform", ["none", "log1p"])
@pytest.mark.parametrize("quantiles", [0, 3])
def test_the_output_is_shifted_to_the_combination(transform, quantiles):
    static = StaticScaler(np.zeros(0), np.ones(0), [])
    scaler = Scaler(transform, ["a"], ["y"], np.array([[1.0]]), np.array([[2.0]]), 1, static)
    series, network = np.zeros(2, int), RNG.uniform(0.5, 1, (2, 3, 1)).astype(np.float32)
    output = network[..., None] + np.array([-0.1, 0, 0.1], np.float32) if quantiles else network
    theta = scaler.undo(network, series) + 4
    combination = Combination(method="mean", weights={"network": 0.5, "theta": 0.5}, season_length=1)
    shifted = combination.shift(output, network, {"theta": theta}, scaler, series)
    point = shifted[..., 1] if quantiles else shifted
    assert scaler.undo(point, series) == pytest.approx(scaler.undo(network, series) + 2, rel=1e-5)
    if quantiles:
        assert np.diff(shifted, axis=-1) == pytest.approx(0.1, abs=1e-5)


def test_the_median_ignores_weights():
    combination = Combination(method="median", weights={"a": 0.2, "b": 0.2, "c": 0.6}, season_length=1)
    points = {name: np.full((1, 1, 1), value) for name, value in {"a": 1.0, "b": 5.0, "c": 100.0}.items()}
    assert combination.apply(points)[0, 0, 0] == 5


def test_a_forecast_that_has_no_logarithm_is_raised():
    static = StaticScaler(np.zeros(0), np.ones(0), [])
    scaler = Scaler("log1p", ["a"], ["y"], np.array([[0.0]]), np.array([[1.0]]), 1, static)
    combination = Combination(method="mean", weights={"theta": 1.0}, season_length=1)
    network = np.zeros((1, 1, 1), np.float32)
    shifted = combination.shift(network, network, {"theta": np.full((1, 1, 1), -50.0)}, scaler, np.array([0]))
    assert scaler.undo(shifted, np.array([0]))[0, 0, 0] == pytest.approx(-0.99)
