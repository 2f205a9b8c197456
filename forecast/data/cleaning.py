"""Repair rows, each by an explicit policy of the config, and record what was done to which rows.

All functions take and return sorted `Rows` (by series, then time), and add to `record` what they changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
from pydantic import Field

from forecast.config import DataConfig
from forecast.data.freq import estimate_steps_between, make_ticks
from forecast.data.rows import Rows, join_rows
from forecast.documents import Document
from forecast.errors import DataError, first_few, format_count

TRIM_SERIES = "Remove the rows after each series' last measured value. Pass their known covariates with `predict --future`."
MAX_RANGES = 1000  # Filled ranges that a record names; their count is always exact.


class FilledRange(Document, validate_by_name=True, serialize_by_alias=True):
    """A gap of a column that was filled, from its first to its last timestamp."""

    column: str
    begin: str = Field(alias="from")
    end: str = Field(alias="to")
    steps: int


class Repair(Document):
    """A repair of rows or cells. first: examples. longest: steps of the longest gap. ranges: the first gaps that were filled."""

    what: str
    policy: str | None = None
    rows: int | None = None
    cells: int | None = None
    longest: int | None = None
    first: list[str] = []
    ranges: list[FilledRange] = []


Record = list[Repair]


def describe_repairs(record: Record) -> list[str]:
    """Return a sentence for each repair.

    >>> describe_repairs([Repair(what="missing values", policy="forward", cells=3), Repair(what="sorted", rows=9)])
    ['missing values: 3 (forward)', 'sorted: 9']
    """
    policies = [f" ({repair.policy})" if repair.policy else "" for repair in record]
    return [f"{repair.what}: {repair.cells or repair.rows}{policy}" for repair, policy in zip(record, policies, strict=True)]


def sort_rows(rows: Rows, record: Record) -> Rows:
    """Sort by series, then time; rows with equal timestamps keep their order."""
    stamps, series = rows.timestamps.asi8, rows.series
    late = (series[1:] == series[:-1]) & (stamps[1:] < stamps[:-1])
    if not late.any() and (series[1:] >= series[:-1]).all():
        return rows
    order = np.lexsort((stamps, series))
    if ((series[order][1:] == series[order][:-1]) & (order[1:] < order[:-1])).any():
        record.append(Repair(what="sorted", rows=len(rows)))
    return rows[order]


def split_off_future(rows: Rows, config: DataConfig, record: Record) -> tuple[Rows, Rows]:
    """Split the rows into those up to the last measured row of all series, and later ones, which hold known covariates only."""
    no_rows = rows[:0]
    if not config.known_covariates:
        return rows, no_rows
    measured = np.isfinite(rows.values[:, : len(config.target) + len(config.past_covariates)]).any(axis=1)
    stamps = rows.timestamps.asi8
    last = stamps[measured].max() if measured.any() else stamps.max()
    future = (stamps > last) & np.isfinite(rows.values).any(axis=1)
    if not future.any():
        return rows, no_rows
    examples = _name_rows(rows, np.flatnonzero(future))
    record.append(Repair(what="future rows with known covariates only", rows=int(future.sum()), first=examples))
    return rows[~future], rows[future]


def check_series_ends(rows: Rows, config: DataConfig, source: str) -> None:
    """Refuse series that are no longer measured while their known covariates go on, unless a policy can fill the rest.

    Raises:
        DataError: `data.missing_values` is error or interpolate.
    """
    if not config.known_covariates or config.missing_values not in ("error", "interpolate"):
        return
    present, unknown = np.isfinite(rows.values), len(config.target) + len(config.past_covariates)
    has_measured, has_known = present[:, :unknown].any(axis=1), present[:, unknown:].any(axis=1)
    examples, first_rows, count = [], [], 0
    for series, span in enumerate(rows.spans()):
        measured = np.flatnonzero(has_measured[span])
        if len(measured) and has_known[span.start + measured[-1] + 1 : span.stop].any():
            last = span.start + int(measured[-1])
            examples.append(f"'{rows.series_ids[series]}' ends at {rows.timestamps[last]}")
            first_rows.append(rows.row_numbers[last + 1])
            count += span.stop - last - 1
    if examples:
        found = f"some series have rows after their last measured value ({format_count(count, 'row')}): {first_few(examples)}."
        raise DataError(found, TRIM_SERIES, f"{source}:{first_rows[0]}")


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
    count = int(repeats.sum())
    examples = _name_rows(rows, np.flatnonzero(repeats))
    if config.duplicates == "error":
        several = "" if config.series_id else " If the file holds several series, name the column of their ids in data.series_id."
        raise DataError(
            f"the file has {format_count(count, 'repeated timestamp')}: {first_few(examples, total=count)}.",
            f"Remove these rows, or set data.duplicates to first, last, mean or sum.{several}",
            f"{source}:{rows.row_numbers[np.argmax(repeats)]}",
        )
    groups = pd.DataFrame(rows.values).groupby(np.cumsum(~repeats) - 1)
    merge: dict[str, Callable[[], np.ndarray]] = {
        "first": lambda: rows.values[~repeats],
        "last": lambda: rows.values[np.append(~repeats[1:], True)],
        "mean": lambda: np.asarray(groups.mean()),
        "sum": lambda: np.asarray(groups.sum(min_count=1)),
    }
    record.append(Repair(what="duplicates", policy=config.duplicates, rows=count, first=examples))
    return replace(rows[~repeats], values=merge[config.duplicates]())


def fill_timestamps(rows: Rows, freq: str, config: DataConfig, record: Record) -> Rows:
    """Add a row without values for every tick that is missing between the first and the last row of its series."""
    if config.missing_timestamps == "error":
        return rows
    pieces, added = [], []
    for series, span in enumerate(rows.spans()):
        piece = rows[span]
        ticks = _make_ticks_between(piece, freq)
        positions = ticks.get_indexer(piece.timestamps)
        if len(ticks) == len(piece) or (positions < 0).any():  # `check_spacing` refuses rows that lie between ticks.
            pieces.append(piece)
            continue
        values = np.full((len(ticks), rows.values.shape[1]), np.nan)
        values[positions] = piece.values
        previous = np.searchsorted(positions, np.arange(len(ticks)), side="right") - 1  # Lends an added row its number.
        pieces.append(Rows(piece.row_numbers[previous], np.full(len(ticks), series), rows.series_ids, ticks, values))
        missing = np.setdiff1d(np.arange(len(ticks)), positions)
        added += [str(ticks[row]) for row in missing]
    if added:
        policy = config.missing_timestamps
        record.append(Repair(what="missing timestamps", policy=policy, rows=len(added), first=added[:3]))
    return join_rows(pieces)


def _make_ticks_between(rows: Rows, freq: str) -> pd.DatetimeIndex:
    """Return every tick from the first to the last row of a series; the rows' own timestamps if the freq is far too short."""
    if estimate_steps_between(rows.timestamps[0], rows.timestamps[-1], freq) > 100 * len(rows) + 100:
        return rows.timestamps
    return make_ticks(rows.timestamps[0], freq, rows.timestamps[-1])


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
                found = f"`{name}` has no values in series '{rows.series_ids[series]}'."
                raise DataError(found, "Remove the series.", f"{source}:{rows.row_numbers[span.start]}")
            present = slice(span.start + int(measured[0]), span.stop)
            keep[span.start : present.start] = False
            gaps = _find_gaps(empty[present, column])
            _check_gaps(gaps, rows[present], name, config, max_gap, source)
            values[present, column] = _fill(values[present, column], config.missing_values, season_length)
            stamps = rows.timestamps[present]
            ranges += [FilledRange(column=name, begin=str(stamps[a]), end=str(stamps[b - 1]), steps=b - a) for a, b in gaps]
    _record_fills(ranges, int((~keep).sum()), config.missing_values, record)
    return replace(rows[keep], values=values[keep]), empty[keep]


