"""Conditions that a command checks before it reads, trains or writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from forecast.errors import BACKENDS, RunError, check_backend, check_installed
from forecast.runs import Run


def check_inputs_outside(run_dir: str | Path | None, inputs: Mapping[str, str | Path]) -> None:
    """Refuse to write a run over the files that it reads: `--force` would delete them.

    inputs: paths by content, such as "the data".

    Raises:
        RunError: an input lies in the run directory.
    """
    for content, path in inputs.items():
        path = Path(path).resolve()
        if run_dir is not None and Path(run_dir).resolve() in (path, *path.parents):
            raise RunError(f"the run directory holds {content}.", "Choose another --run-dir.", str(run_dir))


def check_not_inside(run_dir: str | Path | None, run: Run) -> None:
    """Refuse to write a run into the directory of another run.

    Raises:
        RunError: `run_dir` lies in `run`.
    """
    if run_dir is not None and run.directory.resolve() in Path(run_dir).resolve().parents:
        raise RunError(f"this directory lies in the run {run.name}.", "Choose another --run-dir.", str(run_dir))


def check_can_train() -> None:
    """Check that the libraries for training are installed, and that the Keras backend can train.

    Raises:
        ForecastError: a library is missing. The message has the command that installs it.
    """
    backend = check_backend()
    check_installed("Training", ["keras", backend, "matplotlib", "scipy", "sklearn"], BACKENDS[backend])
