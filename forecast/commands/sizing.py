"""Choose a season, the sizes of windows and sets, and the forecasters for a panel whose config `init` writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from forecast.config import infer_season_length
from forecast.data import Panel
from forecast.errors import DataError
from forecast.forecasters.baselines import estimate_seconds
from forecast.forecasters.network.description import Array

MIN_ROWS = 16  # Rows of the longest series.
MAX_HORIZON, MAX_LOOKBACK = 96, 336  # The longest that are chosen. A config may have longer ones.
SEASONS = 7  # Seasons in the lookback, which had the lowest validation errors on panels of hours, days, months and quarters.
MAX_LOOKBACK_SHARE = 0.3  # Of the rows of a usual series.
MIN_WINDOWS_OF_LARGE_MODEL = 1_000
MIN_STRENGTH = 0.1  # Autocorrelation at a season, less that at half a season.
MAX_ETS_SEASON = 24  # Steps. For longer seasons, the ETS of statsforecast fits none.
MAX_INSPECTED = 50  # Series whose season is measured.


@dataclass(frozen=True)
class Effort:
    """Limits on a config's run time.

    seeds: number of networks. epochs: relative to the usual number. steps: maximum number of recurrent steps per epoch; a stride
    thins out the windows beyond it. seconds: maximum for all fits of a baseline. baselines: those that may be chosen.
    """

    seeds: int
    epochs: float
    steps: int
    seconds: float
    baselines: tuple[str, ...] = ("theta", "ets", "boosting")


EFFORTS = {
    "quick": Effort(1, 0.4, 100_000, 20),
    "usual": Effort(3, 1, 200_000, 240),
    "thorough": Effort(7, 1.5, 500_000, 1200, ("theta", "ets", "arima", "boosting")),
}


def find_season(panel: Panel) -> tuple[int, str]:
    """Return the season, usual for the freq of the panel, with the strongest autocorrelation; and a sentence on the evidence.

    The autocorrelation is the mean over evenly spaced series.
    """
    usual = infer_season_length(panel.freq)
    lengths = [usual, *([365] if panel.freq == "D" else []), *([usual * 7] if panel.freq == "h" else [])]
    pairs = [
        (length, [_measure_season(values, length) for values in _sample_series(panel) if 1 < length < len(values) / 3])
        for length in lengths
    ]
    means = {length: np.mean(pair, axis=0) for length, pair in pairs if pair}  # Peak and strength by length.
    best = max(means, key=lambda length: float(means[length][1]), default=usual)
    figures = ", ".join(f"{peak:.2f} at {length}" for length, (peak, _) in means.items()) or "too few rows"
    if not means or means[best][1] < MIN_STRENGTH:
        return usual, f"usual for freq {panel.freq}; not confirmed by autocorrelation ({figures})"
    return best, f"confirmed by autocorrelation ({figures})"


def _sample_series(panel: Panel) -> Iterator[Array]:
    spans = list(pairwise(panel.offsets))
    for number in np.linspace(0, len(spans) - 1, min(len(spans), MAX_INSPECTED)).astype(int):
        yield panel.values[slice(*spans[number]), 0]


def _measure_season(values: Array, length: int) -> tuple[float, float]:
    """Return the autocorrelation of detrended values at a season, and how much it exceeds that at half a season."""
    steps = np.arange(len(values))
    detrended = values - np.polyval(np.polyfit(steps, values, 1), steps)
    peak = _autocorrelation(detrended, length)
    return peak, peak - _autocorrelation(detrended, length // 2)


def _autocorrelation(values: Array, lag: int) -> float:
    scale = float(np.sum(values * values))
    return float(np.sum(values[lag:] * values[: len(values) - lag]) / scale) if scale > 0 else 0.0


def needs_logarithm(panel: Panel, season: int) -> bool:
    """Return whether logarithms suit a panel: many series without negative values, or one whose swings grow with its level."""
    if len(panel.series_ids) > 1:
        return bool(panel.target_values.min() >= 0)
    values = panel.values[:, 0]
    if values.min() <= 0 or len(values) < 6 * season:
        return False
    early, late = values[: len(values) // 2], values[len(values) // 2 :]
    swings = [np.mean([np.ptp(half[i : i + season]) for i in range(0, len(half) - season + 1, season)]) for half in (early, late)]
    return bool(swings[1] > 1.3 * swings[0] and late.mean() > 1.3 * early.mean())


@dataclass(frozen=True)
class Sizes:
    """Sizes in steps. segment: None reads step by step. small: there are few training windows. pad: some series are short."""

    held_out: int  # Length of the validation set, and of the test set.
    lookback: int
    horizon: int
    stride: int
    segment: int | None
    small: bool
    pad: bool


def choose_sizes(panel: Panel, season: int, horizon: int | None, effort: Effort) -> Sizes:
    """Choose sizes for a panel by its median series. horizon: None chooses a season, or an eighth of that series.

    Raises:
        DataError: that series is too short for any window.
    """
    lengths = np.diff(panel.offsets)
    rows = int(np.median(lengths))
    base = season if season <= 60 else infer_season_length(panel.freq)
    filled = np.flatnonzero(np.concatenate([[True], panel.filled.any(axis=1), [True]]))
    gapless = int(np.diff(filled).max()) - 1  # A cutoff and its targets must fit in.
    chosen = horizon or max(1, min(base if base > 1 else 12, rows // 8, MAX_HORIZON, gapless - 1))
    held_out = max(round(0.15 * rows), min(2 * chosen, rows // 5), chosen)
    longest = (rows - 2 * held_out) // 2 - chosen
    if rows < MIN_ROWS or longest < 1:
        raise DataError(
            f"the {'series of median length' if len(lengths) > 1 else 'only series'} has {rows} rows,"
            f" too few for a horizon of {chosen}.",
            f"Use at least {MIN_ROWS} rows, and 8 per step of the horizon. A network learns little from fewer than 100 rows.",
            panel.source,
        )
    lookback = min(max(SEASONS * base, 2 * chosen), MAX_LOOKBACK, round(MAX_LOOKBACK_SHARE * rows), longest)
    lookback = max(1, lookback - lookback % base if lookback > base else lookback)
    pad = bool(len(lengths) > 1 and lengths.min() - 2 * held_out < 2 * (lookback + chosen))
    windows = int(np.maximum(lengths - 2 * held_out - chosen - (0 if pad else lookback), 0).sum())
    small = windows < MIN_WINDOWS_OF_LARGE_MODEL
    segment = base if not small and 1 < base <= lookback else None
    steps = windows * (lookback + chosen) // (segment or 1)
    return Sizes(
        held_out=held_out,
        lookback=lookback,
        horizon=chosen,
        stride=max(1, -(-steps // effort.steps)),
        segment=segment,
        small=small,
        pad=pad,
    )


def choose_baselines(panel: Panel, season: int, sizes: Sizes, effort: Effort) -> list[str]:
    """Return the baselines that can be fitted to a panel in the time that the effort allows."""
    rows, series = int(np.median(np.diff(panel.offsets))), len(panel.series_ids)
    windows = 2 * series * (sizes.held_out - sizes.horizon + 1)
    unfit = {"boosting"} if sizes.small else set()  # Trees need many windows.
    unfit |= {"ets"} if season > MAX_ETS_SEASON else set()
    names = [name for name in effort.baselines if name not in unfit]
    return [name for name in names if estimate_seconds(name, rows, series, season, windows, sizes.horizon) <= effort.seconds]
