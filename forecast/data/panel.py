"""A file becomes a `Panel`: read, repaired by the config's policies, and checked."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from forecast.config import DataConfig, duration_to_steps, infer_season_length
from forecast.data import cleaning as repairs
from forecast.data.calendar import make_calendar_features
from forecast.data.readers import Rows, StaticCovariates, read_rows
from forecast.data.resampling import FIXED_GRID, Grid, resample
from forecast.data.timestamps import check_freq, check_spacing, infer_freq, make_ticks
from forecast.errors import DataError
from forecast.storage import sha256_of


@dataclass(frozen=True)
class Panel:
    """One or many series as one matrix: the rows `offsets[i]` to `offsets[i + 1]` (exclusive) are series i, in time order.

    values: float64 `(rows, channels)` in the units of the file: targets, past covariates, known covariates, calendar.
    columns: the names of all channels; the last `known_channels` of them are known over the horizon, too.
    filled: bool `(rows, channels)`, the cells that the file does not hold.
    timestamps: `(rows,)`, `freq` apart within a series.
    record: what was done to the rows of the file.
    """

    series_ids: list[str]
    offsets: np.ndarray
    timestamps: pd.DatetimeIndex
    values: np.ndarray
    filled: np.ndarray
    targets: list[str]
    freq: str
    columns: list[str]
    known_channels: int
    calendar: list[str]  # the last columns, which no file holds
    source: str  # the file, for messages
    static: StaticCovariates
    record: repairs.Record = field(default_factory=list)
    sha256: str = ""  # of the file as it was read
    future_covariates: pd.DataFrame | None = None  # known covariates of the future that the file holds, by series and timestamp
    resample_origin: str | None = None  # where the steps of `data.resample` begin; see `Grid`

    @property
    def series(self) -> np.ndarray:
        """Index of the series that each row belongs to: `(rows,)`."""
        return np.repeat(np.arange(len(self.series_ids)), np.diff(self.offsets))

    @property
    def file_columns(self) -> list[str]:
        """The channels that the file holds: all but the calendar's."""
        return self.columns[: len(self.columns) - len(self.calendar)]

    @property
    def target_values(self) -> np.ndarray:
        """The channels that are forecast: `(rows, targets)`."""
        return self.values[:, : len(self.targets)]

    @property
    def ticks(self) -> pd.DatetimeIndex:
        """Every tick from the first to the last timestamp of any series."""
        if len(self.series_ids) == 1:
            return self.timestamps
        return make_ticks(self.timestamps.min(), self.freq, self.timestamps.max())

    def select(self, kept: np.ndarray) -> Panel:
        """The series whose numbers are in `kept`, in that order."""
        rows = np.concatenate([np.arange(self.offsets[series], self.offsets[series + 1]) for series in kept])
        return replace(
            self,
            series_ids=[self.series_ids[series] for series in kept],
            offsets=np.concatenate([[0], np.cumsum(np.diff(self.offsets)[kept])]),
            timestamps=self.timestamps[rows],
            values=self.values[rows],
            filled=self.filled[rows],
            static=self.static[kept],
        )

    def future_timestamps(self, steps: int) -> pd.DatetimeIndex:
        """The timestamps of the first `steps` steps after the last row of every series, one series after the other."""
        stamps = [self.timestamps_after(series, steps) for series in range(len(self.series_ids))]
        return stamps[0].append(stamps[1:])

    def timestamps_after(self, series: int, steps: int) -> pd.DatetimeIndex:
        """The timestamps of the first `steps` steps after the last row of a series."""
        return make_ticks(self.timestamps[self.offsets[series + 1] - 1], self.freq, periods=steps + 1)[1:]


def read_panel(config: DataConfig, path: str | Path | None = None, grid: Grid = FIXED_GRID) -> Panel:
    """Read, repair and check the file that `config` describes (or another, `path`, with the same columns).

    grid: of the steps of `data.resample`.

    Raises:
        DataError: the file cannot be used as it is and the config's policies do not say what to do about it.
    """
    path = Path(path or config.path)
    panel = build_panel(*read_rows(config, path), config, str(path), grid)
    return replace(panel, sha256=sha256_of(path))


