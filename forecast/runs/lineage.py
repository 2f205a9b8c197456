"""Runs that continue other runs with newer rows: what they take over, and whether they are worse."""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from forecast.config import ConfigInSteps
from forecast.data import Panel
from forecast.errors import DAMAGED, DataError, RunError, first_few
from forecast.evaluation import EQUAL, Fitted, Scoreboard, format_number, score
from forecast.forecasters.preparation import Prepared, prepare_panel
from forecast.runs.documents import NewestErrors, ParentRecord
from forecast.runs.loaded import Trained, named_as_trained, read_rows_of, read_trained
from forecast.runs.run import Run
from forecast.storage import sha256_of
from forecast.windows import Scaler, Windows

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parent:
    """The run that another one continues, with newer rows: its scaling and its weights.

    intervals_only: the weights stay as they are. even_if_worse: than this one, the other is taken.
    rows: a file with all rows, which the other takes in.
    """

    run: Run
    trained: Trained
    intervals_only: bool = False
    even_if_worse: bool = False
    rows: Path | None = None

    def record(self) -> ParentRecord:
        """Return what the run that continues this one records of it."""
        return ParentRecord(
            run=str(self.run.directory.resolve()),
            weights=sha256_of(self.run.weights),
            intervals_only=self.intervals_only,
            even_if_worse=self.even_if_worse,
        )

    @property
    def scaler(self) -> Scaler:
        """That its networks were trained with."""
        return self.trained.scaler

    def known(self, panel: Panel) -> Panel:
        """The series of a panel that this run knows.

        Raises:
            DataError: it knows none.
        """
        panel = named_as_trained(panel, self.trained)
        known = set(self.scaler.series_ids)
        kept = [number for number, name in enumerate(panel.series_ids) if name in known]
        if len(kept) == len(panel.series_ids):
            return panel
        new = first_few([f"'{name}'" for name in panel.series_ids if name not in known])
        if not kept:
            raise DataError(
                f"no series is one of the run's: {new}.", f"It knows {first_few(self.scaler.series_ids)}.", panel.source
            )
        log.warning("%s: series that were not in the training data are left out: %s.", panel.source, new)
        return panel.select(np.array(kept))

    @cached_property
    def kept(self) -> Panel:
        """The last rows of its data."""
        return read_rows_of(self.run, self.trained, None)

    @property
    def ends(self) -> dict[str, object]:
        """The last timestamp of each series."""
        return dict(zip(self.kept.series_ids, self.kept.timestamps[self.kept.offsets[1:] - 1], strict=True))


def prepare_after(parent: Parent | None, config: ConfigInSteps, panel: Panel) -> Prepared:
    """Prepare what `read_and_resolve` returns, with the series and the scaling of a parent where there is one.

    Raises:
        ConfigError, DataError
    """
    return prepare_panel(config, parent.known(panel), parent.scaler) if parent else prepare_panel(config, panel)


def read_parent(run: Run) -> Parent | None:
    """The parent of a run, None where it has none.

    Raises:
        RunError: it is gone, or is not as it was.
    """
    if not run.parent.exists():
        return None
    record = run.read(run.parent, ParentRecord)
    try:
        parent = Run.open(record.run)
    except RunError as error:
        found = f"it continues another run, which is needed and cannot be read: {error.location}: {error.problem}"
        raise RunError(found, f"Bring that one back, or write its place into {run.parent}.", str(run.directory)) from None
    if sha256_of(parent.weights) != record.weights:
        raise RunError(f"{run.name} continues this run, but its weights have changed.", DAMAGED, str(parent.directory))
    return Parent(parent, read_trained(parent), record.intervals_only, record.even_if_worse)


def taken_in(run: Run, prepared: Prepared, rows: Path) -> Prepared:
    """What was prepared from a file that does not last, once the run has a copy of it."""
    path = run.data / rows.name
    with run.replacing(path) as temporary:
        shutil.copyfile(rows, temporary)
    data = prepared.config.data.model_copy(update={"path": os.path.abspath(path)})
    config = prepared.config.model_copy(update={"data": data})
    return replace(prepared, config=config, panel=replace(prepared.panel, source=str(path)))


def check_not_worse(run: Run, fitted: Fitted, parent: Parent) -> None:
    """Score the parent on the newest windows, those of the test part that reach beyond its data, and keep what came out.

    Raises:
        RunError: it forecasts them better than the run that continues it, by more than half a percent.
    """
    prepared, windows = fitted.prepared, fitted.prepared.windows["test"]
    panel, last = prepared.panel, windows.first + windows.horizon - 1
    of_series = parent.ends
    ends = np.array([of_series[name] for name in panel.series_ids])[windows.series]
    newest = windows.select(np.array(panel.timestamps[last] > ends, dtype=bool))
    if not len(newest):
        log.warning("no window of the test part reaches the newer rows, so it is not compared with %s.", parent.run.name)
        return
    record = parent.record()
    record.windows = len(newest)
    record.before = _score_newest(replace(fitted, members=[parent.trained.forward("keras")]), newest)
    record.after = _score_newest(fitted, newest)
    run.write(run.parent, record)
    metric, old, new = "mase", record.before.mase, record.after.mase
    if old is None or new is None:
        metric, old, new = "mae", record.before.mae, record.after.mae
    if new > old * (1 + EQUAL) and not parent.even_if_worse:
        raise RunError(
            f"its {metric.upper()} on the {len(newest)} newest windows is {format_number(new)}, that of {parent.run.name} is"
            f" {format_number(old)}.",
            "Keep the old run, move only its intervals with --intervals-only, or take the new one with --even-if-worse.",
            str(run.directory),
        )


def _score_newest(fitted: Fitted, windows: Windows) -> NewestErrors:
    board = Scoreboard(fitted.prepared)
    score(fitted, windows, board)
    total = board.scores().forecast.total
    return NewestErrors(mae=total.mae, mase=total.mase)
