"""The layout of a run directory: every file name is defined here alone. Files are written completely, and verified when read."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from forecast.documents import Document
from forecast.errors import DAMAGED, RunError, first_few, log_and_continue
from forecast.runs.documents import Kind, State, Status
from forecast.runs.status import record_status
from forecast.storage import PARTIAL_PREFIX, lock_directory, remove_partial_files, replace_file, sha256_of, translate_write_errors

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from forecast.config import Config
    from forecast.forecasters.network.description import Array

MAX_BYTES = 8_000_000  # Size of a JSON file, enough for the scalers of 50,000 series.
MAX_BRACKETS = 250_000  # Lists and mappings in a JSON file. Empty ones cost far more memory and time than their bytes suggest.
MAX_HEADER = 1_000_000  # Size in bytes of the names and shapes before the arrays of a file.
MAX_CHECKSUMS = 10_000  # Size of the checksums in bytes.
MAX_CONFIG = 50_000  # Size of config.yaml in bytes. YAML is slow to read.
CHUNK_ROWS = 100_000  # Rows of a table that are read at once.
DocumentType = TypeVar("DocumentType", bound=Document)


@contextlib.contextmanager
def explain_damage(path: Path, *errors: type[Exception]) -> Iterator[None]:
    """Raise a `RunError` in place of what is raised while `path` is read. errors: more kinds of errors that damage may raise.

    Raises:
        RunError: naming the first fields that are wrong, or the cause.
    """
    damage: tuple[type[Exception], ...] = (OSError, ValueError, RecursionError, *errors)
    try:
        yield
    except ValidationError as error:
        problems = [
            f"`{'.'.join(map(str, problem['loc']))}`: {problem['msg']}" if problem["loc"] else problem["msg"]
            for problem in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise RunError(f"this file cannot be read ({first_few(problems):.1000}).", DAMAGED, str(path)) from None
    except damage as error:
        raise RunError(f"this file cannot be read ({error!s:.1000}).", DAMAGED, str(path)) from None


@dataclass(frozen=True)
class Entry:
    """A file or folder of a run: its path in the directory, and where earlier versions wrote it, if elsewhere."""

    path: str
    earlier: str = ""

    def __get__(self, run: RunDirectory, owner: type) -> Path:
        return run.directory / (self.earlier if run.is_flat and self.earlier else self.path)


class RunDirectory:
    """The files of a run, or of an experiment or a search with its runs.

    Files are written to a temporary name first, so that a reader never sees half a file. They are read only if they are plain
    files of this directory, not too large, and as training left them. Nothing in them is executed. All methods that read raise a
    `RunError` for a file that is missing or damaged; all that write raise a `ResourceError` if the disk is full.

    Earlier versions wrote flat directories, with status.json and most other files on top. Such runs are still read and resumed.
    """

    report = Entry("report.html")  # One page that explains everything.
    forecast_file = Entry("forecast.csv")  # The future after the last row. `Run.forecast` reads it, and so on.
    predictions_file = Entry("predictions.csv")  # The windows of the test set.
    metrics_file = Entry("metrics.json")
    config = Entry("config.yaml")  # Every default is written out.
    plots = Entry("plots")
    data = Entry("data")  # All rows of an update, in one file.
    exports = Entry("exports")  # A folder for each format.
    tensorboard = Entry("tensorboard")  # Event files, if `tracking` asks for them.

    network = Entry("model/network.json")  # The description that rebuilds the network.
    weights = Entry("model/weights.safetensors")
    scored = Entry("model/scored.safetensors")  # Networks and regressions before they were refitted to all rows.
    intervals = Entry("model/intervals.safetensors")  # Offsets from the forecasts of the network to their quantiles.
    combination = Entry("model/combination.json")  # The members of a combination and their weights, if there is one.
    linear = Entry("model/linear.safetensors")  # The linear and boosting baselines, which may be members.
    scaler = Entry("model/scaler.json", "scaler.json")
    contract = Entry("model/contract.json", "contract.json")  # Facts about the data.
    recent = Entry("model/recent.csv", "recent.csv")  # The last rows of the data, so that a run forecasts without it.
    checksums = Entry("model/SHA256SUMS", "sha256sums.txt")  # For `sha256sum --check`.

    per_series = Entry("evaluation/series.csv", "series.csv")  # A row per series.
    actual = Entry("evaluation/actual.csv")  # Actual values of the series that the report shows.
    fitted = Entry("evaluation/fitted.csv")  # Forecasts of the training set of these series, by the network alone.
    cutoffs = Entry("evaluation/cutoffs.csv", "losses.csv")  # A row per cutoff.
    folds = Entry("evaluation/folds.csv", "folds.csv")  # A row per fold of a backtest.
    steps = Entry("evaluation/steps.csv", "steps.csv")  # A row per horizon step of a backtest.
    importance = Entry("evaluation/importance.json", "importance.json")
    leakage = Entry("evaluation/leakage.json", "leakage.json")  # The leak certificate.
    diagnosis = Entry("evaluation/diagnosis.json", "diagnosis.json")

    status = Entry("training/status.json", "status.json")
    log = Entry("training/log.txt", "log.txt")
    history_file = Entry("training/history.csv", "history.csv")  # A row per epoch.
    environment = Entry("training/environment.json", "environment.json")
    fingerprints = Entry("training/fingerprints.json", "fingerprints.json")  # The start of the training, for `reproduce`.
    gradients = Entry("training/gradients.json", "gradients.json")  # How far back the network learns, beside a simple RNN.
    checkpoint = Entry("training/checkpoint.safetensors", "checkpoint.safetensors")  # The state of an unfinished training.
    parent = Entry("training/parent.json", "parent.json")  # The run that an update continues.

    runs = Entry("runs")  # The runs of an experiment or a search, a folder for each.
    leaderboard = Entry("leaderboard.csv")  # A row per run of an experiment, the best first.
    trials = Entry("trials.csv")  # A row per trial of a search.
    journal = Entry("study.journal")  # The trials of a search, as Optuna writes them.
    best = Entry("best.yaml")  # The best config.

    kind: Kind = "training"

    def __init__(self, directory: str | Path):
        self.directory = Path(directory)
        self.is_flat = os.path.lexists(self.directory / "status.json")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.directory)!r})"

    @property
    def name(self) -> str:
        """Return the folder's name, such as `airline-1`."""
        return self.directory.name.removeprefix(PARTIAL_PREFIX)

    @property
    def is_run(self) -> bool:
        """Return whether the directory has the status of a run, the first file that a run gets."""
        try:
            return self.status.is_file() and self.read_status().at is not None
        except RunError:
            return False

    # --- Sealing and verifying.

    @property
    def sealed(self) -> dict[Path, str]:
        """Return every file that forecasting reads, with its name in the checksums: its path from their folder."""
        paths = [self.config, self.contract, self.scaler, self.recent, self.network, self.weights]
        optional = (self.scored, self.intervals, self.combination, self.linear)
        paths += [path for path in optional if path.exists()]
        return {path: Path(os.path.relpath(path, self.checksums.parent)).as_posix() for path in paths}

    def seal(self) -> None:
        """Write the sha256 of every file that forecasting reads. From now on, `verify` notices a change of a single bit."""
        digests = [f"{sha256_of(path)}  {name}\n" for path, name in self.sealed.items()]
        self.write_text(self.checksums, "".join(digests))

    def verify(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        """Check that a file is a plain file within this directory, not too large, and as training left it."""
        with explain_damage(path):
            if Path(os.path.realpath(self.directory)) not in Path(os.path.realpath(path)).parents or not path.is_file():
                raise ValueError("it is not a regular file in this run")
            if path.stat().st_size > max_bytes:
                raise ValueError(f"it holds more than the maximum of {max_bytes} bytes")
            if path in self.sealed and self.checksums.exists():
                self.verify(self.checksums, MAX_CHECKSUMS)
                if f"{sha256_of(path)}  {self.sealed[path]}" not in self.checksums.read_text("utf-8", "replace").splitlines():
                    problem = f"this file was changed after training: its sha256 is not in {self.checksums.name}."
                    raise RunError(problem, DAMAGED, str(path))

    def verify_sealed(self) -> None:
        """Check that no file which forecasting reads was changed after training. Large ones are verified when they are read."""
        for path in self.sealed:
            if not path.exists() or path.stat().st_size <= MAX_BYTES:
                self.verify(path)

    def check_sealed(self) -> None:
        """Check that the run has checksums, and that its model folder holds nothing but the model and hidden files.

        Raises:
            RunError: there are no checksums, or a file is there that another program might take for code.
        """
        if not self.checksums.exists():
            raise RunError("the run has no checksums.", DAMAGED, str(self.checksums))
        names = {line.partition("  ")[2] for line in self.checksums.read_text("utf-8", "replace").splitlines()}
        if missing := sorted(names - set(self.sealed.values())):
            raise RunError("this file is missing.", DAMAGED, str(self.checksums.parent / missing[0]))
        for path in self.network.parent.iterdir():
            if path not in (*self.sealed, self.checksums) and not path.name.startswith("."):
                raise RunError("this file does not belong in a run.", "Check it, then remove it. It may contain code.", str(path))

    # --- Reading.

    def read(self, path: Path, kind: type[DocumentType]) -> DocumentType:
        """Read one of the JSON documents of this run, such as `run.read(run.metrics_file, Metrics)`."""
        text = self._read_json_text(path)
        with explain_damage(path):
            return kind.model_validate_json(text)

    def read_json(self, path: Path) -> Any:
        """Read a JSON file that has no document class."""
        text = self._read_json_text(path)
        with explain_damage(path):
            return json.loads(text)

    def _read_json_text(self, path: Path) -> str:
        self.verify(path)
        with explain_damage(path):
            text = path.read_text(encoding="utf-8")
            if text.count("[") + text.count("{") > MAX_BRACKETS:
                raise ValueError(f"it holds more than the maximum of {MAX_BRACKETS} lists and mappings")
            return text

    def read_status(self) -> Status:
        """Read where the run stands."""
        return self.read(self.status, Status)

    def read_config(self) -> Config:
        """Read the config of this run, in which every default is written out.

        Raises:
            ConfigError, RunError: it is missing or damaged.
        """
        from forecast.config import load_config

        self.verify(self.config, MAX_CONFIG)
        return load_config(self.config)

    def read_table(
        self,
        path: Path,
        columns: Mapping[str, type],
        optional: Mapping[str, type] | None = None,
        select: Callable[[pd.DataFrame], pd.Series[bool]] | None = None,
    ) -> pd.DataFrame:
        """Read a CSV file of this run, of any size.

        columns: those that it must have, and their types; text is kept as it is, even "nan". optional: those that it may have.
        select: returns the mask of the rows to keep, for a part of the table; None keeps all rows.
        """
        import pandas as pd

        types = {**columns, **(optional or {})}
        with explain_damage(path):
            header = list(map(str, pd.read_csv(path, nrows=0).columns))
            if missing := [f"`{name}`" for name in columns if name not in header]:
                raise ValueError(f"there is no column {first_few(missing)}")
            empty = {name: [""] if types.get(name) is str else ["", "nan"] for name in header}
            chunks = pd.read_csv(
                path, dtype=types, keep_default_na=False, na_values=empty, float_precision="round_trip", chunksize=CHUNK_ROWS
            )
            return pd.concat([chunk[select(chunk)] if select else chunk for chunk in chunks], ignore_index=True)

    def read_arrays(self, path: Path, count: int) -> dict[str, Array]:
        """Read named arrays that hold at most `count` float32 numbers."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        self.verify(path, 4 * count + MAX_HEADER)
        with explain_damage(path, SafetensorError, KeyError):  # NumPy does not know some types, which is a KeyError.
            return load(path.read_bytes())

    # --- Writing.

    def write_text(self, path: Path, text: str) -> None:
        """Write a file whole or not at all."""
        with self.replace_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def write(self, path: Path, document: Document) -> None:
        """Write one of the JSON documents of this run."""
        self.write_json(path, document.to_json())

    def write_json(self, path: Path, data: object) -> None:
        """Write plain JSON values.

        Raises:
            RunError: they are more than `read_json` would read.
        """
        text = json.dumps(data, indent=2, allow_nan=False) + "\n"
        if len(text) > MAX_BYTES:
            problem = f"this file would contain more than {MAX_BYTES} bytes."
            raise RunError(problem, "Train on fewer series or targets at once.", str(path))
        self.write_text(path, text)

    def write_table(self, path: Path, table: pd.DataFrame) -> None:
        """Write a table as CSV; floats keep every digit."""
        with self.open_table(path) as append:
            append(table)

    @contextlib.contextmanager
    def open_table(self, path: Path) -> Iterator[Callable[[pd.DataFrame], None]]:
        """Write a table in parts. The first one brings the header, and the file appears when all went well."""
        with self.replace_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            yield lambda part: part.to_csv(file, index=False, header=file.tell() == 0)

    def write_figure(self, path: Path, figure: Figure) -> None:
        """Draw a matplotlib figure as PNG, in this directory or elsewhere."""
        with self.replace_file(path) as temporary:
            figure.savefig(temporary, format="png", dpi=120)

    def write_arrays(self, path: Path, arrays: dict[str, Array]) -> None:
        """Write named arrays, without code."""
        from safetensors.numpy import save

        with self.replace_file(path) as temporary:
            temporary.write_bytes(save(arrays))

    @contextlib.contextmanager
    def replace_file(self, path: Path) -> Iterator[Path]:
        """Yield a temporary file that replaces `path` at the end, in a folder of this directory that is created if need be."""
        if self.directory in path.parents:
            with translate_write_errors(path.parent):
                path.parent.mkdir(exist_ok=True)
        with replace_file(path) as temporary:
            yield temporary

    # --- Recording.

    def write_status(self, state: State, why: str = "") -> None:
        """Write where the run stands, and which process says so. why: the reason of a failure."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        host = socket.gethostname()
        self.write(self.status, Status(state=state, at=now, kind=self.kind, why=why, pid=os.getpid(), host=host))

    def log_and_continue(self, step: str) -> contextlib.AbstractContextManager[None]:
        """Log the failure of a step that only explains this run, and go on. Use it while the run is recording."""
        return log_and_continue(step, f"Please report it with the traceback, which is in {self.log}.")

    @contextlib.contextmanager
    def record(self) -> Iterator[None]:
        """While open, write the package's log to the run's log file; at the end, write to status.json how it went.

        Raises:
            RunError: another process is using this directory.
        """
        with lock_directory(self.directory):
            folders = {self.directory, self.weights.parent, self.cutoffs.parent, self.status.parent, self.plots, self.data}
            remove_partial_files(*folders)
            with record_status(self.write_status, self.log):
                yield
