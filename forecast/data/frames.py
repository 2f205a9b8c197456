"""Accept a DataFrame, for example from a notebook, where a file is expected. The rows are written to a CSV file."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from forecast.config import DataConfig
from forecast.data.tables import codec_name
from forecast.errors import DataError
from forecast.storage import replace_file, translate_write_errors

ALIASES = {"unique_id": "series_id", "ds": "timestamp", "y": "target"}  # Column names of statsforecast and its relatives.
FRAME = "the DataFrame"
Data = str | Path | pd.DataFrame


def store_frame(frame: pd.DataFrame, folder: Path, config: DataConfig | None = None) -> Path:
    """Write a DataFrame to `data.csv` in a subfolder of `folder` that is named after its content, and return the path.

    An index of timestamps or with names becomes columns. config: how the file will be read, and the names of columns, for which
    `unique_id`, `ds` and `y` may stand.

    Raises:
        DataError: the frame has no rows, or its columns cannot be told apart.
        ResourceError: the file cannot be written.
    """
    frame = _make_columns(frame)
    decimal = config.decimal if config else "."
    options: dict[str, Any] = {"sep": (config and config.delimiter) or (";" if decimal == "," else ","), "decimal": decimal}
    if config:
        frame = frame if config.wide else frame.rename(columns=_find_aliases(frame, config))
        options["date_format"] = config.date_format
    text = frame.to_csv(index=False, **options).encode(codec_name(config.encoding) if config else "utf-8")
    path = folder / hashlib.sha256(text).hexdigest()[:12] / "data.csv"
    with translate_write_errors(folder):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as temporary:
        temporary.write_bytes(text)
    return path


def _make_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose index of timestamps or with names has become columns.

    Raises:
        DataError: there are no rows, or columns cannot be told apart.
    """
    if isinstance(frame.index, pd.PeriodIndex):
        frame = frame.set_axis(frame.index.to_timestamp())
    names = [str(name or "timestamp") for name in frame.index.names]
    has_index = isinstance(frame.index, (pd.DatetimeIndex, pd.MultiIndex)) or frame.index.names != [None]
    columns = [*(names if has_index else []), *frame.columns]
    if frame.empty or len(set(columns)) < len(columns) or isinstance(frame.columns, pd.MultiIndex):
        problem = "it has no rows, or it has several columns with the same name or several levels of columns."
        raise DataError(problem, "Pass rows with distinct columns, and name each level of an index.", FRAME)
    return frame.rename_axis(index=names).reset_index() if has_index else frame


def _find_aliases(frame: pd.DataFrame, config: DataConfig) -> dict[str, str]:
    """Return the names of the config for columns of the frame that stand for missing ones."""
    wanted = {alias: getattr(config, key) for alias, key in ALIASES.items() if alias in frame}
    return {alias: names[0] for alias, names in wanted.items() if names and names[0] not in frame}


@contextlib.contextmanager
def as_file(data: Data | None, config: DataConfig) -> Iterator[Path | None]:
    """Yield the path of a file, or that of a temporary file with the rows of a DataFrame.

    Raises:
        DataError: the rows cannot be used. The error names the DataFrame, not the temporary file.
    """
    if not isinstance(data, pd.DataFrame):
        yield None if data is None else Path(data)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = store_frame(data, Path(folder), config)
        try:
            yield path
        except DataError as error:
            texts = (error.problem, error.remedy, error.location)
            raise DataError(*(text.replace(str(path), FRAME) for text in texts)) from None
