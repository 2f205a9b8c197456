"""Facts about the data of a run, and what is unusual about newer rows."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from pydantic import AfterValidator, Field

from forecast.data.cleaning import Repair
from forecast.data.freq import estimate_steps_between, make_ticks
from forecast.data.panel import Panel
from forecast.documents import Document
from forecast.errors import DataError


def _check_timestamp(text: str) -> str:
    datetime.datetime.fromisoformat(text)  # Raises a ValueError for a day that does not exist.
    return text


Timestamp = Annotated[str, Field(max_length=50, pattern=r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), AfterValidator(_check_timestamp)]


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
    resample_origin: Timestamp | None = None  # Runs of earlier versions lack it.
    timezone: str | None = Field(max_length=100)
    first_timestamp: Timestamp
    last_timestamp: Timestamp
    columns: dict[str, ColumnFacts]
    repairs: list[Repair]
    parts: dict[Literal["train", "validation", "test"], SubsetFacts] = {}

    @property
    def calibration_windows(self) -> int | None:
        """Number of independent windows whose errors set the width of the intervals, None for runs that did not count them."""
        subsets = [subset.independent for name, subset in self.parts.items() if name != "train"]
        counts = [count for count in subsets if count is not None]
        return sum(counts) if counts and len(counts) == len(subsets) else None


def make_contract(panel: Panel) -> Contract:
    """Return the facts about a panel, without those about its windows."""
    panel = panel.without_padding()
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


def compare_with_contract(panel: Panel, contract: Contract) -> list[str]:
    """Describe, in a sentence each, what is unusual about newer rows in comparison with the training data.

    Raises:
        DataError: a forecast would mean nothing, since values are in other units, or only some timestamps have a zone.
    """
    panel = panel.without_padding()
    columns = dict(zip(panel.file_columns, panel.values.T, strict=False))
    constant = [
        f"`{name}` is {values[0]:g} in every row." for name, values in columns.items() if len(values) > 1 and np.ptp(values) == 0
    ]
    return compare_values_with_contract(columns, contract, panel.source) + constant + _find_unusual_times(panel, contract)


def compare_values_with_contract(columns: Mapping[str, ArrayLike], contract: Contract, source: str) -> list[str]:
    """Describe what is unusual about the values of columns, NaN left out, in comparison with the training data.

    Raises:
        DataError: they are in other units.
    """
    sentences = []
    for name, cells in columns.items():
        values = np.asarray(cells, float)
        values = values[np.isfinite(values)]
        if len(values) == 0:
            continue
        trained, size = contract.columns[name], float(np.median(np.abs(values)))
        low, high, usual = trained.min, trained.max, trained.median_size
        power = np.log10(size) - np.log10(usual) if size > 0 and usual > 0 else 0.0
        unseen = size > max(abs(low), abs(high)) or np.abs(values).max() < low  # The usual value was never seen in training.
        if unseen and abs(power) > 0.8 and abs(power - round(power)) < 0.2:
            problem = f"`{name}` is about {size:.3g}, but was about {usual:.3g} in training: a factor of about 10^{round(power)}."
            raise DataError(problem, "Use the units of the training data.", source)
        margin = (high - low) / 2
        if values.min() < low - margin or values.max() > high + margin:
            new_range = f"ranges from {values.min():g} to {values.max():g}"
            sentences.append(f"`{name}` {new_range}, but ranged from {low:g} to {high:g} in training.")
    return sentences


def _find_unusual_times(panel: Panel, contract: Contract) -> list[str]:
    trained_until, first, last = pd.Timestamp(contract.last_timestamp), panel.timestamps.min(), panel.timestamps.max()
    if (trained_until.tz is None) != (first.tz is None):
        zone = contract.timezone
        raise DataError(
            f"the timestamps have {'no' if zone else 'a'} time zone, but those of the training data had {zone or 'none'}.",
            "Write them as in the training data.",
            panel.source,
        )
    trained_until = trained_until.tz_convert(first.tz) if first.tz else trained_until
    if last < trained_until:
        return [f"the rows end at {last}, before the end of the training data at {trained_until}, so this forecasts the past."]
    estimate = estimate_steps_between(trained_until, first, panel.freq) - 1
    gap = len(make_ticks(trained_until, panel.freq, first)) - 2 if estimate < 10**6 else int(estimate)
    if gap <= 0:
        return []
    count = "1 step is" if gap == 1 else f"{gap} steps are"
    return [f"{count} missing between the end of the training data at {trained_until} and the first row at {first}."]
