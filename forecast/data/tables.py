"""Open a CSV, Parquet or Excel file as tables of cells, with the columns that a config names."""

from __future__ import annotations

import bz2
import contextlib
import csv
import gzip
import io
import lzma
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd

from forecast.config import DATA_SUFFIXES, DataConfig
from forecast.errors import DataError, did_you_mean, suggest_file
from forecast.storage import report_read

BROKEN = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)  # Errors of broken compressed files and Excel files.
EMPTY = ["", "NA", "N/A", "#N/A", "NaN", "nan", "null", "NULL", "None"]  # Cells without a value. A series id is empty as "" only.
TYPED = {".parquet": "pyarrow", ".pq": "pyarrow", ".xlsx": "openpyxl"}  # Files whose cells have types, and what reads them.
UNPACK: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
DELIMITERS = (",", ";", "\t", "|")
UNWRITABLE = re.compile(r"[\r\x00]")  # A name with these characters would change when a run writes and reads it.
FIRST_DATA_ROW = 2  # Rows are numbered as in a spreadsheet or an editor: the header is row 1.
CHUNK = 200_000  # Rows that are held as text at once.


@contextlib.contextmanager
def translate_read_errors(path: Path, encoding: str = "utf-8") -> Iterator[None]:
    """Raise a `DataError` in place of what pandas and the system raise for a file that cannot be read."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(
            "the data file does not exist.", suggest_file(path, DATA_SUFFIXES) or "Check the path.", str(path)
        ) from None
    except ImportError:
        package = TYPED.get(path.suffix.lower(), "pyarrow")
        problem = f"reading this file needs the package `{package}`, which is not installed."
        raise DataError(problem, f"Install it (pip install {package}), or use a CSV file.", str(path)) from None
    except UnicodeDecodeError as error:
        remedy = "Set data.encoding to the encoding of the file, for example latin-1."
        raise DataError(f"the file is not {encoding} text ({error.reason}).", remedy, str(path)) from None
    except (ValueError, LookupError, OSError, csv.Error, *BROKEN) as error:  # The errors of pandas and pyarrow are ValueErrors.
        problem = f"the file cannot be read ({(str(error).strip() or type(error).__name__).splitlines()[0]})."
        raise DataError(problem, "Use a CSV, Parquet or Excel file with one header row.", str(path)) from None


def read_tables(config: DataConfig, path: Path) -> Iterator[pd.DataFrame]:
    """Read a file in chunks, with the text of every cell that pandas cannot be trusted to read; the index counts rows from 0.

    Raises:
        DataError: a column is missing, or the header is ambiguous.
    """
    wanted = config.columns
    if path.suffix.lower() in TYPED:
        table = read_typed(path, None if config.wide else list(dict.fromkeys(wanted)))
        _check_columns(list(table.columns), config, path)
        yield table
        return
    header, delimiter = read_header(path, config.encoding, config.delimiter, wanted)
    _check_columns(header, config, path)
    names = [*(config.series_id or []), *config.static_categories]  # "NA" may be a name, such as North America.
    as_text = [*names, *(config.timestamp if len(config.timestamp) == 1 else [])]
    if config.decimal != "." or config.thousands:
        as_text += [*find_value_columns(config, header), *config.static_covariates]
    size = max(1, path.stat().st_size)
    with path.open("rb") as binary, _open_text(binary, path, config.encoding) as file:
        chunks = pd.read_csv(
            file, sep=delimiter, chunksize=CHUNK, skip_blank_lines=False, dtype=dict.fromkeys(as_text, str),
            keep_default_na=False, na_values={name: [""] if name in names else EMPTY for name in header},
        )  # fmt: skip
        for table in chunks:
            check_width(table, path)
            report_read(path, binary.tell() / size)
            yield table


@contextlib.contextmanager
def _open_text(binary: BinaryIO, path: Path, encoding: str) -> Iterator[io.TextIOWrapper]:
    """Yield the text of an open file, which may be compressed."""
    unpack = UNPACK.get(path.suffix.lower())
    with unpack(binary) if unpack else binary as unpacked, io.TextIOWrapper(unpacked, codec_name(encoding), newline="") as file:
        yield file


def read_header(path: Path, encoding: str, delimiter: str | None, wanted: list[str]) -> tuple[list[str], str]:
    """Return the names in the first row of a CSV file and the delimiter. Without one, take that which finds the wanted columns.

    Raises:
        DataError: the file is empty.
    """
    ranks: dict[str, tuple[bool, bool, int]] = {}
    headers: dict[str, list[str]] = {}
    with path.open("rb") as binary, _open_text(binary, path, encoding) as file:
        if not file.readline().strip():
            problem = "the file is empty or begins with an empty row."
            raise DataError(problem, "The first row must name the columns.", str(path))
        for mark in [delimiter] if delimiter else DELIMITERS:
            file.seek(0)
            rows = csv.reader(file, delimiter=mark)  # A quoted cell may hold a line break.
            first, second = next(rows, []), next(rows, [])
            headers[mark] = [name or f"Unnamed: {number}" for number, name in enumerate(first)]  # As pandas names them.
            is_complete = bool(wanted) and set(wanted) <= set(headers[mark])
            ranks[mark] = (is_complete, len(first) == len(second) > 1, len(first))
    best = max(ranks, key=lambda mark: ranks[mark])
    return headers[best], best


def read_column_names(config: DataConfig, path: Path) -> list[str]:
    """Return the names of the columns of a CSV or Parquet file.

    Raises:
        DataError: the file cannot be read.
    """
    with translate_read_errors(path, config.encoding):
        if path.suffix.lower() in TYPED:
            return list(read_typed(path).columns)
        return read_header(path, config.encoding, config.delimiter, config.timestamp)[0]


def read_typed(path: Path, wanted: list[str] | None = None) -> pd.DataFrame:
    """Read a Parquet file, with its index as columns and names as text; only the wanted columns if it has them all.

    Of an Excel file, read the first sheet.
    """
    if path.suffix.lower() == ".xlsx":
        return _read_sheet(path)
    from pyarrow import parquet

    columns = wanted if wanted and set(wanted) <= set(parquet.read_schema(path).names) else None
    table = pd.read_parquet(path, columns=columns)
    table = table.reset_index(drop=isinstance(table.index, pd.RangeIndex))
    return table.set_axis(table.columns.map(str), axis=1)


def _read_sheet(path: Path) -> pd.DataFrame:
    """Return the first sheet of an Excel file. Text such as NA counts as empty only in columns that otherwise hold numbers."""
    sheet = pd.read_excel(path, na_values=[""], keep_default_na=False)
    for name in sheet.select_dtypes(exclude=["number", "datetime"]):
        cells = sheet[name].where(~sheet[name].isin(EMPTY))
        numbers = pd.to_numeric(cells, errors="coerce")
        if numbers.notna().any() and numbers.notna().equals(cells.notna()):
            sheet[name] = numbers
    return sheet.set_axis(sheet.columns.map(str), axis=1)


def codec_name(encoding: str) -> str:
    """Return Python's name of an encoding; UTF-8 may begin with a byte order mark."""
    return "utf-8-sig" if encoding.lower().replace("_", "-") in {"utf-8", "utf8"} else encoding


