"""Read text as timestamps without guessing, in the time zone that they belong to, and write timestamps as text."""

from __future__ import annotations

import importlib.util
import re
import zoneinfo
from typing import Literal

import numpy as np
import pandas as pd

from forecast.data.freq import are_dates, from_wall_clock
from forecast.errors import DataError

ISO = re.compile(r"\d{4}-\d{2}(-\d{2})?([ T]\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?)?( ?(Z|[+-]\d{2}(:?\d{2})?))?")
YEAR_FIRST = re.compile(r"\d{4}([/.])\d{1,2}\1\d{1,2}( \d{1,2}:\d{2}(:\d{2})?)?")
YEAR_LAST = re.compile(r"(\d{1,2})([/.-])(\d{1,2})\2\d{4}( \d{1,2}:\d{2}(:\d{2})?)?")
OFFSET = r":\d{2}(?:[.,]\d+)? ?(Z|[+-]\d{2}:?(?:\d{2})?)$"
UNIX: dict[str, Literal["s", "ms"]] = {"unix": "s", "unix_ms": "ms"}  # Values of data.date_format for numbers since 1970.
CLOCK = ("year", "month", "day", "hour", "minute", "second")  # Columns that a timestamp may be spread over.
# Errors of unknown zones, of times that a clock change makes impossible or ambiguous, and of hours outside the range of pandas.
ZONE_ERRORS: tuple[type[Exception], ...] = (ValueError, KeyError, OSError, AssertionError)
if importlib.util.find_spec("pytz"):  # pandas 2 raises its errors, pandas 3 ValueErrors.
    ZONE_ERRORS += (importlib.import_module("pytz.exceptions").InvalidTimeError,)


def choose_date_format(text: pd.Series, name: str, location: str) -> str:
    """Return the only format in which these cells can be read: `ISO8601`, or a strptime format.

    Raises:
        DataError: the format is unknown, or day and month could be read either way; the remedy names `data.date_format`.
    """
    first, formats = str(text.iloc[0]), find_possible_formats(text)
    if len(formats) == 1:
        return formats[0]
    if formats:
        options = " or ".join(repr(date_format) for date_format in formats)
        raise DataError(f"`{name}` {first!r} could be day first or month first.", f"Set data.date_format: {options}.", location)
    is_number = first.removesuffix(".0").isdecimal()
    examples = "unix, unix_ms, '%Y%m%d' or '%Y'" if is_number else "a format such as '%d %b %Y' (as in Python's strptime)"
    raise DataError(f"`{name}` {first!r} is not in a recognized format.", f"Set data.date_format to {examples}.", location)


def find_possible_formats(text: pd.Series) -> list[str]:
    """Return the formats in which these cells can be read, by the form of the first: none, one, or day first and month first.

    >>> find_possible_formats(pd.Series(["01/02/2020", "02/02/2020"]))
    ['%d/%m/%Y', '%m/%d/%Y']
    """
    first = str(text.iloc[0])
    if ISO.fullmatch(first):
        return ["ISO8601"]
    clock = ("", " %H:%M", " %H:%M:%S")[min(2, first.count(":"))]
    if match := YEAR_FIRST.fullmatch(first):
        return ["%Y{0}%m{0}%d".format(match[1]) + clock]
    if not (match := YEAR_LAST.fullmatch(first)):
        return []
    parts = text.str.extract(r"^(\d{1,2})[/.-](\d{1,2})[/.-]").astype(float)
    day_first, month_first = (order.format(match[2]) + clock for order in ("%d{0}%m{0}%Y", "%m{0}%d{0}%Y"))
    # An order is possible where the cells that would be months never exceed 12.
    return [order for order, month in ((day_first, 1), (month_first, 0)) if not (parts[month] > 12).any()]


def parse_timestamps(text: pd.Series, date_format: str) -> tuple[pd.Series, set[str]]:
    """Parse cells and return timestamps, in UTC if they have UTC offsets, and these offsets; NaT where a cell is not one."""
    if date_format in UNIX:
        numbers = pd.to_numeric(text, errors="coerce")
        return pd.to_datetime(numbers, unit=UNIX[date_format], errors="coerce", utc=True), {"Z"}
    if date_format != "ISO8601":
        offsets = set(text.str.extract(r"(Z|[+-]\d{2}:?\d{2})$")[0].dropna()) if date_format.endswith("%z") else set()
        return pd.to_datetime(text, format=date_format, errors="coerce", utc="%z" in date_format), offsets
    text = text.mask(text.str.lower().isin(["now", "today"]))  # pandas takes these words for the time of the call.
    try:
        stamps = pd.to_datetime(text, format=date_format, errors="coerce")
        if stamps.dt.tz is None:
            return stamps, set()
    except (ValueError, AttributeError):
        pass  # There are several offsets, or only some cells have one, as the slower way below finds out.
    cell_offsets = text.str.extract(OFFSET)[0]
    stamps = pd.to_datetime(text, format=date_format, errors="coerce", utc=True)
    return stamps.where(cell_offsets.notna()), set(cell_offsets.dropna())


