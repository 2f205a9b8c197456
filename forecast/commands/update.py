"""`update`: a run goes on with newer rows, in a new run that names it."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from forecast.commands.train import continue_training
from forecast.config import Config, DataConfig, change_config
from forecast.data import (
    FIRST_DATA_ROW,
    PARQUET,
    Grid,
    Panel,
    Rows,
    clean_series_id,
    codec_name,
    compare_with_contract,
    find_value_columns,
    read_header,
    read_panel,
    read_parquet,
    read_rows,
)
from forecast.errors import ConfigError, DataError, first_few
from forecast.forecasters.preparation import read_and_resolve
from forecast.runs import Parent, Run, Trained, read_contract, read_rows_to_continue, read_trained
from forecast.storage import sha256_of, translate_write_errors
from forecast.training import check_can_train, check_inputs_outside, check_not_inside

if TYPE_CHECKING:
    from forecast.forecasters.network.callbacks import Progress

CHANGEABLE = ("training.", "intervals.")  # keys that leave network, scaling and parts as they are
log = logging.getLogger(__name__)


def update(
    run: Run | str | Path,
    data: str | Path,
    run_dir: str | Path | None = None,
    force: bool = False,
    intervals_only: bool = False,
    even_if_worse: bool = False,
    overrides: Mapping[str, object] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Run:
    """Append newer rows to the data of a run, train its networks further on all of them, and write a new run.

    data: rows that follow those of the run without a gap, or all rows from the first on; the new run keeps both in one file.
    force: replace the run in `run_dir`. even_if_worse: take the new run though the old one forecasts the newest windows better.
    intervals_only: leave the weights as they are, and make intervals and metrics anew.
    overrides: keys of `CHANGEABLE`.

    Raises:
        ConfigError, DataError: the rows do not follow, or cannot be used; nothing is written.
        RunError: the run is damaged, or the new one is worse, which its status says.
    """
    check_can_train()
    run = run if isinstance(run, Run) else Run.open(run)
    trained = read_trained(run)
    config = _changed(trained.config, dict(overrides or {}))
    check_inputs_outside(run_dir, {"the run to update": run.directory, "its data": config.data.path, "the newer rows": data})
    check_not_inside(run_dir, run)
    parent = Parent(run, trained, intervals_only, even_if_worse)
    # The first of newer rows may complete a step that the run's data began.
    newer = parent.select_known_series(read_rows_to_continue(run, trained, data, keep_partial=True))
    resampled = config.data.resample is not None
    whole = _whole_steps(run, trained, data, newer) if resampled else newer
    trained.for_panel(newer)  # which warns of what is odd
    odd = [] if resampled else compare_with_contract(newer, trained.contract)
    odd += _revised(whole, parent.recent_panel) if whole else []
    _check_follow(newer, parent)
    with tempfile.TemporaryDirectory() as folder:
        rows = _joined(parent, config.data, whole or newer, Path(data), Path(folder))
        try:
            config = change_config(config, {"data.path": str(rows)})
            grid = Grid.from_origin(trained.contract.resample_origin)
            config, panel = read_and_resolve(config, read_panel(config.data, grid=grid))
            odd += compare_with_contract(_newest(panel, parent), trained.contract) if resampled else []
        except DataError as error:  # of a file that nobody will find
            told = (
                text.replace(str(rows), f"{data} behind the run's rows") for text in (error.problem, error.remedy, error.location)
            )
            raise DataError(*told) from None
        for sentence in odd:
            log.warning("%s: %s", data, sentence)
        panel = replace(panel, source=str(data))
        return continue_training(config, replace(parent, rows=rows), panel, run_dir, force, on_progress)


def _whole_steps(run: Run, trained: Trained, data: str | Path, newer: Panel) -> Panel | None:
    """Return newer rows without the steps that they cover in part; None where they cover no whole one."""
    try:
        panel = read_rows_to_continue(run, trained, data)
    except DataError:
        return None
    return panel.select(np.array([panel.series_ids.index(name) for name in newer.series_ids]))


def _revised(newer: Panel, kept: Panel) -> list[str]:
    """A sentence where newer rows tell other values than those that the run knows, of whose end it keeps some."""
    one, other = (
        pd.DataFrame(panel.values, pd.MultiIndex.from_arrays([np.array(panel.series_ids)[panel.series], panel.timestamps]))
        for panel in (newer, kept)
    )
    both = one.index.intersection(other.index)
    revised = both[~np.isclose(one.loc[both], other.loc[both], rtol=1e-6, atol=1e-9).all(axis=1)]
    told = f"{len(revised)} rows that the run knows have other values here, the first at {{}}."
    return [told.format(revised[0][1])] if len(revised) else []


def _changed(config: Config, overrides: dict[str, object]) -> Config:
    for key in overrides:
        if not key.startswith(CHANGEABLE) or key == "training.seeds":
            allowed = first_few([f"{section}*" for section in CHANGEABLE])
            raise ConfigError(f"an update cannot change {key}.", f"Train anew, or change only {allowed}.", "--set")
    return change_config(config, overrides)


def _check_follow(newer: Panel, parent: Parent) -> None:
    """In every series that has newer rows, they begin with the step after the last row of the run's data.

    Raises:
        DataError: they do not, or there are none.
    """
    gaps, found, ends = [], False, parent.last_timestamps
    places = {name: number for number, name in enumerate(parent.recent_panel.series_ids)}
    for number, name in enumerate(newer.series_ids):
        last = ends[name]
        own = newer.timestamps[newer.offsets[number] : newer.offsets[number + 1]]
        after = own[own > last]
        found = found or len(after) > 0
        if len(after) and after[0] != parent.recent_panel.timestamps_after(places[name], 1)[0]:
            gaps.append(f"series '{name}' ends at {last} and goes on at {after[0]}")
    if gaps:
        raise DataError(f"rows are missing: {first_few(gaps)}.", "Give all rows in between.", newer.source)
    if not found:
        last = max(ends.values())
        raise DataError(f"no row is newer than the run's data, which end at {last}.", "Give newer rows.", newer.source)


def _newest(panel: Panel, parent: Parent) -> Panel:
    """Return the resampled steps of all rows that come after those of the run.

    Raises:
        DataError: there are none, because the newer rows complete no step.
    """
    panel = parent.select_known_series(panel)
    ends = pd.DatetimeIndex([parent.last_timestamps[name] for name in panel.series_ids])
    chosen = np.flatnonzero(panel.timestamps > ends[panel.series])
    if not len(chosen):
        found = f"the newer rows complete no step of {panel.freq} after {ends.max()}."
        raise DataError(found, "Give rows up to the end of a step.", panel.source)
    counts = np.bincount(panel.series[chosen], minlength=len(ends))
    parts = {name: getattr(panel, name)[chosen] for name in ("timestamps", "values", "filled")}
    return replace(panel, offsets=np.concatenate([[0], np.cumsum(counts)]), **parts)


def _joined(parent: Parent, config: DataConfig, newer: Panel, data: Path, folder: Path) -> Path:
    """A file in a folder with all rows: those of `data` alone if they hold all of the run's, else behind the run's.

    Raises:
        DataError: the run's data are needed, and gone, changed, or in another format.
    """
    old, known = Path(config.path), read_contract(parent.run)
    rows = folder / f"{old.stem}{data.suffix}"  # a file's name is that of its only series
    of_series = parent.last_timestamps
    ends = pd.DatetimeIndex([of_series[name] for name in newer.series_ids])
    held = int((newer.timestamps <= ends[newer.series]).sum())
    if set(newer.series_ids) == set(of_series) and held == known.rows:
        with translate_write_errors(rows):
            shutil.copyfile(data, rows)
        return rows
    found = None
    if not old.is_file():
        found = "are gone"
    elif sha256_of(old) != known.sha256:
        found = "have changed since it was trained"
    elif (old.suffix.lower() in PARQUET) != (data.suffix.lower() in PARQUET):
        found = "are in another format"
    if found:
        remedy = f"Bring them back as they were, or give all rows, from {known.first_timestamp} on."
        raise DataError(f"the data of the run {found}: {old}.", remedy, str(data))
    before, after = (read_rows(config, path)[0] for path in (old, data))
    measured = np.isfinite(before.values[:, : len(config.target)]).any(axis=1)  # other rows tell of the future
    past, new = _keys(before), _keys(after)
    late = new.timestamp > new.series_id.map(past[measured].groupby("series_id").timestamp.max())
    if config.wide and late.any():  # a row is of all series: from the first new value on, all are taken from the newer file
        begins = new.timestamp[late].min()
        late, measured = new.timestamp >= begins, past.timestamp < begins
    if config.resample:
        _check_spacing(past[measured], new[late], str(data))
    replaced = ~measured & pd.MultiIndex.from_frame(past).isin(pd.MultiIndex.from_frame(new[late]))
    chosen = [(old, before.row_numbers[~replaced]), (data, after.row_numbers[late])]
    parts = [_cells(config, path).iloc[np.unique(numbers) - FIRST_DATA_ROW] for path, numbers in chosen]
    _write(config, pd.concat(parts, ignore_index=True), rows)
    return rows


def _check_spacing(past: pd.DataFrame, new: pd.DataFrame, place: str) -> None:
    """Rows at irregular times follow those of the run after no longer than rows ever did.

    Raises:
        DataError: they do not.
    """
    for name, own in new.groupby("series_id").timestamp:
        before = past.timestamp[past.series_id == name].sort_values()
        if own.min() - before.iloc[-1] > before.diff().max():
            found = f"rows are missing: series '{name}' ends at {before.iloc[-1]} and goes on at {own.min()}."
            raise DataError(found, "Give all rows in between.", place)


def _keys(rows: Rows) -> pd.DataFrame:
    return pd.DataFrame({"series_id": np.array(rows.series_ids)[rows.series], "timestamp": rows.timestamps})


def _cells(config: DataConfig, path: Path) -> pd.DataFrame:
    """Return a file as it is: every cell of a CSV is text. Only the series of a wide file are spelled as in all results."""
    if path.suffix.lower() in PARQUET:
        cells = read_parquet(path)
    else:
        _, delimiter = read_header(path, config.encoding, config.delimiter, config.columns)
        options = {"dtype": str, "keep_default_na": False, "skip_blank_lines": False}
        cells = pd.read_csv(path, sep=delimiter, encoding=codec_name(config.encoding), **options)
    series = find_value_columns(config, list(cells)) if config.wide else []
    return cells.rename(columns={name: clean_series_id(name) for name in series})


def _write(config: DataConfig, cells: pd.DataFrame, path: Path) -> None:
    with translate_write_errors(path):
        if path.suffix.lower() in PARQUET:
            cells.to_parquet(path, index=False)
        else:
            cells.to_csv(path, sep=config.delimiter or ",", encoding=config.encoding, index=False)
