"""The layout of a run directory: every file name stands here and nowhere else. Files are written whole and read verified."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forecast.documents import Document
from forecast.errors import DAMAGED, RunError, log_and_continue
from forecast.runs.documents import Kind, State, Status
from forecast.runs.files import (
    MAX_BYTES,
    MAX_HEADER,
    DocumentType,
    parse_arrays,
    parse_document,
    parse_json,
    parse_table,
)
from forecast.runs.status import make_status, record_status
from forecast.storage import (
    PARTIAL_PREFIX,
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

MAX_CHECKSUMS = 10_000  # Size of the checksums in bytes.
MAX_CONFIG = 50_000  # Size of config.yaml in bytes. YAML is slow to read.


class RunDirectory:
    """The files of a run, or of an experiment or a search with its runs.

    Files are written to a temporary name first, so that a reader never sees half a file. They are read only if they are plain
    files of this directory, not too large, and as training left them.

    Earlier versions wrote flat directories, with status.json and most other files on top. Such runs are still read and resumed.
    """

    kind: Kind = "training"

    def __init__(self, directory: str | Path):
        self.directory = top = Path(directory)
        self.report = top / "report.html"  # One page that explains everything.
        self.forecast = top / "forecast.csv"  # The future after the last row.
        self.predictions = top / "predictions.csv"  # The windows of the test set.
        self.metrics = top / "metrics.json"
        self.config = top / "config.yaml"  # Every default is written out.
        self.plots = top / "plots"
        self.data = top / "data"  # All rows of an update, in one file.
        self.exports = top / "exports"  # A folder for each format.
        self.tensorboard = top / "tensorboard"  # Event files, if `tracking` asks for them.
        self._set_group_paths(top)
        is_flat = os.path.lexists(top / "status.json")
        self._set_model_paths(top / "model", is_flat)
        self._set_evaluation_paths(top if is_flat else top / "evaluation", is_flat)
        self._set_training_paths(top if is_flat else top / "training")

    def _set_group_paths(self, top: Path) -> None:
        """Set the paths of an experiment or a search."""
        self.runs = top / "runs"  # A folder for each run.
        self.leaderboard = top / "leaderboard.csv"  # A row per run of an experiment, the best first.
        self.trials = top / "trials.csv"  # A row per trial of a search.
        self.journal = top / "study.journal"  # The trials of a search, as Optuna writes them.
        self.best = top / "best.yaml"  # The best config.

    def _set_model_paths(self, model: Path, is_flat: bool) -> None:
        """Set the paths of what forecasting reads, besides the config."""
        self.network = model / "network.json"  # The description that rebuilds the network.
        self.weights = model / "weights.safetensors"
        self.intervals = model / "intervals.safetensors"  # Offsets from the forecasts of the network to their quantiles.
        rest = model.parent if is_flat else model
        self.scaler = rest / "scaler.json"
        self.contract = rest / "contract.json"  # Facts about the data.
        self.recent = rest / "recent.csv"  # The last rows of the data, so that a run forecasts without it.
        self.checksums = rest / ("sha256sums.txt" if is_flat else "SHA256SUMS")  # For `sha256sum --check`.

    def _set_evaluation_paths(self, evaluation: Path, is_flat: bool) -> None:
        """Set the paths of what explains the errors on the test set."""
        self.per_series = evaluation / "series.csv"  # A row per series.
        self.cutoffs = evaluation / ("losses.csv" if is_flat else "cutoffs.csv")  # A row per cutoff.
        self.folds = evaluation / "folds.csv"  # A row per fold of a backtest.
        self.steps = evaluation / "steps.csv"  # A row per horizon step of a backtest.
        self.importance = evaluation / "importance.json"
        self.leakage = evaluation / "leakage.json"  # The leak certificate.
        self.diagnosis = evaluation / "diagnosis.json"

    def _set_training_paths(self, training: Path) -> None:
        """Set the paths of the record of the training."""
        self.status = training / "status.json"
        self.log = training / "log.txt"
        self.history = training / "history.csv"  # A row per epoch.
        self.environment = training / "environment.json"
        self.fingerprints = training / "fingerprints.json"  # The start of the training, for `reproduce`.
        self.gradients = training / "gradients.json"  # How far back the network learns, beside a simple RNN.
        self.checkpoint = training / "checkpoint.safetensors"  # The state of a training that is not finished.
        self.parent = training / "parent.json"  # The run that an update continues.

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
        if self.intervals.exists():  # Some runs have none.
            paths.append(self.intervals)
        return {path: Path(os.path.relpath(path, self.checksums.parent)).as_posix() for path in paths}

    def seal(self) -> None:
        """Write the sha256 of every file that forecasting reads. From now on, `verify` notices a change of a single bit."""
        digests = [f"{sha256_of(path)}  {name}\n" for path, name in self.sealed.items()]
        self.write_text(self.checksums, "".join(digests))

    def verify(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        """Check that a file is a plain file within this directory, not too large, and as training left it.

        Raises:
            RunError: naming what is wrong.
        """
        try:
            if not self._contains(path) or not path.is_file():
                raise RunError("cannot be read (it is no plain file of this run).", DAMAGED, str(path))
            if path.stat().st_size > max_bytes:
                raise RunError(f"cannot be read (it holds more than the {max_bytes} bytes that it can need).", DAMAGED, str(path))
            if path in self.sealed and self.checksums.exists():
                self.verify(self.checksums, MAX_CHECKSUMS)
                if f"{sha256_of(path)}  {self.sealed[path]}" not in self.checksums.read_text("utf-8", "replace").splitlines():
                    raise RunError(f"was changed after training: its sha256 is not in {self.checksums.name}.", DAMAGED, str(path))
        except OSError as error:
            raise RunError(f"cannot be read ({error}).", DAMAGED, str(path)) from None

    def verify_sealed(self) -> None:
        """Check that no file which forecasting reads was changed after training. Large ones are verified when they are read.

        Raises:
            RunError: naming the first one that was changed.
        """
        for path in self.sealed:
            if not path.exists() or path.stat().st_size <= MAX_BYTES:
                self.verify(path)

    def check_sealed(self) -> None:
        """Check that the run has checksums, and that its model folder holds nothing but the model.

        Hidden files, which file managers leave everywhere, may stay; no file is ever read for being there.

        Raises:
            RunError: there are no checksums, or a file is there that another program might take for code.
        """
        if not self.checksums.exists():
            raise RunError("the run has no checksums.", DAMAGED, str(self.checksums))
        for path in self.network.parent.iterdir():
            if path not in (*self.sealed, self.checksums) and not path.name.startswith("."):
                raise RunError("no run holds this file.", "Remove it if you know it; it may hold code.", str(path))

    def _contains(self, path: Path) -> bool:
        """Return whether a path lies in this directory when all links are followed."""
        return Path(os.path.realpath(self.directory)) in Path(os.path.realpath(path)).parents

    # --- Reading.

    def read(self, path: Path, kind: type[DocumentType]) -> DocumentType:
        """Read one of the JSON documents of this run, such as `run.read(run.metrics, Metrics)`.

        Raises:
            RunError: it is missing or damaged; the message names the field.
        """
        self.verify(path)
        return parse_document(path, kind)

    def read_json(self, path: Path) -> Any:
        """Read a JSON file that has no document class.

        Raises:
            RunError: it is missing or damaged.
        """
        self.verify(path)
        return parse_json(path)

    def read_status(self) -> Status:
        """Read where the run stands.

        Raises:
            RunError: there is no status, or it is damaged.
        """
        return self.read(self.status, Status)

    def read_config(self) -> Config:
        """Read the config of this run, in which every default is written out.

        Raises:
            RunError, ConfigError: it is missing or damaged.
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
        """Read a CSV file of this run, of any size. The arguments are those of `parse_table`.

        Raises:
            RunError: it is missing or damaged.
        """
        return parse_table(path, columns, optional, select)

    def read_arrays(self, path: Path, count: int) -> dict[str, np.ndarray]:
        """Read named arrays that hold at most `count` float32 numbers.

        Raises:
            RunError: the file is missing or damaged.
        """
        self.verify(path, 4 * count + MAX_HEADER)
        return parse_arrays(path)

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
            RunError: they are more than `read_json` would read, or cannot be written.
        """
        text = json.dumps(data, indent=2, allow_nan=False) + "\n"
        if len(text) > MAX_BYTES:
            raise RunError(f"would hold more than {MAX_BYTES} bytes.", "Train on fewer series or targets at once.", str(path))
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

    def write_arrays(self, path: Path, arrays: dict[str, np.ndarray]) -> None:
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

    def write_status(self, state: State, why: str = "") -> Status:
        """Write and return where the run stands. why: the reason of a failure."""
        status = make_status(state, self.kind, why)
        self.write(self.status, status)
        return status

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
            with record_status(lambda status: self.write(self.status, status), self.kind, self.log):
                yield
