"""Split each series in time into a training, a validation and a test set."""

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


def subset_name(subset: Subset) -> str:
    """Return the name of a subset in messages.

    >>> subset_name("train")
    'training set'
    """
    return "training set" if subset == "train" else f"{subset} set"


@dataclass(frozen=True)
class Splits:
    """Borders of the training, validation and test set of each series, as rows of the panel's matrix: `(series, 4)`.

        rows      first                                                        end
        series    |<---------- train --------->|<- validation ->|<--- test --->|   (rows after `end` are not used)
        borders   [i, 0]                       [i, 1]           [i, 2]         [i, 3]

    A set holds the rows from its border (inclusive) to the next (exclusive). With `align: dates` it begins at the same date in
    every series, so that no series is trained on dates that another is tested on. It may be empty in a series that begins late or
    ends early. The targets of a window lie in one set; its lookback may reach into the set before:

        test window      |<- lookback ->|<- horizon ->|
                         ... validation | test ...
    """

    borders: np.ndarray

    def rows_of(self, subset: Subset) -> tuple[np.ndarray, np.ndarray]:
        """Return the first row (inclusive) and the end row (exclusive) of a subset, for each series."""
        column = SUBSETS.index(subset)
        return self.borders[:, column], self.borders[:, column + 1]

    def scaler_rows(self, lookback: int) -> list[slice]:
        """Return the rows of each series that a scaler may see: its training set, or its first lookback if that is longer.

        No window of any subset has a target among the first `lookback` rows.
        """
        begin, train_end, _, end = self.borders.T
        stops = np.maximum(train_end, np.minimum(begin + lookback, end))
        return [slice(int(first), int(stop)) for first, stop in zip(begin, stops, strict=True)]


@dataclass(frozen=True)
class Fold:
    """Shift of the borders of a backtest's fold, from those of its first.

        fold 0    |<-------- train -------->|<- validation ->|<- test ->|
        fold 1    |<-------- train ----------------->|<- validation ->|<- test ->|      expanding
                          |<-------- train -------->|                                   sliding
                                                              |<-ticks->|

    ticks: by which all borders move; test_rows: None for all that remain; sliding: whether the training set begins later, too.
    """

    ticks: int = 0
    test_rows: int | None = None
    sliding: bool = False

    def shift(self, validation: int, test: int, end: int) -> tuple[int, int, int, int]:
        """Return the ticks at which training, validation and test set begin and the last one ends, from those of the config."""
        first = min(test + self.ticks, end)
        last = end if self.test_rows is None else min(first + self.test_rows, end)
        return self.ticks if self.sliding else 0, min(validation + self.ticks, end), first, last


FIRST_FOLD = Fold()


def make_splits(
    panel: Panel, config: ResolvedSplitsConfig, fold: Fold = FIRST_FOLD, ticks: pd.DatetimeIndex | None = None
) -> Splits:
    """Split each series: sizes count back from the end of the panel, or of the series, and a set begins at its date.

    ticks: those of the panel, if some of its series have been left out since.
    """
    panel_ticks = None if config.align == "ends" else panel.ticks if ticks is None else ticks
    borders = []
    for first, last in pairwise(panel.offsets):
        begin = first + panel.padding
        stamps = panel.timestamps[begin:last]
        series_ticks = stamps if panel_ticks is None else panel_ticks
        at_ticks = fold.shift(*_find_borders(series_ticks, config))
        rows = (len(stamps) if at >= len(series_ticks) else int(stamps.searchsorted(series_ticks[at])) for at in at_ticks)
        rows_of_series = [begin + row for row in rows]
        borders.append([first if rows_of_series[0] == begin else rows_of_series[0], *rows_of_series[1:]])
    return Splits(np.array(borders, dtype=np.int64))


def _find_borders(ticks: pd.DatetimeIndex, config: ResolvedSplitsConfig) -> tuple[int, int, int]:
    """Return the ticks at which validation and test set begin, and at which the test set ends."""
    end = len(ticks) if config.end is None else _find_date(ticks, config.end)
    test = _find_start(config.test, ticks, end, end)
    return _find_start(config.validation, ticks, test, end), test, end


def _find_start(border: float | int | str, stamps: pd.DatetimeIndex, end: int, rows: int) -> int:
    """Return the row at which a set that ends at row `end` starts; fractions are of all `rows`."""
    if isinstance(border, str):
        return min(_find_date(stamps, border), end)
    size = round(border * rows) if isinstance(border, float) else border
    return max(0, end - size)


def _find_date(stamps: pd.DatetimeIndex, date: str) -> int:
    import pandas as pd

    moment = pd.Timestamp(date)
    if stamps.tz is not None:  # A local time that a clock change skips means the next moment, a repeated one the first.
        moment = moment.tz_localize(stamps.tz, nonexistent="shift_forward", ambiguous=True)
    return int(stamps.searchsorted(moment))
