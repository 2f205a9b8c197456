"""Types of the values of a config, each with a check that says in words what it expects."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

HOLIDAYS = re.compile(r"holidays\(([A-Z]{2})\)")
CALENDAR = re.compile(rf"hour|day_of_week|day_of_month|month|week|{HOLIDAYS.pattern}")
MAX_CATEGORY_LENGTH = 200  # Characters of a static category.
WAIT = re.compile(r"([1-9][0-9]{0,8})\s*(s|min|m|h|d)")
DURATION = re.compile(r"([1-9][0-9]{0,8})\s*(s|min|h|d|w|mo|y)")
SECONDS = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400, "w": 604800}  # Lengths of the units of durations and waits.
MAX_STEPS = 10**9


def _check(is_valid: Callable[[Any], object], problem: str) -> AfterValidator:
    """Return a validator that refuses values, once their type is checked, for which `is_valid` does not hold."""

    def validate(value: Any) -> Any:
        if not is_valid(value):
            raise ValueError(problem)
        return value

    return AfterValidator(validate)


def _check_raw(is_valid: Callable[[Any], object], problem: str) -> BeforeValidator:
    """Return a validator like `_check` that takes the place of pydantic's message about the type."""
    return BeforeValidator(_check(is_valid, problem).func)


def _is_count(value: object, largest: int = 10**9) -> bool:
    return type(value) is int and 1 <= value <= largest


def _is_duration(value: object) -> bool:
    return isinstance(value, str) and DURATION.fullmatch(value) is not None


def _one_or_list(value: object) -> object:
    """Put a single text or number into a list, so that `target: sales` and `units: 50` need no brackets."""
    return [value] if isinstance(value, (str, int, float)) else value


def _yes_or_no(value: object) -> object:
    """Read yes/no/on/off, which are text in YAML 1.2, as booleans."""
    words = {"yes": True, "on": True, "no": False, "off": False}
    return words.get(value.lower(), value) if isinstance(value, str) else value


def _border(value: object) -> object:
    if isinstance(value, float) and 0 < value < 1 or _is_count(value) or _is_duration(value):
        return value
    return _date(
        value,
        "a fraction between 0 and 1, a number of steps (1 or more), a duration such as 30d, or a start date such as 2015-01-31",
    )


def _date(value: object, expected: str = "a date such as 2015-01-31 or 2015-01-31 06:00") -> str:
    try:
        moment = datetime.datetime.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError(f"it must be {expected}") from None
    if moment.tzinfo:
        raise ValueError("it must be a local time, without a UTC offset")
    return str(moment)


def _calendar(value: list[str]) -> list[str]:
    for name in value:
        if not CALENDAR.fullmatch(name):
            names = "hour, day_of_week, day_of_month, month, week, or holidays with a country code, such as holidays(DE)"
            raise ValueError(f"`{name}` is not one of {names}")
    return value


def _span(value: dict[str, Any]) -> dict[str, Any]:
    """Check the values of a search: `{int: [1, 3]}`, `{float: [1e-4, 1e-2], log: true}` or `{choice: [a, b]}`."""
    kinds = [kind for kind in ("int", "float", "choice") if kind in value]
    if len(kinds) != 1 or set(value) - {kinds[0], "step", "log"} or "choice" in value and len(value) > 1:
        raise ValueError(
            "it must have the form {int: [32, 256], step: 32}, {float: [0.0001, 0.01], log: true} or {choice: [lstm, gru]}"
        )
    kind, values = kinds[0], value[kinds[0]]
    if not isinstance(values, list) or not values:
        raise ValueError(f"`{kind}` must be a list with at least one value")
    if kind == "choice":
        return value
    numbers = (int,) if kind == "int" else (int, float)
    if len(values) != 2 or any(type(number) not in numbers for number in values) or not values[0] < values[1]:
        raise ValueError(f"`{kind}` must be a list of two {'whole ' if kind == 'int' else ''}numbers, the lower one first")
    step, log = value.get("step"), value.get("log", False)
    if type(log) is not bool or log and (step or values[0] <= 0):
        raise ValueError("`log` must be true or false. If it is true, the lower number must be above 0, and `step` cannot be set")
    if step is not None and (type(step) not in numbers or not 0 < step <= values[1] - values[0]):
        raise ValueError("`step` must be above 0 and at most the difference between the two numbers")
    return value


