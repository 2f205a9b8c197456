"""What must be known of the future: `plan` says which rows of which column, `read_future` reads them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from forecast.config import DataConfig
from forecast.data import (
    Grid,
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
from forecast.runs import Run, Trained, read_rows_to_continue, read_trained

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Need:
    """A column, and the first and last timestamp (both inclusive) at which a forecast needs it, over all series.

    missing: what stands in where it is missing over the horizon; None where it must be given.
    """

    column: str
    role: str
    first: pd.Timestamp
    last: pd.Timestamp
    missing: str | None = None


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
    trained = read_trained(run).with_horizon(steps)
    config = trained.config.data
    panel = read_rows_to_continue(run, trained, data)
    ends = panel.offsets[1:] - 1
    starts = np.maximum(panel.offsets[:-1], ends + 1 - trained.network.lookback)
    stamps = panel.future_timestamps(trained.known_steps)
    first, last, furthest = panel.timestamps[starts].min(), panel.timestamps[ends].max(), stamps.max()
    roles = [("target", config.target, last), ("past covariate", config.past_covariates, last)]
    roles.append(("known covariate", config.known_covariates, furthest))
    if output and config.known_covariates:
        _write_template(Path(output), panel, stamps, trained)
    return [Need(name, role, first, end, config.missing_known.get(name)) for role, names, end in roles for name in names]


def _write_template(path: Path, panel: Panel, stamps: pd.DatetimeIndex, trained: Trained) -> None:
    if path.exists():
        raise RunError("this file exists.", "Choose another --output, or remove it.", str(path))
    config = trained.config.data
    table = format_timestamps(stamps, config.timestamp, config.date_format)
    ids = np.repeat(panel.series_ids, trained.known_steps)
    several = len(config.series_id or []) > 1
    for place, name in enumerate(config.series_id or []):
        table[name] = [text.split("/")[place] if several else text for text in ids]
    try:
        told = panel.future_covariates if panel.future_covariates is not None else pd.DataFrame(columns=config.known_covariates)
        known = told.reindex(_wanted(panel, stamps)).reset_index(drop=True)  # what the data tells already
        options = {"sep": config.delimiter or ",", "encoding": config.encoding, "decimal": config.decimal}
        pd.concat([table, known], axis=1).to_csv(path, index=False, **options)
    except OSError as error:
        raise RunError(f"cannot be written ({error.strerror}).", "Check the folder.", str(path)) from None


def read_future(panel: Panel, trained: Trained, path: str | Path | None) -> np.ndarray | None:
    """Return the known covariates of the steps after each series' end, `(series, known_steps, known)` in units of the file.

    None where the run has none.

    Cells that `data.missing_known` lets be missing are NaN.
    path: a file with a row for each of these steps; the calendar needs none. None takes what the file of `panel` tells.

    Raises:
        DataError: a cell is missing, with its series and timestamp.
        RunError: the run needs a file and none is given, or one is given that it has no use for.
    """
    config, steps = trained.config.data, trained.known_steps
    names = config.known_covariates
    if not names and path:
        raise RunError("this run has no known covariates.", "Leave out --future.", str(path))
    if not trained.known_channels:
        return None
    grid = Grid.from_origin(trained.contract.resample_origin)
    told = _read(config, Path(path), panel.series_ids[0], grid) if path else panel.future_covariates
    if config.required_known_covariates and told is None:
        needed = first_few([f"`{name}`" for name in config.required_known_covariates])
        found = f"this forecast needs {needed} over {steps} steps{_why_more(trained)}."
        raise RunError(found, "Write a file to fill: forecast plan RUN. Then give it: --future future.csv")
    every = panel.future_timestamps(steps)
    wanted = _wanted(panel, every)
    told = pd.DataFrame(index=wanted[:0]) if told is None else told
    if path and len(told) and not told.index.isin(wanted).any():
        found, first = ("series '{}' at {}".format(*index[0]) for index in (told.index, wanted))
        raise DataError(f"no row is of a step to forecast: the first is of {found}.", f"Give rows such as of {first}.", str(path))
    given = told.reindex(wanted).reindex(columns=names)
    place = str(path or panel.source)
    _check_given(given, config, place, _why_more(trained))
    for sentence in compare_values_with_contract(given, trained.contract, place):
        log.warning("%s: %s", place, sentence)
    calendar = make_calendar_features(every, config.calendar)
    return np.column_stack([given.to_numpy(float), *calendar.values()]).reshape(-1, steps, trained.known_channels)


def _why_more(trained: Trained) -> str:
    """Return why known covariates are needed beyond the steps to forecast, where they are."""
    if trained.known_steps == trained.horizon:
        return ""
    return f" (the network computes whole segments of {trained.config.model.segment} steps)"


def _wanted(panel: Panel, stamps: pd.DatetimeIndex) -> pd.MultiIndex:
    """Series and timestamp of every step of `Panel.future_timestamps`."""
    return pd.MultiIndex.from_arrays([np.repeat(panel.series_ids, len(stamps) // len(panel.series_ids)), stamps])


def _read(config: DataConfig, path: Path, only_series: str, grid: Grid) -> pd.DataFrame:
    """The known covariates of a file, by series and timestamp; a column that may be missing is left out where it is."""
    header = read_column_names(config, path)
    present = [name for name in config.known_covariates if name in header or name not in config.missing_known]
    config = config.model_copy(update={"known_covariates": present, "missing_known": {}})
    if not present:
        return pd.DataFrame()
    rows, _ = read_rows(known_covariates_as_targets(config), path)
    return clean_future_covariates(rows if config.series_id else replace(rows, series_ids=[only_series]), config, str(path), grid)


def _check_given(given: pd.DataFrame, config: DataConfig, place: str, why_more: str) -> None:
    """Refuse missing cells, except those for which `data.missing_known` has a policy."""
    empty = given.isna()
    needed = config.required_known_covariates
    missing = np.argwhere(empty[needed].to_numpy())
    if len(missing):
        cells = [f"`{needed[column]}` of '{given.index[row][0]}' at {given.index[row][1]}" for row, column in missing[:3]]
        raise DataError(
            f"{len(missing)} cells of the horizon are missing: {first_few(cells, total=len(missing))}.",
            f"Give each known covariate for every step of the forecast{why_more}; `forecast plan` writes the rows.",
            place,
        )
    for name, policy in config.missing_known.items():
        if count := int(empty[name].sum()):
            log.warning("`%s` is missing in %d cells of the horizon: %s.", name, count, policy)
