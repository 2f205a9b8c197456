"""Files become rows: the named columns of a CSV or Parquet file, every cell read as what it is or refused with its row."""

from __future__ import annotations

import contextlib
import csv
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TextIO

import numpy as np
import pandas as pd

from forecast.config import MAX_CATEGORY_LENGTH, DataConfig
from forecast.data.timestamps import choose_date_format, localize, parse_parts, parse_timestamps
from forecast.errors import DataError, did_you_mean, first_few
from forecast.storage import report_read

EMPTY = ["", "NA", "N/A", "#N/A", "NaN", "nan", "null", "NULL", "None"]  # cells that hold no value; of a series id only ""
MAX_VALUE = 1e30  # beyond it, sums of squares no longer fit into the float32 of networks
PARQUET = {".parquet", ".pq"}
DELIMITERS = (",", ";", "\t", "|")
UNWRITABLE = re.compile(r"[\r\x00]")  # what a name cannot hold, since it would not be the same after a CSV file
UNNAMED = re.compile(r"\s*|Unnamed: \d+")  # a blank cell of the header, and what pandas calls an empty one
FIRST_DATA_ROW = 2  # row numbers are those of a spreadsheet or editor: the header is row 1, the first values row 2
CHUNK = 200_000  # rows held as text at once


@dataclass(frozen=True)
class StaticCovariates:
    """What stays the same in all rows of a series.

    numbers: `(series, static covariates)` float64 in the units of the file; categories: `(series, static categories)` of text.
    """

    numbers: np.ndarray
    categories: np.ndarray

    @classmethod
    def empty(cls, series: int) -> StaticCovariates:
        """Of series that have nothing static."""
        return cls(np.zeros((series, 0)), np.zeros((series, 0), dtype=object))

    def __getitem__(self, chosen: np.ndarray) -> StaticCovariates:
        return StaticCovariates(self.numbers[chosen], self.categories[chosen])


@dataclass(frozen=True)
class Rows:
    """Rows of any number of series, in any order.

    number: `(rows,)`, the row in the file; series: `(rows,)`, index into `series_ids`.
    values: `(rows, columns)`, NaN where a cell is empty; targets, past covariates, known covariates.
    """

    number: np.ndarray
    series: np.ndarray
    series_ids: list[str]
    timestamps: pd.DatetimeIndex
    values: np.ndarray

    def __getitem__(self, chosen: np.ndarray | slice) -> Rows:
        return Rows(self.number[chosen], self.series[chosen], self.series_ids, self.timestamps[chosen], self.values[chosen])

    def __len__(self) -> int:
        return len(self.number)

    @property
    def offsets(self) -> np.ndarray:
        """Where each series begins, and the end of the last, in sorted rows: `(series + 1,)`."""
        return np.concatenate([[0], np.cumsum(np.bincount(self.series, minlength=len(self.series_ids)))])

    def spans(self) -> list[slice]:
        """The rows of each series, in sorted rows."""
        return [slice(int(begin), int(end)) for begin, end in pairwise(self.offsets)]


def read_rows(config: DataConfig, path: Path) -> tuple[Rows, StaticCovariates]:
    """Read the columns that `config` names.

    Raises:
        DataError: the file or a column is missing, a cell cannot be read, or what should be static changes within a series.
    """
    reader = _Reader(config, path)
    try:
        with translate_read_errors(path, config.encoding):
            chunks = [reader.read(table) for table in _tables(config, path)]
    finally:
        report_read(path, 1.0)
    return reader.join(chunks)


@contextlib.contextmanager
def translate_read_errors(path: Path, encoding: str = "utf-8") -> Iterator[None]:
    """Turns what pandas and the system say of a file that cannot be read into a `DataError`."""
    try:
        yield
    except FileNotFoundError:
        raise DataError("no such data file.", "Check the path.", str(path)) from None
    except ImportError:
        raise DataError("Parquet needs pyarrow.", "pip install pyarrow, or give a CSV file.", str(path)) from None
    except UnicodeDecodeError as error:
        raise DataError(f"is not {encoding} text ({error.reason}).", "Set data.encoding, such as latin-1.", str(path)) from None
    except (ValueError, LookupError, OSError, csv.Error) as error:  # ParserError and pyarrow's errors are ValueErrors
        found = str(error).strip().splitlines()[0]
        raise DataError(
            f"cannot be read ({found}).", "Give a table with one header row, in text or Parquet.", str(path)
        ) from None


