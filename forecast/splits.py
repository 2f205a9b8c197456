"""Train, validation and test borders, in time order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from forecast.config import SplitsConfig
from forecast.data import Panel

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Splits:
    """Where each part of each series begins and ends, as rows of the panel's matrix.

        rows      first                                                        end
        series    |<---------- train --------->|<- validation ->|<--- test --->|   (rows after `end` are not used)
        borders   [i, 0]                       [i, 1]           [i, 2]         [i, 3]

    A part holds the rows from its border (inclusive) to the next (exclusive). The targets of a window lie in one part;
    its lookback may reach into the part before:

        test window      |<- lookback ->|<- horizon ->|
                         ... validation | test ...
    """

    borders: np.ndarray  # (series, 4)

    def part(self, part: Part) -> tuple[np.ndarray, np.ndarray]:
        """First row (inclusive) and end row (exclusive) of a part, for each series."""
        column = PARTS.index(part)
        return self.borders[:, column], self.borders[:, column + 1]


def make_splits(panel: Panel, config: SplitsConfig) -> Splits:
    """The borders of each series: sizes count back from the end, dates are the first timestamp of a part."""
    borders = np.zeros((len(panel.series_ids), 4), dtype=np.int64)
    for series, (first, last) in enumerate(zip(panel.offsets[:-1], panel.offsets[1:], strict=True)):
        stamps = panel.timestamps[first:last]
        end = len(stamps) if config.end is None else _at_date(stamps, config.end)
        test = _start_of(config.test, stamps, end, end)
        validation = _start_of(config.validation, stamps, test, end)
        borders[series] = first + np.array([0, validation, test, end])
    return Splits(borders)


def _start_of(border: float | int | str, stamps: pd.DatetimeIndex, before: int, rows: int) -> int:
    """Row at which a part that ends at row `before` starts; fractions are of all `rows`."""
    if isinstance(border, str):
        return min(_at_date(stamps, border), before)
    size = round(border * rows) if isinstance(border, float) else border
    return max(0, before - size)


def _at_date(stamps: pd.DatetimeIndex, date: str) -> int:
    moment = pd.Timestamp(date)
    if stamps.tz is not None:  # a local time that a clock change skips or repeats is the next, or the first, moment
        moment = moment.tz_localize(stamps.tz, nonexistent="shift_forward", ambiguous=True)
    return int(stamps.searchsorted(moment))
