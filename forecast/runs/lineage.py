"""Runs that continue other runs with newer rows: their parents, and the check that they are not worse."""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from forecast.config import ConfigInSteps
from forecast.data import Panel
from forecast.errors import DAMAGED, DataError, RunError, first_few
from forecast.evaluation import EQUAL, Fitted, Scoreboard, format_number, score
from forecast.forecasters.preparation import Prepared, prepare_panel
from forecast.runs.documents import NewestErrors, ParentRecord
from forecast.runs.loaded import Trained, read_trained
from forecast.runs.rows import read_rows_to_continue, rename_only_series
from forecast.runs.run import Run
from forecast.storage import sha256_of
from forecast.windows import Windows

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parent:
    """A run that another run continues with newer rows, from its scaling and its weights.

    trained: its networks at the stage `selected`, which know none of the rows that the other run is scored on.
    intervals_only: leave the weights as they are. even_if_worse: accept the other run even if its errors are larger.
    rows: a file with all rows, of which the other run gets a copy.
    """

    run: Run
    trained: Trained
    intervals_only: bool = False
    even_if_worse: bool = False
    rows: Path | None = None

    def to_document(self) -> ParentRecord:
        """Return the content of parent.json in the run that continues this one."""
        return ParentRecord(
            run=str(self.run.directory.resolve()),
            weights=sha256_of(self.run.weights),
            intervals_only=self.intervals_only,
            even_if_worse=self.even_if_worse,
        )

    def select_known_series(self, panel: Panel) -> Panel:
        """Return the series of a panel that were in the training data.

        Raises:
            DataError: none of them was.
        """
        panel, trained_ids = rename_only_series(panel, self.trained), self.trained.scaler.series_ids
        is_new = np.isin(panel.series_ids, trained_ids, invert=True)
        new = first_few([f"'{name}'" for name in np.array(panel.series_ids)[is_new]])
        if is_new.all():
            problem = f"none of these series was in the training data: {new}."
            raise DataError(problem, f"The training data contains {first_few(trained_ids)}.", panel.source)
        if is_new.any():
            log.warning("%s: series that were not in the training data are left out: %s.", panel.source, new)
            return panel.select(np.flatnonzero(~is_new))
        return panel

    @cached_property
    def recent_panel(self) -> Panel:
        """The last rows of its data."""
        return read_rows_to_continue(self.run, self.trained, None).without_padding()

    @property
    def last_timestamps(self) -> dict[str, pd.Timestamp]:
        """Return the last timestamp of each series."""
        panel = self.recent_panel
        return dict(zip(panel.series_ids, panel.timestamps[panel.offsets[1:] - 1], strict=True))


def prepare_with_parent(parent: Parent | None, config: ConfigInSteps, panel: Panel) -> Prepared:
    """Prepare what `read_and_resolve` returns, with the series and the scaling of a parent if there is one.

    Raises:
        ConfigError, DataError: the data cannot be used as the config says.
    """
    if parent is None:
        return prepare_panel(config, panel)
    return prepare_panel(config, parent.select_known_series(panel), parent.trained.scaler)


def read_parent(run: Run) -> Parent | None:
    """Read the parent of a run, None if it has none.

    Raises:
        RunError: it is gone, or is not as it was.
    """
    if not run.parent.exists():
        return None
    record = run.read(run.parent, ParentRecord)
    try:
        parent = Run.open(record.run)
    except RunError as error:
        problem = f"this run continues another run, which cannot be read: {error.location}: {error.problem}"
        raise RunError(problem, f"Restore that run, or write its new path to {run.parent}.", str(run.directory)) from None
    if sha256_of(parent.weights) != record.weights:
        raise RunError(f"the weights of this run have changed since {run.name} continued it.", DAMAGED, str(parent.directory))
    return Parent(parent, read_trained(parent, "selected"), record.intervals_only, record.even_if_worse)


def copy_rows_into_run(run: Run, prepared: Prepared, rows: Path) -> Prepared:
    """Copy a temporary data file into a run, and return what was prepared from it with the path of the copy."""
    path = run.data / rows.name
    with run.replace_file(path) as temporary:
        shutil.copyfile(rows, temporary)
    data = prepared.config.data.model_copy(update={"path": os.path.abspath(path)})
    config = prepared.config.model_copy(update={"data": data})
    return replace(prepared, config=config, panel=replace(prepared.panel, source=str(path)))


def check_not_worse(run: Run, fitted: Fitted, parent: Parent) -> None:
    """Score a run and its parent on the newest windows: those of the test set that reach beyond the data of the parent.

    Raises:
        RunError: the parent forecasts them better, by more than half a percent.
    """
    prepared, windows = fitted.prepared, fitted.prepared.windows["test"]
    panel, last, ends = prepared.panel, windows.first + windows.horizon - 1, parent.last_timestamps
    parent_ends = np.array([ends[name] for name in panel.series_ids])[windows.series]
    newest = windows.select(np.array(panel.timestamps[last] > parent_ends, dtype=bool))
    if not len(newest):
        log.warning("no window of the test set reaches the newer rows, so the new run is not compared with %s.", parent.run.name)
        return
    trained = parent.trained if parent.intervals_only else read_trained(parent.run, "scored")
    members, regressions = [trained.forward("keras")], trained.regressions or fitted.regressions
    fitted_parent = replace(fitted, members=members, regressions=regressions, combination=trained.combination, computed={})
    before = _score_newest(fitted_parent, newest)
    after = _score_newest(fitted, newest)
    run.write(run.parent, parent.to_document().model_copy(update={"windows": len(newest), "before": before, "after": after}))
    metric, old, new = "mase", before.mase, after.mase
    if old is None or new is None:
        metric, old, new = "mae", before.mae, after.mae
    if new > old * (1 + EQUAL) and not parent.even_if_worse:
        raise RunError(
            f"the new run's {metric.upper()} on the {len(newest)} newest windows is {format_number(new)}, compared with"
            f" {format_number(old)} for {parent.run.name}.",
            "Keep the old run, update only its intervals with --intervals-only, or accept the new run with --even-if-worse.",
            str(run.directory),
        )


def _score_newest(fitted: Fitted, windows: Windows) -> NewestErrors:
    board = Scoreboard(fitted.prepared)
    score(fitted, windows, board)
    total = board.scores().forecast.total
    return NewestErrors(mae=total.mae, mase=total.mase)
