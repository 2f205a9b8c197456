"""Resample rows at any times to one row per step (`data.resample`), on the same grid of steps for all files and series."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from forecast.config import DataConfig, fixed_step, to_offset
from forecast.data.cleaning import Record, Repair, refuse_empty_cells
from forecast.data.freq import (
    check_freq,
    estimate_steps_between,
    from_wall_clock,
    has_fixed_length,
    to_wall_clock,
)
from forecast.data.rows import Rows
from forecast.errors import DataError

if TYPE_CHECKING:
    from pandas.tseries.offsets import BaseOffset

ORIGIN = "2000-01-03 00:00:00"  # A Monday, so that steps of 7D are weeks.
END_LABELLED = {"ME", "YE", "QE", "BME", "BYE", "BQE", "W"}  # Freqs whose ticks are the last day of their step, as in pandas.
MAX_USUAL_GAP = 1.25  # In medians of the gaps between rows. Months are 28 to 31 days apart.
USUAL_SHARE = 0.9  # Share of the inner steps of a series that decide how close rows usually come to the border of a step.


@dataclass(frozen=True)
class Grid:
    """The steps of `data.resample`: where they begin, and what happens to steps that rows cover in part.

    origin: a local time at which a step begins. None: each series has its own grid, which begins on the day of its first row; so
        it was in runs whose contract has no `resample_origin`.
    keep_partial: whether the first and the last step of a series stay where rows cover only a part of them.
    """

    origin: str | None = ORIGIN
    keep_partial: bool = False

    @classmethod
    def from_origin(cls, origin: str | None) -> Grid:
        """Return the grid of a contract's `resample_origin`."""
        return cls(origin, keep_partial=origin is None)


FIXED_GRID = Grid()


class _Steps(NamedTuple):
    """The step of each row: its label, and when it begins (inclusive) and ends (exclusive) by the same clock as `clock`."""

    labels: pd.DatetimeIndex
    clock: pd.DatetimeIndex
    begins: pd.DatetimeIndex
    ends: pd.DatetimeIndex


def resample(rows: Rows, config: DataConfig, source: str, record: Record, grid: Grid) -> Rows:
    """Return one row per step of `data.resample.freq`, by its `how`; a step without rows is left out.

    Raises:
        DataError: cells are empty and no policy says what to do, the freq does not suit the rows, or no step is whole.
    """
    if config.resample is None:
        return rows
    freq, how = config.resample.freq, config.resample.how
    check_freq(freq, "data.resample.freq", source)
    empty = np.isnan(rows.values)
    if empty.any() and config.missing_values == "error":  # The empty cells would vanish in the sum or mean of their step.
        refuse_empty_cells(rows, empty, config, source)
    if empty.any():
        record.append(Repair(what="empty cells left out of their step", rows=int(empty.any(axis=1).sum())))
    for series, span in enumerate(rows.spans()):
        _check_freq_suits(rows[span], rows.series_ids[series], freq, source)
    steps = _steps_of_series(rows, freq) if grid.origin is None else _steps(rows.timestamps, freq, grid.origin)
    count = len(rows)
    new = np.ones(count, dtype=bool)
    new[1:] = (rows.series[1:] != rows.series[:-1]) | (steps.begins[1:] != steps.begins[:-1])
    first = np.flatnonzero(new)
    first = first[_select_whole_steps(rows, steps, first, source, record, grid)]
    numbers = np.cumsum(new) - 1  # The step of each row: (rows,)
    groups = pd.DataFrame(rows.values).groupby(numbers)
    values = groups.sum(min_count=1) if how == "sum" else getattr(groups, how)()
    record.append(Repair(what="resampled", policy=f"{how} per {freq}", rows=count))
    values = values.to_numpy(np.float64)[numbers[first]]
    return Rows(rows.row_numbers[first], rows.series[first], rows.series_ids, steps.labels[first], values)


def _check_freq_suits(rows: Rows, series_id: str, freq: str, source: str) -> None:
    steps = estimate_steps_between(rows.timestamps[0], rows.timestamps[-1], freq)
    if steps > 1000 * len(rows) + 1000:
        raise DataError(
            f"data.resample.freq {freq} spreads {len(rows)} rows of series '{series_id}' over {steps:.2g} steps.",
            "Use a longer freq, at least as long as the spacing of the rows.",
            source,
        )


def _select_whole_steps(rows: Rows, steps: _Steps, first: np.ndarray, source: str, record: Record, grid: Grid) -> np.ndarray:
    """Return which steps to keep, `(steps,)`, and record those at the ends of a series that rows cover in part.

    first: the first row of each step.
    """
    keep = np.ones(len(first), dtype=bool)
    borders = np.append(first, len(rows))
    gaps = _nanoseconds(steps.clock[1:] - steps.clock[:-1])
    leads = _nanoseconds(steps.clock[first] - steps.begins[first])
    tails = _nanoseconds(steps.ends[first] - steps.clock[borders[1:] - 1])
    partial: dict[str, list[int]] = {"first": [], "last": []}
    for begin, end in pairwise(np.searchsorted(first, rows.offsets)):  # The steps of one series.
        edges = _partial_edges(gaps[borders[begin] : borders[end] - 1], leads[begin:end], tails[begin:end])
        for edge, step, is_partial in zip(partial, (begin, end - 1), edges, strict=True):
            if is_partial:
                partial[edge].append(step)
                keep[step] = grid.keep_partial
        if not keep[begin:end].any():
            found = f"series '{rows.series_ids[rows.series[borders[begin]]]}' does not cover a whole step."
            found += f" Its rows range from {rows.timestamps[borders[begin]]} to {rows.timestamps[borders[end] - 1]}."
            raise DataError(found, "Provide rows of whole steps, or use a shorter data.resample.freq.", source)
    for edge, numbers in partial.items():
        if numbers:
            examples = [f"'{rows.series_ids[rows.series[first[step]]]}' at {steps.labels[first[step]]}" for step in numbers[:3]]
            count = sum(int(borders[step + 1] - borders[step]) for step in numbers)
            ending = "" if grid.keep_partial else ", left out"
            record.append(Repair(what=f"rows of a partial {edge} step{ending}", rows=count, first=examples))
    return keep


