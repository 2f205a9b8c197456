"""A CSV or Parquet file becomes a `Panel`. Functions here either check or change, never both."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from forecast.config import DataConfig
from forecast.errors import DataError, did_you_mean, first_few

EMPTY = ["", "NA", "N/A", "#N/A", "NaN", "nan", "null", "NULL", "None"]  # cells that hold no value; of a series id only ""
LARGEST = 1e30  # beyond it, sums of squares no longer fit into the float32 of networks
HEADER_ROWS = 2  # row numbers are those of a spreadsheet or editor: the header is row 1, the first values row 2


@dataclass(frozen=True)
class Panel:
    """One or many series as one matrix: the rows `offsets[i]` to `offsets[i + 1]` (exclusive) are series i, in time order.

    values: float64 `(rows, channels)` in the units of the file; the first `len(targets)` channels are the targets.
    timestamps: `(rows,)`, `freq` apart within a series.
    """

    series_ids: list[str]
    offsets: np.ndarray
    timestamps: pd.DatetimeIndex
    values: np.ndarray
    targets: list[str]
    freq: str
    source: str  # the file, for messages

    @property
    def series(self) -> np.ndarray:
        """Index of the series that each row belongs to: `(rows,)`."""
        return np.repeat(np.arange(len(self.series_ids)), np.diff(self.offsets))

    def future(self, series: int, steps: int) -> pd.DatetimeIndex:
        """The timestamps of the first `steps` steps after the last row of a series."""
        return pd.date_range(self.timestamps[self.offsets[series + 1] - 1], periods=steps + 1, freq=self.freq)[1:]


def read_panel(config: DataConfig, path: str | Path | None = None) -> Panel:
    """Read and check the file that `config` describes (or another, `path`, with the same columns).

    Raises:
        DataError: the file or a column is missing, or its timestamps or values cannot be used as they are.
    """
    path = Path(path or config.path)
    columns = [config.timestamp, *([config.series_id] if config.series_id else []), *config.target]
    table = _read_table(path, columns, config.series_id)
    _check_values(table, config.target, path)
    _check_ids(table, config.series_id, path)
    ids = table[config.series_id].astype(str) if config.series_id else pd.Series(Path(config.path).stem, index=table.index)
    table = table.assign(**{config.timestamp: _parse_timestamps(table[config.timestamp], path)}).assign(**{"": ids})
    table = table.sort_values(["", config.timestamp], kind="stable")
    _check_duplicates(table, config, path)
    codes, names = pd.factorize(table[""])
    panel = Panel(
        series_ids=[str(name) for name in names],
        offsets=np.concatenate([[0], np.cumsum(np.bincount(codes))]),
        timestamps=pd.DatetimeIndex(table[config.timestamp]),
        values=table[config.target].to_numpy(np.float64),
        targets=list(config.target),
        freq=config.freq or "",
        source=str(path),
    )
    panel = panel if panel.freq else _with_freq(panel)
    _check_spacing(panel, table.index.to_numpy() + HEADER_ROWS)
    return panel


def check_moves(panel: Panel) -> None:
    """No target is constant over the whole file."""
    still = [name for name, column in zip(panel.targets, panel.values.T, strict=True) if np.ptp(column) == 0]
    if still:
        raise DataError(
            f"`{still[0]}` is {panel.values[0, panel.targets.index(still[0])]:g} in every row; there is nothing to learn.",
            "Name another column in `data.target`.",
            panel.source,
        )


def contract(panel: Panel) -> dict:
    """What the data was, as plain JSON values: hash, size, spacing, range of time and of each target, gaps."""
    with open(panel.source, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "path": panel.source,
        "sha256": digest,
        "rows": len(panel.values),
        "series": len(panel.series_ids),
        "freq": panel.freq,
        "first_timestamp": str(panel.timestamps.min()),
        "last_timestamp": str(panel.timestamps.max()),
        "gaps": 0,  # `read_panel` refuses missing timestamps
        "columns": {
            name: {"min": float(column.min()), "max": float(column.max()), "mean": float(column.mean())}
            for name, column in zip(panel.targets, panel.values.T, strict=True)
        },
    }


def season_length_of(freq: str) -> int:
    """Steps in the usual season of a frequency: a day for hours and minutes, a week for days, a year above that.

    >>> [season_length_of(freq) for freq in ("h", "15min", "D", "W-SUN", "MS", "QS", "YS")]
    [24, 96, 7, 52, 12, 4, 1]
    """
    offset = pd.tseries.frequencies.to_offset(freq)
    prefix = offset.rule_code.split("-")[0]
    if isinstance(offset, pd.offsets.Tick | pd.offsets.Day):
        step = pd.Timedelta(f"{offset.n}D" if isinstance(offset, pd.offsets.Day) else offset)
        seasons = [pd.Timedelta(hours=1), pd.Timedelta(days=1), pd.Timedelta(weeks=1), pd.Timedelta(weeks=52)]
        longer = seasons[1:] if step >= pd.Timedelta(minutes=1) else seasons
        return next((int(season / step) for season in longer if season >= 2 * step and season % step == pd.Timedelta(0)), 1)
    steps = {
        "B": 5,
        "W": 52,
        "M": 12,
        "BM": 12,
        "MS": 12,
        "ME": 12,
        "BMS": 12,
        "BME": 12,
        "QS": 4,
        "QE": 4,
        "BQS": 4,
        "BQE": 4,
    }
    return max(1, steps.get(prefix, 1) // offset.n)


def _read_table(path: Path, columns: list[str], series_id: str | None) -> pd.DataFrame:
    """The named columns as they stand in the file; the index counts rows from 0 and fully empty rows are gone.

    Series ids are text, whatever they look like: 007 stays 007 and NA stays NA.
    """
    try:
        if path.suffix.lower() in {".parquet", ".pq"}:
            table = pd.read_parquet(path)
            table = table.reset_index(drop=table.index.name is None)
            _check_columns(list(table.columns), columns, path)
            return table[columns]
        header = pd.read_csv(path, header=None, nrows=1, encoding="utf-8-sig", dtype=str).iloc[0]
        _check_columns(list(header), columns, path)
        # All columns are read: with `usecols`, pandas would not notice a row with too many cells.
        empty = {name: [""] if name == series_id else EMPTY for name in header}
        as_text = {series_id: str} if series_id else {}
        options = {"encoding": "utf-8-sig", "skip_blank_lines": False, "low_memory": False}
        table = pd.read_csv(path, dtype=as_text, na_values=empty, keep_default_na=False, **options)
        _check_row_width(table, path)
        return table[columns].dropna(how="all")
    except FileNotFoundError:
        raise DataError("no such data file.", "Check the path.", str(path)) from None
    except ImportError:
        raise DataError("Parquet needs pyarrow.", "pip install pyarrow, or give a CSV file.", str(path)) from None
    except pd.errors.EmptyDataError:
        raise DataError("the file is empty.", "Give a CSV file with a header row.", str(path)) from None
    except (ValueError, OSError) as error:  # pandas' ParserError, UnicodeDecodeError and pyarrow's errors are ValueErrors
        raise DataError(
            f"cannot be read ({str(error).strip()}).", "Give a comma-separated text file in UTF-8.", str(path)
        ) from None


def _check_row_width(table: pd.DataFrame, path: Path) -> None:
    """pandas makes an index of the first cells where rows have more cells than the header."""
    if not isinstance(table.index, pd.RangeIndex):
        raise DataError(
            "the rows have more cells than the header.",
            "Give each column a name, and write numbers without commas in them.",
            f"{path}:{HEADER_ROWS}",
        )


def _check_columns(present: list[str], wanted: list[str], path: Path) -> None:
    errors = [
        DataError(f"no column `{name}`.", did_you_mean(name, present), f"{path}:1") for name in wanted if name not in present
    ]
    for name in dict.fromkeys(wanted):
        if wanted.count(name) > 1:
            errors.append(DataError(f"column `{name}` is used twice.", "Name each column once in `data:`.", str(path)))
        if present.count(name) > 1:
            errors.append(DataError(f"the header names `{name}` twice.", "Rename one of the two columns.", f"{path}:1"))
    if errors:
        raise DataError.together(errors)


def _check_values(table: pd.DataFrame, targets: list[str], path: Path) -> None:
    """Every target cell is a finite number."""
    if table.empty:
        raise DataError("there is a header but no rows.", "Give at least lookback + horizon rows for each part.", str(path))
    for name in targets:
        if (
            not (pd.api.types.is_string_dtype(table[name]) or pd.api.types.is_numeric_dtype(table[name]))
            or table[name].dtype == bool
        ):
            kind = table[name].dtype
            raise DataError(f"`{name}` holds {kind} values.", "Name a column of numbers in `data.target`.", str(path))
        numbers = pd.to_numeric(table[name], errors="coerce").to_numpy(np.float64)
        text = np.flatnonzero(np.isnan(numbers) & table[name].notna().to_numpy())
        if len(text):
            cells = [f"row {table.index[row] + HEADER_ROWS} {table[name].iloc[row]!r}" for row in text[:3]]
            raise DataError(
                f"`{name}` is not a number in {len(text)} rows: {', '.join(cells)}.",
                "Correct these cells, or name a numeric column in `data.target`.",
                f"{path}:{table.index[text[0]] + HEADER_ROWS}",
            )
        bad = np.flatnonzero(~(np.abs(numbers) <= LARGEST))
        if np.isnan(numbers).all():
            raise DataError(f"`{name}` has no values at all.", "Name another column in `data.target`.", str(path))
        if len(bad):
            rows = list(table.index[bad] + HEADER_ROWS)
            raise DataError(
                f"`{name}` is empty, infinite or beyond {LARGEST:g} in {len(bad)} of {len(numbers)} rows: {first_few(rows)}.",
                "Fill these cells, or start the data after the last of them.",
                f"{path}:{rows[0]}",
            )


def _parse_timestamps(column: pd.Series, path: Path) -> pd.Series:
    text = column.astype(str) if pd.api.types.is_numeric_dtype(column) else column
    try:
        with warnings.catch_warnings():  # that no format fits all rows is told below, with the rows
            warnings.simplefilter("ignore")
            stamps = pd.to_datetime(text, errors="coerce")
    except ValueError:
        raise DataError(
            f"`{column.name}` mixes several UTC offsets or forms.", "Write all timestamps alike, best in UTC.", str(path)
        ) from None
    bad = np.flatnonzero(stamps.isna())
    if len(bad):
        cells = [f"row {column.index[row] + HEADER_ROWS} {column.iloc[row]!r}" for row in bad[:3]]
        raise DataError(
            f"`{column.name}` is not a timestamp in {len(bad)} rows: {', '.join(cells)}.",
            "Write all timestamps alike, best as 2015-01-31 or 2015-01-31 06:00:00.",
            f"{path}:{column.index[bad[0]] + HEADER_ROWS}",
        )
    return stamps


def _check_ids(table: pd.DataFrame, series_id: str | None, path: Path) -> None:
    empty = np.flatnonzero(table[series_id].isna()) if series_id else []
    if len(empty):
        rows = list(table.index[empty] + HEADER_ROWS)
        raise DataError(
            f"`{series_id}` is empty in {len(rows)} rows: {first_few(rows)}.", "Name the series of each row.", f"{path}:{rows[0]}"
        )


def _check_duplicates(table: pd.DataFrame, config: DataConfig, path: Path) -> None:
    repeated = np.flatnonzero(table.duplicated(["", config.timestamp]))
    if len(repeated):
        rows = [f"row {table.index[row] + HEADER_ROWS} ({table[config.timestamp].iloc[row]})" for row in repeated[:3]]
        raise DataError(
            f"{len(repeated)} timestamps are given twice: {', '.join(rows)}.",
            "Remove them."
            if config.series_id
            else "Remove them, or name the column that tells series apart in `data.series_id`.",
            f"{path}:{table.index[repeated[0]] + HEADER_ROWS}",
        )


def _with_freq(panel: Panel) -> Panel:
    """The panel with the freq of its longest series; where that has gaps, the most common spacing."""
    longest = int(np.argmax(np.diff(panel.offsets)))
    stamps = panel.timestamps[panel.offsets[longest] : panel.offsets[longest + 1]]
    if len(stamps) < 3:
        raise DataError(
            f"{len(stamps)} rows are too few to infer the freq.",
            "Set `data.freq`, such as D or h, or give more rows.",
            panel.source,
        )
    pieces = [stamps, *(stamps[start : start + 5] for start in range(0, min(len(stamps) - 4, 400), 5))]
    freq = next((found for piece in pieces if (found := _infer_freq(piece))), None)
    if freq is None:
        step = pd.Series(stamps).diff().mode()[0]
        freq = (
            f"{step.days}D" if step % pd.Timedelta(days=1) == pd.Timedelta(0) else pd.tseries.frequencies.to_offset(step).freqstr
        )
    return replace(panel, freq=freq)


def _infer_freq(stamps: pd.DatetimeIndex) -> str | None:
    with warnings.catch_warnings():  # pandas 3.1 warns that 4 will give an offset here; both are dealt with
        warnings.simplefilter("ignore")
        freq = pd.infer_freq(stamps)
    return getattr(freq, "freqstr", freq)


def _check_spacing(panel: Panel, file_rows: np.ndarray) -> None:
    """Every series starts on a tick of the freq, and every timestamp is one step after the one before."""
    try:
        offset = pd.tseries.frequencies.to_offset(panel.freq)
    except ValueError:
        raise DataError(
            f"data.freq {panel.freq!r} is not a pandas frequency.", "Use for example h, 15min, D, W, MS or QS.", panel.source
        ) from None
    begins = panel.offsets[:-1]
    off_tick = [row for row in begins if not offset.is_on_offset(panel.timestamps[row])]
    if off_tick:
        row = off_tick[0]
        raise DataError(
            f"{panel.timestamps[row]} is no tick of freq {panel.freq}.",
            "Set `data.freq` to the freq of the timestamps, or correct them.",
            f"{panel.source}:{file_rows[row]}",
        )
    rows = np.setdiff1d(np.arange(len(panel.timestamps)), begins)
    with warnings.catch_warnings():  # some freqs are added one by one, which pandas warns is slow
        warnings.simplefilter("ignore")
        wrong = rows[panel.timestamps[rows] != panel.timestamps[rows - 1] + offset] if len(rows) else rows
    if len(wrong):
        stamps = panel.timestamps
        places = [f"row {file_rows[row]} ({stamps[row - 1]} is followed by {stamps[row]})" for row in wrong[:3]]
        raise DataError(
            f"the spacing is not one step of freq {panel.freq} in {len(wrong)} places: {', '.join(places)}.",
            "Add the missing rows, or set `data.freq` if this is not the spacing.",
            f"{panel.source}:{file_rows[wrong[0]]}",
        )
