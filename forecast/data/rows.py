"""Rows of any number of series, as a file holds them, and what is static in each series."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class StaticCovariates:
    """Values that stay the same in all rows of a series.

    numbers: `(series, static covariates)` float64 in the units of the file.
    categories: `(series, static categories)` of text.
    """

    numbers: np.ndarray
    categories: np.ndarray

    @classmethod
    def empty(cls, series: int) -> StaticCovariates:
        """Return the static covariates of series that have none."""
        return cls(np.zeros((series, 0)), np.zeros((series, 0), dtype=object))

    def __getitem__(self, chosen: np.ndarray) -> StaticCovariates:
        return StaticCovariates(self.numbers[chosen], self.categories[chosen])


@dataclass(frozen=True)
class Rows:
    """Rows of any number of series, in any order.

    row_numbers: `(rows,)`, the row in the file; series: `(rows,)`, index into `series_ids`.
    values: `(rows, columns)` of targets, past covariates and known covariates; NaN where a cell is empty.
    """

    row_numbers: np.ndarray
    series: np.ndarray
    series_ids: list[str]
    timestamps: pd.DatetimeIndex
    values: np.ndarray

    def __getitem__(self, chosen: np.ndarray | slice) -> Rows:
        return Rows(self.row_numbers[chosen], self.series[chosen], self.series_ids, self.timestamps[chosen], self.values[chosen])

    def __len__(self) -> int:
        return len(self.row_numbers)

    @property
    def offsets(self) -> np.ndarray:
        """The first row of each series, and the end of the last, in sorted rows: `(series + 1,)`."""
        return np.concatenate([[0], np.cumsum(np.bincount(self.series, minlength=len(self.series_ids)))])

    def spans(self) -> list[slice]:
        """Return the rows of each series, in sorted rows."""
        return [slice(int(begin), int(end)) for begin, end in pairwise(self.offsets)]


def join_rows(pieces: list[Rows]) -> Rows:
    """Join pieces of rows that index the same series."""
    return Rows(
        np.concatenate([piece.row_numbers for piece in pieces]),
        np.concatenate([piece.series for piece in pieces]),
        pieces[0].series_ids,
        pd.DatetimeIndex(pieces[0].timestamps.append([piece.timestamps for piece in pieces[1:]])),
        np.concatenate([piece.values for piece in pieces]),
    )


def number_series_by_id(rows: Rows) -> Rows:
    """Number the series in the order of their ids without the blanks around them, whatever form the file has."""
    names, numbers = np.unique([series_id.strip() for series_id in rows.series_ids], return_inverse=True)
    return replace(rows, series=numbers.astype(np.int32)[rows.series], series_ids=names.tolist())
