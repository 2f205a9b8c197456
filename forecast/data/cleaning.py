"""Repair rows by explicit policies of the config, and record what was done to which rows.

All functions take and return sorted `Rows` (by series, then time), and add to `record` what they changed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from pydantic import Field

from forecast.config import DataConfig
from forecast.data.freq import estimate_steps_between, make_ticks
from forecast.data.rows import Rows, join_rows
from forecast.documents import Document
from forecast.errors import DataError, first_few, format_count

TRIM_SERIES = (
    "If a series ends before its known covariates, remove the rows after its last measured value, and pass their known covariates"
    " with `predict --future`."
)
ADDED = 0  # The number of a row that is not in the file.
MAX_RANGES = 1000  # Filled ranges that a record names; their count is always exact.


class FilledRange(Document, validate_by_name=True, serialize_by_alias=True):
    """A gap of a column that was filled, from its first to its last timestamp."""

    column: str
    series: str | None = None  # Runs of earlier versions lack it.
    begin: str = Field(alias="from")
    end: str = Field(alias="to")
    steps: int


class Repair(Document, validate_by_name=True, serialize_by_alias=True):
    """A repair of rows or cells. first: examples. longest: steps of the longest gap. ranges: the first gaps that were filled."""

    kind: str = Field(alias="what")
    policy: str | None = None
    rows: int | None = None
    cells: int | None = None
    longest: int | None = None
    first: list[str] = []
    ranges: list[FilledRange] = []


Record = list[Repair]


def describe_repairs(record: Record) -> list[str]:
    """Return a sentence for each repair.

    >>> describe_repairs([Repair(kind="missing values", policy="forward", cells=3), Repair(kind="sorted", rows=9)])
    ['missing values: 3 (forward)', 'sorted: 9']
    """
    added = any(repair.kind == "missing timestamps" for repair in record)
    kinds = {"missing values": "missing values, those of the added rows included"} if added else {}
    return [
        f"{kinds.get(repair.kind, repair.kind)}: {repair.cells or repair.rows}" + (f" ({repair.policy})" if repair.policy else "")
        for repair in record
    ]


def sort_rows(rows: Rows, record: Record) -> Rows:
    """Sort by series, then time; rows with equal timestamps keep their order."""
    stamps, series = rows.timestamps.asi8, rows.series
    late = (series[1:] == series[:-1]) & (stamps[1:] < stamps[:-1])
    if not late.any() and (series[1:] >= series[:-1]).all():
        return rows
    order = np.lexsort((stamps, series))
    if ((series[order][1:] == series[order][:-1]) & (order[1:] < order[:-1])).any():
        record.append(Repair(kind="sorted", rows=len(rows)))
    return rows[order]


def split_off_future(rows: Rows, config: DataConfig, record: Record) -> tuple[Rows, Rows]:
    """Split the rows into those up to the last measured row of all series, and later ones, which hold known covariates only."""
    if not config.known_covariates:
        return rows, rows[:0]
    measured = np.isfinite(rows.values[:, : -len(config.known_covariates)]).any(axis=1)
    stamps = rows.timestamps.asi8
    last = stamps[measured].max() if measured.any() else stamps.max()
    future = (stamps > last) & np.isfinite(rows.values).any(axis=1)
    if not future.any():
        return rows, rows[:0]
    examples = _name_rows(rows, np.flatnonzero(future))
    record.append(Repair(kind="future rows with known covariates only", rows=int(future.sum()), first=examples))
    return rows[~future], rows[future]


def merge_duplicates(rows: Rows, config: DataConfig, source: str, record: Record) -> Rows:
    """Merge rows of a series with the same timestamp by `data.duplicates`.

    Raises:
        DataError: the policy is error.
    """
    repeats = np.zeros(len(rows), dtype=bool)
    stamps, series = rows.timestamps.asi8, rows.series
    repeats[1:] = (series[1:] == series[:-1]) & (stamps[1:] == stamps[:-1])
    if not repeats.any():
        return rows
    count, policy = int(repeats.sum()), config.duplicates
    examples = _name_rows(rows, np.flatnonzero(repeats))
    if policy == "error":
        several = "" if config.series_id else " If the file holds several series, name the column of their ids in data.series_id."
        raise DataError(
            f"the file has {format_count(count, 'repeated timestamp')}: {first_few(examples, total=count)}.",
            f"Remove these rows, or set data.duplicates to first, last, mean or sum.{several}",
            f"{source}:{rows.row_numbers[np.argmax(repeats)]}",
        )
    record.append(Repair(kind="duplicates", policy=policy, rows=count, first=examples))
    groups = pd.DataFrame(rows.values).groupby(np.cumsum(~repeats))
    if policy in ("first", "last"):
        values = groups.nth(0 if policy == "first" else -1)  # With its empty cells, which `groups.first()` would fill.
    else:
        values = groups.mean() if policy == "mean" else groups.sum(min_count=1)
    return replace(rows[~repeats], values=values.to_numpy())


def fill_timestamps(rows: Rows, freq: str, config: DataConfig, record: Record) -> Rows:
    """Add a row without values for every tick that is missing between the first and the last row of its series."""
    if config.missing_timestamps == "error":
        return rows
    pieces: list[Rows] = []
    added: list[tuple[pd.Timestamp, str]] = []
    for series, span in enumerate(rows.spans()):
        piece = rows[span]
        first, last = piece.timestamps[0], piece.timestamps[-1]
        pieces.append(piece)
        if estimate_steps_between(first, last, freq) > 100 * len(piece) + 100:  # The freq is far too short.
            continue
        ticks = make_ticks(first, freq, last)
        missing = ~ticks.isin(piece.timestamps)
        if missing.any() and (~missing).sum() == len(piece):  # `check_spacing` refuses rows that lie between ticks.
            previous = np.cumsum(~missing) - 1
            values = np.where(missing[:, None], np.nan, piece.values[previous])
            numbers = np.where(missing, ADDED, piece.row_numbers[previous])
            pieces[-1] = replace(piece[previous], row_numbers=numbers, timestamps=ticks, values=values)
            added += [(tick, rows.series_ids[series]) for tick in ticks[missing]]
    if added:
        policy, several = config.missing_timestamps, len(rows.series_ids) > 1
        examples = [f"{tick} of '{name}'" if several else str(tick) for tick, name in sorted(added)[:3]]
        record.append(Repair(kind="missing timestamps", policy=policy, rows=len(added), first=examples))
    return join_rows(pieces)


def fill_values(
    rows: Rows, config: DataConfig, max_gap: int, season_length: int, source: str, record: Record
) -> tuple[Rows, np.ndarray]:
    """Fill empty cells by `data.missing_values`, and return which cells were filled, `(rows, columns)`.

    Rows at the start of a series without a value are left out, since no earlier value tells what to fill in.
    max_gap, season_length: in steps.

    Raises:
        DataError: the policy is error, a gap is longer than `max_gap`, or a gap ends the series where the policy cannot fill it.
    """
    empty = np.isnan(rows.values)
    if not empty.any():
        return rows, empty
    for column in np.flatnonzero(empty.all(axis=0)):
        raise DataError(f"`{config.values[column]}` has no values.", "Choose another column.", source)
    if config.missing_values == "error":
        refuse_empty_cells(rows, empty, config, source)
    keep = np.ones(len(rows), dtype=bool)
    values = rows.values.copy()
    ranges: list[FilledRange] = []
    for series, span in enumerate(rows.spans()):
        for column in np.flatnonzero(empty[span].any(axis=0)):
            name, measured = config.values[column], np.flatnonzero(~empty[span, column])
            if len(measured) == 0:
                problem = f"`{name}` has no values in series '{rows.series_ids[series]}'."
                raise DataError(problem, "Remove the series.", f"{source}:{rows.row_numbers[span.start]}")
            present = slice(span.start + int(measured[0]), span.stop)
            keep[span.start : present.start] = False
            gaps = _find_gaps(empty[present, column])
            _check_gaps(gaps, rows[present], name, config, max_gap, source)
            values[present, column] = _fill(values[present, column], config.missing_values, season_length)
            stamps = rows.timestamps[present]
            labels = {"column": name, "series": rows.series_ids[series]}
            ranges += [FilledRange(**labels, begin=str(stamps[a]), end=str(stamps[b - 1]), steps=b - a) for a, b in gaps]
    if not keep.all():
        record.append(Repair(kind="rows before the first value, left out", rows=int((~keep).sum())))
    if ranges:
        steps, policy = [gap.steps for gap in ranges], config.missing_values
        first = ranges[:MAX_RANGES]
        record.append(Repair(kind="missing values", policy=policy, cells=sum(steps), longest=max(steps), ranges=first))
    return replace(rows[keep], values=values[keep]), empty[keep]


def _fill(values: np.ndarray, policy: str, season_length: int) -> np.ndarray:
    is_flag = set(np.unique(values[~np.isnan(values)])) <= {0, 1}  # Half a promotion is none.
    if policy == "interpolate" and not is_flag:
        return np.asarray(pd.Series(values).interpolate())
    if policy in ("forward", "interpolate"):
        return np.asarray(pd.Series(values).ffill())
    filled = values.copy()
    for row in np.flatnonzero(np.isnan(filled)):  # The value a season before may itself have been filled.
        filled[row] = filled[row - season_length] if row >= season_length else filled[row - 1]
    return filled


def refuse_empty_cells(rows: Rows, empty: np.ndarray, config: DataConfig, source: str) -> None:
    """Raise a `DataError` that names the first empty cells of a column; empty: `(rows, columns)`."""
    column = int(np.flatnonzero(empty.any(axis=0))[0])
    bad = np.flatnonzero(empty[:, column])
    bad = bad[np.argsort(rows.row_numbers[bad] == ADDED, kind="stable")]
    remedy = "Fill these cells, or set data.missing_values to interpolate, forward or season."
    examples = first_few(_name_rows(rows, bad), total=len(bad))
    raise DataError(
        f"`{config.values[column]}` is empty in {len(bad)} of {format_count(len(rows), 'row')}: {examples}.",
        f"{remedy} {TRIM_SERIES}" if config.known_covariates else remedy,
        source if rows.row_numbers[bad[0]] == ADDED else f"{source}:{rows.row_numbers[bad[0]]}",
    )


def _name_rows(rows: Rows, chosen: np.ndarray) -> list[str]:
    """Return the number and the timestamp of the first three of some rows."""
    names = {number: f"row {number}" for number in rows.row_numbers[chosen[:3]]} | {ADDED: "an added row"}
    return [f"{names[rows.row_numbers[row]]} ({rows.timestamps[row]})" for row in chosen[:3]]


def _find_gaps(empty: np.ndarray) -> list[tuple[int, int]]:
    """Return the first row and the end row (exclusive) of each run of empty cells.

    >>> _find_gaps(np.array([False, True, True, False, True]))
    [(1, 3), (4, 5)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], empty, [False]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _check_gaps(gaps: list[tuple[int, int]], rows: Rows, name: str, config: DataConfig, max_gap: int, source: str) -> None:
    """Refuse gaps of a column that are longer than `max_gap`, or that interpolation cannot fill."""
    too_long = [(a, b) for a, b in gaps if b - a > max_gap]
    ends_empty = bool(gaps) and gaps[-1][1] == len(rows)
    if too_long:
        examples = [f"{rows.timestamps[a]} ({format_count(b - a, 'step')})" for a, b in too_long]
        longest, count = max(b - a for a, b in too_long), format_count(len(too_long), "gap")
        remedy = f"Use a period of the data without these gaps, or set data.max_gap: {longest} to fill them."
        raise DataError(
            f"`{name}` has {count} longer than the data.max_gap of {max_gap} steps: {first_few(examples)}.",
            f"{remedy} {TRIM_SERIES}" if config.known_covariates else remedy,
            f"{source}:{rows.row_numbers[too_long[0][0]]}",
        )
    if config.missing_values == "interpolate" and ends_empty:
        begin, end = gaps[-1]
        raise DataError(
            f"`{name}` ends with {format_count(end - begin, 'empty row')}, which cannot be interpolated without a later value.",
            TRIM_SERIES if config.known_covariates else "Remove these rows, or set data.missing_values to forward or season.",
            f"{source}:{rows.row_numbers[begin]}",
        )
