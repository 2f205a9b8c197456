"""Timestamps: text becomes moments without guessing, spacing becomes a freq, and durations become steps."""

from __future__ import annotations

import datetime
import re
import warnings
import zoneinfo
from collections.abc import Sequence

import numpy as np
import pandas as pd

from forecast.config import to_offset
from forecast.errors import DataError

ISO = re.compile(r"\d{4}-\d{2}(-\d{2})?([ T]\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?)?( ?(Z|[+-]\d{2}(:?\d{2})?))?")
YEAR_FIRST = re.compile(r"\d{4}([/.])\d{1,2}\1\d{1,2}( \d{1,2}:\d{2}(:\d{2})?)?")
YEAR_LAST = re.compile(r"(\d{1,2})([/.-])(\d{1,2})\2\d{4}( \d{1,2}:\d{2}(:\d{2})?)?")
OFFSET = r":\d{2}(?:[.,]\d+)? ?(Z|[+-]\d{2}:?(?:\d{2})?)$"
UNIX = {"unix": "s", "unix_ms": "ms"}  # date_format of whole numbers since 1970
CLOCK = ("year", "month", "day", "hour", "minute", "second")  # columns that a timestamp may be spread over
CENTURY = pd.Timedelta(days=36525)


def choose_date_format(text: pd.Series, name: str, place: str) -> str:
    """The one way in which these cells can be read: `ISO8601`, or a strptime format.

    Raises:
        DataError: it is not known, or day and month could be told either way; names `data.date_format`.
    """
    first, formats = str(text.iloc[0]), find_possible_formats(text)
    if len(formats) == 1:
        return formats[0]
    if formats:
        options = " or ".join(repr(order) for order in formats)
        raise DataError(f"`{name}` {first!r} could be day first or month first.", f"Set data.date_format: {options}.", place)
    number = first.removesuffix(".0").isdecimal()
    known = "unix, unix_ms, '%Y%m%d' or '%Y'" if number else "a format such as '%d %b %Y' (as in Python's strptime)"
    raise DataError(
        f"`{name}` {first!r} is in no form that can be read without doubt.", f"Set data.date_format to {known}.", place
    )


def find_possible_formats(text: pd.Series) -> list[str]:
    """The ways in which these cells can be read, by the form of the first: none, one, or day first and month first.

    >>> find_possible_formats(pd.Series(["01/02/2020", "02/02/2020"]))
    ['%d/%m/%Y', '%m/%d/%Y']
    """
    first = str(text.iloc[0])
    if ISO.fullmatch(first):
        return ["ISO8601"]
    if match := YEAR_FIRST.fullmatch(first):
        return ["%Y{0}%m{0}%d".format(match[1]) + _time_format(first)]
    if not (match := YEAR_LAST.fullmatch(first)):
        return []
    parts = text.str.extract(r"^(\d{1,2})[/.-](\d{1,2})[/.-]").astype(float)
    day_first, month_first = (order.format(match[2]) + _time_format(first) for order in ("%d{0}%m{0}%Y", "%m{0}%d{0}%Y"))
    # An order is possible where the cells that would be months never exceed 12.
    return [order for order, month in ((day_first, 1), (month_first, 0)) if not (parts[month] > 12).any()]


def _time_format(cell: str) -> str:
    return {0: "", 1: " %H:%M", 2: " %H:%M:%S"}[cell.count(":")]


def parse_timestamps(text: pd.Series, date_format: str) -> tuple[pd.Series, set[str]]:
    """Cells become timestamps, NaT where they cannot, in UTC if they have UTC offsets; and the offsets that were seen."""
    if date_format in UNIX:
        return pd.to_datetime(pd.to_numeric(text, errors="coerce"), unit=UNIX[date_format], errors="coerce", utc=True), {"Z"}
    if date_format != "ISO8601":
        offsets = set(text.str.extract(r"(Z|[+-]\d{2}:?\d{2})$")[0].dropna()) if date_format.endswith("%z") else set()
        return pd.to_datetime(text, format=date_format, errors="coerce", utc="%z" in date_format), offsets
    text = text.mask(text.str.lower().isin(["now", "today"]))  # which pandas takes for the time of this call
    try:
        stamps = pd.to_datetime(text, format=date_format, errors="coerce")
        if stamps.dt.tz is None:
            return stamps, set()
    except (ValueError, AttributeError):
        pass  # several offsets, or only some cells with one: the long way below can tell
    offsets = text.str.extract(OFFSET)[0]
    stamps = pd.to_datetime(text, format=date_format, errors="coerce", utc=True)
    return stamps.where(offsets.notna()), set(offsets.dropna())


