"""Train, validation and test borders, in time order."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np

from forecast.config import SplitsConfig

if TYPE_CHECKING:
    import pandas as pd

    from forecast.data import Panel

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")


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

    def part(self, part: Part) -> tuple[np.ndarray, np.ndarray]:
        """First row (inclusive) and end row (exclusive) of a part, for each series."""
        column = PARTS.index(part)
        return self.borders[:, column], self.borders[:, column + 1]

    def fitted(self, lookback: int) -> list[slice]:
        """The rows of each series that a scaler may see: its training part, or its first lookback where that is longer.

        No window has a target among the first `lookback` rows, whatever part they lie in.
        """
        begin, train_end, _, end = self.borders.T
        return [
            slice(first, stop)
            for first, stop in zip(begin, np.maximum(train_end, np.minimum(begin + lookback, end)), strict=True)
        ]

    def of_fold(self, number: int, stride: int, cutoffs: int, horizon: int, sliding: bool) -> Splits:
        """The splits of a backtest's fold, 0 being the first: all borders move on, and the test part holds so many cutoffs.

            fold 0    |<-------- train -------->|<- validation ->|<- test ->|
            fold 1    |<-------- train ----------------->|<- validation ->|<- test ->|      expanding
                              |<-------- train -------->|                                   sliding
                                                                  |<- stride ->|

        stride: cutoffs between two folds; cutoffs: whose forecasts this one tests, their last horizon reaching beyond them.
        """
        begin, validation, test, end = self.borders.T
        moved = number * stride
        first = np.minimum(test + moved, end)
        last = np.minimum(first + cutoffs + horizon - 1, end)
        starts = [np.minimum(begin + moved, end) if sliding else begin, np.minimum(validation + moved, end)]
        return Splits(np.column_stack([*starts, first, last]))


def make_splits(panel: Panel, config: SplitsConfig) -> Splits:
    """The borders of each series: sizes count back from the end of the panel, or of the series; dates begin a part."""
    everyone = None if config.align == "ends" else panel.ticks
    borders = []
    for first, last in pairwise(panel.offsets):
        own = panel.timestamps[first:last]
        ticks = own if everyone is None else everyone
        places = (len(own) if at == len(ticks) else int(own.searchsorted(ticks[at])) for at in _borders(ticks, config))
        borders.append([first, *(first + place for place in places)])
    return Splits(np.array(borders, dtype=np.int64))


def _borders(ticks: pd.DatetimeIndex, config: SplitsConfig) -> tuple[int, int, int]:
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
