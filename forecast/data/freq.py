"""The spacing of timestamps: infer a freq, make its ticks in local time, and check that timestamps follow it."""

from __future__ import annotations

import datetime
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset

from forecast.errors import DataError, format_count

if TYPE_CHECKING:
    from pandas.tseries.offsets import BaseOffset

CENTURY = pd.Timedelta(days=36525)


def infer_freq(stamps: pd.DatetimeIndex) -> str | None:
    """Return the freq of sorted, distinct timestamps; if they have gaps, that of a stretch without, or the commonest spacing."""
    if len(stamps) < 3:
        return None
    clock = to_wall_clock(stamps)
    stamps = clock if are_dates(clock) else stamps
    pieces = [stamps[:5000], *(stamps[start : start + 10] for start in range(0, min(len(stamps) - 9, 1000), 10))]
    with warnings.catch_warnings(action="ignore"):  # pandas 3.1 warns that pandas 4 will return an offset. Both work here.
        for piece in pieces:
            if regular := pd.infer_freq(piece):
                return str(getattr(regular, "freqstr", regular))
    step = pd.Timedelta(pd.Series(stamps).diff().mode()[0])
    if step >= pd.Timedelta(days=28):
        for freq in ("MS", "ME"):
            if all(to_offset(freq).is_on_offset(stamp) for stamp in stamps):
                return freq
    whole_days = step % pd.Timedelta(days=1) == pd.Timedelta(0)
    return str(to_offset(f"{step.days}D" if whole_days else step).freqstr)


def are_dates(clock: pd.DatetimeIndex) -> bool:
    """Return whether all local times are midnights."""
    return bool((clock == clock.normalize()).all())


def to_wall_clock(stamps: pd.DatetimeIndex) -> pd.DatetimeIndex:
    """Return local times without their zone; the first moment of a day whose midnight the clocks skip is its midnight.

    >>> to_wall_clock(pd.DatetimeIndex(["2024-09-08 01:00"]).tz_localize("America/Santiago"))[0]
    Timestamp('2024-09-08 00:00:00')
    """
    if stamps.tz is None:
        return stamps
    clock = stamps.tz_localize(None)
    midnight = clock.normalize()
    return clock.where(from_wall_clock(midnight, stamps.tz) != stamps, midnight)


def from_wall_clock(clock: pd.DatetimeIndex, zone: datetime.tzinfo | str | None) -> pd.DatetimeIndex:
    """Return the moments of local times: for a time that the clocks skip the next one, for a repeated one the first."""
    if zone is None:
        return clock
    return clock.tz_localize(zone, nonexistent="shift_forward", ambiguous=np.ones(len(clock), dtype=bool))


def make_ticks(first: pd.Timestamp, freq: str, last: pd.Timestamp | None = None, periods: int = 1) -> pd.DatetimeIndex:
    """Return every tick of a freq from `first` on: up to `last` (inclusive), or so many."""
    ends = pd.DatetimeIndex([first] if last is None else [first, last])
    clock = ends if has_fixed_length(to_offset(freq)) else to_wall_clock(ends)
    ticks = pd.date_range(clock[0], periods=periods, freq=freq) if last is None else pd.date_range(clock[0], clock[1], freq=freq)
    return ticks if ticks.tz is not None else from_wall_clock(ticks, first.tz)


def has_fixed_length(offset: BaseOffset) -> bool:
    """Return whether a step always lasts equally long; days and longer steps follow the local calendar instead."""
    return isinstance(offset, pd.offsets.Tick) and not isinstance(offset, pd.offsets.Day)


def check_freq(freq: str, key: str, source: str) -> None:
    """Check that a freq is one of pandas', and that its step is between a microsecond and a century.

    Raises:
        DataError: the freq is another text; the error names `key`.
    """
    try:
        valid = len(freq) < 50 and to_offset(freq).n >= 1 and pd.Timedelta(microseconds=1) <= _usual_step(freq) <= CENTURY
    except (ValueError, OverflowError, TypeError):  # Raised by pandas for steps that it cannot add.
        valid = False
    if not valid:
        raise DataError(f"{key} {freq!r:.60} is not a pandas frequency.", "For example, use h, 15min, D, W, MS or QS.", source)


def _usual_step(freq: str) -> pd.Timedelta:
    """Return the length of a step at the turn of the year 2000."""
    offset = to_offset(freq)
    begin = offset.rollforward(pd.Timestamp("2000-01-01"))
    return begin + offset - begin


def estimate_steps_between(first: pd.Timestamp, last: pd.Timestamp, freq: str) -> float:
    """Return roughly how many steps of a freq lie between two timestamps, without counting them.

    >>> estimate_steps_between(pd.Timestamp("2020-01-01"), pd.Timestamp("2020-01-03"), "h")
    48.0
    """
    return float((last - first) / _usual_step(freq))


def check_spacing(
    stamps: pd.DatetimeIndex, begins: np.ndarray, freq: str, rows: np.ndarray, source: str, resampled: bool = False
) -> None:
    """Check that every series starts on a tick of the freq, and that every timestamp is one step after the one before.

    begins: the first row of each series; rows: the row of each timestamp in the file; resampled: whether by `data.resample`.

    Raises:
        DataError: they do not; the error names the first three places.
    """
    offset = to_offset(freq)
    clock = stamps if has_fixed_length(offset) else to_wall_clock(stamps)
    off_tick = [row for row in begins if not offset.is_on_offset(clock[row])]
    if off_tick:
        raise DataError(
            f"{stamps[off_tick[0]]} does not fall on a step of freq {freq}.",
            "Set data.freq to the freq of the timestamps, correct them, or set data.resample.",
            f"{source}:{rows[off_tick[0]]}",
        )
    with warnings.catch_warnings(action="ignore"):  # pandas warns that it adds some freqs one by one, which is slow.
        wrong = np.flatnonzero(clock[1:] != clock[:-1] + offset) + 1
    wrong = wrong[~np.isin(wrong, begins)]
    if len(wrong):
        places = [f"row {rows[row]} ({stamps[row - 1]} is followed by {stamps[row]})" for row in wrong[:3]]
        remedy = "If rows are missing, set data.missing_timestamps: fill. If rows are irregular, set data.resample."
        remedy += " Otherwise, correct data.freq."
        if resampled:
            remedy = (
                "Some steps have no rows. To add them, set data.missing_timestamps: fill. Or use a longer data.resample.freq."
            )
        problem = f"the spacing is not one step of freq {freq} in {format_count(len(wrong), 'place')}: {', '.join(places)}."
        raise DataError(problem, remedy, f"{source}:{rows[wrong[0]]}")
