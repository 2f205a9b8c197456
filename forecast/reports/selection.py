"""Select what plots and charts show of a table: series, intervals and bins."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from forecast.evaluation import MODEL

MAX_PANELS = 4  # Series and targets in one picture.
MAX_ERROR_RATIO = 3  # Errors in a picture are at most this many times the largest of the forecast.


def select_series(per_series: pd.DataFrame) -> list[str]:
    """Return the series to draw: all of a few; of many, those with the smallest, median and largest error relative to naive."""
    if len(per_series) <= MAX_PANELS:
        return list(per_series.series_id)
    ranked = per_series.iloc[np.argsort(per_series[f"mae_{MODEL}"] / per_series.mae_naive, kind="stable")].series_id
    return [ranked.iloc[0], ranked.iloc[len(ranked) // 2], ranked.iloc[-1]]


def panels_of(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the first pairs of series and target in a table, series by series."""
    return list(table[["series_id", "target"]].drop_duplicates().itertuples(index=False, name=None))[:MAX_PANELS]


def select_panel(table: pd.DataFrame, series_id: str, target: str) -> pd.DataFrame:
    """Return the rows of one series and target."""
    return table[(table.series_id == series_id) & (table.target == target)]


def select_cutoffs(rows: pd.DataFrame) -> pd.Series[pd.Timestamp]:
    """Return cutoffs one horizon apart, the newest first, so that each timestamp has one forecast."""
    return rows.cutoff.drop_duplicates().sort_values(ascending=False).iloc[:: int(rows.step.max())]


def pairs_of_quantiles(table: pd.DataFrame) -> list[tuple[float, float]]:
    """Return the pairs of quantiles that are the ends of an interval, the widest first.

    >>> pairs_of_quantiles(pd.DataFrame(columns=["q0.1", "q0.9", "q0.25", "q0.5"]))
    [(0.1, 0.9)]
    """
    quantiles = sorted(float(name[1:]) for name in table.columns if name.startswith("q") and name[1:].replace(".", "").isdigit())
    return [(low, high) for low in quantiles for high in quantiles if low < 0.5 and abs(low + high - 1) < 1e-6]


def limit_errors(errors: Iterable[ArrayLike], forecast_errors: ArrayLike) -> float | None:
    """Return where the axis of errors ends, so that a bad baseline does not flatten the other curves; None for no limit.

    errors: those of all forecasters by step. The two best are always seen.

    >>> limit_errors([[1, 2], [3, 4], [9, 50]], [1, 2]), limit_errors([[1, 2], [7, 8], [9, 50]], [1, 2])
    (6.0, 8.0)
    """
    largest = sorted(float(np.max(finite)) for values in errors if (finite := _select_finite(values)).size)
    if len(largest) < 2 or not (finite_errors := _select_finite(forecast_errors)).size:
        return None
    limit = max(MAX_ERROR_RATIO * float(np.max(finite_errors)), largest[1])
    return limit if largest[-1] > limit else None


def _select_finite(values: ArrayLike) -> np.ndarray:
    numbers: np.ndarray = np.asarray(values, float)
    finite: np.ndarray = numbers[np.isfinite(numbers)]
    return finite


def histogram_edges(values: np.ndarray | pd.Series) -> np.ndarray:
    """Return the ascending edges of 8 to 40 equal bins that hold all values, also if these differ only by rounding.

    >>> histogram_edges(np.array([0.0, 16.0]))
    array([ 0.,  2.,  4.,  6.,  8., 10., 12., 14., 16.])
    """
    low, high = float(np.min(values)), float(np.max(values))
    narrowest = 1e-9 * max(abs(low), abs(high)) or 1.0  # Narrower bins would have equal edges in floats.
    lacking = max(narrowest - (high - low), 0.0)
    return np.linspace(low - lacking / 2, high + lacking / 2, 1 + min(40, max(8, len(values) // 10)))
