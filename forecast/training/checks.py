"""Conditions that a command checks before it reads, trains or writes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from forecast.errors import BACKENDS, RunError, check_backend, check_installed
from forecast.forecasters.statistical import MODELS


def check_inputs_outside(run_dir: str | Path | None, inputs: Mapping[str, str | Path]) -> None:
    """Refuse to write a run over the files that it reads, which `--force` would delete, or into a run that it reads.

    inputs: paths by content, such as "the data".

    Raises:
        RunError: an input lies in the run directory, or the run directory lies in an input.
    """
    target = Path(run_dir).resolve() if run_dir is not None else None
    for content, path in inputs.items():
        path = Path(path).resolve()
        if target and (target == path or target in path.parents or path in target.parents):
            verb = "is inside" if path in target.parents else "contains"
            raise RunError(f"the run directory {verb} {content}.", "Choose another --run-dir.", str(run_dir))


def check_can_train(baselines: Collection[str] = ()) -> None:
    """Check that the libraries for training and for some baselines are installed, and that the Keras backend can train.

    Raises:
        ForecastError: a library is missing. The message has the command that installs it.
    """
    backend = check_backend()
    check_installed("Training", ["keras", backend, "matplotlib", "scipy", "sklearn"], BACKENDS[backend])
    if MODELS.keys() & set(baselines):
        check_installed("`baselines`", ["statsforecast"])
