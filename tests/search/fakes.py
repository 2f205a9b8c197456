"""Trainings that take no time: each run is a copy of a trained one, and its error follows from its config.

`python -m tests.search.fakes RUN SECONDS tune CONFIG ...` calls a command with such trainings, whose epochs take so long.
"""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from forecast.config.schema import Config
from forecast.errors import RunError
from forecast.forecasters.network.callbacks import Progress
from forecast.runs.run import Run
from forecast.search.workers import Workers


def error_of(config: Config) -> float:
    """The error on the validation set, which is smallest at a learning rate of 0.0001 and with `gru`."""
    distance = abs(math.log10(config.training.learning_rate) + 4)
    return 1 + distance + 0.5 * (config.model.cell != "gru") + 0.01 * config.seed


def pass_epochs(config: Config, seconds: float, on_progress: Callable[[Progress], None]) -> float:
    if config.training.learning_rate > 1:
        raise RunError("the loss is no longer a number in epoch 1: the gradients exploded.")
    for epoch in range(1, config.training.epochs + 1):
        time.sleep(seconds)
        on_progress(Progress(epoch, config.training.epochs, 1, 0.0, error_of(config) + 1 / epoch, 0.0, seconds))
    return error_of(config)


def install(patch: pytest.MonkeyPatch, trained: Path, seconds: float = 0.0) -> None:
    """Replace what trains and what draws studies. trained: the run to copy."""

    def train(config: Config, _: object, directory: Path) -> None:
        with Run(directory).stage() as stage:
            shutil.copytree(trained, stage)
            run = Run(stage)
            try:
                error = pass_epochs(config, seconds, lambda progress: None)
            except RunError as failure:
                run.write_status("failed", failure.problem)
                raise
            metrics = run.read_json(run.metrics_file)
            for subset, share in (("validation", 1.0), ("test", 1.25)):
                metrics[subset]["forecast"]["total"] |= {"mase": share * error, "mae": 10 * share * error}
            run.write_json(run.metrics_file, metrics)
            run.write_text(run.config, config.to_yaml())
            run.seal()

    patch.setattr("forecast.search.experiment.train_quietly", train)
    patch.setattr("forecast.search.tune.train_quietly", train)
    patch.setattr("forecast.search.tune.draw_study", lambda study: {})
    patch.setattr(
        "forecast.search.tune._compute_validation_error",
        lambda prepared, on_progress: pass_epochs(prepared.config, seconds, on_progress),
    )


class HereOnRay(Workers):
    """Computes in this process what would be sent to a cluster."""

    def _attempt(self, function, next_job) -> Iterator:
        return Workers()._attempt(function, next_job)


if __name__ == "__main__":
    from forecast.cli.app import app

    install(pytest.MonkeyPatch(), Path(sys.argv[1]), float(sys.argv[2]))
    app(sys.argv[3:])
