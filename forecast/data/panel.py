"""Make a `Panel` from a file: read it, repair it by the config's policies, and check it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from forecast.config import DataConfig, duration_to_steps, infer_season_length
from forecast.data import cleaning
from forecast.data.calendar import make_calendar_features
from forecast.data.cleaning import Record
from forecast.data.freq import check_freq, check_spacing, infer_freq, make_ticks
from forecast.data.readers import read_rows
from forecast.data.resampling import ORIGIN, resample
from forecast.data.rows import Rows, StaticCovariates
from forecast.errors import DataError, format_count
from forecast.storage import sha256_of


@dataclass(frozen=True)
class Panel:
    """One or many series as one matrix: the rows `offsets[i]` to `offsets[i + 1]` (exclusive) are series i, in time order.

    values: float64 `(rows, channels)` in the units of the file: targets, past covariates, known covariates, calendar.
    columns: the names of all channels; the last `known_channels` of them are known over the horizon, too.
    filled: bool `(rows, channels)`, the cells that the file does not hold.
    timestamps: `(rows,)`, one step of `freq` apart within a series.
    calendar: the names of the last channels, which no file holds. source: the file, for messages.
    record: what was done to the rows of the file. sha256: the checksum of the file as it was read.
    future_covariates: known covariates after the end of each series that the file holds, by series and timestamp.
    resample_origin: a local time at which a step of `data.resample` begins.
    padding: the number of rows at the beginning of each series that `pad` added.
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
    calendar: list[str]
    source: str
    static: StaticCovariates
    record: Record = field(default_factory=list)
    sha256: str = ""
    future_covariates: pd.DataFrame | None = None
    resample_origin: str | None = None
    padding: int = 0

    def describe(self) -> str:
        """Return the number of rows and series, the spacing and the span, in words."""
        panel = self.without_padding()
        rows = f"{len(panel.values)} rows" + " after repairs" * bool(panel.record)
        first, last = (str(stamp).removesuffix(" 00:00:00") for stamp in (panel.timestamps.min(), panel.timestamps.max()))
        span = f"{first} to {last}"
        return f"{rows}, {len(panel.series_ids)} series, freq {panel.freq}, {span}"

    @property
    def begins(self) -> np.ndarray:
        """The first row of each series that is not padding: `(series,)`."""
        return self.offsets[:-1] + self.padding

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
            return self.timestamps[self.padding :]
        return make_ticks(self.timestamps[self.begins].min(), self.freq, self.timestamps.max())

    def pad(self, rows: int) -> Panel:
        """Return the panel with as many rows before each series: filled with its first values, and 0 in the last channel."""
        if not rows:
            return self
        is_first = np.isin(np.arange(len(self.values)), self.offsets[:-1])
        source = np.repeat(np.arange(len(self.values)), np.where(is_first, rows + 1, 1))
        offsets = self.offsets + rows * np.arange(len(self.offsets))
        values, filled, added = self.values[source], self.filled[source], (offsets[:-1, None] + np.arange(rows)).ravel()
        filled[added, : len(self.file_columns)] = True
        values[added, -1] = 0.0
        # The rows that are added have the timestamp of the first one, since nothing reads it.
        return replace(self, offsets=offsets, values=values, filled=filled, timestamps=self.timestamps[source], padding=rows)

    def without_padding(self) -> Panel:
        """Return the panel without the rows that `pad` added."""
        if not self.padding:
            return self
        rows = np.concatenate([np.arange(begin, end) for begin, end in zip(self.begins, self.offsets[1:], strict=True)])
        offsets = self.offsets - self.padding * np.arange(len(self.offsets))
        values, filled, timestamps = self.values[rows], self.filled[rows], self.timestamps[rows]
        return replace(self, offsets=offsets, values=values, filled=filled, timestamps=timestamps, padding=0)

    def select(self, chosen: np.ndarray) -> Panel:
        """Return a panel of the series with these numbers, in this order."""
        rows = np.concatenate([np.arange(self.offsets[series], self.offsets[series + 1]) for series in chosen])
        return replace(
            self,
            series_ids=[self.series_ids[series] for series in chosen],
            offsets=np.concatenate([[0], np.cumsum(np.diff(self.offsets)[chosen])]),
            timestamps=self.timestamps[rows],
            values=self.values[rows],
            filled=self.filled[rows],
            static=self.static[chosen],
        )

    def future_timestamps(self, steps: int) -> pd.DatetimeIndex:
        """Return the timestamps of the first `steps` steps after the last row of every series, one series after the other."""
        stamps = [self.timestamps_after(series, steps) for series in range(len(self.series_ids))]
        return pd.DatetimeIndex(stamps[0].append(stamps[1:]))

    def timestamps_after(self, series: int, steps: int) -> pd.DatetimeIndex:
        """Return the timestamps of the first `steps` steps after the last row of a series."""
        return make_ticks(self.timestamps[self.offsets[series + 1] - 1], self.freq, periods=steps + 1)[1:]


