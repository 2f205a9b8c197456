"""Metrics on `(windows, horizon, targets)`, in the units of the file. Error = forecast - actual, so positive bias is too high.

Each returns one number; a metric that is undefined on the given values is None.
"""

from __future__ import annotations

import numpy as np


def mae(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    """Mean absolute error."""
    from sklearn.metrics import mean_absolute_error

    return float(mean_absolute_error(y_true.ravel(), y_pred.ravel()))


def rmse(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    """Root mean squared error."""
    from sklearn.metrics import root_mean_squared_error

    return float(root_mean_squared_error(y_true.ravel(), y_pred.ravel()))


def mape(y_true: np.ndarray, y_pred: np.ndarray) -> float | None:
    """Mean absolute percentage error as a fraction; None where an actual is 0.

    >>> mape(np.array([2.0, 4.0]), np.array([1.0, 4.0]))
    0.25
    """
    from sklearn.metrics import mean_absolute_percentage_error

    return float(mean_absolute_percentage_error(y_true.ravel(), y_pred.ravel())) if np.all(y_true != 0) else None


def smape(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    """Symmetric mean absolute percentage error, mean of |e| / (|actual| + |forecast|), a fraction in [0, 1]; 0 / 0 counts as 0.

    >>> smape(np.array([0.0, 1.0]), np.array([0.0, 3.0]))
    0.25
    """
    size = np.abs(y_true) + np.abs(y_pred)
    return float(np.mean(np.abs(y_pred - y_true) / np.where(size > 0, size, 1.0)))


def wape(y_true: np.ndarray, y_pred: np.ndarray) -> float | None:
    """Weighted absolute percentage error, sum |e| / sum |actual|, as a fraction; None where all actuals are 0.

    >>> wape(np.array([0.0, 4.0]), np.array([1.0, 4.0]))
    0.25
    """
    total = np.abs(y_true).sum()
    return float(np.abs(y_pred - y_true).sum() / total) if total > 0 else None


def bias(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    """Mean error; positive means that the forecast is too high.

    >>> bias(np.array([1.0, 2.0]), np.array([2.0, 4.0]))
    1.5
    """
    return float(np.mean(y_pred - y_true))


def mse(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    """Mean squared error; on scaled values it is what papers report."""
    return float(np.mean(np.square(y_pred - y_true)))


def mase(y_true: np.ndarray, y_pred: np.ndarray, seasonal_mae: np.ndarray) -> float | None:
    """Mean absolute scaled error (Hyndman & Koehler 2006): mean of |e| / seasonal_mae.

    seasonal_mae: the scale of each value, broadcast against the errors; None is returned where one is 0.

    >>> mase(np.array([1.0, 2.0]), np.array([2.0, 4.0]), np.array(3.0))
    0.5
    """
    return float(np.mean(np.abs(y_pred - y_true) / seasonal_mae)) if np.all(seasonal_mae > 0) else None


def rmsse(y_true: np.ndarray, y_pred: np.ndarray, seasonal_rmse: np.ndarray) -> float | None:
    """Root mean squared scaled error: root of the mean of (e / seasonal_rmse)^2; None where a scale is 0."""
    return float(np.sqrt(np.mean(np.square((y_pred - y_true) / seasonal_rmse)))) if np.all(seasonal_rmse > 0) else None


def seasonal_scales(rows: np.ndarray, season_length: int) -> np.ndarray:
    """Mean absolute and root mean square difference of training rows to the season before: `(rows, targets)` -> `(2, targets)`.

    Rows that are no longer than a season are compared with the step before; a single row gives 0.

    >>> seasonal_scales(np.array([[1.0], [3.0], [2.0], [6.0]]), 2)[0]
    array([2.])
    """
    season_length = season_length if len(rows) > season_length else 1
    differences = rows[season_length:] - rows[:-season_length]
    if len(differences) == 0:
        return np.zeros((2, rows.shape[1]))
    return np.stack([np.abs(differences).mean(axis=0), np.sqrt(np.square(differences).mean(axis=0))])


def score(y_true: np.ndarray, y_pred: np.ndarray, scales: np.ndarray) -> dict[str, float | None]:
    """All metrics in file units of `(windows, horizon, targets)`; `scales` is `(windows, 2, targets)` from `seasonal_scales`."""
    return {
        "mae": mae(y_true, y_pred),
        "rmse": rmse(y_true, y_pred),
        "mape": mape(y_true, y_pred),
        "smape": smape(y_true, y_pred),
        "mase": mase(y_true, y_pred, scales[:, :1]),
        "rmsse": rmsse(y_true, y_pred, scales[:, 1:]),
        "wape": wape(y_true, y_pred),
        "bias": bias(y_true, y_pred),
    }
