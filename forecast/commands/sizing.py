"""How long windows and parts should be for the data at hand: its season, its growth, its length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast.config import infer_season_length
from forecast.data import Panel
from forecast.errors import DataError

FEWEST_ROWS = 16  # of a series
LONGEST_HORIZON, LONGEST_LOOKBACK = 96, 168  # that are chosen; a config may hold more
WINDOWS_PER_EPOCH = 8_000  # more training windows than this are thinned by a stride, so that an epoch stays short


def find_season(panel: Panel) -> tuple[int, str]:
    """A season for the freq of the panel that autocorrelation confirms, and a remark."""
    values = panel.values[panel.offsets[0] : panel.offsets[1], 0]
    usual = infer_season_length(panel.freq)
    if len(values) < 3:
        return usual, f"usual for freq {panel.freq}"
    candidates = [usual] + ([365] if panel.freq == "D" else []) + ([usual * 7] if panel.freq == "h" else [])
    detrended = values - np.polyval(np.polyfit(np.arange(len(values)), values, 1), np.arange(len(values)))
    strength = {
        m: _autocorrelation(detrended, m) - _autocorrelation(detrended, m // 2) for m in candidates if 1 < m < len(values) / 3
    }
    best = max(strength, key=strength.get, default=usual)
    told = ", ".join(f"{_autocorrelation(detrended, m):.2f} at {m}" for m in strength)
    if not strength or strength[best] < 0.1:
        return usual, f"usual for freq {panel.freq}; not confirmed by autocorrelation ({told or 'too few rows'})"
    return best, f"confirmed by autocorrelation ({told})"


def _autocorrelation(values: np.ndarray, lag: int) -> float:
    if lag == 0:
        return 1.0
    scale = float(np.sum(values * values))
    return float(np.sum(values[lag:] * values[:-lag]) / scale) if scale > 0 else 0.0


def grows(panel: Panel, season: int) -> bool:
    """Whether all values are positive and the swings grow with the level, so that logarithms make them steady."""
    values = panel.values[panel.offsets[0] : panel.offsets[1], 0]
    if values.min() <= 0 or len(values) < 6 * season:
        return False
    early, late = values[: len(values) // 2], values[len(values) // 2 :]
    swings = [np.mean([np.ptp(part[i : i + season]) for i in range(0, len(part) - season + 1, season)]) for part in (early, late)]
    return bool(swings[1] > 1.3 * swings[0] and late.mean() > 1.3 * early.mean())


@dataclass(frozen=True)
class Sizes:
    """Numbers that follow from the length of the data and its season, all in steps."""

    season: int
    part: int  # of validation and of test
    lookback: int
    horizon: int
    stride: int
    small: bool  # few training windows: a small network, trained long, with small batches


def choose_sizes(panel: Panel, season: int, horizon: int | None) -> Sizes:
    """Sizes for a panel with this season; `horizon` None is chosen: a season, or an eighth of the shortest series.

    Raises:
        DataError: the shortest series is too short for any window.
    """
    rows = int(np.diff(panel.offsets).min())
    base = season if season <= 60 else infer_season_length(panel.freq)
    filled = np.flatnonzero(np.concatenate([[True], panel.filled.any(axis=1), [True]]))
    gapless = int(np.diff(filled).max()) - 1  # a cutoff and its targets are to find room in it
    chosen = horizon or max(1, min(base if base > 1 else 12, rows // 8, LONGEST_HORIZON, gapless - 1))
    part = max(round(0.15 * rows), min(2 * chosen, rows // 5), chosen)
    longest = (rows - 2 * part) // 2 - chosen
    if rows < FEWEST_ROWS or longest < 1:
        raise DataError(
            f"the shortest series has {rows} rows, too few for a horizon of {chosen}.",
            f"Give at least {FEWEST_ROWS} rows and 8 times the horizon; a network learns little from fewer than 100.",
            panel.source,
        )
    seasons = 2 if panel.freq[0] in "BMQYW" else 4  # a season of days or hours is told better by more of them
    windows = int(np.diff(panel.offsets).sum()) - len(panel.series_ids) * 2 * part
    return Sizes(
        season=season,
        part=part,
        lookback=max(1, min(max(seasons * base, 2 * chosen), LONGEST_LOOKBACK, longest)),
        horizon=chosen,
        stride=-(-windows // WINDOWS_PER_EPOCH),
        small=windows < 1000,
    )
