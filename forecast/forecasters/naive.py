"""Baselines without parameters: naive, seasonal naive, drift and mean.

Each takes `values` `(rows, targets)`, and of each window the first row of its series (`begin`) and of its targets (`first`). It
reads the rows from `begin` to `first - 1`, also those before the network's lookback, and returns `(windows, horizon, targets)`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.floating]
Rows = npt.NDArray[np.integer]


def forecast_naive(values: Values, begin: Rows, first: Rows, horizon: int) -> Values:
    """Repeat the last value.

    >>> forecast_naive(np.array([[1.0], [2.0]]), np.array([0]), np.array([2]), 2)[0, :, 0]
    array([2., 2.])
    """
    return np.repeat(values[first - 1][:, None], horizon, axis=1)


def forecast_seasonal_naive(values: Values, begin: Rows, first: Rows, horizon: int, season_length: int) -> Values:
    """Repeat the last season, or the last value where a series has no whole season yet.

    >>> forecast_seasonal_naive(np.array([[1.0], [2.0], [3.0]]), np.array([0]), np.array([3]), 3, 2)[0, :, 0]
    array([2., 3., 2.])
    """
    season = np.where(first - begin >= season_length, season_length, 1)[:, None]
    rows: Rows = first[:, None] - season + np.arange(horizon) % season
    return values[rows]


def forecast_drift(values: Values, begin: Rows, first: Rows, horizon: int) -> Values:
    """Continue the line through the first and the last value.

    >>> forecast_drift(np.array([[1.0], [2.0], [3.0]]), np.array([0]), np.array([3]), 2)[0, :, 0]
    array([4., 5.])
    """
    last = values[first - 1]
    slope = (last - values[begin]) / np.maximum(first - 1 - begin, 1)[:, None]
    forecasts: Values = last[:, None] + np.arange(1, horizon + 1)[:, None] * slope[:, None]
    return forecasts


def forecast_mean(values: Values, begin: Rows, first: Rows, horizon: int) -> Values:
    """Repeat the mean of all values so far.

    >>> forecast_mean(np.array([[1.0], [3.0]]), np.array([0]), np.array([2]), 1)[0, :, 0]
    array([2.])
    """
    means = np.empty((len(first), values.shape[1]))
    order = np.argsort(begin, kind="stable")
    for windows in np.split(order, np.flatnonzero(np.diff(begin[order])) + 1):  # the windows of one series
        rows = first[windows] - begin[windows]
        series = values[begin[windows[0]] : first[windows].max()]
        # A running sum over several series would round away the small ones beside the large ones.
        sums = np.cumsum(series - series[0], axis=0)
        means[windows] = series[0] + sums[rows - 1] / rows[:, None]
    return np.repeat(means[:, None], horizon, axis=1)
