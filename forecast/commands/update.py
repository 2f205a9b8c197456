"""`update`: continue the training of a run on newer rows, in a new run."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from forecast.commands.train import continue_training
from forecast.config import Config, ConfigInSteps, DataConfig, change_config
from forecast.data import (
    FIRST_DATA_ROW,
    TYPED,
    Panel,
    Rows,
    codec_name,
    compare_with_contract,
    find_value_columns,
    read_header,
    read_rows,
    read_typed,
)
from forecast.errors import ConfigError, DataError, first_few
from forecast.forecasters.preparation import read_and_resolve
from forecast.runs import Parent, Run, read_rows_to_continue, read_trained
from forecast.storage import sha256_of, translate_write_errors
from forecast.training import OnProgress, check_can_train, check_inputs_outside

CHANGEABLE = ("training.", "intervals.")  # Sections that leave network, scaling and windows as they are.
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class UpdateOptions:
    """Options of an update.

    overrides: keys of the sections `training` and `intervals`, dotted. intervals_only: keep the weights, and compute metrics and
    intervals anew. even_if_worse: accept the new run even if the old one forecasts the newest windows better.
    """

    overrides: Mapping[str, object] = field(default_factory=dict)
    intervals_only: bool = False
    even_if_worse: bool = False


def update(
    run: Run | str | Path,
    data: str | Path,
    run_dir: str | Path | None = None,
    force: bool = False,
    options: UpdateOptions | None = None,
    on_progress: OnProgress | None = None,
) -> Run:
    """Append newer rows to the data of a run, train its networks further on all of them, and write a new run.

    data: rows that follow those of the run without a gap, or all rows from the first on; the new run stores all in one file.
    force: replace the run in `run_dir`.

    Raises:
        ConfigError, DataError: the rows do not directly follow those of the run, or cannot be used. Nothing is written.
        RunError: the run is damaged, or the new run is worse. The status of the new run then contains the reason.
    """
    check_can_train()
    options = options or UpdateOptions()
    run, data = run if isinstance(run, Run) else Run.open(run), Path(data)
    trained = read_trained(run, "selected")
    config = _change_config(trained.config, options.overrides)
    check_inputs_outside(run_dir, {"the run to update": run.directory, "its data": config.data.path, "the newer rows": data})
    parent = Parent(run, trained, options.intervals_only, options.even_if_worse)
    # The first of the newer rows may complete a step that the data of the run began.
    newer = parent.select_known_series(read_rows_to_continue(run, trained, data, keep_partial=True).without_padding())
    complete = _read_complete_steps(parent, data, newer) if config.data.resample else newer
    trained.for_panel(newer)  # This warns of unusual static values.
    warnings = [] if config.data.resample else compare_with_contract(newer, trained.contract)
    warnings += _describe_revisions(complete, parent.recent_panel) if complete else []
    _check_no_gap(newer, parent)
    with tempfile.TemporaryDirectory() as folder:
        rows = _join_rows(parent, config.data, complete or newer, data, Path(folder))
        joined_config, panel = _read_joined(config, rows, data)
        if config.data.resample:
            warnings += compare_with_contract(_select_newest(panel, parent), trained.contract)
        for sentence in warnings:
            log.warning("%s: %s", data, sentence)
        return continue_training(joined_config, replace(parent, rows=rows), panel, run_dir, force, on_progress)


def _change_config(config: Config, overrides: Mapping[str, object]) -> Config:
    for key in overrides:
        if not key.startswith(CHANGEABLE) or key == "training.seeds":
            allowed = first_few([f"{section}*" for section in CHANGEABLE])
            raise ConfigError(f"an update cannot change {key}.", f"Train again, or change only {allowed}.", "--set")
    return change_config(config, dict(overrides))


def _read_complete_steps(parent: Parent, data: Path, newer: Panel) -> Panel | None:
    """Return newer rows without the steps that they cover in part; None if they cover no whole step."""
    try:
        panel = read_rows_to_continue(parent.run, parent.trained, data).without_padding()
    except DataError:
        return None
    return panel.select(np.array([panel.series_ids.index(name) for name in newer.series_ids]))


def _describe_revisions(newer: Panel, recent: Panel) -> list[str]:
    """Return a sentence if newer rows have other values than the last rows that the run holds."""
    new, old = (
        pd.DataFrame(panel.values, pd.MultiIndex.from_arrays([np.array(panel.series_ids)[panel.series], panel.timestamps]))
        for panel in (newer, recent)
    )
    shared = new.index.intersection(old.index)
    pair = new.loc[shared].to_numpy(), old.loc[shared].to_numpy()
    revised = shared[np.flatnonzero(~np.isclose(*pair, rtol=1e-6, atol=1e-9).all(axis=1))]
    if not len(revised):
        return []
    return [f"rows that differ from those in the run: {len(revised)}. The first is at {revised[0][1]}."]


def _check_no_gap(newer: Panel, parent: Parent) -> None:
    """Check that the newer rows of each series begin with the step after its last row in the run.

    Raises:
        DataError: they do not, or there are none.
    """
    ends, recent = parent.last_timestamps, parent.recent_panel
    is_new = _find_new_rows(newer, parent)
    begins = pd.Series(newer.timestamps[is_new]).groupby(np.array(newer.series_ids)[newer.series[is_new]]).min()
    if begins.empty:
        problem = f"the file has no rows after {max(ends.values())}, the last timestamp of the run."
        raise DataError(problem, "Provide newer rows.", newer.source)
    expected = dict(zip(recent.series_ids, recent.future_timestamps(1), strict=True))
    gaps = [_describe_gap(str(name), ends[str(name)], begin) for name, begin in begins.items() if begin != expected[str(name)]]
    if gaps:
        raise DataError(f"rows are missing: {first_few(gaps)}.", "Provide all rows in between.", newer.source)


def _find_new_rows(panel: Panel, parent: Parent) -> npt.NDArray[np.intp]:
    """Return the numbers of the rows of a panel that come after those of the run."""
    ends = parent.last_timestamps
    return np.flatnonzero(panel.timestamps > pd.DatetimeIndex([ends[name] for name in panel.series_ids])[panel.series])


def _describe_gap(series_id: str, end: pd.Timestamp, begin: pd.Timestamp) -> str:
    return f"series '{series_id}' ends at {end} and continues at {begin}"


def _read_joined(config: Config, rows: Path, data: Path) -> tuple[ConfigInSteps, Panel]:
    """Read the file in which newer rows follow those of the run.

    Raises:
        DataError: it cannot be used. The message names `data`, since the file is temporary.
    """
    config = change_config(config, {"data.path": str(rows)})
    try:
        in_steps, panel = read_and_resolve(config)
    except DataError as error:
        texts = (error.problem, error.remedy, error.location)
        raise DataError(*(text.replace(str(rows), f"{data}, joined to the rows of the run") for text in texts)) from None
    return in_steps, replace(panel, source=str(data))


def _select_newest(panel: Panel, parent: Parent) -> Panel:
    """Return the resampled steps of all rows that come after those of the run.

    Raises:
        DataError: there are none, because the newer rows complete no step.
    """
    panel = parent.select_known_series(panel)
    chosen = _find_new_rows(panel, parent)
    if not len(chosen):
        problem = f"the newer rows do not complete a step of freq {panel.freq} after {max(parent.last_timestamps.values())}."
        raise DataError(problem, "Provide rows up to the end of a step.", panel.source)
    counts = np.bincount(panel.series[chosen], minlength=len(panel.series_ids))
    columns = {name: getattr(panel, name)[chosen] for name in ("timestamps", "values", "filled")}
    return replace(panel, offsets=np.concatenate([[0], np.cumsum(counts)]), **columns)


def _join_rows(parent: Parent, config: DataConfig, newer: Panel, data: Path, folder: Path) -> Path:
    """Write all rows to a file in a folder: those of `data` alone if they hold all of the run, else after those of the run.

    Raises:
        DataError: the data of the run are needed, and gone, changed, or in another format.
    """
    old = Path(config.path)
    path = folder / f"{old.stem}{data.suffix}"  # A file's name is that of its only series.
    old_rows = len(newer.values) - len(_find_new_rows(newer, parent))
    if set(newer.series_ids) == set(parent.last_timestamps) and old_rows == parent.trained.contract.rows:
        with translate_write_errors(path):
            shutil.copyfile(data, path)
        return path
    _check_old_data(parent, old, data)
    before, after = (read_rows(config, file)[0] for file in (old, data))
    measured = np.isfinite(before.values[:, : len(config.target)]).any(axis=1)  # Other rows hold known covariates of the future.
    past, new = _make_keys(before), _make_keys(after)
    late = new.timestamp > new.series_id.map(past[measured].groupby("series_id").timestamp.max())
    if config.wide and late.any():  # A row holds all series. From the first new value on, rows come from the newer file.
        begin = new.timestamp[late].min()
        late, measured = new.timestamp >= begin, (past.timestamp < begin).to_numpy()
    if config.resample:
        _check_spacing(past[measured], new[late], str(data))
    replaced = ~measured & pd.MultiIndex.from_frame(past).isin(pd.MultiIndex.from_frame(new[late]))
    chosen = [(old, before.row_numbers[~replaced]), (data, after.row_numbers[late])]
    parts = [_read_cells(config, file).iloc[np.unique(numbers) - FIRST_DATA_ROW] for file, numbers in chosen]
    _write_cells(config, pd.concat(parts, ignore_index=True), path)
    return path


def _check_old_data(parent: Parent, old: Path, data: Path) -> None:
    """Refuse data of a run that are gone, have changed, or are in another format than the newer rows."""
    contract, problem = parent.trained.contract, ""
    if not old.is_file():
        problem = "no longer exists"
    elif sha256_of(old) != contract.sha256:
        problem = "has changed since the run was trained"
    elif (old.suffix.lower() in TYPED) != (data.suffix.lower() in TYPED):
        problem = "has a different format"
    if problem:
        remedy = f"Restore the original data, or provide all rows, from {contract.first_timestamp} on."
        raise DataError(f"the data file of the run {problem}: {old}.", remedy, str(data))


def _check_spacing(past: pd.DataFrame, new: pd.DataFrame, source: str) -> None:
    """Check that rows at irregular times follow those of the run without a longer break than any before.

    Raises:
        DataError: they do not.
    """
    for name, timestamps in new.groupby("series_id").timestamp:
        before = past.timestamp[past.series_id == name].sort_values()
        if timestamps.min() - before.iloc[-1] > before.diff().max():
            gap = _describe_gap(str(name), before.iloc[-1], timestamps.min())
            raise DataError(f"rows are missing: {gap}.", "Provide all rows in between.", source)


def _make_keys(rows: Rows) -> pd.DataFrame:
    return pd.DataFrame({"series_id": np.array(rows.series_ids)[rows.series], "timestamp": rows.timestamps})


def _read_cells(config: DataConfig, path: Path) -> pd.DataFrame:
    """Read a file unchanged: every cell of a CSV file is text. Only the series of a wide file are spelled as in all results."""
    if path.suffix.lower() in TYPED:
        cells = read_typed(path)
    else:
        _, delimiter = read_header(path, config.encoding, config.delimiter, config.columns)
        encoding = codec_name(config.encoding)
        cells = pd.read_csv(path, sep=delimiter, encoding=encoding, dtype=str, keep_default_na=False, skip_blank_lines=False)
    series = find_value_columns(config, list(cells.columns)) if config.wide else []
    return cells.rename(columns={name: name.strip() for name in series})


def _write_cells(config: DataConfig, cells: pd.DataFrame, path: Path) -> None:
    with translate_write_errors(path):
        if path.suffix.lower() in TYPED:
            write = cells.to_excel if path.suffix.lower() == ".xlsx" else cells.to_parquet
            write(path, index=False)
        else:
            cells.to_csv(path, sep=config.delimiter or ",", encoding=config.encoding, index=False)
