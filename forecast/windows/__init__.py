"""Split the panel in time, scale it, and cut the windows that may be seen and are scored."""

from __future__ import annotations

from forecast.windows.scaling import Scaler, fit_scaler, scale_panel
from forecast.windows.splits import PARTS, Fold, Part, Splits, make_splits
from forecast.windows.windows import (
    BATCH,
    EPSILON,
    STATISTICS,
    Forward,
    Windows,
    assumptions_of,
    check_measured,
    check_parts,
    gather,
    last_windows,
    make_windows,
    roll_out,
    window_centre,
    window_scale,
    window_statistics,
    without_short,
)

__all__ = [
    "BATCH",
    "EPSILON",
    "Fold",
    "Forward",
    "PARTS",
    "Part",
    "STATISTICS",
    "Scaler",
    "Splits",
    "Windows",
    "assumptions_of",
    "check_measured",
    "check_parts",
    "fit_scaler",
    "gather",
    "last_windows",
    "make_splits",
    "make_windows",
    "roll_out",
    "scale_panel",
    "window_centre",
    "window_scale",
    "window_statistics",
    "without_short",
]