def _partial_edges(gaps: np.ndarray, leads: np.ndarray, tails: np.ndarray) -> tuple[bool, bool]:
    """Return whether rows cover only a part of the first, and of the last, step of a series.

    The rows decide how close to the border of a step its first and its last row usually lie. A step at an edge of the series is
    partial if one more row of the usual spacing would fit in between, and rows come closer in nine of ten inner steps. The nights
    without trade of hourly prices, or the weekends of daily prices, therefore make no step partial.

        |  1  2  3  4 |  1  2  3  4 |  1  2         the last step is partial
        |             |          <->|     <-tail->|

    gaps: `(rows - 1,)`, between successive rows; leads, tails: `(steps,)`, from the begin of each step to its first row, and from
    its last row to its end; all in the same unit.
    """
    if len(gaps) + 1 == len(leads):  # Each step has one row.
        return False, False
    spacing = gaps[gaps <= MAX_USUAL_GAP * np.median(gaps)].max()
    usual_lead, usual_tail = (
        np.quantile(inner, USUAL_SHARE, method="higher") if len(inner) else 0 for inner in (leads[1:-1], tails[1:-1])
    )
    is_first_partial = leads[0] >= spacing and leads[0] > usual_lead
    is_last_partial = tails[-1] > spacing and tails[-1] > usual_tail
    return bool(is_first_partial), bool(is_last_partial)


def _nanoseconds(lengths: pd.TimedeltaIndex) -> np.ndarray:
    return lengths.as_unit("ns").asi8


def _steps(stamps: pd.DatetimeIndex, freq: str, origin: str | pd.Timestamp) -> _Steps:
    """Return the steps of timestamps, counted from an origin. Days and longer steps are those of the local calendar."""
    offset, zone = to_offset(freq), stamps.tz
    fixed = has_fixed_length(offset)
    clock = stamps if fixed else to_wall_clock(stamps)
    if step := fixed_step(offset):
        start = pd.Timestamp(origin)
        start = from_wall_clock(pd.DatetimeIndex([start]), zone)[0] if fixed else start
        begins = start + (clock - start) // step * step
        return _Steps(begins if fixed else from_wall_clock(begins, zone), clock, begins, begins + step)
    ticks = _calendar_ticks(clock.min(), clock.max(), offset, origin)
    by_end = _labelled_by_end(offset)
    bounds = ticks + pd.Timedelta(days=1) if by_end else ticks
    positions = bounds.searchsorted(clock, side="right") - 1
    labels = from_wall_clock(ticks[positions + 1] if by_end else ticks[positions], zone)
    return _Steps(labels, clock, bounds[positions], bounds[positions + 1])


def _calendar_ticks(first: pd.Timestamp, last: pd.Timestamp, offset: BaseOffset, origin: str | pd.Timestamp) -> pd.DatetimeIndex:
    """Return the ticks of a freq of the calendar such as MS or 2W, from before `first` to after `last`.

    For a freq of several months, weeks and so on, every n-th of them is a tick, counted from the first at or after the origin.
    """
    begin, end = offset.rollback(first.normalize()) - offset, offset.rollforward(last.normalize()) + offset
    if offset.n == 1:
        return pd.date_range(begin, end + offset, freq=offset)
    anchor = offset.base.rollforward(pd.Timestamp(origin))
    ticks = pd.date_range(min(begin - offset, anchor), max(end + offset, anchor), freq=offset.base)
    numbers = np.arange(len(ticks)) - int(ticks.searchsorted(anchor))
    return pd.DatetimeIndex(ticks[numbers % offset.n == 0])


def _steps_of_series(rows: Rows, freq: str) -> _Steps:
    """Return the steps of rows where each series has its own grid."""
    series = [rows.timestamps[span] for span in rows.spans()]
    pieces = [_steps(stamps, freq, _series_origin(stamps[0], to_offset(freq))) for stamps in series]
    return _Steps(*(pd.DatetimeIndex(parts[0].append(list(parts[1:]))) for parts in zip(*pieces, strict=True)))


def _series_origin(first: pd.Timestamp, offset: BaseOffset) -> pd.Timestamp:
    """Return where `pandas.Series.resample` lets the steps of a series begin whose first row is at `first`."""
    day = to_wall_clock(pd.DatetimeIndex([first]))[0].normalize()
    if has_fixed_length(offset) or isinstance(offset, pd.offsets.Day):
        return day
    return day - offset if _labelled_by_end(offset) else offset.rollback(day)


def _labelled_by_end(offset: BaseOffset) -> bool:
    return str(offset.rule_code).partition("-")[0] in END_LABELLED
