"""Train, validation and test borders, in time order."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np

from forecast.config import ResolvedSplitsConfig

if TYPE_CHECKING:
    import pandas as pd

    from forecast.data import Panel

Subset = Literal["train", "validation", "test"]
SUBSETS: tuple[Subset, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Splits:
    """Where each part of each series begins and ends, as rows of the panel's matrix.

        rows      first                                                        end
        series    |<---------- train --------->|<- validation ->|<--- test --->|   (rows after `end` are not used)
        borders   [i, 0]                       [i, 1]           [i, 2]         [i, 3]

    A part holds the rows from its border (inclusive) to the next (exclusive). With `align: dates` it begins at the same date in
    every series, so that no series is trained on dates that another is tested on; in a series that begins late or ends early a
    part may be empty. The targets of a window lie in one part; its lookback may reach into the part before:

        test window      |<- lookback ->|<- horizon ->|
                         ... validation | test ...
    """

    borders: np.ndarray  # (series, 4)

    def rows_of(self, part: Subset) -> tuple[np.ndarray, np.ndarray]:
        """First row (inclusive) and end row (exclusive) of a part, for each series."""
        column = SUBSETS.index(part)
        return self.borders[:, column], self.borders[:, column + 1]

    def scaler_rows(self, lookback: int) -> list[slice]:
        """The rows of each series that a scaler may see: its training part, or its first lookback where that is longer.

        No window has a target among the first `lookback` rows, whatever part they lie in.
        """
        begin, train_end, _, end = self.borders.T
        return [
            slice(first, stop)
            for first, stop in zip(begin, np.maximum(train_end, np.minimum(begin + lookback, end)), strict=True)
        ]


@dataclass(frozen=True)
class Fold:
    """How a backtest's fold differs from its first: all borders have moved on.

        fold 0    |<-------- train -------->|<- validation ->|<- test ->|
        fold 1    |<-------- train ----------------->|<- validation ->|<- test ->|      expanding
                          |<-------- train -------->|                                   sliding
                                                              |<-moved->|

    moved: ticks; rows: of the test part, None for all that remain; sliding: whether the training part begins later, too.
    """

    moved: int = 0
    rows: int | None = None
    sliding: bool = False

    def shift(self, validation: int, test: int, end: int) -> tuple[int, int, int, int]:
        """The ticks at which training, validation and test part begin and the last one ends, from those of the config."""
        first = min(test + self.moved, end)
        last = end if self.rows is None else min(first + self.rows, end)
        return self.moved if self.sliding else 0, min(validation + self.moved, end), first, last


FIRST_FOLD = Fold()


def make_splits(
    panel: Panel, config: ResolvedSplitsConfig, fold: Fold = FIRST_FOLD, ticks: pd.DatetimeIndex | None = None
) -> Splits:
    """The borders of each series: sizes count back from the end of the panel, or of the series; dates begin a part.

    ticks: those of the panel, where some of its series have been left out since.
    """
    everyone = None if config.align == "ends" else panel.ticks if ticks is None else ticks
    borders = []
    for first, last in pairwise(panel.offsets):
        own = panel.timestamps[first:last]
        known = own if everyone is None else everyone
        at_ticks = fold.shift(*_borders(known, config))
        places = (len(own) if at >= len(known) else int(own.searchsorted(known[at])) for at in at_ticks)
        borders.append([first + place for place in places])
    return Splits(np.array(borders, dtype=np.int64))


def _borders(ticks: pd.DatetimeIndex, config: ResolvedSplitsConfig) -> tuple[int, int, int]:
    """The ticks at which validation and test begin, and at which the test part ends."""
    end = len(ticks) if config.end is None else _at_date(ticks, config.end)
    test = _start_of(config.test, ticks, end, end)
    return _start_of(config.validation, ticks, test, end), test, end


def _start_of(border: float | int | str, stamps: pd.DatetimeIndex, before: int, rows: int) -> int:
    """Row at which a part that ends at row `before` starts; fractions are of all `rows`."""
    if isinstance(border, str):
        return min(_at_date(stamps, border), before)
    size = round(border * rows) if isinstance(border, float) else border
    return max(0, before - size)


def _at_date(stamps: pd.DatetimeIndex, date: str) -> int:
    import pandas as pd

    moment = pd.Timestamp(date)
    if stamps.tz is not None:  # a local time that a clock change skips or repeats is the next, or the first, moment
        moment = moment.tz_localize(stamps.tz, nonexistent="shift_forward", ambiguous=True)
    return int(stamps.searchsorted(moment))