def read_header(path: Path, encoding: str, delimiter: str | None, wanted: list[str]) -> tuple[list[str], str]:
    """The names in the first row of a CSV file, and the delimiter: the given one, or the one that finds the wanted columns.

    Raises:
        DataError: the file is empty.
    """
    marks = [delimiter] if delimiter else DELIMITERS
    with open(path, encoding=codec_name(encoding), newline="") as file:
        if not file.readline().strip():
            raise DataError("the file is empty or begins with an empty row.", "Give a file with a header row.", str(path))
        cells = {mark: _first_rows(file, mark) for mark in marks}
    headers = {mark: [name or f"Unnamed: {i}" for i, name in enumerate(first)] for mark, (first, _) in cells.items()}  # as pandas
    complete = [mark for mark, names in headers.items() if set(wanted) <= set(names)]
    if complete and wanted:
        return headers[complete[0]], complete[0]
    best = max(marks, key=lambda mark: (len(cells[mark][0]) == len(cells[mark][1]) > 1, len(headers[mark])))
    return headers[best], best


def _first_rows(file: TextIO, delimiter: str) -> tuple[list[str], list[str]]:
    """Return the cells of the first two rows of a CSV file. A quoted cell may hold a line break."""
    file.seek(0)
    reader = csv.reader(file, delimiter=delimiter)
    return next(reader, []), next(reader, [])


def read_column_names(config: DataConfig, path: Path) -> list[str]:
    """The names of the columns of a CSV or Parquet file.

    Raises:
        DataError: the file cannot be read.
    """
    with translate_read_errors(path, config.encoding):
        if path.suffix.lower() in PARQUET:
            return list(read_parquet(path).columns)
        return read_header(path, config.encoding, config.delimiter, config.timestamp)[0]


def read_parquet(path: Path, wanted: list[str] | None = None) -> pd.DataFrame:
    """A Parquet file, with its index as columns, and names as text. wanted: columns that are enough, if it has them."""
    from pyarrow import parquet

    enough = wanted if wanted and set(wanted) <= set(parquet.read_schema(path).names) else None
    table = pd.read_parquet(path, columns=enough)
    table = table.reset_index(drop=isinstance(table.index, pd.RangeIndex))
    return table.set_axis(table.columns.map(str), axis=1)


def codec_name(encoding: str) -> str:
    """Python's name of an encoding; UTF-8 with or without a byte order mark."""
    return "utf-8-sig" if encoding.lower().replace("_", "-") in {"utf-8", "utf8"} else encoding


def _tables(config: DataConfig, path: Path) -> Iterator[pd.DataFrame]:
    """The file in pieces, with the text of every cell whose reading is up to us; the index counts rows from 0."""
    wanted = config.columns
    if path.suffix.lower() in PARQUET:
        table = read_parquet(path, None if config.wide else list(dict.fromkeys(wanted)))
        _check_columns(list(table.columns), config, path)
        yield table
        return
    header, delimiter = read_header(path, config.encoding, config.delimiter, wanted)
    _check_columns(header, config, path)
    names = [*(config.series_id or []), *config.static_categories]  # "NA" may be one, such as North America
    as_text = [*names, *(config.timestamp if len(config.timestamp) == 1 else [])]
    as_text += (
        [*find_value_columns(config, header), *config.static_covariates] if config.decimal != "." or config.thousands else []
    )
    size = max(1, path.stat().st_size)
    with open(path, encoding=codec_name(config.encoding), newline="") as file:
        pieces = pd.read_csv(
            file, sep=delimiter, chunksize=CHUNK, skip_blank_lines=False, dtype=dict.fromkeys(as_text, str),
            keep_default_na=False, na_values={name: [""] if name in names else EMPTY for name in header},
        )  # fmt: skip
        for table in pieces:
            check_width(table, path)
            report_read(path, file.buffer.tell() / size)
            yield table


def find_value_columns(config: DataConfig, header: list[str]) -> list[str]:
    """The columns that hold values: targets and covariates, or in a wide file all but the timestamp's."""
    return [name for name in header if name not in config.timestamp] if config.wide else config.values


def check_width(table: pd.DataFrame, path: Path) -> None:
    """No row is wider than the header: pandas makes an index of surplus cells."""
    if not isinstance(table.index, pd.RangeIndex):
        found = "the rows have more cells than the header."
        raise DataError(found, "Name each column; numbers with commas need quotes.", f"{path}:{FIRST_DATA_ROW}")