def parse_parts(table: pd.DataFrame) -> pd.Series:
    """Parse columns of year, month, day, hour, minute and second, in this order and as many as there are, as timestamps."""
    columns = zip(CLOCK, table.columns, strict=False)
    parts = {name: pd.to_numeric(table[column], errors="coerce") for name, column in columns}
    parts = {"month": pd.Series(1, table.index), "day": pd.Series(1, table.index)} | parts
    cells = pd.DataFrame(parts)
    good = (cells % 1 == 0).all(axis=1)
    for name, end in (("hour", 24), ("minute", 60), ("second", 60)):  # pandas would carry 25 hours over to the next day.
        good &= cells[name].between(0, end - 1) if name in cells else True
    return pd.to_datetime(cells.where(good), errors="coerce")


def format_timestamps(stamps: pd.DatetimeIndex, columns: list[str], date_format: str | None) -> pd.DataFrame:
    """Write timestamps into the columns and in the format of a file, so that reading the file gives them back."""
    if len(columns) > 1:
        return pd.DataFrame({column: getattr(stamps, part) for part, column in zip(CLOCK, columns, strict=False)})
    if date_format in UNIX:
        moments = stamps if stamps.tz else stamps.tz_localize("UTC")
        unit = pd.Timedelta(1, UNIX[date_format])
        return pd.DataFrame({columns[0]: (moments - pd.Timestamp(0, tz="UTC")) // unit})
    return pd.DataFrame({columns[0]: stamps.strftime(date_format) if date_format else stamps.map(str)})


def localize(stamps: pd.DatetimeIndex, offsets: set[str], zone: str | None, series: np.ndarray, source: str) -> pd.DatetimeIndex:
    """Give timestamps in file order their time zone: that of the config, or the only UTC offset.

    Hours that a clock change repeats are told apart by their order within a series.

    Raises:
        DataError: there are several offsets and no zone, the zone is unknown, or a local time does not exist or is ambiguous.
    """
    if zone is None and len(offsets) > 1:
        problem = f"the timestamps have several UTC offsets ({', '.join(sorted(offsets))})."
        raise DataError(problem, "Set data.timezone to their time zone, for example Europe/London.", source)
    try:
        if offsets:
            target = zone or _fixed_zone(next(iter(offsets)))
            return stamps.tz_convert(target) if stamps.tz is not None else stamps.tz_localize("UTC").tz_convert(target)
        if zone is None:
            return stamps
        zoneinfo.ZoneInfo(zone)  # Raises a KeyError for a zone that does not exist.
        return stamps.tz_convert(zone) if stamps.tz is not None else _localize_each_series(stamps, zone, series)
    except ZONE_ERRORS as error:
        cause = str(error).split(", try using")[0].strip("'\"")
        cause += " is a nonexistent time" if type(error).__name__ == "NonExistentTimeError" else ""
        remedy = "Use a time zone such as Europe/London and timestamps that exist in it, preferably with UTC offsets."
        raise DataError(f"data.timezone {zone!r} cannot be applied ({cause}).", remedy, source) from None


def _localize_each_series(stamps: pd.DatetimeIndex, zone: str, series: np.ndarray) -> pd.DatetimeIndex:
    localized = pd.Series(index=range(len(stamps)), dtype=f"datetime64[ns, {zone}]")
    order = np.argsort(series, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(series[order])) + 1):
        rows = rows[::-1] if len(rows) and stamps[rows[0]] > stamps[rows[-1]] else rows  # The newest row may come first.
        clock = stamps[rows]
        # A date means its whole day, which begins at 01:00 where the clocks skip midnight.
        localized.iloc[rows] = from_wall_clock(clock, zone) if are_dates(clock) else clock.tz_localize(zone, ambiguous="infer")
    return pd.DatetimeIndex(localized)


def _fixed_zone(offset: str) -> str:
    return "UTC" if offset in {"Z", "+00:00", "+0000", "+00", "-00:00"} else f"UTC{offset[:3]}:{offset[3:].strip(':') or '00'}"
