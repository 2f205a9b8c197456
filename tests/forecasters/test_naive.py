"""Baselines without parameters see everything up to the cutoff and nothing after it."""

from __future__ import annotations

import numpy as np
import pytest

from forecast.forecasters import naive
from tests.panels import coded_panel

BEGIN, FIRST, HORIZON = np.array([0, 0, 10]), np.array([4, 9, 13]), 5
FORECASTERS = {
    "naive": lambda values: naive.forecast_naive(values, BEGIN, FIRST, HORIZON),
    "seasonal_naive": lambda values: naive.forecast_seasonal_naive(values, BEGIN, FIRST, HORIZON, 3),
    "drift": lambda values: naive.forecast_drift(values, BEGIN, FIRST, HORIZON),
    "mean": lambda values: naive.forecast_mean(values, BEGIN, FIRST, HORIZON),
}


@pytest.mark.parametrize("forecaster", FORECASTERS.values(), ids=FORECASTERS.keys())
def test_what_lies_after_the_cutoff_or_in_another_series_does_not_matter(forecaster):
    values = np.random.default_rng(0).normal(size=(30, 2))
    forecasts = forecaster(values)
    assert forecasts.shape == (3, HORIZON, 2)
    for window, (begin, first) in enumerate(zip(BEGIN, FIRST, strict=True)):
        changed = values.copy()
        changed[first:] += 100
        np.testing.assert_allclose(forecaster(changed)[window], forecasts[window], atol=1e-12)
        if begin:
            changed = values.copy()
            changed[:begin] -= 100
            np.testing.assert_allclose(forecaster(changed)[window], forecasts[window], atol=1e-12)
    np.testing.assert_allclose(forecaster(values * [2, 1]), forecasts * [2, 1], atol=1e-12)  # each target by itself


def test_known_values():
    values = coded_panel(20).values
    assert FORECASTERS["naive"](values)[0].ravel().tolist() == [3] * 5
    assert FORECASTERS["seasonal_naive"](values)[0].ravel().tolist() == [1, 2, 3, 1, 2]
    np.testing.assert_allclose(FORECASTERS["drift"](values)[0].ravel(), [4, 5, 6, 7, 8])
    np.testing.assert_allclose(FORECASTERS["mean"](values)[0].ravel(), [1.5] * 5)


def test_seasonal_naive_without_a_whole_season_is_naive():
    values = coded_panel(10).values
    assert naive.forecast_seasonal_naive(values, np.array([0]), np.array([2]), 3, 12).ravel().tolist() == [1, 1, 1]


def test_known_values_of_a_later_series():
    values = coded_panel(10, 20).values
    begin, first = np.array([10, 10]), np.array([12, 13])  # two rows, and three
    two, three = naive.forecast_seasonal_naive(values, begin, first, 4, 3)[..., 0].tolist()
    assert (two, three) == ([1001] * 4, [1000, 1001, 1002, 1000]), "a whole season is enough, and no less"
    assert naive.forecast_drift(values, begin, first, 2)[..., 0].tolist() == [[1002, 1003], [1003, 1004]]
    np.testing.assert_allclose(naive.forecast_mean(values, begin, first, 1)[:, 0, 0], [1000.5, 1001])
