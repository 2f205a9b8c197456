"""`init`: a look at a CSV file becomes a commented config that trains as it is."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from forecast.commands.sizing import FEWEST_ROWS, choose_sizes, find_season, grows
from forecast.config import DataConfig, format_yaml_line, infer_season_length
from forecast.data import (
    CLOCK,
    DELIMITERS,
    EMPTY,
    PARQUET,
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
    read_parquet,
    translate_read_errors,
)
from forecast.errors import DataError, RunError, did_you_mean

LARGE_MODEL = {"cell": "lstm", "units": [64], "normalization": "mean", "linear_skip": True}
SMALL_MODEL = {"cell": "lstm", "units": [32], "dropout": 0.2, "normalization": "mean", "linear_skip": True}
MODEL_REMARKS = {
    "normalization": "the network sees each window beside its own mean, so that a new level is nothing new",
    "linear_skip": "training starts from a ridge regression, and keeps it if no epoch is better",
}
LARGE_TRAINING = {"epochs": 30, "batch_size": 128, "learning_rate": 0.001, "early_stopping": {"patience": 5}}
SMALL_TRAINING = {"epochs": 300, "batch_size": 16, "learning_rate": 0.01, "early_stopping": {"patience": 20}}
NUMBERS = {"%Y": (1500, 2200), "%Y%m%d": (15000101, 22001231), "unix": (10**8, 10**10), "unix_ms": (10**11, 10**13)}

NumberFormat = tuple[str, str | None]  # decimal point, and what separates thousands
NUMBER_FORMATS: list[NumberFormat] = [(".", None), (",", None), (".", ","), (",", ".")]
NUMBER_FORMATS += [(decimal, thousands) for thousands in " '" for decimal in ".,"]


@dataclass
class _Draft:
    """The `data:` section in the making, and what is to be said about its keys."""

    data: dict[str, object]
    remarks: dict[str, str] = field(default_factory=dict)


def init(
    data: str | Path, output: str | Path | None = None, target: str | None = None, horizon: int | None = None, force: bool = False
) -> Path:
    """Write a config for a CSV or Parquet file and return its path.

    What was found is a key, why it was chosen a comment. `output` None is the data's name with .yaml, in the current folder;
    `target` and `horizon` None are chosen too.

    Raises:
        DataError: no timestamp or numeric column is found, or the rows cannot be used under any policy.
        RunError: `output` exists and `force` is false.
    """
    data = Path(data)
    output = Path(output or f"{data.stem}.yaml")
    if output.exists() and not force:
        raise RunError("this file exists.", "Choose another with -o, or replace it with --force.", str(output))
    draft = _Draft({"path": str(data)})
    table = _read(data, draft)
    stamps = _find_timestamps(draft, table, data)
    _find_series(draft, table, stamps, data)
    _find_target(draft, table, target, data)
    panel = _find_policies(draft, stamps, data)
    draft.data["path"] = os.path.relpath(data.absolute(), output.absolute().parent)
    try:
        output.write_text(_write(draft, panel, horizon), encoding="utf-8")
    except OSError as error:
        raise RunError(f"cannot be written ({error.strerror}).", "Choose another file with -o.", str(output)) from None
    return output


def _read(path: Path, draft: _Draft) -> pd.DataFrame:
    """Return the whole file; the keys that were needed to read it go into the draft."""
    with translate_read_errors(path):
        if path.suffix.lower() in PARQUET:
            return read_parquet(path)
        try:
            return _read_text(path, "utf-8", draft)
        except UnicodeDecodeError:
            draft.data["encoding"] = "latin-1"
            return _read_text(path, "latin-1", draft)


def _read_text(path: Path, encoding: str, draft: _Draft) -> pd.DataFrame:
    _, delimiter = read_header(path, encoding, None, [])
    options = {"sep": delimiter, "encoding": codec_name(encoding), "na_values": EMPTY, "keep_default_na": False}
    table = pd.read_csv(path, **options, low_memory=False)
    check_width(table, path)
    if delimiter != DELIMITERS[0]:
        draft.data["delimiter"] = delimiter
    cells = table.select_dtypes(exclude=["number", "bool"])
    decimals = table.columns[[pd.api.types.is_float_dtype(kind) for kind in table.dtypes]]
    if delimiter == ";" and len(decimals):  # what pandas took for decimal points may separate thousands
        cells = cells.join(pd.read_csv(path, **options, dtype=str)[decimals])
    _find_number_format(draft, table, cells, delimiter)
    return table.dropna(how="all")


def _find_number_format(draft: _Draft, table: pd.DataFrame, text: pd.DataFrame, delimiter: str) -> None:
    """Turn columns of text such as 1,5 or 1.500,25 into numbers; `decimal` and `thousands` become keys.

    text: the cells of columns whose format is to be found, as they are in the file.
    """
    columns = {name: text[name].dropna().astype(str).str.strip() for name in text}
    formats = {
        name: [form for form in NUMBER_FORMATS if cells.str.fullmatch(build_number_pattern(*form)).all()]
        for name, cells in columns.items()
        if len(cells)
    }
    formats = {name: possible for name, possible in formats.items() if possible}
    if not formats:
        return
    common = [form for form in NUMBER_FORMATS if all(form in possible for possible in formats.values())]
    common = common or next(iter(formats.values()))  # where columns differ, a config can read only those that are alike
    columns = {name: columns[name] for name, possible in formats.items() if common[0] in possible}
    cells = pd.concat(list(columns.values()), ignore_index=True).drop_duplicates()
    readings = {_to_numbers(cells, *form).to_numpy().tobytes(): form for form in reversed(common)}  # the simplest of equals
    decimal, thousands = chosen = _likeliest(list(readings.values()), cells, delimiter)
    for name, own in columns.items():
        table[name] = _to_numbers(own, *chosen).reindex(table.index)
    if decimal != "." or len(readings) > 1:
        draft.data["decimal"] = decimal
    if thousands:
        draft.data["thousands"] = thousands
    for other in readings.values():
        if other != chosen:
            example = cells[cells.str.contains("[.,]")].iloc[:1]
            now, then = (f"{_to_numbers(example, *form).iloc[0]:.12g}" for form in (chosen, other))
            instead = f"set decimal: '{other[0]}' and " + (f"thousands: '{other[1]}'" if other[1] else "leave out thousands")
            remark = f"CHECK THIS: {example.iloc[0]} is read as {now}; if it means {then}, {instead}"
            draft.remarks["thousands" if thousands else "decimal"] = remark


def _to_numbers(cells: pd.Series, decimal: str, thousands: str | None) -> pd.Series:
    plain = cells.str.replace(thousands, "", regex=False) if thousands else cells
    return pd.to_numeric(plain.str.replace(decimal, ".", regex=False))


def _likeliest(formats: list[NumberFormat], cells: pd.Series, delimiter: str) -> NumberFormat:
    """Return the format to read cells with that have several: 4.018 may be 4018, and 1,560 may be 1.56.

    A comma in a file with semicolons is a decimal comma. Otherwise, thousands are separated in all cells or in none: whole
    numbers of four digits speak against a separator, and shorter ones for it. Without either, a point is a decimal point and a
    comma separates thousands.
    """
    grouped = next((form for form in formats if form[1]), None)
    single = next((form for form in formats if not form[1]), None)
    if not (grouped and single):
        return formats[-1]
    whole = cells[cells.str.fullmatch(r"[-+]?\d+")].str.lstrip("+-").str.len()
    if grouped[1] == "," and delimiter == ";" or (whole > 3).any():
        return single
    return grouped if len(whole) or grouped[1] == "," else single


def _find_timestamps(draft: _Draft, table: pd.DataFrame, path: Path) -> pd.Series:
    """The first column that holds nothing but timestamps, or the columns of year, month and so on, or numbers that count time."""
    for name in table.columns:
        if (stamps := _stamps_of(draft, table[name])) is not None:
            draft.data["timestamp"] = name
            return stamps
    lower = {str(name).lower(): name for name in table.columns}
    parts = [lower.get(part) for part in CLOCK]
    parts = parts[: parts.index(None)] if None in parts else parts
    if len(parts) >= 2:
        draft.data["timestamp"] = parts
        draft.remarks["timestamp"] = "the timestamp is spread over these columns"
        return parse_parts(table[parts])
    for name in table.columns[[pd.api.types.is_integer_dtype(kind) for kind in table.dtypes]]:
        for date_format, (low, high) in NUMBERS.items():
            if table[name].between(low, high).all():
                draft.data |= {"timestamp": name, "date_format": date_format}
                draft.remarks["date_format"] = f"CHECK THIS: whole numbers from {table[name].min()} to {table[name].max()}"
                return parse_timestamps(table[name].astype(str), date_format)[0]
    raise DataError(
        f"no column holds timestamps in a known form; the columns are {', '.join(map(str, table.columns[:12]))}.",
        "Write a config by hand, with data.timestamp and data.date_format.",
        str(path),
    )


def _stamps_of(draft: _Draft, column: pd.Series) -> pd.Series | None:
    """The column's timestamps if it holds nothing else; how they were read goes into the draft."""
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
        draft.data["date_format"] = best
    if len(formats) > 1:
        draft.remarks["date_format"] = "CHECK THIS: day and month could be swapped; read like this, the rows are evenly spaced"
    if len(offsets) > 1:
        draft.data["timezone"] = "UTC"
        draft.remarks["timezone"] = f"CHECK THIS: offsets are {', '.join(sorted(offsets))}; name the place, as in Europe/London"
    return stamps


