"""The run directory: every file name in it stands here and nowhere else. Knows paths, JSON and arrays, not Keras."""

from __future__ import annotations

import contextlib
import csv
import datetime
import json
import logging
import os
import shutil
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forecast.errors import DAMAGED, RunError, did_you_mean, log_and_continue
from forecast.storage import (
    PARTIAL_PREFIX,
    format_csv,
    is_process_alive,
    lock_directory,
    remove_partial_files,
    replace_file,
    sha256_of,
    translate_write_errors,
)

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure

    from forecast.config import Config

HEARTBEAT = 10.0  # seconds between signs of life of a running training
_STATUS = threading.Lock()  # no sign of life comes after the last word
STATES = ("running", "finished", "failed", "interrupted")
MOST_CHECKSUMS = 10_000  # bytes of sha256sums.txt
MOST_CONFIG = 50_000  # bytes of config.yaml; YAML is slow to read
MOST_HEADER = 1_000_000  # bytes of the names and shapes before the weights
MOST_BYTES = 8_000_000  # of a JSON file, enough for the scalers of 50,000 series
MOST_BRACKETS = 250_000  # in a JSON file: empty lists and mappings cost far more memory and time than they take bytes


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _running(status: dict) -> str:
    """What a run is that says it is running: its process can be asked for on its own machine; elsewhere its heartbeat tells."""
    pid, host, heartbeat = status.get("pid"), status.get("host"), status.get("heartbeat")
    here = type(pid) is int and 0 < pid < 2**31 and host == socket.gethostname()
    if here and not is_process_alive(pid):
        return "was killed"
    told = f"process {pid}" if here else f"on {host!s:.100}"
    try:
        quiet = (datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(heartbeat)).total_seconds()
    except (TypeError, ValueError):
        return f"is still running ({told})" if here else "is still running, or was killed"
    if quiet < 6 * HEARTBEAT:
        return f"is still running ({told})"
    return f"was killed, or has stopped for a while ({told}, last heard of at {heartbeat})"


def _within(epoch: int, last: int | None) -> bool:
    return last is None or epoch <= last