def build_panel(rows: Rows, static: StaticCovariates, config: DataConfig, source: str, grid: Grid = FIXED_GRID) -> Panel:
    """The panel of the rows of a file, which are repaired and checked as the config's policies say.

    Raises:
        DataError: they do not say what to do.
    """
    record: repairs.Record = []
    rows = repairs.sort_rows(rows, record)
    every = rows
    rows, ahead = repairs.split_off_future(rows, config, record)
    repairs.check_series_ends(rows, config, source)
    rows = repairs.merge_duplicates(rows, config, source, record)
    rows = resample(rows, config, source, record, grid)
    ends = rows.timestamps[rows.offsets[1:] - 1]
    freq = config.resample.freq if config.resample else config.freq or _infer_freq(rows, source)
    check_freq(freq, "data.freq", source)
    rows = repairs.fill_timestamps(rows, freq, config, record)
    check_spacing(rows.timestamps, rows.offsets[:-1], freq, rows.number, source, config.resample is not None)
    max_gap, season_length = (
        duration_to_steps(value, freq, f"data.{key}", source) if isinstance(value, str) else value
        for key, value in (("max_gap", config.max_gap), ("season_length", config.season_length or infer_season_length(freq)))
    )
    rows, filled = repairs.fill_values(rows, config.model_copy(update={"max_gap": max_gap}), season_length, source, record)
    calendar = make_calendar_features(rows.timestamps, config.calendar)
    values = np.column_stack([rows.values, *calendar.values()]) if calendar else rows.values
    filled = np.column_stack([filled, np.zeros((len(filled), len(calendar)), dtype=bool)]) if calendar else filled
    return Panel(
        series_ids=rows.series_ids,
        offsets=rows.offsets,
        timestamps=rows.timestamps,
        values=values,
        filled=filled,
        targets=list(config.target),
        freq=freq,
        columns=config.channels,
        known_channels=config.known_channels,
        calendar=list(calendar),
        source=source,
        static=static,
        record=record,
        future_covariates=_told_ahead(every if config.resample else ahead, ends, config, source, grid) if len(ahead) else None,
        resample_origin=grid.origin if config.resample else None,
    )


def _told_ahead(rows: Rows, ends: pd.DatetimeIndex, config: DataConfig, source: str, grid: Grid) -> pd.DataFrame:
    """Return the known covariates after the end of each series; the first step after it may hold measured rows, too."""
    rows = replace(rows, values=rows.values[:, len(config.values) - len(config.known_covariates) :])
    told = clean_future_covariates(rows, config, source, grid)
    end = ends[pd.Index(rows.series_ids).get_indexer(told.index.get_level_values(0))]
    return told[told.index.get_level_values(1) > end]


def known_covariates_as_targets(config: DataConfig) -> DataConfig:
    """To read the known covariates of a file as if they were its targets, and nothing else."""
    others = dict.fromkeys(("past_covariates", "known_covariates", "static_covariates", "static_categories"), [])
    return config.model_copy(update={"target": config.known_covariates, **others})


def clean_future_covariates(rows: Rows, config: DataConfig, source: str, grid: Grid) -> pd.DataFrame:
    """Rows of known covariates, repaired as all rows are, by series and timestamp; empty cells stay NaN."""
    present, codes = np.unique(rows.series, return_inverse=True)
    ids = [rows.series_ids[series] for series in present]
    only = known_covariates_as_targets(config)
    rows = repairs.sort_rows(replace(rows, series=codes.astype(np.int32), series_ids=ids), [])
    rows = resample(repairs.merge_duplicates(rows, only, source, []), only, source, [], grid)
    index = pd.MultiIndex.from_arrays([np.array(ids)[rows.series], rows.timestamps])
    return pd.DataFrame(rows.values, columns=config.known_covariates, index=index)


def check_target_not_constant(panel: Panel) -> None:
    """No target is constant over the whole file."""
    still = [name for name, column in zip(panel.targets, panel.target_values.T, strict=True) if np.ptp(column) == 0]
    if still:
        raise DataError(
            f"`{still[0]}` is {panel.values[0, panel.targets.index(still[0])]:g} in every row; there is nothing to learn.",
            "Name another column in `data.target`.",
            panel.source,
        )


def _infer_freq(rows: Rows, source: str) -> str:
    longest = int(np.argmax(np.bincount(rows.series)))
    freq = infer_freq(rows.timestamps[rows.series == longest])
    if freq is None:
        found = f"{int((rows.series == longest).sum())} rows are too few to infer the freq."
        raise DataError(found, "Set `data.freq`, such as D or h, or give more rows.", source)
    return freq
