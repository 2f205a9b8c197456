"""Split the panel in time, scale it, and cut it into windows: what a forecaster may see, and what is scored."""

from __future__ import annotations

from forecast.windows.checks import check_subsets, check_windows_measured, drop_short_series
from forecast.windows.normalization import EPSILON, STATISTICS, compute_window_statistics
from forecast.windows.scaling import Scaler, fit_scaler, scale_panel
from forecast.windows.splits import SUBSETS, Fold, Splits, Subset, make_splits, subset_name
from forecast.windows.windows import (
    MAX_BATCH,
    Forward,
    Windows,
    gather,
    make_imputations,
    make_last_windows,
    make_windows,
    roll_out,
)
