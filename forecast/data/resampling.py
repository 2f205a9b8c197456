"""Resample rows at any times to one row per step (`data.resample`), on the same grid of steps for all files and series."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset

from forecast.config import DataConfig, fixed_step
from forecast.data.cleaning import Record, Repair, refuse_empty_cells
from forecast.data.freq import check_freq, from_wall_clock, has_fixed_length, to_wall_clock
from forecast.data.rows import Rows
from forecast.errors import DataError

if TYPE_CHECKING:
    from pandas.tseries.offsets import BaseOffset

ORIGIN = "2000-01-03 00:00:00"  # A local time at which a step begins. It is a Monday, so that steps of 7D are weeks.
END_LABELLED = {"ME", "YE", "QE", "BME", "BYE", "BQE", "W"}  # Freqs whose ticks are the last day of their step, as in pandas.
MAX_USUAL_GAP = 1.25  # In medians of the gaps between rows. Months are 28 to 31 days apart.
USUAL_SHARE = 0.9  # Share of the inner steps of a series that decide how close rows usually come to the border of a step.


class _Steps(NamedTuple):
    """The step of each row: its label, and when it begins (inclusive) and ends (exclusive) by the same clock as `clock`."""

    labels: pd.DatetimeIndex
    clock: pd.DatetimeIndex
    begins: pd.DatetimeIndex
    ends: pd.DatetimeIndex


def resample(rows: Rows, config: DataConfig, source: str, record: Record, keep_partial: bool = False) -> Rows:
    """Return one row per step of `data.resample.freq`, by its `how`; a step without rows is left out.

    keep_partial: whether the first and the last step of a series stay where rows cover only a part of them.

    Raises:
        DataError: cells are empty and no policy says what to do, the freq does not suit the rows, or no step is whole.
    """
    if config.resample is None:
        return rows
    freq, how = config.resample.freq, config.resample.how
    check_freq(freq, "data.resample.freq", source)
    empty = np.isnan(rows.values)
    if empty.any():
        if config.missing_values == "error":  # The empty cells would vanish in the sum or mean of their step.
            refuse_empty_cells(rows, empty, config, source)
        record.append(Repair(kind="empty cells left out of their step", rows=int(empty.any(axis=1).sum())))
    steps = _make_steps(rows.timestamps, freq)
    new = np.ones(len(rows), dtype=bool)
    new[1:] = (rows.series[1:] != rows.series[:-1]) | (steps.begins[1:] != steps.begins[:-1])
    first = np.flatnonzero(new)
    first = first[_select_whole_steps(rows, steps, first, source, record, keep_partial)]
    numbers = np.cumsum(new) - 1  # The step of each row: (rows,)
    groups = pd.DataFrame(rows.values).groupby(numbers)
    values = groups.sum(min_count=1) if how == "sum" else getattr(groups, how)()
    record.append(Repair(kind="resampled", policy=f"{how} per {freq}", rows=len(rows)))
    values = values.to_numpy(np.float64)[numbers[first]]
    return Rows(rows.row_numbers[first], rows.series[first], rows.series_ids, steps.labels[first], values)


def _select_whole_steps(
    rows: Rows, steps: _Steps, first: np.ndarray, source: str, record: Record, keep_partial: bool
) -> np.ndarray:
    """Return which steps to keep, `(steps,)`, and record those at the ends of a series that rows cover in part.

    first: the first row of each step.
    """
    keep = np.ones(len(first), dtype=bool)
    borders = np.append(first, len(rows))
    gaps = (steps.clock[1:] - steps.clock[:-1]).total_seconds().to_numpy()
    leads = (steps.clock[first] - steps.begins[first]).total_seconds().to_numpy()
    tails = (steps.ends[first] - steps.clock[borders[1:] - 1]).total_seconds().to_numpy()
    partial: dict[str, list[int]] = {"first": [], "last": []}
    for begin, end in pairwise(np.searchsorted(first, rows.offsets)):  # The steps of one series.
        edges = _find_partial_edges(gaps[borders[begin] : borders[end] - 1], leads[begin:end], tails[begin:end])
        for edge, step, is_partial in zip(partial, (begin, end - 1), edges, strict=True):
            if is_partial:
                partial[edge].append(step)
                keep[step] = keep_partial
        if not keep[begin:end].any():
            problem = f"series '{rows.series_ids[rows.series[borders[begin]]]}' does not cover a whole step."
            problem += f" Its rows range from {rows.timestamps[borders[begin]]} to {rows.timestamps[borders[end] - 1]}."
            raise DataError(problem, "Provide rows that cover whole steps, or use a shorter data.resample.freq.", source)
    for edge, numbers in partial.items():
        if numbers:
            examples = [f"'{rows.series_ids[rows.series[first[step]]]}' at {steps.labels[first[step]]}" for step in numbers[:3]]
            count = int(np.diff(borders)[numbers].sum())
            ending = "" if keep_partial else ", left out"
            record.append(Repair(kind=f"rows of a partial {edge} step{ending}", rows=count, first=examples))
    return keep


def _find_partial_edges(gaps: np.ndarray, leads: np.ndarray, tails: np.ndarray) -> tuple[bool, bool]:
    """Return whether rows cover only a part of the first, and of the last, step of a series.

    The rows decide how close to the border of a step its first and its last row usually lie. A step at an edge of the series is
    partial if one more row of the usual spacing would fit in between, and rows come closer in nine of ten inner steps. The nights
    without trade of hourly prices, or the weekends of daily prices, therefore make no step partial.

        |  1  2  3  4 |  1  2  3  4 |  1  2         the last step is partial
        |             |          <->|     <-tail->|

    gaps: `(rows - 1,)`, between successive rows; leads, tails: `(steps,)`, from the begin of each step to its first row, and from
    its last row to its end; all in seconds.
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


