"""The centre and scale of each window, with which `model.normalization` normalizes it."""

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
    last = past[:, -1:]
    centre = past.mean(axis=1, keepdims=True) if method == "mean" else last if method else np.zeros_like(last)
    return centre, np.sqrt(past.var(axis=1, keepdims=True) + EPSILON) if divided else np.ones_like(centre)
