"""Read the cells of a file as timestamps, series ids and numbers, or refuse them and name their rows."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from forecast.config import MAX_CATEGORY_LENGTH, DataConfig
from forecast.data.rows import Rows, StaticCovariates, join_rows, number_series_by_id
from forecast.data.tables import FIRST_DATA_ROW, UNWRITABLE, find_value_columns, read_tables, translate_read_errors
from forecast.data.timestamps import choose_date_format, localize, parse_parts, parse_timestamps
from forecast.errors import DataError, first_few, format_count
from forecast.storage import name_without_suffix, report_read

MAX_VALUE = 1e30  # The sums of squares of larger values do not fit into the float32 of networks.
UNNAMED = re.compile(r"\s*|Unnamed: \d+")  # A blank cell of the header, and what pandas calls an empty one.


def read_rows(config: DataConfig, path: Path) -> tuple[Rows, StaticCovariates]:
    """Read the columns that `config` names.

    Raises:
        DataError: the file or a column is missing, a cell cannot be read, or a static covariate changes within a series.
    """
    reader = _Reader(config, path)
    try:
        with translate_read_errors(path, config.encoding):
            tables = (table[table.notna().any(axis=1)] for table in read_tables(config, path))
            chunks = [reader.read(table) for table in tables if len(table)]
    finally:
        report_read(path, 1.0)
    return reader.join(chunks)


class _Chunk(NamedTuple):
    """Some rows of a file. series_ids: None where the file holds one series, or one in each column."""

    row_numbers: np.ndarray
    series_ids: pd.Series | None
    timestamps: pd.Series
    values: np.ndarray


class _Reader:
    """Read the chunks of one file. The first chunk settles the format of the timestamps."""

    def __init__(self, config: DataConfig, path: Path):
        self.config, self.path = config, path
        self.date_format = config.date_format
        self.offsets: set[str] = set()
        self.has_offsets: bool | None = None  # Whether timestamps have UTC offsets; None before the first chunk.
        self.columns: list[str] = []
        self.static: list[pd.DataFrame] = []  # The distinct series and static cells of each chunk, indexed by row.
        self.file_series_id = UNWRITABLE.sub(" ", name_without_suffix(Path(config.path))).strip() or "series"

    def read(self, table: pd.DataFrame) -> _Chunk:
        """Read the rows of a chunk, one at least."""
        self.columns = find_value_columns(self.config, list(table.columns))
        if not self.columns:
            raise DataError("the only column is the timestamp.", "A wide file needs a column for each series.", str(self.path))
        reading: list[partial[Any]] = [partial(self._read_numbers, table[name]) for name in self.columns]
        reading += [partial(self._read_series_ids, table), partial(self._read_timestamps, table[self.config.timestamp])]
        *numbers, ids, timestamps = DataError.collect(reading)
        values = np.stack(numbers, axis=1)
        if self.config.static:
            cells = table[self.config.static]
            # Rows of the future, which have no target, need not repeat the static covariates.
            has_static = (cells.notna() & (cells.astype(str) != "")).any(axis=1).to_numpy()
            present = has_static | np.isfinite(values[:, : len(self.config.target)]).any(axis=1)
            self.static.append(self._read_static(table[present], ids if ids is None else ids[present]))
        row_numbers = (table.index.to_numpy() + FIRST_DATA_ROW).astype(np.int32)
        return _Chunk(row_numbers, ids, timestamps, values)

    def join(self, chunks: list[_Chunk]) -> tuple[Rows, StaticCovariates]:
        """Join all chunks, which are released on the way so that memory does not hold them twice."""
        if not chunks:
            raise DataError("the file has a header but no rows.", "Provide a file with rows of data.", str(self.path))
        numbers, ids, stamps, values = (list(column) for column in zip(*chunks, strict=True))
        chunks.clear()
        row_numbers = np.concatenate(numbers)
        series, names = np.zeros(len(row_numbers), dtype=np.int32), [self.file_series_id]
        if self.config.series_id:
            codes, unique = pd.factorize(pd.concat(ids))
            series, names = codes.astype(np.int32), [str(name) for name in unique]
        timestamps = pd.DatetimeIndex(pd.concat(stamps, ignore_index=True))
        stamps.clear()
        timestamps = localize(timestamps, self.offsets, self.config.timezone, series, str(self.path))
        rows = Rows(row_numbers, series, names, timestamps, np.concatenate(values))
        rows = number_series_by_id(_split_columns(rows, self.columns, str(self.path)) if self.config.wide else rows)
        return rows, self._join_static(rows.series_ids)

    def _read_static(self, table: pd.DataFrame, ids: pd.Series | None) -> pd.DataFrame:
        """Return the distinct series ids and static cells of a chunk, with the row in which each was seen first."""
        cells: dict[str, object] = {"series_id": ids if ids is not None else self.file_series_id}  # A reserved name.
        for name in self.config.static:
            column, text = table[name], self._read_names(table[name], "Repeat the value in every row of the series.")
            too_long = text.str.len() > MAX_CATEGORY_LENGTH
            self._refuse(column, too_long, f"is longer than {MAX_CATEGORY_LENGTH} characters", "Use shorter names.")
            if pd.api.types.is_float_dtype(column) and (column % 1 == 0).all():  # Whole numbers beside an empty cell.
                text = column.astype("int64").astype(str)
            cells[name] = self._read_numbers(column) if name in self.config.static_covariates else text
        return pd.DataFrame(cells, index=table.index).drop_duplicates()

    def _join_static(self, series_ids: list[str]) -> StaticCovariates:
        """Return the static covariates of each series; refuse a series that has none, or two different ones."""
        config = self.config
        if not config.static:
            return StaticCovariates.empty(len(series_ids))
        table = pd.concat(self.static).drop_duplicates()
        if lacking := sorted(set(series_ids) - set(table.series_id)):
            problem = f"`{config.static[0]}` of series '{lacking[0]}' is empty in all rows."
            raise DataError(problem, "Static covariates need a value in every row that has a target.", str(self.path))
        repeated = table.series_id.duplicated()
        if repeated.any():
            second = table[repeated].iloc[0]
            first = table[table.series_id == second.series_id].iloc[0]
            name = next(name for name in config.static if first[name] != second[name])
            shown = "{!r}" if name in config.static_categories else "{:g}"
            rows = [f"{shown.format(row[name])} in row {int(str(row.name)) + FIRST_DATA_ROW}" for row in (first, second)]
            raise DataError(
                f"`{name}` of series '{second.series_id}' is {rows[0]} and {rows[1]}.",
                "A static covariate has one value per series. If a column varies, list it under data.past_covariates or"
                " data.known_covariates.",
                f"{self.path}:{int(str(second.name)) + FIRST_DATA_ROW}",
            )
        table = table.set_index("series_id").loc[series_ids]
        numbers, categories = table[config.static_covariates], table[config.static_categories]
        return StaticCovariates(numbers.to_numpy(np.float64), categories.to_numpy(object))

    def _read_series_ids(self, table: pd.DataFrame) -> pd.Series | None:
        """Return the id of each row's series; those of several columns are joined by a slash."""
        names = self.config.series_id
        if names is None:
            return None
        ids = [self._read_names(table[name], "Every row needs a series id.") for name in names]
        if len(names) == 1:
            return ids[0]
        remedy = "The slash separates the columns of data.series_id. Rename these series."
        for name, text in zip(names, ids, strict=True):
            self._refuse(table[name], text.str.contains("/"), "contains a slash", remedy)
        return ids[0].str.cat(pd.concat(ids[1:], axis=1), sep="/")

    def _read_names(self, column: pd.Series, remedy_if_empty: str) -> pd.Series:
        """Return names of series or categories without blanks around them; refuse those that a run cannot write and read."""
        text = column.astype(str).str.strip()
        self._refuse(column, column.isna() | (text == ""), "is empty", remedy_if_empty)
        bad = text.str.contains(UNWRITABLE.pattern)
        self._refuse(column, bad, "contains a carriage return or a null character", "Write each name on one line.")
        return text

    def _read_timestamps(self, table: pd.DataFrame) -> pd.Series:
        column = table.iloc[:, 0]
        if table.shape[1] > 1:
            stamps = parse_parts(table)
        elif pd.api.types.is_datetime64_any_dtype(column):
            stamps = column
        else:
            text = column.astype("str").str.strip()
            self._refuse(text, column.isna(), "is empty", "Every row needs a timestamp.")
            location = f"{self.path}:{table.index[0] + FIRST_DATA_ROW}"
            self.date_format = self.date_format or choose_date_format(text, str(column.name), location)
            stamps, offsets = parse_timestamps(text, self.date_format)
            if self.has_offsets not in (None, bool(offsets)):
                problem = f"only some timestamps in `{column.name}` have a UTC offset."
                raise DataError(problem, "Write all timestamps in the same format.", location)
            self.has_offsets = bool(offsets)
            self.offsets |= offsets
        remedy = f"Write all timestamps in the same format, which is {self.date_format or 'year, month, day, ...'} in this file."
        self._refuse(column, stamps.isna(), "is not a timestamp", remedy)
        return stamps

    def _read_numbers(self, column: pd.Series) -> np.ndarray:
        if column.isna().all():
            return np.full(len(column), np.nan)
        is_text = pd.api.types.is_string_dtype(column.dropna())
        if column.dtype == bool or not (is_text or pd.api.types.is_numeric_dtype(column)):
            problem = f"`{column.name}` contains {column.dtype} values."
            raise DataError(problem, "Choose a column of numbers.", str(self.path))
        plain = self._plain_numbers(column.astype("str").str.strip()) if is_text else column
        numbers = pd.to_numeric(plain, errors="coerce").to_numpy(np.float64, na_value=np.nan)
        remedy = "Correct these cells, choose a numeric column, or set data.decimal and data.thousands."
        self._refuse(column, np.isnan(numbers) & column.notna(), "is not a number", remedy)
        self._refuse(column, np.abs(numbers) > MAX_VALUE, f"is infinite or beyond {MAX_VALUE:g}", "Correct these cells.")
        return numbers

    def _plain_numbers(self, text: pd.Series) -> pd.Series:
        """Rewrite numbers of the config's format as Python reads them, and leave out what is in another format."""
        separator, point = self.config.thousands, self.config.decimal
        if separator:
            grouped = text.str.fullmatch(build_number_pattern(point, separator))
            ungrouped = ~text.str.contains(separator, regex=False, na=False)
            text = text.str.replace(separator, "", regex=False).where(grouped | ungrouped)
        if point != ".":
            text = text.where(~text.str.contains(".", regex=False, na=False)).str.replace(point, ".", regex=False)
        return text

    def _refuse(self, column: pd.Series, bad: pd.Series | np.ndarray, problem: str, remedy: str) -> None:
        """Raise a `DataError` if any cell is bad, naming the first three."""
        rows = np.flatnonzero(bad)
        if len(rows):
            numbers = column.index[rows[:3]] + FIRST_DATA_ROW
            cells = [
                "" if pd.isna(cell) else f" {cell!r}" if isinstance(cell, str) else f" {cell}" for cell in column.iloc[rows[:3]]
            ]
            examples = [f"row {row}{cell}" for row, cell in zip(numbers, cells, strict=True)]
            problem = f"{problem} in {format_count(len(rows), 'row')}: {first_few(examples, total=len(rows))}."
            raise DataError(f"`{column.name}` {problem}", remedy, f"{self.path}:{numbers[0]}")


