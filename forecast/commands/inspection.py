"""Inspect a data file for `init`: the `data:` keys that a config needs to read it, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecast.commands.sizing import MIN_ROWS
from forecast.config import DataConfig
from forecast.data import (
    CLOCK,
    DELIMITERS,
    EMPTY,
    TYPED,
    Panel,
    Repair,
    build_number_pattern,
    check_width,
    codec_name,
    find_possible_formats,
    infer_freq,
    parse_parts,
    parse_timestamps,
    read_header,
    read_panel,
    read_typed,
    translate_read_errors,
)
from forecast.errors import DataError, did_you_mean

NUMERIC_STAMPS = {"%Y": (1500, 2200), "%Y%m%d": (15000101, 22001231), "unix": (10**8, 10**10), "unix_ms": (10**11, 10**13)}
NumberFormat = tuple[str, str | None]  # The decimal mark, and the separator of thousands.
NUMBER_FORMATS: list[NumberFormat] = [(".", None), (",", None), (".", ","), (",", ".")]
NUMBER_FORMATS += [(decimal, thousands) for thousands in " '" for decimal in ".,"]


@dataclass
class Draft:
    """The keys of a `data:` section, remarks on them, and the columns of numbers that no key names."""

    keys: dict[str, Any]
    remarks: dict[str, str] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)

    def set(self, key: str, value: object, remark: str = "") -> None:
        """Set a key, with a remark on why."""
        self.keys[key] = value
        if remark:
            self.remarks[key] = remark


def inspect_file(path: Path, target: str | None) -> tuple[Draft, Panel]:
    """Return the keys that read a file, and the panel that they give. target: the column to forecast, None for the first.

    Raises:
        DataError: no timestamp or numeric column is found, or the rows cannot be repaired.
    """
    draft = Draft({"path": str(path)})
    table = _read_file(path, draft)
    stamps = _find_timestamps(draft, table, path)
    _find_series(draft, table, stamps, path)
    _find_target(draft, table, target, path)
    return draft, _choose_policies(draft, stamps, path)


def _read_file(path: Path, draft: Draft) -> pd.DataFrame:
    with translate_read_errors(path):
        if path.suffix.lower() in TYPED:
            return read_typed(path)
        try:
            return _read_text(path, "utf-8", draft)
        except UnicodeDecodeError:
            draft.set("encoding", "latin-1")
            return _read_text(path, "latin-1", draft)


def _read_text(path: Path, encoding: str, draft: Draft) -> pd.DataFrame:
    _, delimiter = read_header(path, encoding, None, [])
    options: Any = {"sep": delimiter, "encoding": codec_name(encoding), "na_values": EMPTY, "keep_default_na": False}
    table: pd.DataFrame = pd.read_csv(path, **options, low_memory=False)
    check_width(table, path)
    if delimiter != DELIMITERS[0]:
        draft.set("delimiter", delimiter)
    cells = table.select_dtypes(exclude=["number", "bool"])
    decimals = table.select_dtypes("float").columns
    if delimiter == ";" and len(decimals):  # The points that pandas took for decimal points may separate thousands.
        cells = cells.join(pd.read_csv(path, **options, dtype=str)[decimals])
    _find_number_format(draft, table, cells, delimiter)
    return table.dropna(how="all")


def _find_number_format(draft: Draft, table: pd.DataFrame, text: pd.DataFrame, delimiter: str) -> None:
    """Convert columns of `text` such as 1,5 or 1.500,25 to numbers in `table`, and set `decimal` and `thousands`."""
    columns = {name: cells for name in text if len(cells := text[name].dropna().astype(str).str.strip())}
    formats = {
        name: [form for form in NUMBER_FORMATS if cells.str.fullmatch(build_number_pattern(*form)).all()]
        for name, cells in columns.items()
    }
    formats = {name: possible for name, possible in formats.items() if possible}
    if not formats:
        return
    common = [form for form in NUMBER_FORMATS if all(form in possible for possible in formats.values())]
    common = common or next(iter(formats.values()))  # A config can read one format only.
    columns = {name: columns[name] for name, possible in formats.items() if common[0] in possible}
    cells = pd.concat(list(columns.values()), ignore_index=True).drop_duplicates()
    readings = {_to_numbers(cells, *form).to_numpy().tobytes(): form for form in reversed(common)}  # The simplest of equal ones.
    decimal, thousands = chosen = _choose_number_format(list(readings.values()), cells, delimiter)
    for name, column in columns.items():
        table[name] = _to_numbers(column, *chosen).reindex(table.index)
    if decimal != "." or len(readings) > 1:
        draft.set("decimal", decimal)
    if thousands:
        draft.set("thousands", thousands)
    for form in readings.values():
        if form != chosen:
            example = cells[cells.str.contains("[.,]")].iloc[:1]
            number, alternative = (f"{_to_numbers(example, *format_).iloc[0]:.12g}" for format_ in (chosen, form))
            remedy = f"set decimal: '{form[0]}' and " + (f"thousands: '{form[1]}'" if form[1] else "leave out thousands")
            remark = f"CHECK THIS: {example.iloc[0]} is read as {number}. If it means {alternative}, {remedy}"
            draft.remarks["thousands" if thousands else "decimal"] = remark


def _to_numbers(cells: pd.Series, decimal: str, thousands: str | None) -> pd.Series:
    plain = cells.str.replace(thousands, "", regex=False) if thousands else cells
    return pd.to_numeric(plain.str.replace(decimal, ".", regex=False))


def _choose_number_format(formats: list[NumberFormat], cells: pd.Series, delimiter: str) -> NumberFormat:
    """Choose the format of cells that can be read in several: 4.018 may be 4018, and 1,560 may be 1.56.

    A comma in a file with semicolons is a decimal comma. Otherwise, thousands are separated in all cells or in none: integers
    of four digits are evidence against a separator, and shorter ones for it. Without either, a point is a decimal point and a
    comma separates thousands.
    """
    grouped = next((form for form in formats if form[1]), None)
    single = next((form for form in formats if not form[1]), None)
    if not (grouped and single):
        return formats[-1]
    digits = cells[cells.str.fullmatch(r"[-+]?\d+")].str.lstrip("+-").str.len()
    if grouped[1] == "," and delimiter == ";" or (digits > 3).any():
        return single
    return grouped if len(digits) or grouped[1] == "," else single


def _find_timestamps(draft: Draft, table: pd.DataFrame, path: Path) -> pd.Series:
    """Return the first column of timestamps, else the columns of year, month and so on, else integers that count time."""
    for name in table.columns:
        if (stamps := _parse_column(draft, table[name])) is not None:
            draft.set("timestamp", name)
            return stamps
    columns = {str(name).lower(): name for name in table.columns}
    parts: list[Any] = [columns.get(part) for part in CLOCK]
    parts = parts[: parts.index(None)] if None in parts else parts
    if len(parts) >= 2:
        draft.set("timestamp", parts, "the timestamp is spread over these columns")
        return parse_parts(table[parts])
    for name in table.select_dtypes(np.integer).columns:
        for date_format, (low, high) in NUMERIC_STAMPS.items():
            if table[name].between(low, high).all():
                remark = f"CHECK THIS: integers from {table[name].min()} to {table[name].max()} are read as timestamps"
                draft.set("timestamp", name)
                draft.set("date_format", date_format, remark)
                return parse_timestamps(table[name].astype(str), date_format)[0]
    raise DataError(
        f"no column contains timestamps in a known format. The columns are {', '.join(map(str, table.columns[:12]))}.",
        "Write a config by hand, with data.timestamp and data.date_format.",
        str(path),
    )


def _parse_column(draft: Draft, column: pd.Series) -> pd.Series | None:
    """Return the timestamps of a column, and set how to read them; None if it holds anything else."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return column
    if not (pd.api.types.is_string_dtype(column) or column.dtype == object) or column.isna().any() or column.empty:
        return None
    text = column.astype("str").str.strip()
    formats = find_possible_formats(text)
    readings = {date_format: parse_timestamps(text, date_format) for date_format in formats}
    readings = {date_format: reading for date_format, reading in readings.items() if reading[0].notna().all()}
    if not readings:
        return None
    best = max(readings, key=lambda date_format: _regularity(readings[date_format][0]))
    stamps, offsets = readings[best]
    if best != "ISO8601":
        draft.set("date_format", best)
    if len(formats) > 1:
        draft.remarks["date_format"] = "CHECK THIS: day and month could be swapped; in this order, the rows are evenly spaced"
    if len(offsets) > 1:
        remark = f"CHECK THIS: the UTC offsets are {', '.join(sorted(offsets))}; set the time zone, such as Europe/London"
        draft.set("timezone", "UTC", remark)
    return stamps