def clean_series_id(text: str) -> str:
    """Return the series id that a cell, a header or a file name stands for: the text without the blanks around it.

    >>> clean_series_id(" north ")
    'north'
    """
    return text.strip()


def _check_columns(present: list[str], config: DataConfig, path: Path) -> None:
    """Refuse a file without the columns that the config names, or whose names do not tell columns or series apart.

    Raises:
        DataError: naming all of them.
    """
    wanted, errors = config.columns, []
    for name in wanted:
        if name not in present:
            errors.append(DataError(f"no column `{name}`.", did_you_mean(name, present), f"{path}:1"))
    for name in dict.fromkeys(wanted):
        if wanted.count(name) > 1:
            errors.append(DataError(f"column `{name}` is used twice.", "Name each column once in `data:`.", str(path)))
    series = [clean_series_id(name) for name in find_value_columns(config, present)] if config.wide else []
    for name, count in Counter([name for name in present if name in wanted] + series).items():
        if count > 1:
            errors.append(DataError(f"the header names `{name}` twice.", "Rename one of the two columns.", f"{path}:1"))
        if UNWRITABLE.search(name):
            found = f"the name {name!r} holds a carriage return or a null character."
            errors.append(DataError(found, "Rename the column.", f"{path}:1"))
    if errors:
        raise DataError.combine(errors)


