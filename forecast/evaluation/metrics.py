"""Metrics on `(windows, horizon, targets)`, in the units of the file. Error = forecast - actual, so positive bias is too high.

Each averages over `axis`: None gives one number for everything, (0, 2) one per horizon step, (0, 1) one per target.
A metric that is undefined on the given values is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Axis = tuple[int, ...] | None
ROOTS = {"rmse", "rmsse"}
CRPS_LEVELS = [(2 * number + 1) / 40 for number in range(20)]  # 0.025, 0.075, ... 0.975


def mae(y_true: np.ndarray, y_pred: np.ndarray, axis: Axis = None) -> np.ndarray:
    """Mean absolute error.

    >>> float(mae(np.array([1.0, 2.0]), np.array([2.0, 4.0])))
    1.5
    """
    return np.mean(np.abs(y_pred - y_true), axis)


def mse(y_true: np.ndarray, y_pred: np.ndarray, axis: Axis = None) -> np.ndarray:
    """Mean squared error; on scaled values it is what papers report.

    >>> float(mse(np.array([1.0, 2.0]), np.array([2.0, 4.0])))
    2.5
    """
    return np.mean(np.square(y_pred - y_true), axis)


def rmse(y_true: np.ndarray, y_pred: np.ndarray, axis: Axis = None) -> np.ndarray:
    """Root mean squared error.

    >>> float(rmse(np.array([1.0, 2.0]), np.array([4.0, 5.0])))
    3.0
    """
    return np.sqrt(mse(y_true, y_pred, axis))


def mape(y_true: np.ndarray, y_pred: np.ndarray, axis: Axis = None) -> np.ndarray:
    """Mean absolute percentage error as a fraction; NaN where an actual is 0.

    >>> float(mape(np.array([2.0, 4.0]), np.array([1.0, 4.0])))
    0.25
    """
    return np.mean(np.abs(y_pred - y_true) / np.where(y_true == 0, np.nan, np.abs(y_true)), axis)


def smape(y_true: np.ndarray, y_pred: np.ndarray, axis: Axis = None) -> np.ndarray:
    """Symmetric mean absolute percentage error: mean of |e| / (|actual| + |forecast|), from 0 to 1; 0 / 0 counts as 0.

    >>> float(smape(np.array([0.0, 1.0]), np.array([0.0, 3.0])))
    0.25
    """
    size = np.abs(y_true) + np.abs(y_pred)
    return np.mean(np.abs(y_pred - y_true) / np.where(size > 0, size, 1.0), axis)


def wape(y_true: np.ndarray, y_pred: np.ndarray, axis: Axis = None) -> np.ndarray:
    """Weighted absolute percentage error, sum |e| / sum |actual|, as a fraction; NaN where all actuals are 0.

    >>> float(wape(np.array([0.0, 4.0]), np.array([1.0, 4.0])))
    0.25
    """
    total = np.sum(np.abs(y_true), axis)
    return np.sum(np.abs(y_pred - y_true), axis) / np.where(total == 0, np.nan, total)


def bias(y_true: np.ndarray, y_pred: np.ndarray, axis: Axis = None) -> np.ndarray:
    """Mean error; positive means that the forecast is too high.

    >>> float(bias(np.array([1.0, 2.0]), np.array([2.0, 4.0])))
    1.5
    """
    return np.mean(y_pred - y_true, axis)


def mase(y_true: np.ndarray, y_pred: np.ndarray, seasonal_mae: np.ndarray, axis: Axis = None) -> np.ndarray:
    """Mean absolute scaled error (Hyndman & Koehler 2006): mean of |e| / seasonal_mae; NaN where a scale is 0.

    seasonal_mae: the scale of each value, broadcast against the errors.

    >>> float(mase(np.array([1.0, 2.0]), np.array([2.0, 4.0]), np.array(3.0)))
    0.5
    """
    return np.mean(np.abs(y_pred - y_true) / np.where(seasonal_mae == 0, np.nan, seasonal_mae), axis)


def rmsse(y_true: np.ndarray, y_pred: np.ndarray, seasonal_rmse: np.ndarray, axis: Axis = None) -> np.ndarray:
    """Root mean squared scaled error: root of the mean of (e / seasonal_rmse)^2; NaN where a scale is 0.

    >>> float(rmsse(np.array([1.0, 2.0]), np.array([4.0, 5.0]), np.array(3.0)))
    1.0
    """
    return np.sqrt(np.mean(np.square((y_pred - y_true) / np.where(seasonal_rmse == 0, np.nan, seasonal_rmse)), axis))


def pinball(y_true: np.ndarray, y_pred: np.ndarray, quantile: float, axis: Axis = None) -> np.ndarray:
    """Quantile loss (Koenker & Bassett 1978): what lies above the forecast costs `quantile`, what lies below 1 - `quantile`.

    >>> float(pinball(np.array([1.0, 2.0]), np.array([0.0, 4.0]), 0.75))
    0.625
    """
    error = y_true - y_pred
    return np.mean(np.maximum(quantile * error, (quantile - 1) * error), axis)


def coverage(y_true: np.ndarray, low: np.ndarray, high: np.ndarray, axis: Axis = None) -> np.ndarray:
    """Fraction of actual values within an interval, its ends included.

    >>> float(coverage(np.array([1.0, 2.0]), np.array([0.0, 3.0]), np.array([1.0, 4.0])))
    0.5
    """
    return np.mean((low <= y_true) & (y_true <= high), axis)


def winkler(y_true: np.ndarray, low: np.ndarray, high: np.ndarray, level: float, axis: Axis = None) -> np.ndarray:
    """Interval score (Winkler 1972): its width, and 2 / (1 - level) times how far an actual value lies outside; level in percent.

    >>> float(winkler(np.array([5.0]), np.array([0.0]), np.array([4.0]), 80))
    14.0
    """
    outside = np.maximum(low - y_true, 0) + np.maximum(y_true - high, 0)
    return np.mean(high - low + 200 / (100 - level) * outside, axis)


def crps(y_true: np.ndarray, quantiles: Sequence[float], made: np.ndarray) -> float:
    """Continuous ranked probability score: twice the mean pinball loss over `CRPS_LEVELS`, of the distribution whose quantiles
    are given along the last axis of `made`, straight lines between them and nothing beyond.

    >>> round(crps(np.array([1.0]), [0.1, 0.9], np.array([[0.0, 2.0]])), 3)
    0.207
    """
    below, total = 0, 0.0
    for level in CRPS_LEVELS:
        while below + 1 < len(quantiles) and quantiles[below + 1] <= level:
            below += 1
        above = min(below + 1, len(quantiles) - 1)
        share = (level - quantiles[below]) / (quantiles[above] - quantiles[below]) if above > below else 0.0
        share = min(max(share, 0.0), 1.0)
        total += float(pinball(y_true, (1 - share) * made[..., below] + share * made[..., above], level))
    return 2 * total / len(CRPS_LEVELS)


def seasonal_scales(rows: np.ndarray, season_length: int) -> np.ndarray:
    """Mean absolute and root mean square difference of training rows to the season before: `(rows, targets)` -> `(2, targets)`.

    Rows that are no longer than a season are compared with the step before; a single row gives 0. NaN rows are left out.

    >>> seasonal_scales(np.array([[1.0], [3.0], [2.0], [6.0]]), 2)[0]
    array([2.])
    """
    season_length = season_length if len(rows) > season_length else 1
    differences = rows[season_length:] - rows[:-season_length]
    known = np.isfinite(differences)
    count = np.maximum(known.sum(axis=0), 1)
    differences = np.where(known, differences, 0.0)
    return np.stack([np.abs(differences).sum(axis=0) / count, np.sqrt(np.square(differences).sum(axis=0) / count)])


def score(y_true: np.ndarray, y_pred: np.ndarray, scales: np.ndarray, axis: Axis = None) -> dict[str, np.ndarray]:
    """All metrics in file units of `(windows, horizon, targets)`; `scales` is `(windows, 2, targets)` from `seasonal_scales`."""
    unscaled = {metric.__name__: metric(y_true, y_pred, axis) for metric in (mae, rmse, mape, smape, wape, bias)}
    scaled = {"mase": mase(y_true, y_pred, scales[:, :1], axis), "rmsse": rmsse(y_true, y_pred, scales[:, 1:], axis)}
    return unscaled | scaled


class Pool:
    """`score` of windows that come in pieces, so that not all need to be held at once."""

    def __init__(self) -> None:
        self.windows = 0
        self.sums: dict[str, np.ndarray] = {}  # over windows, each `(horizon, targets)`; of roots, their squares

    def add(self, y_true: np.ndarray, y_pred: np.ndarray, scales: np.ndarray) -> None:
        """Take in a piece: `(windows, horizon, targets)`, and `scales` as for `score`."""
        cells = score(y_true, y_pred, scales, (0,)) | {"size": np.mean(np.abs(y_true), axis=0)}
        for name, values in cells.items():
            values = np.square(values) if name in ROOTS else values
            self.sums[name] = self.sums.get(name, 0.0) + len(y_true) * values
        self.windows += len(y_true)

    def score(self, axis: int | None = None) -> dict[str, np.ndarray]:
        """All metrics over everything that was added; axis 1 leaves one number per horizon step, 0 one per target."""
        means = {name: np.mean(total / self.windows, axis) for name, total in self.sums.items()}
        size = means.pop("size")
        wape = means["mae"] / np.where(size == 0, np.nan, size)
        return {name: np.sqrt(value) if name in ROOTS else value for name, value in means.items()} | {"wape": wape}


def format_number(value: float, spread: float = 0.0, digits: int = 4) -> str:
    """Write a number for people, with at least `digits` significant digits and no exponent from 0.0001 up to 10^15.

    spread: between the smallest and the largest number beside it, of which two digits can be seen.

    >>> format_number(14.4213), format_number(1234567890.0), format_number(-0.0), format_number(0.00001234)
    ('14.42', '1,234,567,890', '0', '1.234e-05')
    >>> format_number(1000000001.25, spread=3.0)
    '1,000,000,001.2'
    """
    if not math.isfinite(value):
        return "-"
    power = math.floor(math.log10(abs(value))) if value else 0
    if spread > 0 and math.isfinite(spread):
        digits = min(15, max(digits, power - math.floor(math.log10(spread)) + 2))
    if value and not -4 <= power < 15:
        return f"{value:.{digits}g}"
    decimals = max(0, digits - 1 - power)
    text = f"{value:z{',' if power > 3 else ''}.{decimals}f}"
    return text.rstrip("0").rstrip(".") if decimals else text