def _record_fills(ranges: list[FilledRange], dropped: int, policy: str, record: Record) -> None:
    if dropped:
        record.append(Repair(what="rows before the first value left out", rows=dropped))
    if ranges:
        steps = [gap.steps for gap in ranges]
        fills = Repair(what="missing values", policy=policy, cells=sum(steps), longest=max(steps), ranges=ranges[:MAX_RANGES])
        record.append(fills)


def _fill(values: np.ndarray, policy: str, season_length: int) -> np.ndarray:
    if policy == "interpolate":
        return np.asarray(pd.Series(values).interpolate())
    if policy == "forward":
        return np.asarray(pd.Series(values).ffill())
    filled = values.copy()
    for row in np.flatnonzero(np.isnan(filled)):  # The value a season before may itself have been filled.
        filled[row] = filled[row - season_length] if row >= season_length else filled[row - 1]
    return filled


def refuse_empty_cells(rows: Rows, empty: np.ndarray, config: DataConfig, source: str) -> None:
    """Raise a `DataError` that names the first empty cells of a column; empty: `(rows, columns)`."""
    column = int(np.flatnonzero(empty.any(axis=0))[0])
    bad = np.flatnonzero(empty[:, column])
    examples = first_few(_name_rows(rows, bad), total=len(bad))
    raise DataError(
        f"`{config.values[column]}` is empty in {len(bad)} of {format_count(len(rows), 'row')}: {examples}.",
        "Fill these cells, or set data.missing_values to interpolate, forward or season.",
        f"{source}:{rows.row_numbers[bad[0]]}",
    )


def _name_rows(rows: Rows, chosen: np.ndarray) -> list[str]:
    """Return the number and the timestamp of the first three of some rows."""
    return [f"row {rows.row_numbers[row]} ({rows.timestamps[row]})" for row in chosen[:3]]


def _find_gaps(empty: np.ndarray) -> list[tuple[int, int]]:
    """Return the first row and the end row (exclusive) of each run of empty cells.

    >>> _find_gaps(np.array([False, True, True, False, True]))
    [(1, 3), (4, 5)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], empty, [False]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _check_gaps(gaps: list[tuple[int, int]], rows: Rows, name: str, config: DataConfig, max_gap: int, source: str) -> None:
    """Refuse gaps of a column that are longer than `max_gap`, or that interpolation cannot fill."""
    long = [(a, b) for a, b in gaps if b - a > max_gap]
    if long:
        examples = [f"{rows.timestamps[a]} ({format_count(b - a, 'step')})" for a, b in long]
        longest = max(b - a for a, b in long)
        remedy = f"Start or end the data elsewhere, or set data.max_gap: {longest} to fill these gaps."
        raise DataError(
            f"`{name}` has {format_count(len(long), 'gap')} longer than data.max_gap of {max_gap} steps: {first_few(examples)}.",
            TRIM_SERIES if config.known_covariates and long[-1][1] == len(rows) else remedy,
            f"{source}:{rows.row_numbers[long[0][0]]}",
        )
    if config.missing_values == "interpolate" and gaps and gaps[-1][1] == len(rows):
        count = format_count(gaps[-1][1] - gaps[-1][0], "empty row")
        raise DataError(
            f"`{name}` ends with {count}, which cannot be interpolated without a later value.",
            "Remove these rows, or set data.missing_values to forward or season.",
            f"{source}:{rows.row_numbers[gaps[-1][0]]}",
        )