def read_panel(config: DataConfig, path: str | Path | None = None, keep_partial: bool = False) -> Panel:
    """Read, repair and check the file that `config` describes (or another, `path`, with the same columns).

    keep_partial: of resampled rows, include a first or last step that they cover in part.

    Raises:
        DataError: the file cannot be used as it is, and no policy of the config says how to repair it.
    """
    path = Path(path or config.path)
    panel = build_panel(*read_rows(config, path), config, str(path), keep_partial)
    return replace(panel, sha256=sha256_of(path))


def build_panel(rows: Rows, static: StaticCovariates, config: DataConfig, source: str, keep_partial: bool = False) -> Panel:
    """Repair and check the rows of a file by the config's policies, and return their panel.

    Raises:
        DataError: no policy says how to repair them.
    """
    record: Record = []
    all_rows = cleaning.sort_rows(rows, record)
    rows, future = cleaning.split_off_future(all_rows, config, record)
    rows = cleaning.merge_duplicates(rows, config, source, record)
    rows = resample(rows, config, source, record, keep_partial)
    ends = rows.timestamps[rows.offsets[1:] - 1]
    freq = config.resample.freq if config.resample else config.freq or _infer_freq(rows, source)
    check_freq(freq, "data.freq", source)
    rows = cleaning.fill_timestamps(rows, freq, config, record)
    check_spacing(rows.timestamps, rows.offsets[:-1], freq, rows.row_numbers, source, config.resample is not None)
    max_gap = duration_to_steps(config.max_gap, freq, "data.max_gap", source)
    season_length = duration_to_steps(config.season_length or infer_season_length(freq), freq, "data.season_length", source)
    rows, filled = cleaning.fill_values(rows, config, max_gap, season_length, source, record)
    calendar = make_calendar_features(rows.timestamps, config.computed)
    # The first step after the end of a series may hold measured rows, too, if rows are resampled.
    later = all_rows if config.resample else future
    return Panel(
        series_ids=rows.series_ids,
        offsets=rows.offsets,
        timestamps=rows.timestamps,
        values=np.column_stack([rows.values, *calendar.values()]) if calendar else rows.values,
        filled=np.pad(filled, ((0, 0), (0, len(calendar)))) if calendar else filled,
        targets=list(config.target),
        freq=freq,
        columns=config.channels,
        known_channels=config.known_channels,
        calendar=list(calendar),
        source=source,
        static=static,
        record=record,
        future_covariates=_select_future_covariates(later, ends, config, source, keep_partial) if len(future) else None,
        resample_origin=ORIGIN if config.resample else None,
    )


def _select_future_covariates(
    rows: Rows, ends: pd.DatetimeIndex, config: DataConfig, source: str, keep_partial: bool
) -> pd.DataFrame:
    """Return the known covariates after the end of each series, by series and timestamp."""
    rows = replace(rows, values=rows.values[:, len(config.values) - len(config.known_covariates) :])
    covariates = clean_future_covariates(rows, config, source, keep_partial)
    end = ends[pd.Index(rows.series_ids).get_indexer(covariates.index.get_level_values(0))]
    return covariates[covariates.index.get_level_values(1) > end]


def known_covariates_as_targets(config: DataConfig) -> DataConfig:
    """Return the config that reads the known covariates of a file as if they were its targets, and nothing else."""
    emptied = ("past_covariates", "known_covariates", "static_covariates", "static_categories")
    return config.model_copy(update={"target": config.known_covariates, **{key: [] for key in emptied}})


def clean_future_covariates(rows: Rows, config: DataConfig, source: str, keep_partial: bool = False) -> pd.DataFrame:
    """Repair rows of known covariates as all rows are, and return them by series and timestamp; empty cells stay NaN."""
    present, series = np.unique(rows.series, return_inverse=True)
    ids = [rows.series_ids[number] for number in present]
    config_of_covariates = known_covariates_as_targets(config)
    rows = cleaning.sort_rows(replace(rows, series=series.astype(np.int32), series_ids=ids), [])
    rows = cleaning.merge_duplicates(rows, config_of_covariates, source, [])
    rows = resample(rows, config_of_covariates, source, [], keep_partial)
    index = pd.MultiIndex.from_arrays([np.array(ids)[rows.series], rows.timestamps])
    return pd.DataFrame(rows.values, columns=config.known_covariates, index=index)


def check_target_not_constant(panel: Panel) -> None:
    """Refuse a target that is constant over the whole file.

    Raises:
        DataError: a target is constant.
    """
    for name, values in zip(panel.targets, panel.target_values.T, strict=True):
        if np.ptp(values) == 0:
            problem = f"`{name}` is {values[0]:g} in every row, so there is nothing to learn."
            raise DataError(problem, "Choose another column for data.target.", panel.source)


def _infer_freq(rows: Rows, source: str) -> str:
    longest = int(np.argmax(np.bincount(rows.series)))
    stamps = rows.timestamps[rows.series == longest]
    freq = infer_freq(stamps)
    if freq is None:
        problem = f"the freq cannot be inferred from {format_count(len(stamps), 'row')}."
        raise DataError(problem, "Set data.freq, for example D or h, or provide more rows.", source)
    return freq
