"""Durations such as 7d, counted in steps of a freq."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forecast.config.types import DURATION, MAX_STEPS, SECONDS
from forecast.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd
    from pandas.tseries.offsets import BaseOffset

MONTHS = {"MS": 1, "ME": 1, "BMS": 1, "BME": 1, "QS": 3, "QE": 3, "BQS": 3, "BQE": 3, "YS": 12, "YE": 12, "BYS": 12, "BYE": 12}


def duration_to_steps(duration: int | str, freq: str, key: str, location: str) -> int:
    """Return a duration such as 7d, 90min, 2w, 6mo or 1y in steps of a freq; a number is one of steps already.

    >>> duration_to_steps("7d", "h", "windows.horizon", "")
    168
    >>> duration_to_steps("1y", "MS", "windows.horizon", "")
    12

    Raises:
        ConfigError: it is not a whole number of steps.
    """
    import pandas as pd
    from pandas.tseries.frequencies import to_offset

    if isinstance(duration, int):
        return duration
    match = DURATION.fullmatch(duration)
    assert match, "the schema refuses anything else"
    number, unit, offset = int(match[1]), match[2], to_offset(freq)
    if unit in {"mo", "y"}:
        length, step = number * {"mo": 1, "y": 12}[unit], MONTHS.get(_rule(offset), 0) * offset.n
    else:
        fixed = pd.Timedelta(weeks=offset.n) if _rule(offset) == "W" else fixed_step(offset)
        length, step = number * SECONDS[unit] * 10**9, fixed.as_unit("ns").value if fixed else 0
    if not step or length % step or not 1 <= length // step <= MAX_STEPS:
        problem = f"{key} is {duration}, which is not a whole number of steps of freq {freq}."
        raise ConfigError(problem, "Provide a number of steps instead.", location)
    return length // step


def infer_season_length(freq: str) -> int:
    """Return the steps in the usual season of a freq: a day for minutes and hours, a week for days, a year for longer steps.

    >>> [infer_season_length(freq) for freq in ("h", "15min", "D", "B", "W-SUN", "MS", "QS", "YS")]
    [24, 96, 7, 5, 52, 12, 4, 1]
    """
    import pandas as pd
    from pandas.tseries.frequencies import to_offset

    offset = to_offset(freq)
    rule = _rule(offset)
    if rule in MONTHS:
        return max(1, 12 // (MONTHS[rule] * offset.n))
    if rule in {"B", "W"}:
        return max(1, {"B": 5, "W": 52}[rule] // offset.n)
    if not (step := fixed_step(offset)):
        return 1
    seasons = [pd.Timedelta(hours=1)] if step < pd.Timedelta(minutes=1) else []
    seasons += [pd.Timedelta(days=1), pd.Timedelta(weeks=1), pd.Timedelta(weeks=52)]
    return next((int(season // step) for season in seasons if season >= 2 * step and season % step == pd.Timedelta(0)), 1)


def fixed_step(offset: BaseOffset) -> pd.Timedelta | None:
    """Return the length of a step of days or less, or None where steps differ in length, as months do."""
    import pandas as pd

    if isinstance(offset, pd.offsets.Day):
        return pd.Timedelta(days=offset.n)
    return pd.Timedelta(offset) if isinstance(offset, pd.offsets.Tick) else None


def _rule(offset: BaseOffset) -> str:
    """Return the name of a freq without its anchor: W for W-SUN."""
    return str(offset.rule_code).partition("-")[0]