def _make_steps(stamps: pd.DatetimeIndex, freq: str) -> _Steps:
    """Return the steps of timestamps, counted from `ORIGIN`. Days and longer steps are those of the local calendar."""
    offset, zone = to_offset(freq), stamps.tz
    fixed = has_fixed_length(offset)
    clock = stamps if fixed else to_wall_clock(stamps)
    if step := fixed_step(offset):
        origin = from_wall_clock(pd.DatetimeIndex([ORIGIN]), zone if fixed else None)[0]
        begins = origin + (clock - origin) // step * step
        return _Steps(begins if fixed else from_wall_clock(begins, zone), clock, begins, begins + step)
    ticks = _make_calendar_ticks(clock.min(), clock.max(), offset)
    is_labelled_by_end = str(offset.rule_code).partition("-")[0] in END_LABELLED
    bounds = ticks + pd.Timedelta(days=1) if is_labelled_by_end else ticks
    positions = bounds.searchsorted(clock, side="right") - 1
    labels = from_wall_clock(ticks[positions + is_labelled_by_end], zone)
    return _Steps(labels, clock, bounds[positions], bounds[positions + 1])


def _make_calendar_ticks(first: pd.Timestamp, last: pd.Timestamp, offset: BaseOffset) -> pd.DatetimeIndex:
    """Return the ticks of a freq of the calendar such as MS or 2W, from before `first` to after `last`.

    For a freq of several months, weeks and so on, every n-th of them is a tick, counted from the first at or after `ORIGIN`.
    """
    begin, end = offset.rollback(first.normalize()) - offset, offset.rollforward(last.normalize()) + offset
    if offset.n == 1:
        return pd.date_range(begin, end + offset, freq=offset)
    anchor = offset.base.rollforward(pd.Timestamp(ORIGIN))
    ticks = pd.date_range(min(begin - offset, anchor), max(end + offset, anchor), freq=offset.base)
    numbers = np.arange(len(ticks)) - int(ticks.searchsorted(anchor))
    return pd.DatetimeIndex(ticks[numbers % offset.n == 0])
