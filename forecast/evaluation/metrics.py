"""Metrics of point forecasts, quantiles and intervals, in the units of the data.

Error = forecast - actual, so positive bias is over-forecasting. Values are `(windows, horizon, targets)` unless stated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.floating]
ROOTS = {"rmse", "rmsse"}
CRPS_LEVELS = [(2 * number + 1) / 40 for number in range(20)]  # 0.025, 0.075, ... 0.975


class ErrorPool:
    """Pool the errors of windows that come in chunks, so that memory never has to hold all of them.

    - mae, rmse, bias: mean absolute error, root mean squared error, mean error.
    - mape: mean of |error| / |actual|, as a fraction; NaN where an actual is 0.
    - smape: mean of |error| / (|actual| + |forecast|), from 0 to 1; 0 / 0 counts as 0.
    - wape: sum of |error| / sum of |actual|, as a fraction; NaN where all actuals are 0.
    - mase, rmsse: mean absolute and root mean squared error, relative to `seasonal_scales` (Hyndman & Koehler 2006).

    scikit-learn has only three of the eight, each by a call of its own. The tests check that both agree.

    >>> pool = ErrorPool()
    >>> pool.add(np.array([[[1.0]], [[2.0]]]), np.array([[[2.0]], [[4.0]]]), np.full((2, 2, 1), 3.0))
    >>> {name: round(float(value), 3) for name, value in pool.compute().items()}
    {'mae': 1.5, 'rmse': 1.581, 'mape': 1.0, 'smape': 0.333, 'bias': 1.5, 'mase': 0.5, 'rmsse': 0.527, 'wape': 1.0}
    """

    def __init__(self) -> None:
        self.windows = 0
        self.sums: dict[str, Values] = {}  # Over windows, each `(horizon, targets)`; for `ROOTS`, the sums of squares.

    def add(self, y_true: Values, y_pred: Values, scales: Values) -> None:
        """Add a chunk: `(windows, horizon, targets)`, and the `seasonal_scales` of each window, `(windows, 2, targets)`."""
        error, size = y_pred - y_true, np.abs(y_true)
        absolute, both_sizes = np.abs(error), size + np.abs(y_pred)
        mae_scale, rmse_scale = scales[:, :1], scales[:, 1:]
        sums = {
            "mae": absolute.sum(axis=0),
            "rmse": np.square(error).sum(axis=0),
            "mape": (absolute / np.where(size == 0, np.nan, size)).sum(axis=0),
            "smape": (absolute / np.where(both_sizes > 0, both_sizes, 1.0)).sum(axis=0),
            "bias": error.sum(axis=0),
            "mase": (absolute / mae_scale).sum(axis=0),
            "rmsse": np.square(error / rmse_scale).sum(axis=0),
            "size": size.sum(axis=0),
        }
        self.sums = {name: self.sums.get(name, 0.0) + values for name, values in sums.items()}
        self.windows += len(y_true)

    def compute(self, axis: int | None = None) -> dict[str, Values]:
        """Return all metrics over the chunks so far. Axis 1 leaves one number per horizon step, 0 one per target."""
        means = {name: np.mean(total / self.windows, axis) for name, total in self.sums.items()}
        size = means.pop("size")
        wape = means["mae"] / np.where(size == 0, np.nan, size)
        return {name: np.sqrt(value) if name in ROOTS else value for name, value in means.items()} | {"wape": wape}


def pinball(y_true: Values, y_pred: Values, quantile: float) -> float:
    """Return the quantile loss (Koenker & Bassett 1978): a unit above the forecast costs `quantile`, a unit below 1 - `quantile`.

    >>> pinball(np.array([1.0, 2.0]), np.array([0.0, 4.0]), 0.75)
    0.625
    """
    error = y_true - y_pred
    return float(np.maximum(quantile * error, (quantile - 1) * error).mean())


def winkler(y_true: Values, low: Values, high: Values, level: float) -> Values:
    """Return the interval score of each value (Winkler 1972): the width, plus 2 / (1 - level) times the distance outside.

    level: in percent.

    >>> winkler(np.array([5.0]), np.array([0.0]), np.array([4.0]), 80)
    array([14.])
    """
    outside = np.maximum(low - y_true, 0) + np.maximum(y_true - high, 0)
    score: Values = high - low + 200 / (100 - level) * outside
    return score


def crps(y_true: Values, quantiles: Sequence[float], y_pred: Values) -> float:
    """Return the continuous ranked probability score: twice the mean pinball loss over `CRPS_LEVELS`.

    The forecast distribution has straight lines between its `quantiles`, the last axis of `y_pred`, and nothing beyond them.

    >>> round(crps(np.array([1.0]), [0.1, 0.9], np.array([[0.0, 2.0]])), 3)
    0.207
    """
    total = 0.0
    for level, position in zip(CRPS_LEVELS, np.interp(CRPS_LEVELS, quantiles, range(len(quantiles))), strict=True):
        below, above = math.floor(position), math.ceil(position)
        weight = position - below
        total += pinball(y_true, (1 - weight) * y_pred[..., below] + weight * y_pred[..., above], level)
    return 2 * total / len(CRPS_LEVELS)


def seasonal_scales(rows: Values, season_length: int) -> Values:
    """Return the mean absolute and root mean square difference of training rows to the season before.

    rows: `(rows, targets)`; NaN is left out. Returns `(2, targets)`, NaN where rows never differ. If there are no more rows than
    a season has, they are compared with the step before.

    >>> seasonal_scales(np.array([[1.0], [3.0], [2.0], [6.0]]), 2)[0]
    array([2.])
    """
    season_length = season_length if len(rows) > season_length else 1
    differences = rows[season_length:] - rows[:-season_length]
    measured = np.isfinite(differences)
    differences, count = np.where(measured, differences, 0.0), np.maximum(measured.sum(axis=0), 1)
    scales = np.stack([np.abs(differences).sum(axis=0) / count, np.sqrt(np.square(differences).sum(axis=0) / count)])
    return np.where(scales == 0, np.nan, scales)


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