def _regularity(stamps: pd.Series) -> float:
    """Share of the commonest spacing, or 1 for a calendar freq."""
    ordered = pd.DatetimeIndex(stamps.drop_duplicates().sort_values())
    spacing = np.diff(ordered.asi8)
    if len(spacing) < 2:
        return 0.0
    months = len(set(ordered.day)) == 1
    return 1.0 if months else float(np.unique(spacing, return_counts=True)[1].max() / len(spacing))


def _find_series(draft: _Draft, table: pd.DataFrame, stamps: pd.Series, path: Path) -> None:
    """If many timestamps repeat: the first column that makes (nearly) all of them unique together with it.

    Raises:
        DataError: there is none.
    """
    repeated = int(stamps.duplicated().sum())
    if repeated <= len(table) / 20:  # a few rows given twice are no series
        return
    taken = _as_list(draft.data["timestamp"])
    for name in table.columns.drop(taken):
        column = table[name]
        column = column.fillna("NA") if pd.api.types.is_string_dtype(column) else column  # an id may be called NA
        few = column.nunique() <= len(table) / FEWEST_ROWS and not pd.api.types.is_float_dtype(column) and column.notna().all()
        left = int(pd.DataFrame({"t": stamps, "s": column}).duplicated().sum())
        if few and left <= repeated / 100:
            draft.data["series_id"] = name
            draft.remarks["series_id"] = f"{column.nunique()} series; nearly all timestamps that repeat belong to different ones"
            return
    raise DataError(
        f"{repeated} of {len(table)} timestamps repeat, and no single column tells series apart.",
        "Add a column that names the series of each row, such as store and item joined.",
        str(path),
    )