def _regularity(stamps: pd.Series) -> float:
    """Return the share of the commonest spacing, or 1 if all days of the month are equal."""
    ordered = pd.DatetimeIndex(stamps.drop_duplicates().sort_values())
    if len(ordered) < 3:
        return 0.0
    counts = np.unique(np.diff(ordered.asi8), return_counts=True)[1]
    return 1.0 if len(set(ordered.day)) == 1 else float(counts.max() / counts.sum())


def _find_series(draft: Draft, table: pd.DataFrame, stamps: pd.Series, path: Path) -> None:
    """Set the first column that makes nearly all timestamps unique, if many occur more than once.

    Raises:
        DataError: there is no such column.
    """
    repeated = int(stamps.duplicated().sum())
    if repeated <= len(table) / 20:  # A few duplicates are no series.
        return
    for name in table.columns.drop(_as_list(draft.keys["timestamp"])):
        column = table[name]
        column = column.fillna("NA") if pd.api.types.is_string_dtype(column) else column  # A series may be called NA.
        is_id = column.nunique() <= len(table) / MIN_ROWS and not pd.api.types.is_float_dtype(column) and column.notna().all()
        if is_id and pd.DataFrame({"t": stamps, "s": column}).duplicated().sum() <= repeated / 100:
            draft.set("series_id", name, f"{column.nunique()} series; this column separates nearly all repeated timestamps")
            return
    raise DataError(
        f"{repeated} of {len(table)} timestamps repeat, and no single column separates the series.",
        "Add a column that names the series of each row, for example by combining store and item.",
        str(path),
    )


