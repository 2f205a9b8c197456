"""Metrics on `(windows, horizon, targets)`, in the units of the data. Error = forecast - actual, so positive bias is too high.

Each averages over `axis`: None gives one number for everything, (0, 2) one per horizon step, (0, 1) one per target.
A metric that is undefined on these values is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.floating]
Axis = int | tuple[int, ...] | None
ROOTS = {"rmse", "rmsse"}
CRPS_LEVELS = [(2 * number + 1) / 40 for number in range(20)]  # 0.025, 0.075, ... 0.975


def _mean(values: npt.NDArray[np.floating | np.bool_], axis: Axis) -> Values:
    mean: Values = np.mean(values, axis)
    return mean


def mae(y_true: Values, y_pred: Values, axis: Axis = None) -> Values:
    """Mean absolute error.

    >>> float(mae(np.array([1.0, 2.0]), np.array([2.0, 4.0])))
    1.5
    """
    return _mean(np.abs(y_pred - y_true), axis)


def mse(y_true: Values, y_pred: Values, axis: Axis = None) -> Values:
    """Mean squared error. Papers report it on scaled values.

    >>> float(mse(np.array([1.0, 2.0]), np.array([2.0, 4.0])))
    2.5
    """
    return _mean(np.square(y_pred - y_true), axis)


def rmse(y_true: Values, y_pred: Values, axis: Axis = None) -> Values:
    """Root mean squared error.

    >>> float(rmse(np.array([1.0, 2.0]), np.array([4.0, 5.0])))
    3.0
    """
    root: Values = np.sqrt(mse(y_true, y_pred, axis))
    return root


def mape(y_true: Values, y_pred: Values, axis: Axis = None) -> Values:
    """Mean absolute percentage error as a fraction; NaN where an actual is 0.

    >>> float(mape(np.array([2.0, 4.0]), np.array([1.0, 4.0])))
    0.25
    """
    return _mean(np.abs(y_pred - y_true) / np.where(y_true == 0, np.nan, np.abs(y_true)), axis)


def smape(y_true: Values, y_pred: Values, axis: Axis = None) -> Values:
    """Symmetric mean absolute percentage error: mean of |e| / (|actual| + |forecast|), from 0 to 1; 0 / 0 counts as 0.

    >>> float(smape(np.array([0.0, 1.0]), np.array([0.0, 3.0])))
    0.25
    """
    size = np.abs(y_true) + np.abs(y_pred)
    return _mean(np.abs(y_pred - y_true) / np.where(size > 0, size, 1.0), axis)


def bias(y_true: Values, y_pred: Values, axis: Axis = None) -> Values:
    """Mean error; positive means that the forecast is too high.

    >>> float(bias(np.array([1.0, 2.0]), np.array([2.0, 4.0])))
    1.5
    """
    return _mean(y_pred - y_true, axis)


def mase(y_true: Values, y_pred: Values, seasonal_mae: Values, axis: Axis = None) -> Values:
    """Mean absolute scaled error (Hyndman & Koehler 2006): mean of |e| / seasonal_mae; NaN where a scale is 0.

    seasonal_mae: the scale of each value, broadcast against the errors.

    >>> float(mase(np.array([1.0, 2.0]), np.array([2.0, 4.0]), np.array(3.0)))
    0.5
    """
    return _mean(np.abs(y_pred - y_true) / np.where(seasonal_mae == 0, np.nan, seasonal_mae), axis)


def rmsse(y_true: Values, y_pred: Values, seasonal_rmse: Values, axis: Axis = None) -> Values:
    """Root mean squared scaled error: root of the mean of (e / seasonal_rmse)^2; NaN where a scale is 0.

    >>> float(rmsse(np.array([1.0, 2.0]), np.array([4.0, 5.0]), np.array(3.0)))
    1.0
    """
    squares = np.square((y_pred - y_true) / np.where(seasonal_rmse == 0, np.nan, seasonal_rmse))
    root: Values = np.sqrt(_mean(squares, axis))
    return root


def pinball(y_true: Values, y_pred: Values, quantile: float, axis: Axis = None) -> Values:
    """Quantile loss (Koenker & Bassett 1978): each unit above the forecast costs `quantile`, each unit below it 1 - `quantile`.

    >>> float(pinball(np.array([1.0, 2.0]), np.array([0.0, 4.0]), 0.75))
    0.625
    """
    error = y_true - y_pred
    return _mean(np.maximum(quantile * error, (quantile - 1) * error), axis)


def coverage(y_true: Values, low: Values, high: Values, axis: Axis = None) -> Values:
    """Fraction of actual values within an interval, its ends included.

    >>> float(coverage(np.array([1.0, 2.0]), np.array([0.0, 3.0]), np.array([1.0, 4.0])))
    0.5
    """
    return _mean((low <= y_true) & (y_true <= high), axis)


def winkler(y_true: Values, low: Values, high: Values, level: float, axis: Axis = None) -> Values:
    """Interval score (Winkler 1972): the width, plus 2 / (1 - level) times the distance of an actual value outside.

    level: in percent.

    >>> float(winkler(np.array([5.0]), np.array([0.0]), np.array([4.0]), 80))
    14.0
    """
    outside = np.maximum(low - y_true, 0) + np.maximum(y_true - high, 0)
    return _mean(high - low + 200 / (100 - level) * outside, axis)


def crps(y_true: Values, quantiles: Sequence[float], y_pred: Values) -> float:
    """Continuous ranked probability score: twice the mean pinball loss over `CRPS_LEVELS`.

    The forecast distribution has straight lines between its `quantiles`, the last axis of `y_pred`, and nothing beyond them.

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
        total += float(pinball(y_true, (1 - share) * y_pred[..., below] + share * y_pred[..., above], level))
    return 2 * total / len(CRPS_LEVELS)


