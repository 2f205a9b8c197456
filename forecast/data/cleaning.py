"""Repairs of messy rows, each by an explicit policy of the config, and the record of what was done to which rows.

All take and return sorted `Rows` (by series, then time), and add a line to `record` when they changed something.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from pydantic import Field

from forecast.config import DataConfig
from forecast.data.readers import Rows
from forecast.data.timestamps import estimate_steps_between, make_ticks
from forecast.documents import Document
from forecast.errors import DataError, first_few

TRIM_SERIES = "Remove the rows after each series' last measured value. Pass their known covariates with `predict --future`."
MAX_RANGES = 1000  # filled ranges that a record names; the count is always whole


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
    """The rows up to the last measured one of all series, and those after it, which hold known covariates of the future only."""
    none = rows[:0]
    if not config.known_covariates:
        return rows, none
    measured = np.isfinite(rows.values[:, : len(config.target) + len(config.past_covariates)]).any(axis=1)
    stamps = rows.timestamps.asi8
    last = stamps[measured].max() if measured.any() else stamps.max()
    future = (stamps > last) & np.isfinite(rows.values).any(axis=1)
    if not future.any():
        return rows, none
    first = [f"row {rows.number[row]} ({rows.timestamps[row]})" for row in np.flatnonzero(future)[:3]]
    record.append(Repair(what="rows of the future, with known covariates only", rows=int(future.sum()), first=first))
    return rows[~future], rows[future]


def check_series_ends(rows: Rows, config: DataConfig, source: str) -> None:
    """Refuse series that are no longer measured while their known covariates go on, unless a policy can fill the rest.

    Raises:
        DataError: `data.missing_values` is error or interpolate.
    """
    if not config.known_covariates or config.missing_values not in ("error", "interpolate"):
        return
    present, unknown = np.isfinite(rows.values), len(config.target) + len(config.past_covariates)
    measured, known = present[:, :unknown].any(axis=1), present[:, unknown:].any(axis=1)
    examples, places, tail = [], [], 0
    for series, span in enumerate(rows.spans()):
        last = np.flatnonzero(measured[span])
        if len(last) and known[span.start + last[-1] + 1 : span.stop].any():
            row = span.start + int(last[-1])
            examples.append(f"'{rows.series_ids[series]}' ends at {rows.timestamps[row]}")
            places.append(rows.number[row + 1])
            tail += span.stop - row - 1
    if examples:
        found = f"{tail} rows follow the last measured values of {len(examples)} series: {first_few(examples)}."
        raise DataError(found, TRIM_SERIES, f"{source}:{places[0]}")


def merge_duplicates(rows: Rows, config: DataConfig, source: str, record: Record) -> Rows:
    """One row per series and timestamp, by `data.duplicates`."""
    repeats = np.zeros(len(rows), dtype=bool)
    stamps, series = rows.timestamps.asi8, rows.series
    repeats[1:] = (series[1:] == series[:-1]) & (stamps[1:] == stamps[:-1])
    if not repeats.any():
        return rows
    count, first = int(repeats.sum()), np.flatnonzero(repeats)[:3]
    examples = [f"row {rows.number[row]} ({rows.timestamps[row]})" for row in first]
    if config.duplicates == "error":
        hint = "" if config.series_id else ", or name the column that tells series apart in data.series_id"
        raise DataError(
            f"{count} timestamps are given twice: {first_few(examples, total=count)}.",
            f"Remove them, set data.duplicates (first, last, mean, sum){hint}.",
            f"{source}:{rows.number[first[0]]}",
        )
    groups = pd.DataFrame(rows.values).groupby(np.cumsum(~repeats) - 1)
    merge = {
        "first": lambda: groups.nth(0),
        "last": lambda: groups.nth(-1),
        "mean": groups.mean,
        "sum": lambda: groups.sum(min_count=1),
    }
    record.append(Repair(what="duplicates", policy=config.duplicates, rows=count, first=examples))
    kept = rows[~repeats]
    return Rows(kept.number, kept.series, kept.series_ids, kept.timestamps, merge[config.duplicates]().to_numpy())


def fill_timestamps(rows: Rows, freq: str, config: DataConfig, record: Record) -> Rows:
    """A row, without values, for every tick that is missing between the first and the last of its series."""
    if config.missing_timestamps == "error":
        return rows
    pieces, added = [], []
    for series, span in enumerate(rows.spans()):
        own = rows[span]
        ticks = _ticks(own, freq)
        place = ticks.get_indexer(own.timestamps)
        if len(ticks) == len(own) or (place < 0).any():  # rows beside the ticks are for `check_spacing` to tell
            pieces.append(own)
            continue
        values = np.full((len(ticks), rows.values.shape[1]), np.nan)
        values[place] = own.values
        numbers = own.number[np.searchsorted(place, np.arange(len(ticks)), side="right") - 1]  # those of the row before
        pieces.append(Rows(numbers, np.full(len(ticks), series), rows.series_ids, ticks, values))
        missing = np.setdiff1d(np.arange(len(ticks)), place)
        added += [str(ticks[row]) for row in missing]
    if added:
        policy = config.missing_timestamps
        record.append(Repair(what="missing timestamps", policy=policy, rows=len(added), first=added[:3]))
    return _join(pieces)


def _ticks(rows: Rows, freq: str) -> pd.DatetimeIndex:
    """Every tick from the first to the last row of one series; of at most a hundred per row, or the freq is not theirs."""
    if estimate_steps_between(rows.timestamps[0], rows.timestamps[-1], freq) > 100 * len(rows) + 100:
        return rows.timestamps
    return make_ticks(rows.timestamps[0], freq, rows.timestamps[-1])


def fill_values(rows: Rows, config: DataConfig, season_length: int, source: str, record: Record) -> tuple[Rows, np.ndarray]:
    """Values for empty cells, by `data.missing_values`; and `(rows, targets)`, which cells were filled.

    Rows at the start of a series without a value are left out: nothing before them tells what to fill in.

    Raises:
        DataError: the policy is error, a gap is longer than `data.max_gap`, or ends the series where the policy cannot fill.
    """
    empty = np.isnan(rows.values)
    if not empty.any():
        return rows, empty
    for column in np.flatnonzero(empty.all(axis=0)):
        raise DataError(f"`{config.values[column]}` has no values at all.", "Name another column in `data.target`.", source)
    if config.missing_values == "error":
        refuse_empty_cells(rows, empty, config, source)
    keep = np.ones(len(rows), dtype=bool)
    values = rows.values.copy()
    ranges: list[FilledRange] = []
    for series, span in enumerate(rows.spans()):
        for column in np.flatnonzero(empty[span].any(axis=0)):
            measured = np.flatnonzero(~empty[span, column])
            if len(measured) == 0:
                found = f"`{config.values[column]}` has no values in series '{rows.series_ids[series]}'."
                raise DataError(found, "Remove the series.", f"{source}:{rows.number[span.start]}")
            where = slice(span.start + measured[0], span.stop)  # before the first value there is nothing to fill from
            keep[span.start : where.start] = False
            gaps = _gaps(empty[where, column])
            _check_gaps(gaps, rows[where], column, config, source)
            values[where, column] = _filled(values[where, column], config.missing_values, season_length)
            stamps, name = rows.timestamps[where], config.values[column]
            ranges += [FilledRange(column=name, begin=str(stamps[a]), end=str(stamps[b - 1]), steps=b - a) for a, b in gaps]
    if not keep.all():
        record.append(Repair(what="rows before the first value left out", rows=int((~keep).sum())))
    cells = sum(gap.steps for gap in ranges)
    if cells:
        longest, policy = max(gap.steps for gap in ranges), config.missing_values
        repair = Repair(what="missing values", policy=policy, cells=cells, longest=longest, ranges=ranges[:MAX_RANGES])
        record.append(repair)
    kept = rows[keep]
    return Rows(kept.number, kept.series, kept.series_ids, kept.timestamps, values[keep]), empty[keep]


def _filled(values: np.ndarray, policy: str, season_length: int) -> np.ndarray:
    if policy == "interpolate":
        return pd.Series(values).interpolate().to_numpy()
    if policy == "forward":
        return pd.Series(values).ffill().to_numpy()
    filled = values.copy()
    for row in np.flatnonzero(np.isnan(filled)):  # a season before, which may itself have been filled
        filled[row] = filled[row - season_length] if row >= season_length else filled[row - 1]
    return filled


def refuse_empty_cells(rows: Rows, empty: np.ndarray, config: DataConfig, source: str) -> None:
    """Raise a `DataError` that names the first empty cells of a column; empty: `(rows, columns)`."""
    column = int(np.flatnonzero(empty.any(axis=0))[0])
    bad = np.flatnonzero(empty[:, column])
    examples = [f"{rows.number[row]} ({rows.timestamps[row]})" for row in bad[:3]]
    raise DataError(
        f"`{config.values[column]}` is empty in {len(bad)} of {len(rows)} rows: {first_few(examples, total=len(bad))}.",
        "Fill them, or set data.missing_values: interpolate, forward or season.",
        f"{source}:{rows.number[bad[0]]}",
    )


def _gaps(empty: np.ndarray) -> list[tuple[int, int]]:
    """First row and end row (exclusive) of each run of empty cells.

    >>> _gaps(np.array([False, True, True, False, True]))
    [(1, 3), (4, 5)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], empty, [False]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _check_gaps(gaps: list[tuple[int, int]], rows: Rows, column: int, config: DataConfig, source: str) -> None:
    """No gap of one series is longer than `data.max_gap`, and interpolation has a value to go to."""
    name = config.values[column]
    long = [(a, b) for a, b in gaps if b - a > config.max_gap]
    if long:
        examples = [f"{rows.timestamps[a]} ({b - a} steps)" for a, b in long]
        longest = max(b - a for a, b in long)
        remedy = f"Start or end the data elsewhere, or set data.max_gap: {longest} to fill them all the same."
        raise DataError(
            f"`{name}` has {len(long)} gaps longer than data.max_gap of {config.max_gap} steps: {first_few(examples)}.",
            TRIM_SERIES if config.known_covariates and long[-1][1] == len(rows) else remedy,
            f"{source}:{rows.number[long[0][0]]}",
        )
    if config.missing_values == "interpolate" and gaps and gaps[-1][1] == len(rows):
        raise DataError(
            f"`{name}` ends with {gaps[-1][1] - gaps[-1][0]} empty rows, which have no later value to interpolate to.",
            "Remove these rows, or set data.missing_values: forward or season.",
            f"{source}:{rows.number[gaps[-1][0]]}",
        )


def _join(pieces: list[Rows]) -> Rows:
    return Rows(
        np.concatenate([piece.number for piece in pieces]),
        np.concatenate([piece.series for piece in pieces]),
        pieces[0].series_ids,
        pieces[0].timestamps.append([piece.timestamps for piece in pieces[1:]]),
        np.concatenate([piece.values for piece in pieces]),
    )
