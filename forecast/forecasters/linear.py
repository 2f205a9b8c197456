"""The linear baseline: a ridge regression in closed form, on windows normalized as the network's are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from forecast.windows import MAX_BATCH, Windows, compute_window_statistics

MAX_WINDOWS = 50_000  # More windows change the solution less than they cost.
PENALTIES = np.logspace(-6, 3, 28)  # Strengths to try, relative to the mean variance of the inputs.
Floats = npt.NDArray[np.floating]
# Sums over windows, with x the lookback and a constant 1, and y the horizon: x x' `(l + 1, l + 1)` and x y' `(l + 1, h)`.
Moments = tuple[Floats, Floats]


@dataclass(frozen=True)
class Linear:
    """A fitted ridge regression from each target's lookback to its horizon; a network with `linear_skip` starts from it.

    kernel: `(lookback, targets, horizon)`; bias: `(horizon, targets)`; strength: the chosen penalty of each target.
    """

    kernel: Floats
    bias: Floats
    strength: list[float]
    normalization: str

    def to_arrays(self) -> dict[str, Floats]:
        """Return the arrays to store. The config of the run has the rest."""
        return {"kernel": self.kernel.astype(np.float64), "bias": self.bias.astype(np.float64)}

    def forecast(self, windows: Windows) -> Floats:
        """Return scaled forecasts `(windows, horizon, targets)`."""

        def forward(inputs: dict[str, np.ndarray]) -> np.ndarray:
            past = inputs["past"][..., : self.bias.shape[1]].astype(np.float64)
            centre, scale = compute_window_statistics(past, self.normalization)
            forecasts = np.einsum("blt,lth->bht", (past - centre) / scale, self.kernel, optimize=True) + self.bias
            return np.asarray(forecasts * scale + centre)

        return windows.forecast_with(forward, len(self.bias))


def fit_linear(train: Windows, validation: Windows, normalization: str) -> Linear:
    """Fit the ridge regression with the penalty that has the smallest squared error on the validation windows.

    Windows are read in batches into the normal equations, so memory grows with lookback squared and not with the data.
    """
    targets = range(train.future.shape[1])
    moments = [
        [_sum_moments(windows.select_target(target), normalization) for windows in (train, validation)] for target in targets
    ]
    kernels, biases, strengths = zip(*(_solve_ridge(fitted, held_out) for fitted, held_out in moments), strict=True)
    return Linear(np.stack(kernels, axis=1), np.stack(biases, axis=1), list(strengths), normalization)


def refit_linear(linear: Linear, train: Windows) -> Linear:
    """Return the ridge regression of other training windows, with the same penalties."""
    moments = [_sum_moments(train.select_target(target), linear.normalization) for target in range(train.future.shape[1])]
    pairs = zip(moments, linear.strength, strict=True)
    kernels, biases, _ = zip(*(_solve_ridge(sums, sums, [strength]) for sums, strength in pairs), strict=True)
    return replace(linear, kernel=np.stack(kernels, axis=1), bias=np.stack(biases, axis=1))


def _sum_moments(windows: Windows, normalization: str) -> Moments:
    """Return the sums over the windows of a single target, or over `MAX_WINDOWS` evenly spaced ones where there are more."""
    xx = np.zeros((windows.lookback + 1,) * 2)
    xy = np.zeros((windows.lookback + 1, windows.horizon))
    for batch in windows.sample_evenly(MAX_WINDOWS).chunks(MAX_BATCH):
        past = batch.past_values().astype(np.float64)
        centre, scale = compute_window_statistics(past, normalization)
        x = np.concatenate([((past - centre) / scale)[..., 0], np.ones((len(batch), 1))], axis=1)  # (batch, lookback + 1)
        y = ((batch.targets() - centre) / scale)[..., 0]  # (batch, horizon)
        xx += x.T @ x
        xy += x.T @ y
    return xx, xy


def _solve_ridge(
    train: Moments, validation: Moments, strengths: Sequence[float] | Floats = PENALTIES
) -> tuple[Floats, Floats, float]:
    """Return kernel `(lookback, horizon)`, bias `(horizon,)`, which is not penalized, and the strength that validation chose."""
    (xx, xy), (validation_xx, validation_xy), count = train, validation, train[0][-1, -1]
    mean_x, mean_y = xx[-1, :-1] / count, xy[-1] / count
    covariance = xx[:-1, :-1] / count - np.outer(mean_x, mean_x)
    cross = xy[:-1] / count - np.outer(mean_x, mean_y)
    eigenvalues, vectors = np.linalg.eigh(covariance)
    eigenvalues = np.maximum(eigenvalues, 0)
    unit = max(eigenvalues.mean(), np.finfo(np.float64).tiny)
    rotated = vectors.T @ cross
    best = (np.inf, np.zeros_like(cross), mean_y, 0.0)
    for strength in strengths:
        kernel = vectors @ (rotated / (eigenvalues + strength * unit)[:, None])
        bias = mean_y - mean_x @ kernel
        solution = np.vstack([kernel, bias])  # (lookback + 1, horizon)
        # The squared error up to a constant: sum |x w - y|^2 = w' xx w - 2 w' xy + y' y
        error = float(np.sum(solution * (validation_xx @ solution - 2 * validation_xy)))
        if error < best[0]:
            best = (error, kernel, bias, float(strength))
    return best[1:]
