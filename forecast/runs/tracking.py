"""Also record a training run in TensorBoard or MLflow, as set by `tracking`. The CSV files of the run are always written."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping

from forecast.config import Config, non_default_values
from forecast.errors import RunError, check_installed, log_and_continue
from forecast.evaluation import TrainingMetrics
from forecast.runs.checkpoints import append_history
from forecast.runs.run import Run

KEYS = {"epoch", "seed", "fold"}  # Columns of the history that name a row. All others measure something.
MAX_PARAMETER_LENGTH = 500  # Characters that MLflow takes.
Row = Mapping[str, float]


def check_trackers(config: Config) -> None:
    """Check that what `tracking` names is installed.

    Raises:
        ForecastError: with the line that installs it.
    """
    for name in config.tracking:
        check_installed(f"tracking: {name}", [name], name)


@contextlib.contextmanager
def open_trackers(run: Run, config: Config) -> Iterator[Callable[[Row], None]]:
    """Yield a function that records a row of the history, in history.csv first. When training succeeds, the results follow.

    Raises:
        RunError: a tracker cannot start. If one fails later, that is logged, and training goes on.
    """
    trackers: dict[str, _TensorBoard | _MLflow] = {}

    def call_each(action: Callable[[_TensorBoard | _MLflow], None]) -> None:
        for name, tracker in trackers.items():
            with log_and_continue(f"recording in {name}", remedy="", cause="The run folder has all results."):
                action(tracker)

    def record(row: Row) -> None:
        append_history(run, row)
        call_each(lambda tracker: tracker.record_epoch(row))

    state = "FAILED"
    try:
        for name in config.tracking:
            trackers[name] = _TensorBoard(run, config) if name == "tensorboard" else _MLflow(run, config)
        yield record
        state = "FINISHED"
        call_each(lambda tracker: tracker.record_results(_collect_results(run)))
    finally:
        call_each(lambda tracker: tracker.close(state))


def _collect_results(run: Run) -> dict[str, float]:
    """Return the errors of a run on both sets, as `test/mae`."""
    metrics = run.read(run.metrics_file, TrainingMetrics)
    totals = {"validation": metrics.validation.forecast.total, "test": metrics.test.forecast.total}
    results = {f"{subset}/{name}": getattr(total, name) for subset, total in totals.items() for name in ("mae", "rmse", "mase")}
    return {name: value for name, value in results.items() if value is not None}


def _select_measures(row: Row) -> dict[str, float]:
    """Return the finite measures in a row of the history."""
    return {name: value for name, value in row.items() if name not in KEYS and math.isfinite(value)}


class _TensorBoard:
    """Event files in the run, a folder for each seed: tensorboard --logdir runs."""

    def __init__(self, run: Run, config: Config):
        from forecast.forecasters.network.backend import silence_stderr

        with silence_stderr():  # TensorBoard looks for TensorFlow.
            from tensorboard.summary import Writer
        self.writers = {seed: Writer(str(run.tensorboard / f"seed-{seed}")) for seed in config.seeds}

    def record_epoch(self, row: Row) -> None:
        for name, value in _select_measures(row).items():
            self.writers[int(row["seed"])].add_scalar(name, value, int(row["epoch"]))

    def record_results(self, results: dict[str, float]) -> None:
        for writer in self.writers.values():
            for name, value in results.items():
                writer.add_scalar(name, value, 0)

    def close(self, state: str) -> None:
        for writer in self.writers.values():
            writer.close()


class _MLflow:
    """A run where MLFLOW_TRACKING_URI says, with parameters, metrics of each epoch, results, config and plots."""

    def __init__(self, run: Run, config: Config):
        import mlflow

        self.mlflow, self.run, self.config = mlflow, run, config
        try:
            mlflow.set_experiment(config.name)
            mlflow.start_run(run_name=run.name, nested=mlflow.active_run() is not None)
            mlflow.log_params({key: str(value)[:MAX_PARAMETER_LENGTH] for key, value in non_default_values(config).items()})
        except mlflow.exceptions.MlflowException as error:
            problem = f"MLflow cannot start: {str(error).splitlines()[0]}"
            raise RunError(problem, "Set MLFLOW_TRACKING_URI, or leave mlflow out of `tracking`.", "tracking") from None

    def record_epoch(self, row: Row) -> None:
        seed = f"seed-{int(row['seed'])}/" if self.config.training.seeds else ""
        self.mlflow.log_metrics({seed + name: value for name, value in _select_measures(row).items()}, step=int(row["epoch"]))

    def record_results(self, results: dict[str, float]) -> None:
        self.mlflow.log_metrics(results)
        for path in (self.run.config, self.run.metrics_file, self.run.history_file):
            self.mlflow.log_artifact(str(path))
        self.mlflow.log_artifacts(str(self.run.plots), "plots")

    def close(self, state: str) -> None:
        self.mlflow.end_run(state)
