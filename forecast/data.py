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
    table = _read_table(path, [config.timestamp, *([config.series_id] if config.series_id else []), *config.target])
    _check_values(table, config.target, path)
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
    )
    panel = panel if panel.freq else _with_freq(panel, path)
    _check_spacing(panel, table.index.to_numpy(), path)
    return panel


def check_moves(panel: Panel, path: str | Path) -> None:
    """No target is constant over the whole file."""
    still = [name for name, column in zip(panel.targets, panel.values.T, strict=True) if np.ptp(column) == 0]
    if still:
        raise DataError(
            f"`{still[0]}` is {panel.values[0, panel.targets.index(still[0])]:g} in every row; there is nothing to learn.",
            "Name another column in `data.target`.",
            str(path),
        )


def contract(panel: Panel, path: str | Path) -> dict:
    """What the data was, as plain JSON values: hash, size, spacing, range of time and of each target, gaps."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "path": str(path),
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
    per_year = {
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
    return max(1, per_year.get(prefix, 1) // offset.n)


def _read_table(path: Path, columns: list[str]) -> pd.DataFrame:
    """The named columns as they stand in the file; the index counts rows from 0 and fully empty rows are gone."""
    try:
        if path.suffix in {".parquet", ".pq"}:
            table = pd.read_parquet(path)
            _check_columns(list(table.columns), columns, path)
            return table[columns]
        _check_columns(list(pd.read_csv(path, nrows=0, encoding="utf-8-sig").columns), columns, path)
        # All columns are read: with `usecols`, pandas would not notice a row with too many cells.
        table = pd.read_csv(path, encoding="utf-8-sig", skip_blank_lines=False, low_memory=False)
        _check_row_width(table, path)
        return table[columns].dropna(how="all")
    except FileNotFoundError:
        raise DataError(
            "no such data file.", "Check `data.path`; a relative path starts at the config file's folder.", str(path)
        ) from None
    except ImportError:
        raise DataError("Parquet needs pyarrow.", "pip install pyarrow, or give a CSV file.", str(path)) from None
    except pd.errors.EmptyDataError:
        raise DataError("the file is empty.", "Give a CSV file with a header row.", str(path)) from None
    except (pd.errors.ParserError, UnicodeDecodeError, OSError) as error:
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
    repeated = [name for name in dict.fromkeys(wanted) if wanted.count(name) > 1]
    errors += [DataError(f"column `{name}` is used twice.", "Name each column once in `data:`.", str(path)) for name in repeated]
    if errors:
        raise DataError.together(errors)


def _check_values(table: pd.DataFrame, targets: list[str], path: Path) -> None:
    """Every target cell is a finite number."""
    if table.empty:
        raise DataError("there is a header but no rows.", "Give at least lookback + horizon rows for each part.", str(path))
    for name in targets:
        numbers = pd.to_numeric(table[name], errors="coerce").to_numpy(np.float64)
        text = np.flatnonzero(np.isnan(numbers) & table[name].notna().to_numpy())
        if len(text):
            cells = [f"row {table.index[row] + HEADER_ROWS} {table[name].iloc[row]!r}" for row in text[:3]]
            raise DataError(
                f"`{name}` is not a number in {len(text)} rows: {', '.join(cells)}.",
                "Correct these cells, or name a numeric column in `data.target`.",
                f"{path}:{table.index[text[0]] + HEADER_ROWS}",
            )
        bad = np.flatnonzero(~np.isfinite(numbers))
        if len(bad) == len(numbers):
            raise DataError(f"`{name}` has no values at all.", "Name another column in `data.target`.", str(path))
        if len(bad):
            rows = table.index[bad] + HEADER_ROWS
            raise DataError(
                f"`{name}` is empty or infinite in {len(bad)} of {len(numbers)} rows: {first_few(list(rows))}.",
                "Fill these cells, or start the data after the last of them.",
                f"{path}:{rows[0]}",
            )


def _parse_timestamps(column: pd.Series, path: Path) -> pd.Series:
    if pd.api.types.is_numeric_dtype(column):
        column = column.astype(str)
    stamps = pd.to_datetime(column, errors="coerce")
    bad = np.flatnonzero(stamps.isna())
    if len(bad):
        cells = [f"row {column.index[row] + HEADER_ROWS} {column.iloc[row]!r}" for row in bad[:3]]
        raise DataError(
            f"`{column.name}` is not a timestamp in {len(bad)} rows: {', '.join(cells)}.",
            "Write all timestamps alike, best as 2015-01-31 or 2015-01-31 06:00:00.",
            f"{path}:{column.index[bad[0]] + HEADER_ROWS}",
        )
    return stamps


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


def _with_freq(panel: Panel, path: Path) -> Panel:
    """The panel with the freq of its longest series; where that has gaps, the most common spacing."""
    longest = int(np.argmax(np.diff(panel.offsets)))
    stamps = panel.timestamps[panel.offsets[longest] : panel.offsets[longest + 1]]
    if len(stamps) < 3:
        raise DataError(
            f"{len(stamps)} rows are too few to infer the freq.",
            "Set `data.freq`, such as D or h, or give more rows.",
            str(path),
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


def _check_spacing(panel: Panel, file_rows: np.ndarray, path: Path) -> None:
    """Within a series every timestamp is one step after the one before."""
    try:
        offset = pd.tseries.frequencies.to_offset(panel.freq)
    except ValueError:
        raise DataError(
            f"freq {panel.freq!r} is not a pandas frequency.", "Use for example h, 15min, D, W, MS or QS.", "data.freq"
        ) from None
    follows = np.ones(len(panel.timestamps), dtype=bool)
    follows[panel.offsets[:-1]] = False
    rows = np.flatnonzero(follows)
    if len(rows) == 0:
        return
    expected = panel.timestamps[rows - 1] + offset
    wrong = rows[panel.timestamps[rows] != expected]
    if len(wrong):
        places = [
            f"row {file_rows[row] + HEADER_ROWS} ({panel.timestamps[row - 1]} is followed by {panel.timestamps[row]})"
            for row in wrong[:3]
        ]
        raise DataError(
            f"the spacing is not one step of freq {panel.freq} in {len(wrong)} places: {', '.join(places)}.",
            "Add the missing rows, or set `data.freq` if this is not the spacing.",
            f"{path}:{file_rows[wrong[0]] + HEADER_ROWS}",
        )