def _find_target(draft: _Draft, table: pd.DataFrame, target: str | None, path: Path) -> None:
    """The given target, or the first numeric column that does not merely count rows."""
    taken = [*_as_list(draft.data["timestamp"]), draft.data.get("series_id")]
    numeric = [
        name
        for name in table.columns
        if name not in taken and pd.api.types.is_numeric_dtype(table[name]) and table[name].dtype != bool
    ]
    numeric = [name for name in numeric if table[name].nunique() > 1 and not _counts(table[name])] or numeric
    if target is not None and target not in table.columns:
        raise DataError(f"no column `{target}`.", did_you_mean(target, map(str, table.columns)), f"{path}:1")
    if target is None and not numeric:
        raise DataError("no column holds numbers.", "Give a file with a column to forecast.", str(path))
    draft.data["target"] = target if target is not None else numeric[0]
    others = [str(name) for name in numeric if name != draft.data["target"]]
    if others and target is None:
        draft.remarks["target"] = f"the first numeric column; others: {', '.join(others)}"


def _counts(column: pd.Series) -> bool:
    whole = pd.api.types.is_integer_dtype(column) and column.notna().all() and len(column) > 2
    return bool(whole and (column.diff().iloc[1:] == 1).all())


def _as_list(names: object) -> list:
    return names if isinstance(names, list) else [names]