def parse_wait(text: str) -> int:
    """Return the seconds of a time to wait such as 10m.

    >>> parse_wait("10m")
    600
    """
    match = WAIT.fullmatch(text)
    assert match, "the schema refuses anything else"
    return int(match[1]) * SECONDS[match[2]]


ASCENDING = _check(lambda value: all(first < second for first, second in pairwise(value)), "the numbers must increase")
DISTINCT = _check(lambda value: len(set(value)) == len(value), "each value must occur only once")

Text = Annotated[str, Field(min_length=1)]
Columns = Annotated[list[str], BeforeValidator(_one_or_list, json_schema_input_type=str | list[str])]
Names = Annotated[list[Text], BeforeValidator(_one_or_list, json_schema_input_type=str | list[str]), Field(min_length=1)]
Calendar = Annotated[Columns, AfterValidator(_calendar)]
YesNo = Annotated[bool, BeforeValidator(_yes_or_no, json_schema_input_type=bool | Literal["yes", "no", "on", "off"])]
Border = Annotated[float | int | str, BeforeValidator(_border)]
Date = Annotated[str, BeforeValidator(_date)]
Width = Annotated[int, Field(ge=1, le=10**5)]
Units = Annotated[list[Width], BeforeValidator(_one_or_list, json_schema_input_type=Width | list[Width]), Field(min_length=1)]
Pair = Annotated[list[float], Field(min_length=2, max_length=2)]
Range = Annotated[Pair, _check(lambda value: value[0] < value[1], "the first number must be below the second")]
Name = Annotated[
    str,
    _check(
        re.compile(r"\w[\w.-]*").fullmatch,
        "it must start with a letter or digit and contain only letters, digits, '.', '_' and '-'",
    ),
]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Seeds = Annotated[list[Seed], Field(min_length=1, max_length=100), DISTINCT]
Count = Annotated[int, Field(ge=1, le=10**9)]
Steps = Annotated[
    int | str,
    _check_raw(
        lambda value: _is_count(value) or _is_duration(value),
        "it must be a number of steps (1 or more) or a duration such as 7d, 36h, 6mo or 1y",
    ),
]
Share = Annotated[float, Field(ge=0, lt=1)]
Quantiles = Annotated[
    list[Annotated[float, Field(gt=0, lt=1)]],
    Field(min_length=2, max_length=99),
    _check(lambda value: 0.5 in value, "the numbers must include 0.5, because the median is the forecast"),
    ASCENDING,
    _check(lambda value: value == [round(number, 6) for number in value], "the numbers must have at most six decimals"),
]
Levels = Annotated[
    list[Annotated[float, Field(ge=1, le=99.9)]],
    BeforeValidator(_one_or_list, json_schema_input_type=float | list[float]),
    Field(min_length=1, max_length=20),
    _check(lambda value: value == [round(number, 3) for number in value], "the numbers must have at most three decimals"),
    ASCENDING,
]
Spans = Annotated[dict[str, Annotated[dict[str, Any], AfterValidator(_span)]], Field(min_length=1)]
Tracker = Literal["tensorboard", "mlflow"]
Baseline = Literal["theta", "ets", "arima", "boosting"]
Baselines = Annotated[list[Baseline], BeforeValidator(_one_or_list, json_schema_input_type=Baseline | list[Baseline]), DISTINCT]
Trackers = Annotated[list[Tracker], BeforeValidator(_one_or_list, json_schema_input_type=Tracker | list[Tracker]), DISTINCT]
Wait = Annotated[str, _check(WAIT.fullmatch, "it must be a duration such as 90s, 10m, 2h or 1d")]
Compiled = Annotated[
    bool | Literal["auto"],
    _check_raw(lambda value: isinstance(value, bool) or value == "auto", "it must be true, false or auto"),
    BeforeValidator(_yes_or_no, json_schema_input_type=bool | Literal["yes", "no", "on", "off", "auto"]),
]
BatchSize = Annotated[
    int | Literal["auto"],
    _check_raw(lambda value: value == "auto" or _is_count(value), "it must be a number of windows (1 or more), or auto"),
]
Refit = Annotated[
    int | str,
    _check_raw(
        lambda value: value in ("never", "every") or _is_count(value, 1000),
        "it must be never, every, or a number of folds (1 to 1000)",
    ),
]