def parse_parts(table: pd.DataFrame) -> pd.Series:
    """Columns of year, month, day, hour, minute and second, in this order and as many as there are, become timestamps."""
    columns = zip(CLOCK, table.columns, strict=False)
    parts = {name: pd.to_numeric(table[column], errors="coerce") for name, column in columns}
    parts = {"month": pd.Series(1, table.index), "day": pd.Series(1, table.index)} | parts
    cells = pd.DataFrame(parts)
    good = (cells % 1 == 0).all(axis=1)
    for name, end in (("hour", 24), ("minute", 60), ("second", 60)):  # pandas would carry 25 hours over to the next day
        good &= cells[name].between(0, end - 1) if name in cells else True
    return pd.to_datetime(cells.where(good), errors="coerce")


def format_timestamps(stamps: pd.DatetimeIndex, columns: list[str], date_format: str | None) -> pd.DataFrame:
    """Timestamps as a file with these columns and this format writes them: `choose_date_format` and the parsers read it back."""
    if len(columns) > 1:
        return pd.DataFrame({column: getattr(stamps, part) for part, column in zip(CLOCK, columns, strict=False)})
    if date_format in UNIX:
        moments = stamps if stamps.tz else stamps.tz_localize("UTC")
        return pd.DataFrame({columns[0]: (moments - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(1, UNIX[date_format])})
    return pd.DataFrame({columns[0]: stamps.strftime(date_format) if date_format else stamps.map(str)})


def localize(stamps: pd.DatetimeIndex, offsets: set[str], zone: str | None, series: np.ndarray, place: str) -> pd.DatetimeIndex:
    """Give timestamps their time zone: the one of the config, or the single UTC offset that was seen; in file order.

    Hours that a clock change repeats are told apart by their order within a series.

    Raises:
        DataError: there are several offsets and no zone, the zone is unknown, or a local time does not exist or cannot be told.
    """
    try:
        if offsets:
            if zone is None and len(offsets) > 1:
                raise DataError(
                    f"the timestamps have several UTC offsets ({', '.join(sorted(offsets))}).",
                    "Set data.timezone to where they come from, such as Europe/London.",
                    place,
                )
            target = zone or _fixed_zone(next(iter(offsets)))
            return stamps.tz_convert(target) if stamps.tz is not None else stamps.tz_localize("UTC").tz_convert(target)
        if zone is None:
            return stamps
        zoneinfo.ZoneInfo(zone)  # a KeyError for a zone that does not exist
        if stamps.tz is not None:
            return stamps.tz_convert(zone)
        localized = pd.Series(index=range(len(stamps)), dtype=f"datetime64[ns, {zone}]")
        order = np.argsort(series, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(series[order])) + 1):
            rows = rows[::-1] if len(rows) and stamps[rows[0]] > stamps[rows[-1]] else rows  # the newest row may come first
            # A date means its whole day, which begins at 01:00 where the clocks skip midnight.
            own, dates = stamps[rows], _are_dates(stamps[rows])
            localized.iloc[rows] = from_wall_clock(own, zone) if dates else own.tz_localize(zone, ambiguous="infer")
        return pd.DatetimeIndex(localized)
    # Unknown zones, times that a clock change makes impossible or ambiguous, and the last and first hours that pandas knows.
    except (ValueError, KeyError, OSError, AssertionError) as error:
        found = str(error).split(", try using")[0].strip("'\"")
        remedy = "Use a zone such as Europe/London, and timestamps that exist there, best with UTC offsets."
        raise DataError(f"data.timezone {zone!r} cannot be applied ({found}).", remedy, place) from None


def _fixed_zone(offset: str) -> str:
    return "UTC" if offset in {"Z", "+00:00", "+0000", "+00", "-00:00"} else f"UTC{offset[:3]}:{offset[3:].strip(':') or '00'}"


def infer_freq(stamps: pd.DatetimeIndex) -> str | None:
    """The freq of sorted, distinct timestamps; where they have gaps, that of a gapless stretch, or the commonest spacing."""
    if len(stamps) < 3:
        return None
    clock = to_wall_clock(stamps)
    stamps = clock if _are_dates(clock) else stamps
    pieces = [stamps[:5000], *(stamps[start : start + 10] for start in range(0, min(len(stamps) - 9, 1000), 10))]
    found = next((freq for piece in pieces if (freq := _regular_freq(piece))), None)
    if found:
        return found
    step = pd.Series(stamps).diff().mode()[0]
    if step >= pd.Timedelta(days=28):
        calendar = next((freq for freq in ("MS", "ME") if all(to_offset(freq).is_on_offset(stamp) for stamp in stamps)), None)
        if calendar:
            return calendar
    whole_days = step % pd.Timedelta(days=1) == pd.Timedelta(0)
    return to_offset(f"{step.days}D" if whole_days else step).freqstr


