"""One training run or backtest, and groups of them: how their directories are created, opened and replaced."""

from __future__ import annotations

import contextlib
import html
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from forecast.errors import RunError, did_you_mean
from forecast.runs.documents import Environment, Kind
from forecast.runs.layout import RunDirectory
from forecast.runs.status import describe_state
from forecast.storage import PARTIAL_PREFIX, lock_directory, name_without_suffix, translate_write_errors

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from forecast.evaluation import Metrics


class Run(RunDirectory):
    """One training run or backtest, and its directory. The properties read their files anew each time."""

    @property
    def metrics(self) -> Metrics:
        """Errors of the forecast and the baselines, such as `run.metrics.test.of("naive").total.mae`.

        Those of a training run are `TrainingMetrics`.

        Raises:
            RunError: the run did not finish, or is damaged. The other properties raise the same.
        """
        from forecast.evaluation import Metrics, TrainingMetrics

        self._check_finished()
        return self.read(self.metrics_file, Metrics if self.folds.exists() else TrainingMetrics)

    @property
    def predictions(self) -> pd.DataFrame:
        """Forecasts of each window of the test set beside the actual values and the baselines: a row per step."""
        from forecast.runs.tables import read_predictions

        self._check_finished()
        return read_predictions(self)

    @property
    def forecast(self) -> pd.DataFrame:
        """The forecast after the last row: a row per step, with quantiles such as `q0.1`."""
        from forecast.runs.tables import read_forecast

        self._check_finished()
        if self.folds.exists():
            raise RunError("a backtest does not forecast the future.", "Specify a training run.", str(self.directory))
        if not self.forecast_file.exists():
            remedy = f"Create it with: forecast predict {self.directory}"
            raise RunError("this run has no forecast of the future yet.", remedy, str(self.directory))
        return read_forecast(self)

    @property
    def history(self) -> pd.DataFrame:
        """Losses, learning rate and gradient norm of each seed and epoch."""
        from forecast.runs.tables import read_history

        self._check_finished()
        if not self.history_file.exists():
            problem = "this run has no history, because no network was trained for it."
            raise RunError(problem, "Specify the run that it continues or tests.", str(self.directory))
        return read_history(self)

    def plot(self, series: str | None = None) -> Figure:
        """Draw the forecasts of one series, or of those in the report. See `forecast.plot`."""
        import forecast  # A package below this one draws: `reports`.

        return forecast.plot(self, series)

    def _check_finished(self) -> None:
        """Raise what `open_scored` says about a run that did not finish."""
        if not self.finished:
            Run.open_scored(self.directory)

    def _repr_html_(self) -> str:
        """Return the report for a notebook, in a frame of its own, or the name of a run without one."""
        if not self.report.is_file():
            return html.escape(repr(self))
        page = html.escape(self.report.read_text(encoding="utf-8"))
        sandbox = "allow-scripts allow-downloads"  # Scripts of a foreign report cannot reach the notebook.
        return f'<iframe sandbox="{sandbox}" srcdoc="{page}" style="width: 100%; height: 700px; border: 0"></iframe>'

    @property
    def finished(self) -> bool:
        """Return whether the directory contains a finished training run or backtest."""
        return self.status.is_file() and self.read_status().state == "finished"

    @property
    def seconds(self) -> float | None:
        """Return how long it took, None if it has not finished."""
        return sum(self.read(self.environment, Environment).seconds.values()) if self.finished else None

    @property
    def why_failed(self) -> str:
        """Return the reason of a failure, "" if the run has not failed."""
        status = self.read_status() if self.status.is_file() else None
        return status.why if status and status.state == "failed" else ""

    @classmethod
    def create(cls, name: str, directory: str | Path | None = None, force: bool = False) -> Run:
        """Make a new run directory: `directory`, or the next free `runs/NAME-N`.

        Raises:
            RunError: the directory exists (unless `force`, which replaces a run and nothing else) or cannot be written.
        """
        with translate_write_errors(Path(directory or "runs")):
            if directory is None:
                return cls(_make_next_free(Path("runs"), name))
            _make_directory(Path(directory), force)
            return cls(directory)

    @classmethod
    def open(cls, directory: str | Path) -> Run:
        """Open a finished training run, and check that no file that forecasting needs has changed.

        Raises:
            RunError: there is none here, it did not finish, or it is damaged.
        """
        run = cls(directory)
        if not run.status.exists():
            problem = "this is not a run directory." if run.directory.exists() else "this directory does not exist."
            if any(cls(path).status.is_file() for path in run.directory.glob("*")):
                problem, hint = "this is a folder of runs, not a run.", f"To list them: forecast runs {directory}"
                raise RunError(problem, hint, str(directory))
            near = [*run.directory.parent.glob("*"), *Path("runs").glob("*")]
            similar = sorted({str(path) for path in near if cls(path).status.is_file()})
            hint = did_you_mean(str(directory), similar) if similar else "Create one with: forecast train CONFIG"
            if run.directory.suffix in (".yaml", ".yml"):
                problem, hint = "this is not a run directory.", f"Train the config first: forecast train {directory}"
            raise RunError(problem, hint, str(directory))
        if run.runs.is_dir():
            raise RunError("this is an experiment or a search with many runs.", f"Specify a run in {run.runs}.", str(directory))
        status = run.read_status()
        if status.state == "finished" and run.folds.exists():
            raise RunError(
                "this is a backtest, which keeps no network.", "Specify a run that was created by forecast train.", str(directory)
            )
        if status.state != "finished":
            why = f": {status.why:.500}" if status.why else "."
            remedy = f"See the log: {run.log}."
            if status.state in ("running", "interrupted") and status.kind == "training":
                remedy += f" To resume: forecast train --resume {directory}"
            raise RunError(f"the training of this run {describe_state(status, run.directory)}{why}", remedy, str(directory))
        run.verify_sealed()
        return run

    @classmethod
    def open_scored(cls, directory: str | Path) -> Run:
        """Open a finished training or backtest.

        Raises:
            RunError: there is none here, it did not finish, or it is damaged.
        """
        run = cls(directory)
        return run if run.folds.exists() and run.finished else cls.open(directory)

    @classmethod
    def open_unfinished(cls, directory: str | Path) -> Run:
        """Open a training that was cut short and can go on.

        Raises:
            RunError: there is none here, or it has finished.
        """
        run = cls(directory)
        status = run.read_status() if run.status.is_file() else None
        if status and status.kind != "training":
            remedy = "To resume it, run the same command again."
            if not run.runs.is_dir():
                remedy = "A backtest cannot be resumed. To start it again, run the same command with --force."
            article = "an" if status.kind == "experiment" else "a"
            raise RunError(f"this is {article} {status.kind}, not a training run.", remedy, str(directory))
        if status and status.state == "finished":
            raise RunError("this training run has already finished.", f"Next: forecast predict {directory}", str(directory))
        if not run.config.is_file():
            remedy = "Specify the directory of a run. To replace a run that stopped before writing its config, use --force."
            raise RunError("there is no training run to resume here.", remedy, str(directory))
        return run

    @contextlib.contextmanager
    def stage(self) -> Iterator[Path]:
        """Yield a directory beside this one to work in, which takes its place at the end, also when the work failed.

        When the process is interrupted or killed, this directory stays as it is.
        """
        stage = self.directory.with_name(f"{PARTIAL_PREFIX}{self.directory.name}")
        shutil.rmtree(stage, ignore_errors=True)  # A process that was killed may have left one.
        try:
            yield stage
        finally:
            is_interrupted = not isinstance(sys.exception() or Exception(), Exception)
            if stage.exists() and not is_interrupted:
                with translate_write_errors(self.directory):
                    shutil.rmtree(self.directory, ignore_errors=True)
                    stage.rename(self.directory)

    def locate_forecast(self, data: Path | None) -> Path:
        """Return where the forecast that continues `data` goes: forecast.csv, or forecast-NAME.csv for newer data."""
        return self.forecast_file if data is None else self.directory / f"forecast-{name_without_suffix(data)}.csv"

    def locate_anomalies(self, data: Path | None) -> tuple[Path, Path]:
        """Return where the anomalies of the test set, or of `data`, go: a table and a picture."""
        name = "anomalies" if data is None else f"anomalies-{name_without_suffix(data)}"
        return self.directory / f"{name}.csv", self.plots / f"{name}.png"


