"""Encode the calendar as numbers that a network can read: pure functions of timestamps, in their local time."""

from __future__ import annotations

import numpy as np
import pandas as pd

from forecast.config import HOLIDAYS, OBSERVED, name_calendar_columns
from forecast.errors import check_installed


def make_calendar_features(stamps: pd.DatetimeIndex, names: list[str]) -> dict[str, np.ndarray]:
    """Return columns `(rows,)` by name: a sine and a cosine for each cycle, 0 or 1 for holidays.

    names: keys of `CYCLES`, `holidays(DE)` with the code of a country, or `observed`, which is 1 until rows are padded.

    Raises:
        ForecastError: the package `holidays` is needed and not installed.
    """
    values = []
    for name in names:
        if country := HOLIDAYS.fullmatch(name):
            values.append(is_holiday(stamps, country[1]))
        elif name == OBSERVED:
            values.append(np.ones(len(stamps)))
        else:
            angle = 2 * np.pi * CYCLES[name](stamps)
            values += [np.sin(angle), np.cos(angle)]
    return dict(zip(name_calendar_columns(names), values, strict=True))


def hour(stamps: pd.DatetimeIndex) -> np.ndarray:
    """Return the fraction of the day that is over, in [0, 1).

    >>> hour(pd.DatetimeIndex(["2024-01-01 18:00"]))
    array([0.75])
    """
    return (stamps.hour + stamps.minute / 60 + stamps.second / 3600).to_numpy() / 24


def day_of_week(stamps: pd.DatetimeIndex) -> np.ndarray:
    """Return the fraction of the week that is over on this day, in [0, 1); Monday is 0."""
    return stamps.day_of_week.to_numpy() / 7


def day_of_month(stamps: pd.DatetimeIndex) -> np.ndarray:
    """Return the fraction of the month that is over on this day, in [0, 1)."""
    return np.asarray((stamps.day - 1) / stamps.days_in_month)


def month(stamps: pd.DatetimeIndex) -> np.ndarray:
    """Return the fraction of the year that is over in this month, in [0, 1); January is 0."""
    return (stamps.month.to_numpy() - 1) / 12


def week(stamps: pd.DatetimeIndex) -> np.ndarray:
    """Return the fraction of the year that is over on this day, in [0, 1).

    >>> week(pd.DatetimeIndex(["2024-01-01", "2024-12-31"])).round(3)
    array([0.   , 0.997])
    """
    return (stamps.day_of_year.to_numpy() - 1) / np.where(stamps.is_leap_year, 366, 365)


def is_holiday(stamps: pd.DatetimeIndex, country: str) -> np.ndarray:
    """Return 1 on the public holidays of a country (ISO code), else 0."""
    check_installed(f"data.calendar: holidays({country})", ["holidays"], "holidays")
    import holidays

    days = stamps.tz_localize(None).normalize() if stamps.tz else stamps.normalize()
    dates = holidays.country_holidays(country, years=sorted(set(days.year)))
    return np.asarray(days.isin(pd.DatetimeIndex(pd.to_datetime(list(dates)))), dtype=np.float64)


CYCLES = {"hour": hour, "day_of_week": day_of_week, "day_of_month": day_of_month, "month": month, "week": week}
