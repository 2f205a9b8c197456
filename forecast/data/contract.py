"""The contract of a run: what its data was, and whether newer rows are of the same kind."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field

from forecast.data.cleaning import Repair
from forecast.documents import Document
from forecast.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from forecast.data.panel import Panel

MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")


def _check_timestamp(text: str) -> str:
    if not MOMENT.match(text):
        raise ValueError("this is no timestamp as pandas writes it")
    datetime.datetime.fromisoformat(text)  # a ValueError where there is no such day
    return text


Timestamp = Annotated[str, Field(max_length=50), AfterValidator(_check_timestamp)]


class ColumnFacts(Document):
    """Facts about a column. filled: the share of cells that were missing and filled in."""

    min: float
    max: float
    mean: float
    median_size: float
    filled: float


class SubsetFacts(Document):
    """The number of windows of the training, validation or test set. independent: of those that share no target step."""

    windows: int
    independent: int | None = None  # Runs of earlier versions lack it.


class Contract(Document):
    """Facts about the data of a run (contract.json): hash, size, spacing, zone, ranges, and what was done to which rows."""

    path: str
    sha256: str
    rows: int
    series: int
    freq: str = Field(max_length=50)
    resample_origin: Annotated[str, Field(max_length=19), AfterValidator(_check_timestamp)] | None = (
        None  # earlier runs have none
    )
    timezone: str | None = Field(max_length=100)
    first_timestamp: Timestamp
    last_timestamp: Timestamp
    columns: dict[str, ColumnFacts]
    repairs: list[Repair]
    parts: dict[Literal["train", "validation", "test"], SubsetFacts] = {}

    @property
    def calibration_windows(self) -> int | None:
        """Number of independent windows whose errors set the width of the intervals, None for runs that did not count them."""
        counts = [part.independent for name, part in self.parts.items() if name != "train"]
        return sum(counts) if counts and None not in counts else None


def make_contract(panel: Panel) -> Contract:
    """Return the facts about a panel, without those about its windows."""
    columns = {
        name: ColumnFacts(
            min=float(values.min()),
            max=float(values.max()),
            mean=float(values.mean()),
            median_size=float(np.median(np.abs(values))),
            filled=float(filled.mean()),
        )
        for name, values, filled in zip(panel.file_columns, panel.values.T, panel.filled.T, strict=False)
    }
    return Contract(
        path=panel.source,
        sha256=panel.sha256,
        rows=len(panel.values),
        series=len(panel.series_ids),
        freq=panel.freq,
        resample_origin=panel.resample_origin,
        timezone=str(panel.timestamps.tz) if panel.timestamps.tz else None,
        first_timestamp=str(panel.timestamps.min()),
        last_timestamp=str(panel.timestamps.max()),
        columns=columns,
        repairs=panel.record,
    )


def compare_with_contract(panel: Panel, known: Contract) -> list[str]:
    """What is odd about newer rows beside the contract of the training data; a sentence each, with numbers.

    Raises:
        DataError: the values are in other units, or the timestamps in no zone, so that a forecast would mean nothing.
    """
    columns = dict(zip(panel.file_columns, panel.values.T, strict=False))
    still = [
        f"`{name}` is {values[0]:g} in every row." for name, values in columns.items() if len(values) > 1 and np.ptp(values) == 0
    ]
    return compare_values_with_contract(columns, known, panel.source) + still + _odd_times(panel, known)


def compare_values_with_contract(columns: Mapping[str, ArrayLike], known: Contract, source: str) -> list[str]:
    """What is odd about values of columns, NaN left out, beside the contract of the training data.

    Raises:
        DataError: they are in other units.
    """
    odd = []
    for name, values in columns.items():
        numbers = np.asarray(values, float)
        finite = numbers[np.isfinite(numbers)]
        odd += _odd_values(name, finite, known.columns[name], source) if len(finite) else []
    return odd


def _odd_values(name: str, values: np.ndarray, told: ColumnFacts, source: str) -> list[str]:
    low, high, usual = told.min, told.max, told.median_size
    size = float(np.median(np.abs(values)))
    power = np.log10(size) - np.log10(usual) if size > 0 and usual > 0 else 0.0
    foreign = size > max(abs(low), abs(high)) or np.abs(values).max() < low  # the usual value now was never seen then
    if foreign and abs(power) > 0.8 and abs(power - round(power)) < 0.2:
        raise DataError(
            f"`{name}` is about {size:.3g}, in training it was about {usual:.3g}: off by 10^{round(power)}.",
            "Give it in the units of the training data.",
            source,
        )
    odd = []
    margin = (high - low) / 2
    if values.min() < low - margin or values.max() > high + margin:
        odd.append(f"`{name}` is {values.min():g} to {values.max():g}; in training it was {low:g} to {high:g}.")
    return odd


def _odd_times(panel: Panel, known: Contract) -> list[str]:
    import pandas as pd

    from forecast.data.timestamps import estimate_steps_between, make_ticks

    last, begun, ends = pd.Timestamp(known.last_timestamp), panel.timestamps.min(), panel.timestamps.max()
    if (last.tz is None) != (begun.tz is None):
        zone = known.timezone
        raise DataError(
            f"the timestamps have {'no' if zone else 'a'} time zone, in training they had {zone or 'none'}.",
            "Write them as in the training data.",
            panel.source,
        )
    last = last.tz_convert(begun.tz) if begun.tz else last
    if ends < last:
        return [f"the rows end at {ends}, before the training data's end at {last}: this forecasts the past."]
    if begun <= last:
        return []
    rough = estimate_steps_between(last, begun, panel.freq) - 1
    gap = len(make_ticks(last, panel.freq, begun)) - 2 if rough < 10**6 else int(rough)
    return [f"{gap} steps are missing between the training data's end at {last} and the first row at {begun}."] if gap > 0 else []