class _Reader:
    """Reads pieces of one file; remembers what was settled by the first."""

    def __init__(self, config: DataConfig, path: Path):
        self.config, self.path = config, path
        self.date_format = config.date_format
        self.offsets: set[str] = set()
        self.static: list[pd.DataFrame] = []  # distinct rows of each piece: series, then what is static, and the row number
        self.only_series = clean_series_id(UNWRITABLE.sub(" ", Path(config.path).stem)) or "series"
        self.aware: bool | None = None  # whether timestamps have UTC offsets; all or none

    def read(self, table: pd.DataFrame) -> tuple[np.ndarray, pd.Series | None, pd.Series, np.ndarray]:
        """Row numbers, ids, timestamps and values of a piece, without its fully empty rows."""
        self.values = find_value_columns(self.config, list(table.columns))
        table = table[table.notna().any(axis=1)]
        if not self.values:
            raise DataError("no column but the timestamp's.", "A wide file has a column for each series.", str(self.path))
        values = np.stack([self._numbers(table[name]) for name in self.values], axis=1)
        ids = self._ids(table)
        if self.config.static:
            cells = table[self.config.static]
            told = (cells.notna() & (cells.astype(str) != "")).any(axis=1).to_numpy()
            given = told | np.isfinite(values[:, : len(self.config.target)]).any(
                axis=1
            )  # rows of the future need not repeat them
            self.static.append(self._static(table[given], ids if ids is None else ids[given]))
        return (
            (table.index.to_numpy() + FIRST_DATA_ROW).astype(np.int32),
            ids,
            self._timestamps(table[self.config.timestamp]),
            values,
        )

    def join(self, chunks: list[tuple]) -> tuple[Rows, StaticCovariates]:
        """All pieces as one."""
        numbers, ids, stamps, values = (list(column) for column in zip(*chunks, strict=True)) if chunks else ([], [], [], [])
        chunks.clear()  # what is joined below is not held twice
        if sum(map(len, numbers)) == 0:
            raise DataError(
                "there is a header but no rows.", "Give at least lookback + horizon rows for each part.", str(self.path)
            )
        if self.config.series_id:
            codes, names = pd.factorize(pd.concat(ids))
            codes = codes.astype(np.int32)
        else:
            codes, names = np.zeros(sum(map(len, numbers)), dtype=np.int32), [self.only_series]
        timestamps = pd.DatetimeIndex(pd.concat(stamps, ignore_index=True))
        stamps.clear()
        timestamps = localize(timestamps, self.offsets, self.config.timezone, codes, str(self.path))
        rows = Rows(np.concatenate(numbers), codes, [str(name) for name in names], timestamps, np.concatenate(values))
        rows = _in_order(_narrow(rows, self.values, str(self.path)) if self.config.wide else rows)
        return rows, self._join_static(rows.series_ids)

    def _static(self, table: pd.DataFrame, ids: pd.Series | None) -> pd.DataFrame:
        """Each series of a piece with its static cells, and the row in which they were seen first."""
        found = {"series_id": ids if ids is not None else self.only_series}  # no column may be called so
        for name in self.config.static:
            given, text = table[name], table[name].astype(str).str.strip()
            self._refuse(given, (given.isna() | (text == "")).to_numpy(), "is empty", "Give it in every row of a series.")
            self._refuse_unwritable(given, text)
            long = (text.str.len() > MAX_CATEGORY_LENGTH).to_numpy()
            self._refuse(given, long, f"is longer than {MAX_CATEGORY_LENGTH} characters", "A category has a short name.")
            if pd.api.types.is_float_dtype(given) and (given % 1 == 0).all():  # whole numbers beside an empty cell
                text = given.astype("int64").astype(str)
            found[name] = self._numbers(given) if name in self.config.static_covariates else text
        return pd.DataFrame(found, index=table.index).drop_duplicates()

    def _join_static(self, series_ids: list[str]) -> StaticCovariates:
        """One row per series.

        Raises:
            DataError: a series has two.
        """
        config = self.config
        if not config.static:
            return StaticCovariates.empty(len(series_ids))
        found = pd.concat(self.static).drop_duplicates()
        if lacking := sorted(set(series_ids) - set(found.series_id)):
            told = f"`{config.static[0]}` of series '{lacking[0]}' is empty in all rows."
            raise DataError(told, "Give what is static in every row with a target.", str(self.path))
        twice = found.series_id.duplicated()
        if twice.any():
            again = found[twice].iloc[0]
            first = found[found.series_id == again.series_id].iloc[0]
            name = next(name for name in config.static if first[name] != again[name])
            shown = "{!r}" if name in config.static_categories else "{:g}"
            rows = [f"{shown.format(row[name])} in row {row.name + FIRST_DATA_ROW}" for row in (first, again)]
            raise DataError(
                f"`{name}` of series '{again.series_id}' is {rows[0]} and {rows[1]}.",
                "What is static stays the same in all rows of a series; name a column that changes in data.past_covariates or"
                " data.known_covariates.",
                f"{self.path}:{again.name + FIRST_DATA_ROW}",
            )
        found = found.set_index("series_id").loc[series_ids]
        numbers, categories = found[config.static_covariates], found[config.static_categories]
        return StaticCovariates(numbers.to_numpy(np.float64), categories.to_numpy(object))

    def _ids(self, table: pd.DataFrame) -> pd.Series | None:
        """The name of each row's series; of several columns, their texts with a slash between."""
        if self.config.series_id is None:
            return None
        parts = []
        for name in self.config.series_id:
            given = table[name]
            part = given.astype(str).str.strip()
            self._refuse(given, (given.isna() | (part == "")).to_numpy(), "is empty", "Name the series of each row.")
            self._refuse_unwritable(given, part)
            if len(self.config.series_id) > 1:
                self._refuse(
                    given, part.str.contains("/").to_numpy(), "holds a slash", "It separates the parts of a series' name."
                )
            parts.append(part)
        return parts[0].str.cat(parts[1:], sep="/")

    def _timestamps(self, table: pd.DataFrame) -> pd.Series:
        column = table.iloc[:, 0]
        if table.shape[1] > 1:
            stamps = parse_parts(table)
        elif pd.api.types.is_datetime64_any_dtype(column):
            stamps = column
        else:
            text = column.astype("str").str.strip()
            self._refuse(text, column.isna().to_numpy(), "is empty", "Every row needs its timestamp.")
            if self.date_format is None and len(text):
                self.date_format = choose_date_format(text, str(column.name), f"{self.path}:{table.index[0] + FIRST_DATA_ROW}")
            stamps, offsets = parse_timestamps(text, self.date_format or "ISO8601")
            if self.aware not in (None, bool(offsets)):
                place = f"{self.path}:{table.index[0] + FIRST_DATA_ROW}"
                raise DataError(f"only some of `{column.name}` have a UTC offset.", "Write all timestamps alike.", place)
            self.aware = bool(offsets)
            self.offsets |= offsets
        remedy = f"Write all timestamps alike (the format here is {self.date_format or 'year, month, day, ...'})."
        self._refuse(column, stamps.isna().to_numpy(), "is not a timestamp", remedy)
        return stamps

    def _numbers(self, column: pd.Series) -> np.ndarray:
        if column.isna().all():
            return np.full(len(column), np.nan)
        if column.dtype == bool or not (pd.api.types.is_string_dtype(column) or pd.api.types.is_numeric_dtype(column)):
            raise DataError(f"`{column.name}` holds {column.dtype} values.", "Name a column of numbers.", str(self.path))
        plain = column
        if pd.api.types.is_string_dtype(column):
            plain = column.astype("str").str.strip()
            mark, point = self.config.thousands, self.config.decimal
            if mark:
                grouped = plain.str.fullmatch(build_number_pattern(point, mark))
                plain = plain.str.replace(mark, "", regex=False).where(grouped | ~plain.str.contains(mark, regex=False, na=False))
            if point != ".":
                plain = plain.where(~plain.str.contains(".", regex=False, na=False)).str.replace(point, ".", regex=False)
        numbers = pd.to_numeric(plain, errors="coerce").to_numpy(np.float64, na_value=np.nan)
        remedy = "Correct these cells, name a numeric column in `data.target`, or set data.decimal and data.thousands."
        self._refuse(column, np.isnan(numbers) & column.notna().to_numpy(), "is not a number", remedy)
        self._refuse(column, np.abs(numbers) > MAX_VALUE, f"is infinite or beyond {MAX_VALUE:g}", "Correct these cells.")
        return numbers

    def _refuse_unwritable(self, column: pd.Series, text: pd.Series) -> None:
        """Refuse names of series and categories that would not be the same after a run has written and read them."""
        bad = text.str.contains(UNWRITABLE.pattern).to_numpy()
        self._refuse(column, bad, "holds a carriage return or a null character", "Write each name in one line.")

    def _refuse(self, column: pd.Series, bad: np.ndarray, what: str, remedy: str) -> None:
        """Raise if any cell is bad, naming the first three."""
        rows = np.flatnonzero(bad)
        if len(rows):
            shown = [cell if not isinstance(cell, str) else repr(cell) for cell in column.iloc[rows[:3]]]
            cells = [f"row {number} {cell}" for number, cell in zip(column.index[rows[:3]] + FIRST_DATA_ROW, shown, strict=True)]
            place = f"{self.path}:{column.index[rows[0]] + FIRST_DATA_ROW}"
            raise DataError(f"`{column.name}` {what} in {len(rows)} rows: {first_few(cells, total=len(rows))}.", remedy, place)