def build_number_pattern(decimal: str, thousands: str | None) -> str:
    """Return a regular expression for the numbers of a format. Groups of thousands never begin with 0: 0,560 is not 560."""
    point, groups = re.escape(decimal), rf"[1-9]\d{{0,2}}(?:{re.escape(thousands)}\d{{3}})+|" if thousands else ""
    return rf"[-+]?(?:(?:{groups}\d+)(?:{point}\d*)?|{point}\d+)(?:[eE][-+]?\d+)?"


def _split_columns(rows: Rows, names: list[str], source: str) -> Rows:
    """Return a row for each cell of a wide file, whose series begin and end where their columns hold values."""
    pieces: list[Rows] = []
    ids: list[str] = []
    order = np.argsort(rows.timestamps.asi8, kind="stable")
    for series, values in enumerate(rows.values.T):
        present = np.flatnonzero(~np.isnan(values[order]))
        if len(present):
            if UNNAMED.fullmatch(names[series]):
                problem = f"column `{names[series]}` has no series name in the header."
                raise DataError(problem, "Name the series, or remove the column.", f"{source}:1")
            chosen = order[present[0] : present[-1] + 1]
            number = np.full(len(chosen), len(pieces), dtype=np.int32)
            pieces.append(replace(rows[chosen], series=number, series_ids=[], values=values[chosen, None]))
            ids.append(names[series])
    if not pieces:
        raise DataError("no column contains a number.", "A wide file needs a column of numbers for each series.", source)
    return replace(join_rows(pieces), series_ids=ids)
