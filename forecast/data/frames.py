"""Accept a DataFrame where a file is expected, as a notebook does: the rows are written to a CSV file."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from forecast.config import DataConfig
from forecast.errors import DataError
from forecast.storage import replace_file

ECOSYSTEM = {"series_id": "unique_id", "timestamp": "ds", "target": "y"}  # Column names of statsforecast and its relatives.
Data = str | Path | pd.DataFrame


def store_frame(frame: pd.DataFrame, folder: Path, config: DataConfig | None = None) -> Path:
    """Write a DataFrame to a CSV file in `folder`, which is named after its content, and return the path.

    An index of timestamps or with names becomes columns. config: with the names of columns, for which `unique_id`, `ds` and `y`
    may stand.

    Raises:
        DataError: the frame has no rows, or a name of a column twice.
    """
    if frame.index.names != [None] or isinstance(frame.index, pd.DatetimeIndex):
        frame = frame.rename_axis(index=[str(name or "timestamp") for name in frame.index.names]).reset_index()
    if frame.empty or not frame.columns.is_unique:
        raise DataError("this DataFrame has no rows, or two columns of the same name.", "Pass rows with distinct columns.")
    columns = {alias: getattr(config, key) for key, alias in ECOSYSTEM.items()} if config else {}
    renamed = {alias: names[0] for alias, names in columns.items() if names and names[0] not in frame}
    text = frame.rename(columns=renamed).to_csv(index=False).encode()
    path = folder / f"data-{hashlib.sha256(text).hexdigest()[:12]}.csv"
    folder.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as temporary:
        temporary.write_bytes(text)
    return path


@contextlib.contextmanager
def as_file(data: Data | None, config: DataConfig) -> Iterator[Path | None]:
    """Yield the path of a file, or that of a temporary file with the rows of a DataFrame."""
    if isinstance(data, pd.DataFrame):
        with tempfile.TemporaryDirectory() as folder:
            yield store_frame(data, Path(folder), config)
    else:
        yield None if data is None else Path(data)