def _find_policies(draft: _Draft, stamps: pd.Series, path: Path) -> Panel:
    """The policies that this file needs, each with a remark on why; returns the panel they make."""
    lenient = {"duplicates": "first", "missing_timestamps": "fill", "max_gap": 10**9}
    freq = infer_freq(pd.DatetimeIndex(stamps.drop_duplicates().sort_values()))
    attempts = [
        {"missing_values": "interpolate"},
        {"missing_values": "forward"},
        {"missing_values": "forward", "resample": {"freq": freq, "how": "mean"}},
    ]
    keys = {**draft.data, "timestamp": _as_list(draft.data["timestamp"]), "target": _as_list(draft.data["target"])}
    for number, attempt in enumerate(attempts):
        try:
            panel = read_panel(DataConfig(**keys, **lenient, **attempt), path)
            break
        except DataError:
            if number == len(attempts) - 1 or freq is None:
                raise
    for repair in panel.record:
        _remark_repair(draft, repair, attempt)
    return panel


def _remark_repair(draft: _Draft, repair: Repair, attempt: dict) -> None:
    if repair.what == "duplicates":
        draft.data["duplicates"] = "first"
        draft.remarks["duplicates"] = f"{repair.rows} timestamps are given twice; mean, sum and last are other choices"
    elif repair.what == "missing timestamps":
        draft.data["missing_timestamps"] = "fill"
        draft.remarks["missing_timestamps"] = f"{repair.rows} are missing, the first at {repair.first[0]}"
    elif repair.what.startswith("rows before"):
        draft.data.setdefault("missing_values", attempt["missing_values"])
        draft.remarks.setdefault("missing_values", f"the first {repair.rows} rows have no value and are left out")
    elif repair.what == "missing values":
        draft.data["missing_values"] = attempt["missing_values"]
        draft.remarks["missing_values"] = f"{repair.cells} cells are empty; windows with a filled cutoff or target are left out"
        if (repair.longest or 0) > DataConfig.model_fields["max_gap"].default:
            draft.data["max_gap"] = repair.longest
            draft.remarks["max_gap"] = "the longest run of empty cells; a smaller number refuses such gaps"
    elif repair.what == "resampled":
        draft.data["resample"] = attempt["resample"]
        draft.remarks["resample"] = "the rows are not evenly spaced"


def _write(draft: _Draft, panel: Panel, horizon: int | None) -> str:
    """The config file's text."""
    season, confirmed = find_season(panel)
    sizes = choose_sizes(panel, season, horizon)
    if season != infer_season_length(panel.freq):
        draft.data["season_length"] = season
    draft.remarks["season_length"] = confirmed
    horizon_remark = "steps to forecast" + ("" if horizon else "; chosen from the season, set what you need")
    stride_remark = f"trains on one window in {sizes.stride}, to keep an epoch short; 1 uses all"
    scaling = {"method": "standard"}
    if grows(panel, season):
        scaling = {"method": "minmax", "transform": "log1p"}
    span = f"{panel.timestamps.min()} to {panel.timestamps.max()}"
    lines = [
        f"# {panel.source}: {len(panel.values)} rows, {len(panel.series_ids)} series, freq {panel.freq}, {span}",
        "# Made by `forecast init`. Check it with `forecast validate`, train it with `forecast train`.",
        *_section("data", draft.data, draft.remarks),
        *([] if "season_length" in draft.data else [f"  # season_length: {season} # {confirmed}"]),
        *_section(
            "splits",
            {"validation": sizes.part, "test": sizes.part},
            {"validation": "steps; chooses the epoch that is kept", "test": "steps; only ever scored"},
        ),
        *_section("scaling", scaling, {"transform": "the swings grow with the level; in logarithms they are steady"}),
        *_section(
            "windows",
            {"lookback": sizes.lookback, "horizon": sizes.horizon} | ({"stride": sizes.stride} if sizes.stride > 1 else {}),
            {"lookback": "past steps that the network sees", "horizon": horizon_remark, "stride": stride_remark},
        ),
        *_section("model", SMALL_MODEL if sizes.small else LARGE_MODEL, MODEL_REMARKS),
        *_section("training", SMALL_TRAINING if sizes.small else LARGE_TRAINING, {}),
    ]
    return "\n".join(lines) + "\n"


def _section(name: str, keys: dict[str, object], remarks: dict[str, str]) -> Iterable[str]:
    yield f"\n{name}:"
    for key, value in keys.items():
        yield f"  {key}: {format_yaml_line(value)}" + (f" # {remarks[key]}" if key in remarks else "")
