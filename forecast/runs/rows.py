"""The rows from which a run forecasts: the last rows of its training data or newer ones, and the windows made from them."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from forecast.config import MAX_CATEGORY_LENGTH, ConfigInSteps, DataConfig, infer_season_length
from forecast.data import Panel, check_freq, read_panel
from forecast.errors import DAMAGED, DataError, RunError
from forecast.forecasters.network.description import Array
from forecast.forecasters.statistical import MODELS, limit_history
from forecast.runs.loaded import Trained
from forecast.runs.run import Run
from forecast.runs.tables import SUBSET
from forecast.windows import SUBSETS, Splits, Windows, make_imputations, make_last_windows, scale_panel

if TYPE_CHECKING:
    import pandas as pd

MAX_NUMBER_BYTES = 32  # Length of a number as text.
MAX_ACTUAL_ROWS = 3000  # Rows of a series that the report shows.
RECENT_WINDOWS = 32  # Windows of each series whose rows a run holds. The last one is continued, and exports are checked on all.
OTHER_STEPS = (
    "an earlier version started the steps of data.resample at different times. The timestamps may be shifted. Train again."
)
log = logging.getLogger(__name__)


def read_rows_to_continue(run: Run, trained: Trained, data: str | Path | None, keep_partial: bool = False) -> Panel:
    """Read the rows after which a forecast begins, and pad them if the config says so.

    data: a file with the columns of the training data; None reads the last rows of the training data, which the run holds.
    keep_partial: of resampled rows, include a first or last step that they cover in part.

    Raises:
        DataError, RunError: the file cannot be read, is damaged, or of another run.
    """
    contract, config = trained.contract, trained.config.data
    if not data:
        run.verify(run.recent, _limit_recent_bytes(trained))
    check_freq(contract.freq, "freq", str(run.contract))
    if data:
        if config.resample and not contract.resample_origin:
            log.warning("%s: %s", run.directory, OTHER_STEPS)
        panel = rename_only_series(read_panel(config.model_copy(update={"freq": contract.freq}), data, keep_partial), trained)
        return _pad(panel, trained)
    covariates = ("past_covariates", "known_covariates", "static_covariates", "static_categories")
    names = ("target", *covariates, "calendar", "short_series")
    columns = {name: getattr(config, name) for name in names} | {"timestamp": ["timestamp"], "series_id": ["series_id"]}
    panel = read_panel(DataConfig(path=str(run.recent), freq=contract.freq, timezone=contract.timezone, **columns))
    if panel.series_ids != trained.scaler.series_ids or str(panel.timestamps.max()) != contract.last_timestamp:
        raise RunError("these rows do not match the contract and the scaler.", DAMAGED, str(run.recent))
    return _pad(panel, trained)


def _pad(panel: Panel, trained: Trained) -> Panel:
    return panel.pad(trained.network.lookback) if trained.config.data.short_series == "pad" else panel


def rename_only_series(panel: Panel, trained: Trained) -> Panel:
    """Return a panel of one series with the name that the run has for it. A file of one series is named after the file."""
    data, names = trained.config.data, trained.scaler.series_ids
    return replace(panel, series_ids=names) if not (data.series_id or data.wide) and len(names) == 1 else panel


def _limit_recent_bytes(trained: Trained) -> int:
    """Return the largest size of the rows that training can have written."""
    ids, config = trained.scaler.series_ids, trained.config.data
    rows = _count_recent_rows(trained.config, trained.known_channels, trained.contract.freq)
    width = 100 + 8 * max(map(len, [*ids, *config.values])) + 8 * MAX_CATEGORY_LENGTH * len(config.static_categories)
    width += MAX_NUMBER_BYTES * len([*config.values, *config.static_covariates])
    return (len(ids) * rows + 1) * width


def _count_recent_rows(config: ConfigInSteps, known_channels: int, freq: str) -> int:
    """Return the largest number of rows of a series that `RECENT_WINDOWS` windows, and the known covariates after them, need.

    Members of a combination read more than the lookback.
    """
    windows, before = config.windows, config.windows.lookback
    if config.combine != "none":
        season_length = config.data.season_length or infer_season_length(freq)
        before = max(before, limit_history(season_length) if MODELS.keys() & set(config.baselines) else season_length)
    return before + RECENT_WINDOWS - 1 + (2 * windows.horizon if known_channels else 0)


def make_recent_rows(panel: Panel, config: ConfigInSteps) -> pd.DataFrame:
    """Return the last rows of each series: series_id, timestamp, targets, covariates and static columns."""
    import pandas as pd

    panel = panel.without_padding()
    count = _count_recent_rows(config, panel.known_channels, panel.freq)
    rows = np.concatenate([np.arange(max(first, end - count), end) for first, end in pairwise(panel.offsets)])
    columns = {"series_id": np.array(panel.series_ids)[panel.series[rows]], "timestamp": panel.timestamps[rows]}
    columns |= {name: panel.values[rows, column] for column, name in enumerate(panel.file_columns)}
    table = pd.DataFrame(columns)
    if panel.future_covariates is not None:
        future = panel.future_covariates.groupby(level=0).head(config.windows.horizon).rename_axis(["series_id", "timestamp"])
        table = pd.concat([table, future[future.index.isin(panel.series_ids, level=0)].reset_index()])
    static = np.column_stack([panel.static.numbers.astype(object), panel.static.categories])
    series = pd.Index(panel.series_ids).get_indexer(pd.Index(table.series_id))
    return table.assign(**dict(zip(config.data.static, static[series].T, strict=True)))


def make_actual_rows(panel: Panel, splits: Splits, series_ids: Collection[str]) -> pd.DataFrame:
    """Return the last rows of some series: series_id, timestamp, `SUBSET` (the set of the row), and the targets."""
    import pandas as pd

    tables = []
    for number in [number for number, name in enumerate(panel.series_ids) if name in series_ids]:
        first, end = panel.offsets[number] + panel.padding, panel.offsets[number + 1]
        rows = np.arange(max(first, end - MAX_ACTUAL_ROWS), end)
        sets = np.array([*SUBSETS, ""])[np.searchsorted(splits.borders[number, 1:], rows, side="right")]
        columns = {"series_id": panel.series_ids[number], "timestamp": panel.timestamps[rows], SUBSET: sets}
        tables.append(pd.DataFrame(columns | dict(zip(panel.targets, panel.target_values[rows].T, strict=True))))
    return pd.concat(tables, ignore_index=True)


def make_continuing_windows(
    panel: Panel, trained: Trained, future: Array | None = None, max_windows: int = 1, before: int = 0
) -> Windows:
    """Return the last windows of each series, for `trained.for_panel(panel)`.

    future: known covariates of the steps after the end of each series, `(series, known_steps, known channels)` in original units.
    max_windows: of each series. before: steps before the end at which the targets of the last window begin.

    Raises:
        DataError: a series is shorter than the lookback, or a value cannot be scaled.
    """
    scaler, lookback, channels = trained.scaler, trained.network.lookback, panel.known_channels
    lengths = np.diff(panel.offsets)
    shortest = int(lengths.argmin())
    if (rows := lengths[shortest]) < lookback:
        raise DataError(
            f"series '{panel.series_ids[shortest]}' has {rows} rows, but the network needs a lookback of {lookback} rows.",
            f"Provide at least the last {lookback} rows before the forecast.",
            panel.source,
        )
    scaled = scale_panel(panel, scaler)
    if future is not None:
        unseen = np.zeros((*future.shape[:2], len(panel.columns) - channels))  # Targets and past covariates are unknown there.
        future = scaler.apply(np.concatenate([unseen, future], axis=2), np.arange(len(future)))[..., -channels:]
    windows = make_last_windows(panel, scaled, lookback, trained.known_steps, future, max_windows, before)
    imputations = make_imputations(trained.config.data, panel.freq)
    return replace(windows, static=scaler.static.apply(panel.static), imputations=imputations)