def seasonal_scales(rows: Values, season_length: int) -> Values:
    """Return the mean absolute and root mean square difference of training rows to the season before.

    rows: `(rows, targets)`. Returns `(2, targets)`. Rows that are no longer than a season are compared with the step before. A
    single row gives 0. NaN rows are left out.

    >>> seasonal_scales(np.array([[1.0], [3.0], [2.0], [6.0]]), 2)[0]
    array([2.])
    """
    season_length = season_length if len(rows) > season_length else 1
    differences = rows[season_length:] - rows[:-season_length]
    measured = np.isfinite(differences)
    count = np.maximum(measured.sum(axis=0), 1)
    differences = np.where(measured, differences, 0.0)
    return np.stack([np.abs(differences).sum(axis=0) / count, np.sqrt(np.square(differences).sum(axis=0) / count)])


class ErrorPool:
    """Sums of all metrics of errors over windows that come in chunks, so that memory never has to hold all of them."""

    def __init__(self) -> None:
        self.windows = 0
        self.sums: dict[str, Values] = {}  # Over windows, each `(horizon, targets)`; for `ROOTS`, the sums of squares.

    def add(self, y_true: Values, y_pred: Values, scales: Values) -> None:
        """Add a chunk: `(windows, horizon, targets)`, and `(windows, 2, targets)` from `seasonal_scales`."""
        cells = {metric.__name__: metric(y_true, y_pred, 0) for metric in (mae, rmse, mape, smape, bias)}
        cells |= {"mase": mase(y_true, y_pred, scales[:, :1], 0), "rmsse": rmsse(y_true, y_pred, scales[:, 1:], 0)}
        cells["size"] = _mean(np.abs(y_true), 0)
        for name, values in cells.items():
            values = np.square(values) if name in ROOTS else values
            self.sums[name] = self.sums.get(name, 0.0) + len(y_true) * values
        self.windows += len(y_true)

    def compute(self, axis: int | None = None) -> dict[str, Values]:
        """Return all metrics over the chunks so far. Axis 1 leaves one number per horizon step, 0 one per target.

        wape is the weighted absolute percentage error, sum |e| / sum |actual|, as a fraction; NaN where all actuals are 0.
        """
        means = {name: np.mean(total / self.windows, axis) for name, total in self.sums.items()}
        size = means.pop("size")
        wape = means["mae"] / np.where(size == 0, np.nan, size)
        return {name: np.sqrt(value) if name in ROOTS else value for name, value in means.items()} | {"wape": wape}


def format_number(value: float, spread: float = 0.0, digits: int = 4) -> str:
    """Format a number for people, with at least `digits` significant digits and no exponent from 0.0001 up to 10^15.

    spread: distance between the smallest and the largest number beside it. Two of its digits are shown.

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
