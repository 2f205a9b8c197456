"""Choose the season of a panel, and sizes of windows, validation set and test set that fit its length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast.config import infer_season_length
from forecast.data import Panel
from forecast.errors import DataError
from forecast.forecasters.network.description import Array

MIN_ROWS = 16  # Rows of a series.
MAX_HORIZON, MAX_LOOKBACK = 96, 168  # The longest that are chosen. A config may have longer ones.
MAX_WINDOWS = 8_000  # Training windows of an epoch. A stride thins out more.
MIN_WINDOWS_OF_LARGE_MODEL = 1_000
MIN_STRENGTH = 0.1  # Autocorrelation at a season, less that at half a season.


def find_season(panel: Panel) -> tuple[int, str]:
    """Return the season, usual for the freq of the panel, with the strongest autocorrelation; and a sentence on the evidence."""
    values = panel.values[panel.offsets[0] : panel.offsets[1], 0]
    usual, steps = infer_season_length(panel.freq), np.arange(len(values))
    if len(values) < 3:
        return usual, f"usual for freq {panel.freq}"
    lengths = [usual, *([365] if panel.freq == "D" else []), *([usual * 7] if panel.freq == "h" else [])]
    detrended = values - np.polyval(np.polyfit(steps, values, 1), steps)
    peaks = {length: _autocorrelation(detrended, length) for length in lengths if 1 < length < len(values) / 3}
    strengths = {length: peak - _autocorrelation(detrended, length // 2) for length, peak in peaks.items()}
    best = max(strengths, key=lambda length: strengths[length], default=usual)
    figures = ", ".join(f"{peak:.2f} at {length}" for length, peak in peaks.items()) or "too few rows"
    if strengths.get(best, 0.0) < MIN_STRENGTH:
        return usual, f"usual for freq {panel.freq}; not confirmed by autocorrelation ({figures})"
    return best, f"confirmed by autocorrelation ({figures})"


def _autocorrelation(values: Array, lag: int) -> float:
    scale = float(np.sum(values * values))
    return float(np.sum(values[lag:] * values[: len(values) - lag]) / scale) if scale > 0 else 0.0


def has_growing_swings(panel: Panel, season: int) -> bool:
    """Return whether all values are positive, and swings grow with the level, so that logarithms make them even."""
    values = panel.values[panel.offsets[0] : panel.offsets[1], 0]
    if values.min() <= 0 or len(values) < 6 * season:
        return False
    early, late = values[: len(values) // 2], values[len(values) // 2 :]
    swings = [np.mean([np.ptp(half[i : i + season]) for i in range(0, len(half) - season + 1, season)]) for half in (early, late)]
    return bool(swings[1] > 1.3 * swings[0] and late.mean() > 1.3 * early.mean())


@dataclass(frozen=True)
class Sizes:
    """Sizes in steps. small: there are few training windows, so that a small network should be trained long."""

    held_out: int  # Length of the validation set, and of the test set.
    lookback: int
    horizon: int
    stride: int
    small: bool


def choose_sizes(panel: Panel, season: int, horizon: int | None) -> Sizes:
    """Choose sizes for a panel. horizon: None chooses a season, or an eighth of the shortest series.

    Raises:
        DataError: the shortest series is too short for any window.
    """
    rows = int(np.diff(panel.offsets).min())
    base = season if season <= 60 else infer_season_length(panel.freq)
    filled = np.flatnonzero(np.concatenate([[True], panel.filled.any(axis=1), [True]]))
    gapless = int(np.diff(filled).max()) - 1  # A cutoff and its targets must fit in.
    chosen = horizon or max(1, min(base if base > 1 else 12, rows // 8, MAX_HORIZON, gapless - 1))
    held_out = max(round(0.15 * rows), min(2 * chosen, rows // 5), chosen)
    longest = (rows - 2 * held_out) // 2 - chosen
    if rows < MIN_ROWS or longest < 1:
        raise DataError(
            f"the shortest series has {rows} rows, too few for a horizon of {chosen}.",
            f"Use at least {MIN_ROWS} rows, and 8 for each step to forecast. A network learns little from fewer than 100 rows.",
            panel.source,
        )
    seasons = 2 if panel.freq[0] in "BMQYW" else 4  # More of the short seasons of days and hours show the pattern better.
    windows = int(np.diff(panel.offsets).sum()) - len(panel.series_ids) * 2 * held_out
    return Sizes(
        held_out=held_out,
        lookback=max(1, min(max(seasons * base, 2 * chosen), MAX_LOOKBACK, longest)),
        horizon=chosen,
        stride=-(-windows // MAX_WINDOWS),
        small=windows < MIN_WINDOWS_OF_LARGE_MODEL,
    )
