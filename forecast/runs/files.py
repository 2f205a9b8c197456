"""Read the files of a run: JSON, tables and arrays, within limits. Nothing in them is executed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from forecast.documents import Document
from forecast.errors import DAMAGED, RunError, first_few

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

MAX_BYTES = 8_000_000  # Size of a JSON file, enough for the scalers of 50,000 series.
MAX_BRACKETS = 250_000  # Lists and mappings in a JSON file. Empty ones cost far more memory and time than their bytes suggest.
MAX_HEADER = 1_000_000  # Size of the names and shapes before the arrays of a file.
CHUNK_ROWS = 100_000  # Rows of a table that are read at once.
DocumentType = TypeVar("DocumentType", bound=Document)


def parse_document(path: Path, kind: type[DocumentType]) -> DocumentType:
    """Read a JSON file as a document of this kind.

    Raises:
        RunError: it is not one; the message names the first fields that are wrong.
    """
    text = _read_json_text(path)
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        problems = [
            f"`{'.'.join(map(str, problem['loc']))}`: {problem['msg']}" if problem["loc"] else problem["msg"]
            for problem in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise RunError(f"cannot be read ({first_few(problems):.1000}).", DAMAGED, str(path)) from None


def parse_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        RunError: it is not JSON.
    """
    text = _read_json_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RunError(f"cannot be read ({error}).", DAMAGED, str(path)) from None


def _read_json_text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise RunError(f"cannot be read ({error}).", DAMAGED, str(path)) from None
    if text.count("[") + text.count("{") > MAX_BRACKETS:
        raise RunError("cannot be read (more lists and mappings than it can need).", DAMAGED, str(path))
    return text


def parse_table(
    path: Path,
    columns: Mapping[str, type],
    optional: Mapping[str, type] | None = None,
    select: Callable[[pd.DataFrame], pd.Series[bool]] | None = None,
) -> pd.DataFrame:
    """Read a CSV file that may be large.

    columns: those that it must have, and their types; text is kept as it is, even "nan". optional: those that it may have.
    select: returns the mask of the rows to keep, for a part of the table; None keeps all rows.

    Raises:
        RunError: a column is missing or of another type.
    """
    import pandas as pd

    types = {**columns, **(optional or {})}
    try:
        header = list(map(str, pd.read_csv(path, nrows=0).columns))
        if missing := [f"`{name}`" for name in columns if name not in header]:
            raise ValueError(f"there is no column {first_few(missing)}")
        empty = {name: [""] if types.get(name) is str else ["", "nan"] for name in header}
        chunks = pd.read_csv(path, dtype=types, keep_default_na=False, na_values=empty, chunksize=CHUNK_ROWS)
        parts = [chunk[select(chunk)] if select else chunk for chunk in chunks]
        return pd.concat(parts, ignore_index=True)
    except (OSError, ValueError) as error:
        raise RunError(f"cannot be read ({error}).", DAMAGED, str(path)) from None


def parse_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read the named arrays of a safetensors file.

    Raises:
        RunError: it is not one.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(path.read_bytes())
    except (SafetensorError, KeyError, ValueError) as error:  # NumPy does not know some types, which is a KeyError.
        raise RunError(f"cannot be read ({error}).", DAMAGED, str(path)) from None