class _LogFile(logging.FileHandler):
    """A full disk is told by what has to be written, not by every line that could not be."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        pass

    def close(self) -> None:
        """Write what is left of it, if that can be."""
        with contextlib.suppress(OSError):
            super().close()


class Run:
    """One training and its folder. Files are written to a temporary name first, so that a reader never sees half a file."""

    def __init__(self, directory: str | Path):
        self.directory = Path(directory)
        self.kind = ""  # experiment or search, of a directory of many runs
        self.config = self.directory / "config.yaml"  # resolved: every default written out
        self.contract = self.directory / "contract.json"  # what the data was
        self.status = self.directory / "status.json"  # running, finished, failed or interrupted
        self.scaler = self.directory / "scaler.json"
        self.network = self.directory / "model" / "network.json"  # the description that rebuilds the network
        self.weights = self.directory / "model" / "weights.safetensors"
        self.intervals = self.directory / "model" / "intervals.safetensors"  # what makes quantiles of the network's forecasts
        self.recent = self.directory / "recent.csv"  # the last rows of the data, so that a run forecasts without it
        self.checksums = self.directory / "sha256sums.txt"  # of all files above but the status; for `sha256sum --check`
        self.checkpoint = self.directory / "checkpoint.safetensors"  # while it trains: where it stands
        self.fingerprints = self.directory / "fingerprints.json"  # what the training began with, for `reproduce`
        self.parent = self.directory / "parent.json"  # of an update: the run that it continues
        self.data = self.directory / "data"  # of an update: a file with the rows of its parent and the newer ones
        self.history = self.directory / "history.csv"  # a row per epoch
        self.metrics = self.directory / "metrics.json"
        self.per_series = self.directory / "series.csv"  # errors on the test part
        self.losses = self.directory / "losses.csv"  # errors on the test part, a row per cutoff
        self.folds = self.directory / "folds.csv"  # of a backtest: a row per fold
        self.steps = self.directory / "steps.csv"  # of a backtest: a row per horizon step
        self.predictions = self.directory / "predictions.csv"  # every test window
        self.forecast = self.directory / "forecast.csv"  # the future after the last row
        self.plots = self.directory / "plots"
        self.exports = self.directory / "exports"  # a folder for each format
        self.gradients = self.directory / "gradients.json"  # how far back the network learns, beside a simple RNN
        self.importance = self.directory / "importance.json"  # what the network looks at
        self.leakage = self.directory / "leakage.json"  # the leak certificate
        self.environment = self.directory / "environment.json"
        self.log = self.directory / "log.txt"
        self.runs = self.directory / "runs"  # of an experiment or a search: a folder for each run
        self.leaderboard = self.directory / "leaderboard.csv"  # of an experiment: a row per run, the best first
        self.trials = self.directory / "trials.csv"  # of a search: a row per trial
        self.journal = self.directory / "study.journal"  # of a search: every trial, as Optuna writes it
        self.best = self.directory / "best.yaml"  # of an experiment or a search: the config that did best
        self.tensorboard = self.directory / "tensorboard"  # event files, if `tracking` asks for them
        self.report = self.directory / "report.html"  # one page that explains it

    def __repr__(self) -> str:
        return f"Run({str(self.directory)!r})"

    @property
    def finished(self) -> bool:
        """Whether a training or backtest is here, and whole."""
        return self.status.is_file() and self._read_status()["state"] == "finished"

    @property
    def seconds(self) -> float | None:
        """How long it took, None where it is not finished."""
        return sum(self.read_json(self.environment)["seconds"].values()) if self.finished else None

    @property
    def name(self) -> str:
        """The folder's name, such as `airline-1`."""
        return self.directory.name.removeprefix(PARTIAL_PREFIX)

    @classmethod
    def create(cls, name: str, directory: str | Path | None = None, force: bool = False) -> Run:
        """Make a new run directory: `directory`, or the next free `runs/NAME-N`.

        Raises:
            RunError: the directory exists (unless `force`, which replaces a run and nothing else) or cannot be written.
        """
        try:
            if directory is None:
                return cls._next_free(Path("runs"), name)
            run = cls(directory)
            if run.directory.exists():
                run._make_way(force)
            run.directory.mkdir(parents=True, exist_ok=True)
            return run
        except OSError as error:
            place = str(error.filename or directory or "runs")
            raise RunError(
                f"the run directory cannot be written ({error.strerror}).", "Choose another with --run-dir.", place
            ) from None

    @classmethod
    def open(cls, directory: str | Path) -> Run:
        """A finished run that exists already.

        Raises:
            RunError: there is no run here, or its training did not finish.
        """
        run = cls(directory)
        if not run.status.exists():
            found = "is not a run directory." if run.directory.exists() else "does not exist."
            near = [str(path.parent) for path in run.directory.parent.glob("*/" + run.status.name)]
            hint = did_you_mean(str(directory), sorted(near)) if near else "Make one with: forecast train CONFIG"
            raise RunError(found, hint, str(directory))
        status = run._read_status()
        state = status["state"]
        if run.runs.is_dir():
            raise RunError("is an experiment or a search, with many runs.", f"Name one in {run.runs}.", str(directory))
        if state == "finished" and run.folds.exists():
            raise RunError("is a backtest, which keeps no network.", "Name a run of forecast train.", str(directory))
        if state != "finished":
            found = {"running": _running(status), "failed": "failed", "interrupted": "was interrupted"}
            told = found.get(state, f"has the unknown state {state!r:.40}")
            why = f": {status['why']:.500}" if isinstance(status.get("why"), str) else "."
            remedy = f"Its log is {run.log}. "
            if state in ("running", "interrupted") and not status.get("kind"):
                remedy += f"To go on: forecast train --resume {directory}"
            raise RunError(f"the training of this run {told}{why}", remedy.strip(), str(directory))
        run.verify_sealed()
        return run

    @classmethod
    def unfinished(cls, directory: str | Path) -> Run:
        """A training that was cut short, and can go on.

        Raises:
            RunError: there is none here, or it has finished.
        """
        run = cls(directory)
        status = run._read_status() if run.status.is_file() else {"state": None}
        if kind := status.get("kind"):
            again = "the same command goes on with it" if run.runs.is_dir() else "give its command again, with --force"
            raise RunError(f"is of kind {kind!s:.20}, not a training.", f"To go on, {again}.", str(directory))
        if status["state"] == "finished":
            raise RunError("this training has finished.", f"Next: forecast predict {directory}", str(directory))
        if not run.config.is_file():
            remedy = "Name the directory of a run; one that had hardly begun is replaced with --force."
            raise RunError("there is no training to resume here.", remedy, str(directory))
        return run

    @classmethod
    def open_scored(cls, directory: str | Path) -> Run:
        """A finished run or backtest.

        Raises:
            RunError: there is none here, or it did not finish.
        """
        run = cls(directory)
        if run.folds.exists() and run.finished:
            return run
        return cls.open(directory)

    @classmethod
    def resume(cls, kind: str, directory: str | Path, force: bool = False) -> Run:
        """The directory of many runs, of the kind experiment or search: with what it holds already, unless `force`.

        Raises:
            RunError: another kind of run or something else is there, or it cannot be written.
        """
        run = cls(directory)
        with translate_write_errors(run.directory):
            there = run.status.is_file() and run._read_status().get("kind") == kind
        if force or not there:
            run = cls.create(kind, directory, force)
            with translate_write_errors(run.runs):
                run.runs.mkdir()
        run.kind = kind
        run.write_status("running")
        return run

    @contextlib.contextmanager
    def whole(self) -> Iterator[Path]:
        """A directory beside this one to work in, which takes its place at the end, whatever became of it, but not when the
        process is interrupted or killed: what is there is whole.
        """
        part = self.directory.with_name(f"{PARTIAL_PREFIX}{self.directory.name}")
        shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
        try:
            yield part
        except Exception:  # a run that failed keeps its log
            self._take(part)
            raise
        self._take(part)

    def _take(self, part: Path) -> None:
        with translate_write_errors(self.directory):
            if part.exists():
                shutil.rmtree(self.directory, ignore_errors=True)
                part.rename(self.directory)

    @classmethod
    def _next_free(cls, root: Path, name: str) -> Run:
        root.mkdir(parents=True, exist_ok=True)
        taken = [path.name.removeprefix(f"{name}-") for path in root.iterdir() if path.name.startswith(f"{name}-")]
        number = max((int(text) for text in taken if text.isdecimal()), default=0) + 1
        while True:  # another process may take the number first
            try:
                (root / f"{name}-{number}").mkdir()
            except FileExistsError:
                number += 1
                continue
            return cls(root / f"{name}-{number}")

    def _make_way(self, force: bool) -> None:
        if not force:
            raise RunError(
                "this directory exists.",
                "Choose another --run-dir, or replace the run in it with --force.",
                str(self.directory),
            )
        # Of a training that was killed at once nothing is left, or half a status.
        begun = f"{PARTIAL_PREFIX}{self.status.name}"
        empty = self.directory.is_dir() and all(path.name.startswith(begun) for path in self.directory.iterdir())
        if self.directory.is_symlink() or not (empty or self._is_run()):
            raise RunError("this is not a run, so --force does not replace it.", "Choose another --run-dir.", str(self.directory))
        with lock_directory(self.directory):
            shutil.rmtree(self.directory)

    def _is_run(self) -> bool:
        if not self.status.is_file():
            return False
        status = self._read_status()
        return status["state"] in STATES and "at" in status  # its config comes later

    def _read_status(self) -> dict:
        status = self.read_json(self.status)
        known = isinstance(status, dict) and isinstance(status.get("state"), str)
        return status if known else {"state": None}

    @property
    def why_failed(self) -> str:
        """What status.json says of a run that failed; else nothing."""
        status = self._read_status() if self.status.is_file() else {}
        return status["why"] if status.get("state") == "failed" and isinstance(status.get("why"), str) else ""

    @contextlib.contextmanager
    def telling_damage(self) -> Iterator[None]:
        """Turn a failure over files that have no checksums into a message. A changed file and a bug look alike here.

        Raises:
            RunError: naming the failure, which is its cause.
        """
        try:
            yield
        except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            found = f"this run cannot be diagnosed or reported ({type(error).__name__}: {error!s:.200})."
            remedy = "If a file in it was changed, train again. If not, this is a bug in forecast; --debug shows the traceback."
            raise RunError(found, remedy, str(self.directory)) from error

    def explaining(self, step: str) -> contextlib.AbstractContextManager[None]:
        """Log the failure of a step that only explains this run, and go on; to be used while the run is recording."""
        return log_and_continue(step, f"Please report it with the traceback, which is in {self.log}.")

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """While open, the package's log goes to the run's log file; at the end, status.json says how it went.

        Raises:
            RunError: another process is at work in this directory.
        """
        with lock_directory(self.directory):
            remove_partial_files(self.directory, self.network.parent, self.plots, self.data)
            with self._recording():
                yield

    @contextlib.contextmanager
    def _recording(self) -> Iterator[None]:
        logger = logging.getLogger("forecast")
        self.write_status("running")  # before the log, so that whatever is here is known to be a run
        with translate_write_errors(self.log):
            handler = _LogFile(self.log, encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        finished = False
        try:
            with self._beating():
                yield
            finished = True
        finally:
            error = None if finished else sys.exception()
            if error is not None:
                logger.error("%s: %s", type(error).__name__, error)
            logger.removeHandler(handler)
            handler.close()
            state = "finished" if finished else "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            full = contextlib.nullcontext() if finished else contextlib.suppress(RunError)  # the first error is the one to tell
            with full:
                self.write_status(state, str(error) if state == "failed" else "")

    @contextlib.contextmanager
    def _beating(self) -> Iterator[None]:
        """While open, status.json says every few seconds that this process lives."""
        ended, status = threading.Event(), self._read_status()

        def beat() -> None:
            while not ended.wait(HEARTBEAT):
                # A full disk is told by what has to be written, not by this.
                with _STATUS, contextlib.suppress(RunError):
                    if not ended.is_set():
                        self.write_json(self.status, status | {"heartbeat": _now()})

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def forecast_of(self, data: Path | None) -> Path:
        """Where the forecast that continues `data` goes: forecast.csv, or forecast-NAME.csv for newer data."""
        return self.forecast if data is None else self.directory / f"forecast-{data.stem}.csv"

    def anomalies_of(self, data: Path | None) -> tuple[Path, Path]:
        """Where the anomalies of the test part go, or those of `data`: a table and a picture."""
        name = "anomalies" if data is None else f"anomalies-{data.stem}"
        return self.directory / f"{name}.csv", self.plots / f"{name}.png"

    def write_status(self, state: str, why: str = "") -> None:
        """Say where the training stands, one of `STATES`, and why it failed."""
        told: dict[str, object] = {"kind": self.kind, "why": why}
        if state == "running":
            told |= {"pid": os.getpid(), "host": socket.gethostname(), "heartbeat": _now()}
        with _STATUS:
            self.write_json(self.status, {"state": state, "at": _now()} | {name: value for name, value in told.items() if value})

    def write_text(self, path: Path, text: str) -> None:
        """Write a file of this run whole or not at all."""
        with self.replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def write_json(self, path: Path, data: object) -> None:
        """Write plain JSON values.

        Raises:
            RunError: they are more than `read_json` would read, or cannot be written.
        """
        text = json.dumps(data, indent=2, allow_nan=False) + "\n"
        if len(text) > MOST_BYTES:
            raise RunError(f"would hold more than {MOST_BYTES} bytes.", "Train on fewer series or targets at once.", str(path))
        self.write_text(path, text)

    @property
    def sealed(self) -> dict[Path, str]:
        """Every file that forecasting reads, and its name in the checksums."""
        paths = [self.config, self.contract, self.scaler, self.recent, self.network, self.weights]
        if self.intervals.exists():  # which a run need not have
            paths.append(self.intervals)
        return {path: path.relative_to(self.directory).as_posix() for path in paths}

    def seal(self) -> None:
        """Write the sha256 of every file that forecasting reads; from now on, `verify` notices a change of a single bit."""
        digests = [f"{sha256_of(path)}  {name}\n" for path, name in self.sealed.items()]
        self.write_text(self.checksums, "".join(digests))

    def verify(self, path: Path, most: int = MOST_BYTES) -> None:
        """A file of this run, whoever made the run, is a plain file within it, not larger than `most`, as training left it.

        Raises:
            RunError: it is not; the message says which.
        """
        try:
            if not self._holds(path) or not path.is_file():
                raise RunError("cannot be read (it is no plain file of this run).", DAMAGED, str(path))
            if path.stat().st_size > most:
                raise RunError(f"cannot be read (it holds more than the {most} bytes that it can need).", DAMAGED, str(path))
            if path in self.sealed and self.checksums.exists():
                self.verify(self.checksums, MOST_CHECKSUMS)
                if f"{sha256_of(path)}  {self.sealed[path]}" not in self.checksums.read_text("utf-8", "replace").splitlines():
                    raise RunError(f"was changed after training: its sha256 is not in {self.checksums.name}.", DAMAGED, str(path))
        except OSError as error:
            raise RunError(f"cannot be read ({error}).", DAMAGED, str(path)) from None

    def verify_sealed(self) -> None:
        """No file that forecasting reads was changed after training; large ones are left to be verified when they are read.

        Raises:
            RunError: naming the first one that was.
        """
        for path in self.sealed:
            if not path.exists() or path.stat().st_size <= MOST_BYTES:
                self.verify(path)

    def _holds(self, path: Path) -> bool:
        """Links, wherever they stand, do not lead out of the run."""
        return Path(os.path.realpath(self.directory)) in Path(os.path.realpath(path)).parents

    def read_json(self, path: Path) -> Any:
        """Read a JSON file of this run.

        Raises:
            RunError: it is missing or damaged.
        """
        self.verify(path)
        try:
            text = path.read_text(encoding="utf-8")
            if text.count("[") + text.count("{") > MOST_BRACKETS:
                raise ValueError("more lists and mappings than it can need")
            return json.loads(text)
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"cannot be read ({error}).", DAMAGED, str(path)) from None

    def check_sealed(self) -> None:
        """The run has checksums, as all have but those of version 1, and its model folder holds the network and nothing else.

        Hidden files, which file managers leave everywhere, may stay; no file is ever read for being there.

        Raises:
            RunError: there are none, or a file is there that another program might take for code.
        """
        if not self.checksums.exists():
            raise RunError("the run has no checksums.", DAMAGED, str(self.checksums))
        for path in self.network.parent.iterdir():
            if path not in self.sealed and not path.name.startswith("."):
                raise RunError("no run holds this file.", "Remove it if you know it; it may hold code.", str(path))

    def read_pieces(self, path: Path, chosen: Callable[[pd.DataFrame], pd.Series] | None = None) -> pd.DataFrame:
        """Read the chosen rows, or all, of a CSV of this run that may be large; names of series and targets stay text.

        Raises:
            RunError: it is missing or damaged.
        """
        import pandas as pd

        names = ["series_id"] if path == self.recent else ["series_id", "target", "run"]  # other columns there are the user's
        try:
            text = dict.fromkeys(names, str)
            pieces = pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""], chunksize=100_000)
            return pd.concat([piece[chosen(piece)] if chosen else piece for piece in pieces], ignore_index=True)
        except (OSError, ValueError, AttributeError, KeyError) as error:  # of what is no such table, pandas says any of these
            raise RunError(f"cannot be read ({error}).", DAMAGED, str(path)) from None

    def read_config(self) -> Config:
        """The resolved config of this run.

        Raises:
            RunError, ConfigError: it is missing or damaged.
        """
        from forecast.config import load_config

        self.verify(self.config, MOST_CONFIG)
        return load_config(self.config)

    def write_table(self, path: Path, table: pd.DataFrame) -> None:
        """Write a table as CSV; floats keep every digit."""
        with self.writing_table(path) as append:
            append(table)

    @contextlib.contextmanager
    def writing_table(self, path: Path) -> Iterator[Callable[[pd.DataFrame], None]]:
        """Write a table that comes in pieces; the first one brings the header, and the file appears when all went well."""
        with self.replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            yield lambda piece: piece.to_csv(file, index=False, header=file.tell() == 0)

    def write_figure(self, name: str, figure: Figure) -> None:
        """Draw a matplotlib figure into the plots folder as PNG."""
        self.draw(self.plots / name, figure)

    def draw(self, path: Path, figure: Figure) -> None:
        """Draw a matplotlib figure as PNG, anywhere."""
        with self.replacing(path) as temporary:
            figure.savefig(temporary, format="png", dpi=120)

    def append_history(self, row: dict[str, float]) -> None:
        """Add an epoch to history.csv; the first row brings the header."""
        with translate_write_errors(self.history):
            before = self.history.read_text(encoding="utf-8") if self.history.exists() else ""
        self.write_text(self.history, before + format_csv([row], header=not before))

    def cut_history(self, epochs: dict[int, int | None]) -> None:
        """Leave only the epochs of each seed up to one, or all where it is None; others came after the last checkpoint."""
        if not self.history.exists():
            return
        try:
            with self.history.open(newline="", encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if int(row["seed"]) in epochs]
            rows = [row for row in rows if _within(int(row["epoch"]), epochs[int(row["seed"])])]
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            raise RunError(f"is no history of a training ({error}).", DAMAGED, str(self.history)) from None
        self.write_text(self.history, format_csv(rows, header=True))

    def forget_checkpoint(self) -> None:
        """Nothing is left to go on from."""
        self.checkpoint.unlink(missing_ok=True)

    def write_arrays(self, path: Path, arrays: dict[str, np.ndarray]) -> None:
        """Write named arrays, without code."""
        from safetensors.numpy import save

        with self.replacing(path) as temporary:
            temporary.write_bytes(save(arrays))

    def read_arrays(self, path: Path, numbers: int) -> dict[str, np.ndarray]:
        """The named arrays of `write_arrays`, which hold at most so many float32 numbers.

        Raises:
            RunError: the file is missing or damaged.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        self.verify(path, 4 * numbers + MOST_HEADER)
        try:
            return load(path.read_bytes())
        except (SafetensorError, KeyError, ValueError) as error:  # a type that NumPy does not know is a KeyError
            raise RunError(f"cannot be read ({error}).", DAMAGED, str(path)) from None

    @contextlib.contextmanager
    def replacing(self, path: Path) -> Iterator[Path]:
        """As `replace_file`, in a folder of this run that is made if need be."""
        if self.directory in path.parents:
            with translate_write_errors(path.parent):
                path.parent.mkdir(exist_ok=True)
        with replace_file(path) as temporary:
            yield temporary
