"""What must be known of the future: `plan` says which rows of which column, `read_future` reads them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from forecast.data import Panel
from forecast.errors import DataError, RunError, first_few
from forecast.runs import Run
from forecast.tables import columns_of, read_rows
from forecast.time_features import calendar_features
from forecast.timestamps import write_timestamps
from forecast.trained import Trained, read_rows_of, read_trained

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Need:
    """A column, and the first and last timestamp (both inclusive) at which a forecast needs it, over all series."""

    column: str
    role: str
    first: pd.Timestamp
    last: pd.Timestamp


def plan(
    run: Run | str | Path, data: str | Path | None = None, output: str | Path | None = None, steps: int | None = None
) -> list[Need]:
    """What a run needs to forecast the steps after its data, or after newer rows; `steps` of them, or its horizon.

    output: a CSV to write, with a row for every step and series, whose known covariates are to be filled in; it is only written
    where there are such columns.

    Raises:
        RunError: the run is unfinished or damaged, or `output` exists.
        DataError: `data` cannot be read.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    trained = read_trained(run).reaching(steps)
    config = trained.config.data
    panel = read_rows_of(run, trained, data)
    ends = panel.offsets[1:] - 1
    starts = np.maximum(panel.offsets[:-1], ends + 1 - trained.network.lookback)
    stamps = panel.ahead(trained.horizon)
    first, last, furthest = panel.timestamps[starts].min(), panel.timestamps[ends].max(), stamps.max()
    roles = [("target", config.target, last), ("past covariate", config.past_covariates, last)]
    roles.append(("known covariate", config.known_covariates, furthest))
    if output and config.known_covariates:
        _write_template(Path(output), panel, stamps, trained)
    return [Need(name, role, first, end) for role, names, end in roles for name in names]


def _write_template(path: Path, panel: Panel, stamps: pd.DatetimeIndex, trained: Trained) -> None:
    if path.exists():
        raise RunError("this file exists.", "Choose another --output, or remove it.", str(path))
    config = trained.config.data
    table = write_timestamps(stamps, config.timestamp, config.date_format)
    ids = np.repeat(panel.series_ids, trained.horizon)
    several = len(config.series_id or []) > 1
    for place, name in enumerate(config.series_id or []):
        table[name] = [text.split("/")[place] if several else text for text in ids]
    try:
        table.assign(**dict.fromkeys(config.known_covariates, "")).to_csv(path, index=False)
    except OSError as error:
        raise RunError(f"cannot be written ({error.strerror}).", "Check the folder.", str(path)) from None


def read_future(panel: Panel, trained: Trained, path: str | Path | None) -> np.ndarray | None:
    """The known covariates of the steps after each series' end, `(series, horizon, known)` in units of the file, or None.

    Cells that `data.missing_known` lets be missing are NaN.

    path: a file with a row for each of these steps; the calendar needs none. None reads the file of `panel`, where that goes on.

    Raises:
        DataError: a cell is missing, with its series and timestamp.
        RunError: the run needs a file and none is given, or one is given that it has no use for.
    """
    config, horizon = trained.config.data, trained.horizon
    names = config.known_covariates
    needed = [name for name in names if name not in config.missing_known]
    if not names and path:
        raise RunError("this run has no known covariates.", "Leave out --future.", str(path))
    path = path or (panel.source if panel.reaches_ahead else None)
    if needed and not path:
        columns = first_few([f"`{name}`" for name in needed])
        found = f"this forecast needs {columns} over its {horizon} steps."
        raise RunError(found, "Write a file to fill: forecast plan RUN. Then give it: --future future.csv")
    if not trained.known:
        return None
    every = panel.ahead(horizon)
    given = _given(panel, trained, every, Path(path)) if path else np.full((len(every), len(names)), np.nan)
    for column, name in enumerate(names):
        if missing := int(np.isnan(given[:, column]).sum()):
            log.warning("`%s` is missing in %d cells of the horizon: %s.", name, missing, config.missing_known[name])
    calendar = calendar_features(every, config.calendar)
    return np.column_stack([given, *calendar.values()]).reshape(-1, horizon, trained.known)


def _given(panel: Panel, trained: Trained, every: pd.DatetimeIndex, path: Path) -> np.ndarray:
    """The cells of the file, in the order of the steps that are asked for."""
    config = trained.config.data
    present = [name for name in config.known_covariates if name not in config.missing_known or name in columns_of(config, path)]
    columns = {
        "target": present,
        "past_covariates": [],
        "known_covariates": [],
        "static_covariates": [],
        "static_categories": [],
    }
    rows, _ = read_rows(config.model_copy(update=columns), path)
    ids = np.array(rows.series_ids)[rows.series] if config.series_id else np.repeat(panel.series_ids[0], len(rows))
    found = pd.DataFrame(rows.values, columns=present, index=pd.MultiIndex.from_arrays([ids, rows.timestamps]))
    if found.index.has_duplicates:
        series, stamp = found.index[found.index.duplicated()][0]
        raise DataError(f"{stamp} of series '{series}' is there twice.", "Keep one of the rows.", str(path))
    wanted = pd.MultiIndex.from_arrays([np.repeat(panel.series_ids, len(every) // len(panel.series_ids)), every])
    values = found.reindex(wanted).reindex(columns=config.known_covariates).to_numpy()
    needed = [name not in config.missing_known for name in config.known_covariates]
    missing = np.argwhere(np.isnan(values) & needed)
    if len(missing):
        cells = [f"`{config.known_covariates[column]}` of '{wanted[row][0]}' at {wanted[row][1]}" for row, column in missing[:3]]
        raise DataError(
            f"{len(missing)} cells of the horizon are missing: {first_few(cells, total=len(missing))}.",
            "Give each known covariate for every step of the forecast; `forecast plan` writes the rows.",
            str(path),
        )
    return values