def _find_target(draft: Draft, table: pd.DataFrame, target: str | None, path: Path) -> None:
    """Set the target: the first numeric column that does not just count rows, unless it was chosen."""
    if target is not None and target not in table.columns:
        raise DataError(f"the file has no column `{target}`.", did_you_mean(target, map(str, table.columns)), f"{path}:1")
    keys = [*_as_list(draft.keys["timestamp"]), draft.keys.get("series_id")]
    numeric = [name for name in table.select_dtypes("number", exclude="timedelta").columns if name not in keys]
    numeric = [name for name in numeric if table[name].nunique() > 1 and not _counts_rows(table[name])] or numeric
    if target is not None:
        draft.set("target", target)
    elif numeric:
        draft.set("target", numeric[0], "the first numeric column" if len(numeric) > 1 else "")
    else:
        raise DataError("no column contains numbers.", "Use a file with a numeric column to forecast.", str(path))
    draft.unused = [str(name) for name in numeric if name != draft.keys["target"]]


def _counts_rows(column: pd.Series) -> bool:
    return pd.api.types.is_integer_dtype(column) and len(column) > 2 and bool((column.diff().iloc[1:] == 1).all())


def _as_list(names: Any) -> list[Any]:
    return names if isinstance(names, list) else [names]


def _choose_policies(draft: Draft, stamps: pd.Series, path: Path) -> Panel:
    """Set the policies that the file needs, and return the panel that they give."""
    lenient: dict[str, Any] = {"duplicates": "first", "missing_timestamps": "fill", "max_gap": 10**9}
    freq = infer_freq(pd.DatetimeIndex(stamps.drop_duplicates().sort_values()))
    attempts: list[dict[str, Any]] = [{"missing_values": "interpolate"}, {"missing_values": "forward"}]
    attempts.append({"missing_values": "forward", "resample": {"freq": freq, "how": "mean"}})
    keys = {**draft.keys, "timestamp": _as_list(draft.keys["timestamp"]), "target": _as_list(draft.keys["target"])}
    for attempt in attempts:
        try:
            panel = read_panel(DataConfig(**keys, **lenient, **attempt), path)
            break
        except DataError:
            if attempt is attempts[-1] or freq is None:
                raise
    for repair in panel.record:
        _explain_repair(draft, repair, attempt)
    return panel


def _explain_repair(draft: Draft, repair: Repair, policies: dict[str, Any]) -> None:
    if repair.kind == "duplicates":
        draft.set("duplicates", "first", f"{repair.rows} timestamps repeat; other policies are mean, sum and last")
    elif repair.kind == "missing timestamps":
        draft.set("missing_timestamps", "fill", f"{repair.rows} missing, the first at {repair.first[0]}")
    elif repair.kind.startswith("rows before") and "missing_values" not in draft.keys:
        remark = f"the first {repair.rows} rows have no value and are left out"
        draft.set("missing_values", policies["missing_values"], remark)
    elif repair.kind == "missing values":
        added = ", those of the added rows included" if "missing_timestamps" in draft.keys else ""
        remark = f"{repair.cells} cells are empty{added}; windows with a filled value at or after the cutoff are not scored"
        draft.set("missing_values", policies["missing_values"], remark)
        if (repair.longest or 0) > DataConfig.model_fields["max_gap"].default:
            draft.set("max_gap", repair.longest, "length of the longest gap; with a smaller value, this gap is an error")
    elif repair.kind == "resampled":
        draft.set("resample", policies["resample"], "the rows are not evenly spaced")
