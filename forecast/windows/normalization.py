"""Centre and scale of single windows, by which `model.normalization` normalizes them."""

from __future__ import annotations

from typing import Literal

import numpy as np

Centre = Literal["last", "mean"]
EPSILON = 1e-5  # Added to a window's variance by `revin`, as in Kim et al. (2022).
# What each `model.normalization` subtracts from a window, and whether it then divides by the window's deviation.
STATISTICS: dict[str, tuple[Centre | None, bool]] = {
    "none": (None, False),
    "last": ("last", False),
    "mean": ("mean", False),
    "revin": ("mean", True),
}


def compute_window_statistics(past: np.ndarray, normalization: str) -> tuple[np.ndarray, np.ndarray]:
    """Return centre and scale of each window, `(windows, 1, channels)`. They depend on the window alone, so nothing leaks."""
    method, divided = STATISTICS[normalization]
    centre = window_centre(past, method) if method else np.zeros_like(past[:, -1:])
    return centre, window_scale(past, EPSILON) if divided else np.ones_like(centre)


def window_centre(past: np.ndarray, method: Centre) -> np.ndarray:
    """Return the last value or the mean of each window: `(windows, lookback, channels)` -> `(windows, 1, channels)`."""
    return past[:, -1:] if method == "last" else np.asarray(past.mean(axis=1, keepdims=True))


def window_scale(past: np.ndarray, epsilon: float) -> np.ndarray:
    """Return the deviation of each window, never 0: `(windows, lookback, channels)` -> `(windows, 1, channels)`."""
    return np.asarray(np.sqrt(past.var(axis=1, keepdims=True) + epsilon))