def _are_dates(clock: pd.DatetimeIndex) -> bool:
    return bool((clock == clock.normalize()).all())


def _regular_freq(stamps: pd.DatetimeIndex) -> str | None:
    with warnings.catch_warnings():  # pandas 3.1 warns that 4 will give an offset here; both are dealt with
        warnings.simplefilter("ignore")
        freq = pd.infer_freq(stamps)
    return getattr(freq, "freqstr", freq)


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


def make_ticks(first: pd.Timestamp, freq: str, last: pd.Timestamp | None = None, periods: int | None = None) -> pd.DatetimeIndex:
    """Return every tick of a freq from `first` on: up to `last` (inclusive), or so many."""
    ends = pd.DatetimeIndex([first] if last is None else [first, last])
    clock = ends if has_fixed_length(to_offset(freq)) else to_wall_clock(ends)
    ticks = pd.date_range(clock[0], None if last is None else clock[1], periods, freq)
    return ticks if ticks.tz == first.tz else from_wall_clock(ticks, first.tz)


def has_fixed_length(offset: pd.DateOffset) -> bool:
    """Return whether a step always lasts equally long; days and all that is longer follow the local calendar instead."""
    return isinstance(offset, pd.offsets.Tick) and not isinstance(offset, pd.offsets.Day)


def _one_step_later(stamps: pd.DatetimeIndex, offset: pd.DateOffset) -> pd.DatetimeIndex:
    with warnings.catch_warnings():  # Some freqs are added one by one, which pandas warns is slow.
        warnings.simplefilter("ignore")
        return stamps + offset


def check_freq(freq: str, key: str, source: str) -> None:
    """A freq is one of pandas', and a step of it is between a microsecond and a century.

    Raises:
        DataError: naming `key`.
    """
    try:
        sound = len(freq) < 50 and to_offset(freq).n >= 1 and pd.Timedelta(microseconds=1) <= _usual_step(freq) <= CENTURY
    except (ValueError, OverflowError, TypeError):  # what pandas says of steps that it cannot add
        sound = False
    if not sound:
        raise DataError(f"{key} {freq!r:.60} is not a pandas frequency.", "Use for example h, 15min, D, W, MS or QS.", source)


def _usual_step(freq: str) -> pd.Timedelta:
    """The length of one step, as it is at the turn of the year 2000."""
    offset = to_offset(freq)
    begins = offset.rollforward(pd.Timestamp("2000-01-01"))
    return begins + offset - begins


def estimate_steps_between(first: pd.Timestamp, last: pd.Timestamp, freq: str) -> float:
    """Roughly how many steps of a freq lie between two timestamps, at no cost however many they are.

    >>> estimate_steps_between(pd.Timestamp("2020-01-01"), pd.Timestamp("2020-01-03"), "h")
    48.0
    """
    return (last - first) / _usual_step(freq)


def check_spacing(
    stamps: pd.DatetimeIndex, begins: Sequence[int], freq: str, rows: np.ndarray, source: str, resampled: bool = False
) -> None:
    """Every series starts on a tick of the freq, and every timestamp is one step after the one before.

    begins: the first row of each series; rows: the row of each timestamp in the file; resampled: whether by `data.resample`.

    Raises:
        DataError: naming the first three places.
    """
    offset = to_offset(freq)
    clock = stamps if has_fixed_length(offset) else to_wall_clock(stamps)
    off_tick = [row for row in begins if not offset.is_on_offset(clock[row])]
    if off_tick:
        raise DataError(
            f"{stamps[off_tick[0]]} is no tick of freq {freq}.",
            "Set `data.freq` to the freq of the timestamps, correct them, or set `data.resample`.",
            f"{source}:{rows[off_tick[0]]}",
        )
    wrong = np.flatnonzero(clock[1:] != _one_step_later(clock[:-1], offset)) + 1
    wrong = wrong[~np.isin(wrong, begins)]
    if len(wrong):
        places = [f"row {rows[row]} ({stamps[row - 1]} is followed by {stamps[row]})" for row in wrong[:3]]
        remedy = "Set data.missing_timestamps: fill to add missing rows, data.resample for irregular ones, or correct data.freq."
        if resampled:
            remedy = "These steps hold no rows. Set data.missing_timestamps: fill to add them, or a longer data.resample.freq."
        raise DataError(
            f"the spacing is not one step of freq {freq} in {len(wrong)} places: {', '.join(places)}.",
            remedy,
            f"{source}:{rows[wrong[0]]}",
        )