def _make_next_free(root: Path, name: str) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    suffixes = [path.name.removeprefix(f"{name}-") for path in root.iterdir() if path.name.startswith(f"{name}-")]
    number = max((int(text) for text in suffixes if text.isdecimal()), default=0) + 1
    while True:
        with contextlib.suppress(FileExistsError):  # Another process was faster.
            (path := root / f"{name}-{number}").mkdir()
            return path
        number += 1


def _make_directory(directory: Path, force: bool) -> None:
    """Create a directory for a run. force: replace a run that is there, and nothing else."""
    if directory.exists():
        if not force:
            remedy = "Choose another --run-dir, or replace the run in it with --force."
            raise RunError("this directory already exists.", remedy, str(directory))
        strangers = [path for path in directory.rglob("*") if not (path.is_dir() or path.name.startswith(PARTIAL_PREFIX))]
        if directory.is_symlink() or not directory.is_dir() or strangers and not RunDirectory(directory).is_run:
            raise RunError("this is not a run, so --force does not replace it.", "Choose another --run-dir.", str(directory))
        with lock_directory(directory):
            shutil.rmtree(directory)
    directory.mkdir(parents=True, exist_ok=True)


class RunGroup(RunDirectory):
    """An experiment or a search: a directory of many runs."""

    @classmethod
    def open_or_create(cls, kind: Kind, directory: str | Path, force: bool = False) -> RunGroup:
        """Return the directory of an experiment or a search, with what it holds already, unless `force`.

        Raises:
            RunError: another kind of run or something else is there, or it cannot be written.
        """
        group = cls(directory)
        with translate_write_errors(group.directory):
            if force or not (group.is_run and group.read_status().kind == kind):
                _make_directory(group.directory, force)
                group = cls(directory)  # Its layout is the current one.
                group.runs.mkdir()
        group.kind = kind
        group.write_status("running")
        return group
