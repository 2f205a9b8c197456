"""The honest opponents: forecasts that cost nothing, made for the same windows as the network's.

All take `values` `(rows, targets)`, `begin` (first row of each window's series), `first` (row of each window's first target
step) and `horizon`, look at the rows from `begin` to `first - 1`, and return `(windows, horizon, targets)`. They may look
further back than the network's lookback: an opponent held back would prove nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast.windows import BATCH, Windows, window_statistics

RIDGE_WINDOWS = 50_000  # more windows than this change the ridge solution less than they cost
STRENGTHS = np.logspace(-6, 3, 28)  # of the ridge penalty, relative to the mean variance of its inputs


def naive(values: np.ndarray, begin: np.ndarray, first: np.ndarray, horizon: int) -> np.ndarray:
    """The last value, repeated.

    >>> naive(np.array([[1.0], [2.0]]), np.array([0]), np.array([2]), 2)[0, :, 0]
    array([2., 2.])
    """
    return np.repeat(values[first - 1][:, None], horizon, axis=1)


def seasonal_naive(values: np.ndarray, begin: np.ndarray, first: np.ndarray, horizon: int, season_length: int) -> np.ndarray:
    """The last season, repeated; where a series has no whole season yet, the last value.

    >>> seasonal_naive(np.array([[1.0], [2.0], [3.0]]), np.array([0]), np.array([3]), 3, 2)[0, :, 0]
    array([2., 3., 2.])
    """
    season = np.where(first - begin >= season_length, season_length, 1)[:, None]
    return values[first[:, None] - season + np.arange(horizon) % season]


def drift(values: np.ndarray, begin: np.ndarray, first: np.ndarray, horizon: int) -> np.ndarray:
    """The line through the first and the last value, continued.

    >>> drift(np.array([[1.0], [2.0], [3.0]]), np.array([0]), np.array([3]), 2)[0, :, 0]
    array([4., 5.])
    """
    last = values[first - 1]
    slope = (last - values[begin]) / np.maximum(first - 1 - begin, 1)[:, None]
    return last[:, None] + np.arange(1, horizon + 1)[:, None] * slope[:, None]


def mean(values: np.ndarray, begin: np.ndarray, first: np.ndarray, horizon: int) -> np.ndarray:
    """The mean of all values so far.

    >>> mean(np.array([[1.0], [3.0]]), np.array([0]), np.array([2]), 1)[0, :, 0]
    array([2.])
    """
    means = np.empty((len(first), values.shape[1]))
    order = np.argsort(begin, kind="stable")
    for windows in np.split(order, np.flatnonzero(np.diff(begin[order])) + 1):  # the windows of one series
        rows = first[windows] - begin[windows]
        series = values[begin[windows[0]] : first[windows].max()]
        # A running sum over several series would lose the small ones beside the large ones.
        sums = np.cumsum(series - series[0], axis=0)
        means[windows] = series[0] + sums[rows - 1] / rows[:, None]
    return np.repeat(means[:, None], horizon, axis=1)


@dataclass(frozen=True)
class Linear:
    """Ridge regression from a target's own lookback to its horizon, on windows normalised as the network's are.

    kernel: `(lookback, targets, horizon)`; bias: `(horizon, targets)`; strength: the chosen penalty of each target.
    It is also where a network with `linear_skip` starts.
    """

    kernel: np.ndarray
    bias: np.ndarray
    strength: list[float]
    normalization: str

    def forecast(self, windows: Windows) -> np.ndarray:
        """Scaled forecasts `(windows, horizon, targets)`."""
        return windows.forecast_by(lambda inputs: self._forecast(inputs["past"]))

    def _forecast(self, past: np.ndarray) -> np.ndarray:
        past = past[..., : self.bias.shape[1]].astype(np.float64)
        centre, scale = window_statistics(past, self.normalization)
        past = (past - centre) / scale
        return (np.einsum("blt,lth->bht", past, self.kernel, optimize=True) + self.bias) * scale + centre


def fit_linear(train: Windows, validation: Windows, normalization: str) -> Linear:
    """Fit the ridge regression in closed form, with the penalty that has the smallest squared error on the validation windows.

    Windows are read in batches into the normal equations, so memory grows with lookback squared and not with the data.
    """
    targets = range(train.future.shape[1])
    moments = [[_moments(windows.of_target(target), normalization) for windows in (train, validation)] for target in targets]
    solutions = [_ridge(*pair) for pair in moments]
    kernels, biases, strengths = zip(*solutions, strict=True)
    return Linear(np.stack(kernels, axis=1), np.stack(biases, axis=1), list(strengths), normalization)


@dataclass(frozen=True)
class _Moments:
    """Sums over windows, with x the lookback and a constant 1, and y the horizon: xx `(l + 1, l + 1)`, xy `(l + 1, h)`."""

    xx: np.ndarray
    xy: np.ndarray
    count: int


def _moments(windows: Windows, normalization: str) -> _Moments:
    """The sums of a single target's windows, or of `RIDGE_WINDOWS` evenly spaced ones where there are more."""
    chosen = windows.spread(RIDGE_WINDOWS)
    xx = np.zeros((windows.lookback + 1,) * 2)
    xy = np.zeros((windows.lookback + 1, windows.horizon))
    for batch in chosen.pieces(BATCH):
        past = batch.pasts().astype(np.float64)
        centre, scale = window_statistics(past, normalization)
        x = np.concatenate([((past - centre) / scale)[..., 0], np.ones((len(batch), 1))], axis=1)  # (batch, lookback + 1)
        y = ((batch.targets() - centre) / scale)[..., 0]  # (batch, horizon)
        xx += x.T @ x
        xy += x.T @ y
    return _Moments(xx, xy, len(chosen))


def _ridge(train: _Moments, validation: _Moments) -> tuple[np.ndarray, np.ndarray, float]:
    """Kernel `(lookback, horizon)`, bias `(horizon,)` and the strength chosen on validation; the bias is not penalised."""
    mean_x, mean_y = train.xx[-1, :-1] / train.count, train.xy[-1] / train.count
    covariance = train.xx[:-1, :-1] / train.count - np.outer(mean_x, mean_x)
    cross = train.xy[:-1] / train.count - np.outer(mean_x, mean_y)
    eigenvalues, vectors = np.linalg.eigh(covariance)
    eigenvalues = np.maximum(eigenvalues, 0)
    unit = max(eigenvalues.mean(), np.finfo(np.float64).tiny)
    rotated = vectors.T @ cross
    best = (np.inf, np.zeros_like(cross), mean_y, 0.0)
    for strength in STRENGTHS:
        kernel = vectors @ (rotated / (eigenvalues + strength * unit)[:, None])
        bias = mean_y - mean_x @ kernel
        solution = np.vstack([kernel, bias])  # (lookback + 1, horizon)
        # The squared error up to a constant: sum |x w - y|^2 = w' xx w - 2 w' xy + y' y
        error = float(np.sum(solution * (validation.xx @ solution - 2 * validation.xy)))
        if error < best[0]:
            best = (error, kernel, bias, float(strength))
    return best[1:]