def find_value_columns(config: DataConfig, header: list[str]) -> list[str]:
    """Return the columns of targets and covariates; in a wide file, all columns but the timestamp."""
    return [name for name in header if name not in config.timestamp] if config.wide else config.values


def check_width(table: pd.DataFrame, path: Path) -> None:
    """Refuse rows that are wider than the header, of whose surplus cells pandas makes an index."""
    if not isinstance(table.index, pd.RangeIndex):
        remedy = "Name every column in the header. Quote numbers that contain commas."
        raise DataError("the rows have more cells than the header.", remedy, f"{path}:{FIRST_DATA_ROW}")


def _check_columns(present: list[str], config: DataConfig, path: Path) -> None:
    """Refuse a file without the columns that the config names, or whose names do not tell columns or series apart."""
    wanted = config.columns
    errors = [
        DataError(f"the file has no column `{name}`.", did_you_mean(name, present), f"{path}:1")
        for name in wanted
        if name not in present
    ]
    for name, count in Counter(wanted).items():
        if count > 1:
            errors.append(DataError(f"column `{name}` is used twice.", "Use each column once in `data`.", str(path)))
    series = [name.strip() for name in find_value_columns(config, present)] if config.wide else []
    for name, count in Counter([name for name in present if name in wanted] + series).items():
        if count > 1:
            errors.append(DataError(f"the header names `{name}` twice.", "Rename one of the two columns.", f"{path}:1"))
        if UNWRITABLE.search(name):
            problem = f"the name {name!r} contains a carriage return or a null character."
            errors.append(DataError(problem, "Rename the column.", f"{path}:1"))
    if errors:
        raise DataError.combine(errors)
