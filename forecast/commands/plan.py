"""`plan`: list the rows that a forecast needs, and write and read the known covariates of the steps to forecast."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from forecast.config import DataConfig
from forecast.data import (
    Panel,
    clean_future_covariates,
    compare_values_with_contract,
    format_timestamps,
    known_covariates_as_targets,
    make_calendar_features,
    read_column_names,
    read_rows,
)
from forecast.errors import DataError, RunError, first_few
from forecast.forecasters.network.description import Array
from forecast.runs import Run, Trained, read_rows_to_continue, read_trained
from forecast.storage import translate_write_errors

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Need:
    """A column, and the first and last timestamp, both inclusive, at which a forecast needs it, over all series.

    missing: the policy for missing values over the horizon. None means that the values are required.
    """

    column: str
    role: str
    first: pd.Timestamp
    last: pd.Timestamp
    missing: str | None = None


def plan(
    run: Run | str | Path, data: str | Path | None = None, output: str | Path | None = None, steps: int | None = None
) -> list[Need]:
    """Return what a run needs to forecast the steps after its own data, or after the newer rows in `data`.

    output: CSV to write, with a row for each series and step, whose known covariates are to be filled in. It is only written if
    the run has known covariates.
    steps: number of steps to forecast. None means the horizon.

    Raises:
        RunError: the run is unfinished or damaged, or `output` exists or cannot be written.
        DataError: `data` cannot be read.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    trained = read_trained(run).with_horizon(steps)
    config = trained.config.data
    panel = read_rows_to_continue(run, trained, data)
    ends = panel.offsets[1:] - 1
    starts = np.maximum(panel.begins, ends + 1 - trained.network.lookback)
    stamps = panel.future_timestamps(trained.known_steps)
    first, last = panel.timestamps[starts].min(), panel.timestamps[ends].max()
    if output and config.known_covariates:
        _write_template(Path(output), panel, stamps, config)
    needs = [Need(name, "target", first, last) for name in config.target]
    needs += [Need(name, "past covariate", first, last) for name in config.past_covariates]
    policies = {name: config.missing_known.get(name) for name in config.known_covariates}
    return needs + [Need(name, "known covariate", first, stamps.max(), policy) for name, policy in policies.items()]


def _write_template(path: Path, panel: Panel, stamps: pd.DatetimeIndex, config: DataConfig) -> None:
    if path.exists():
        raise RunError("this file already exists.", "Choose another --output, or remove the file.", str(path))
    steps, names = _index_steps(panel, stamps), config.series_id or []
    series_ids = steps.get_level_values(0)
    table = format_timestamps(stamps, config.timestamp, config.date_format)
    for number, name in enumerate(names):
        table[name] = [series_id.split("/")[number] if len(names) > 1 else series_id for series_id in series_ids]
    if panel.future_covariates is None:
        table[config.known_covariates] = np.nan
    else:
        table[config.known_covariates] = panel.future_covariates.reindex(steps)[config.known_covariates].to_numpy()
    with translate_write_errors(path):
        table.to_csv(path, index=False, sep=config.delimiter or ",", encoding=config.encoding, decimal=config.decimal)


def _index_steps(panel: Panel, stamps: pd.DatetimeIndex) -> pd.MultiIndex:
    """Return the series and timestamp of every step of `Panel.future_timestamps`."""
    return pd.MultiIndex.from_arrays([np.repeat(panel.series_ids, len(stamps) // len(panel.series_ids)), stamps])


def read_future(panel: Panel, trained: Trained, path: str | Path | None) -> Array | None:
    """Return the known covariates of the steps after the end of each series, `(series, known_steps, known)`, in original units.

    They are None if the run has none. Cells are NaN where `data.missing_known` allows missing values.
    path: file with a row for each of these steps. The calendar needs none. None means the future rows in the file of `panel`.

    Raises:
        DataError: a cell is missing; the error names its series and timestamp.
        RunError: the run needs a file and `path` is None, or the run does not need one.
    """
    config = trained.config.data
    if not config.known_covariates and path:
        raise RunError("this run has no known covariates.", "Leave out --future.", str(path))
    if not trained.known_channels:
        return None
    rows = _read_file(config, Path(path), panel.series_ids[0]) if path else panel.future_covariates
    reason = ""
    if trained.known_steps > trained.horizon:
        reason = f" (the network computes whole segments of {trained.config.model.segment} steps)"
    if config.required_known_covariates and rows is None:
        needed = first_few([f"`{name}`" for name in config.required_known_covariates])
        problem = f"this forecast needs {needed} over {trained.known_steps} steps{reason}."
        raise RunError(problem, "Write a template with: forecast plan RUN. Fill it in, and add: --future future.csv")
    stamps = panel.future_timestamps(trained.known_steps)
    steps = _index_steps(panel, stamps)
    rows = pd.DataFrame(index=steps[:0]) if rows is None else rows
    if path and len(rows) and not rows.index.isin(steps).any():
        first_row, first_step = ("series '{}' at {}".format(*index[0]) for index in (rows.index, steps))
        problem = f"the file has no row for any step to forecast. The first row is for {first_row}."
        raise DataError(problem, f"The steps to forecast begin with {first_step}.", str(path))
    cells, source = rows.reindex(steps).reindex(columns=config.known_covariates), str(path or panel.source)
    _check_cells(cells, config, source, reason)
    columns = {name: cells[name].to_numpy() for name in config.known_covariates}
    for sentence in compare_values_with_contract(columns, trained.contract, source):
        log.warning("%s: %s", source, sentence)
    calendar = make_calendar_features(stamps, config.computed)
    return np.column_stack([cells.to_numpy(float), *calendar.values()]).reshape(-1, trained.known_steps, trained.known_channels)


def _read_file(config: DataConfig, path: Path, only_series: str) -> pd.DataFrame:
    """Return the known covariates of a file by series and timestamp, without the columns that may be missing and are."""
    header = read_column_names(config, path)
    present = [name for name in config.known_covariates if name in header or name not in config.missing_known]
    config = config.model_copy(update={"known_covariates": present, "missing_known": {}})
    if not present:
        return pd.DataFrame()
    rows, _ = read_rows(known_covariates_as_targets(config), path)
    return clean_future_covariates(rows if config.series_id else replace(rows, series_ids=[only_series]), config, str(path))


def _check_cells(cells: pd.DataFrame, config: DataConfig, source: str, reason: str) -> None:
    """Refuse missing cells, except those for which `data.missing_known` has a policy."""
    required = config.required_known_covariates
    missing = np.argwhere(cells[required].isna().to_numpy())
    if len(missing):
        places = [f"`{required[column]}` of '{cells.index[row][0]}' at {cells.index[row][1]}" for row, column in missing[:3]]
        raise DataError(
            f"values are missing over the horizon ({len(missing)}): {first_few(places, total=len(missing))}.",
            f"Every known covariate needs a value for each step of the forecast{reason}. `forecast plan` writes a template.",
            source,
        )
    for name, policy in config.missing_known.items():
        if count := int(cells[name].isna().sum()):
            log.warning(
                "`%s` lacks values over the horizon (%d in total). They are replaced according to data.missing_known: %s.",
                name,
                count,
                policy,
            )