def build_number_pattern(decimal: str, thousands: str | None) -> str:
    """Return a regular expression for the numbers of a format. Groups of thousands never begin with 0: 0,560 is no 560."""
    point, groups = re.escape(decimal), rf"[1-9]\d{{0,2}}(?:{re.escape(thousands)}\d{{3}})+|" if thousands else ""
    return rf"[-+]?(?:(?:{groups}\d+)(?:{point}\d*)?|{point}\d+)(?:[eE][-+]?\d+)?"


def _narrow(rows: Rows, names: list[str], source: str) -> Rows:
    """Return a row for each cell of a wide file, whose series begin and end where their columns hold values.

    Raises:
        DataError: no column holds a value, or one that does has no name.
    """
    pieces = []
    order = np.argsort(rows.timestamps.asi8, kind="stable")
    for series, values in enumerate(rows.values.T):
        known = np.flatnonzero(~np.isnan(values[order]))
        if len(known):
            if UNNAMED.fullmatch(names[series]):
                found = f"column `{names[series]}` has no series name in the header."
                raise DataError(found, "Name the series, or remove the column.", f"{source}:1")
            chosen = order[known[0] : known[-1] + 1]
            codes = np.full(len(chosen), series, dtype=np.int32)
            pieces.append((rows.number[chosen], codes, rows.timestamps[chosen], values[chosen, None]))
    if not pieces:
        raise DataError("no column holds a value.", "Give a wide file with numbers.", source)
    numbers, codes, stamps, values = zip(*pieces, strict=True)
    present, codes = np.unique(np.concatenate(codes), return_inverse=True)
    return Rows(
        np.concatenate(numbers),
        codes.astype(np.int32),
        [names[series] for series in present],
        stamps[0].append(list(stamps[1:])),
        np.concatenate(values),
    )


def _in_order(rows: Rows) -> Rows:
    """Spell the ids of all series alike and number the series in the order of their ids, whatever form the file has."""
    spelled = [clean_series_id(name) for name in rows.series_ids]
    ids = sorted(set(spelled))
    numbers = {name: number for number, name in enumerate(ids)}
    series = np.array([numbers[name] for name in spelled], dtype=np.int32)[rows.series]
    return replace(rows, series=series, series_ids=ids)
