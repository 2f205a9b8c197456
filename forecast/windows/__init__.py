"""Split the panel in time, scale it, and cut the windows that may be seen and are scored."""

from __future__ import annotations

from forecast.windows.checks import check_subsets, check_windows_measured, drop_short_series
from forecast.windows.imputation import make_imputations
from forecast.windows.normalization import EPSILON, STATISTICS, compute_window_statistics
from forecast.windows.rollout import Forward, roll_out
from forecast.windows.scaling import Scaler, fit_scaler, scale_panel
from forecast.windows.splits import SUBSETS, Fold, Splits, Subset, make_splits
from forecast.windows.windows import MAX_BATCH, Windows, gather, make_last_windows, make_windows

__all__ = [
    "EPSILON",
    "Fold",
    "Forward",
    "MAX_BATCH",
    "STATISTICS",
    "SUBSETS",
    "Scaler",
    "Splits",
    "Subset",
    "Windows",
    "check_subsets",
    "check_windows_measured",
    "compute_window_statistics",
    "drop_short_series",
    "fit_scaler",
    "gather",
    "make_imputations",
    "make_last_windows",
    "make_splits",
    "make_windows",
    "roll_out",
    "scale_panel",
]
