"""Record a training in TensorBoard or MLflow as well, as `tracking` says. The CSV files of the run are always written."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from forecast.config import Config, non_default_values
from forecast.errors import RunError, check_installed
from forecast.evaluation import TrainingMetrics
from forecast.runs.checkpoints import append_history
from forecast.runs.run import Run

if TYPE_CHECKING:
    from tensorboard.summary import Writer

KEYS = {"epoch", "seed", "fold"}  # Columns of the history that name a row. All others measure something.
MAX_PARAMETER_LENGTH = 500  # Characters that MLflow takes.
Tracker = Callable[[Mapping[str, float]], None]  # Records a row of the history.
log = logging.getLogger(__name__)


def check_trackers(config: Config) -> None:
    """Check that what `tracking` names is installed.

    Raises:
        ForecastError: with the line that installs it.
    """
    for name in config.tracking:
        check_installed(f"tracking: {name}", [name], name)


@contextlib.contextmanager
def open_trackers(run: Run, config: Config) -> Iterator[Tracker]:
    """Yield a function that records a row of the history, in history.csv first. When training succeeds, the results follow.

    Raises:
        RunError: a tracker cannot start. If one fails later, that is logged, and training goes on.
    """
    openers = {"tensorboard": _open_tensorboard, "mlflow": _open_mlflow}
    with contextlib.ExitStack() as stack:
        trackers = [stack.enter_context(openers[name](run, config)) for name in config.tracking]

        def record(row: Mapping[str, float]) -> None:
            append_history(run, row)
            for tracker in trackers:
                tracker(row)

        yield record


def collect_results(run: Run) -> dict[str, float]:
    """Return the errors of a run on both sets, as `test/mae`."""
    metrics = run.read(run.metrics, TrainingMetrics)
    results: dict[str, float | None] = {}
    for subset, scores in (("validation", metrics.validation), ("test", metrics.test)):
        total = scores.forecast.total
        results |= {f"{subset}/mae": total.mae, f"{subset}/rmse": total.rmse, f"{subset}/mase": total.mase}
    return {name: value for name, value in results.items() if value is not None}


def _measured(row: Mapping[str, float]) -> dict[str, float]:
    """Return the finite measures in a row of the history."""
    return {name: value for name, value in row.items() if name not in KEYS and math.isfinite(value)}


@contextlib.contextmanager
def _open_tensorboard(run: Run, config: Config) -> Iterator[Tracker]:
    """Write event files into the run, a folder for each seed: tensorboard --logdir runs."""
    from forecast.forecasters.network.backend import silence_stderr

    with silence_stderr():  # TensorBoard looks for TensorFlow.
        from tensorboard.summary import Writer
    writers = {seed: Writer(str(run.tensorboard / f"seed-{seed}")) for seed in config.seeds}

    def track(row: Mapping[str, float]) -> None:
        with _tolerating_failure("TensorBoard"):
            _write(writers[int(row["seed"])], _measured(row), int(row["epoch"]))

    try:
        yield track
        with _tolerating_failure("TensorBoard"):
            for writer in writers.values():
                _write(writer, collect_results(run), 0)
    finally:
        with _tolerating_failure("TensorBoard"):
            for writer in writers.values():
                writer.close()


def _write(writer: Writer, values: Mapping[str, float], step: int) -> None:
    for name, value in values.items():
        writer.add_scalar(name, value, step)


@contextlib.contextmanager
def _open_mlflow(run: Run, config: Config) -> Iterator[Tracker]:
    """Record parameters, metrics of each epoch, results, config and plots in MLflow, where MLFLOW_TRACKING_URI says."""
    import mlflow

    try:
        mlflow.set_experiment(config.name)
        mlflow.start_run(run_name=run.name, nested=mlflow.active_run() is not None)
    except mlflow.exceptions.MlflowException as error:
        problem = f"MLflow cannot begin: {str(error).splitlines()[0]}"
        raise RunError(problem, "Set MLFLOW_TRACKING_URI, or leave mlflow out of `tracking`.", "tracking") from None

    def track(row: Mapping[str, float]) -> None:
        seed = f"seed-{int(row['seed'])}/" if config.training.seeds else ""
        with _tolerating_failure("MLflow"):
            mlflow.log_metrics({seed + name: value for name, value in _measured(row).items()}, step=int(row["epoch"]))

    state = "FAILED"
    try:
        with _tolerating_failure("MLflow"):
            mlflow.log_params({key: str(value)[:MAX_PARAMETER_LENGTH] for key, value in non_default_values(config).items()})
        yield track
        state = "FINISHED"
        with _tolerating_failure("MLflow"):
            mlflow.log_metrics(collect_results(run))
            for path in (run.config, run.metrics, run.history):
                mlflow.log_artifact(str(path))
            mlflow.log_artifacts(str(run.plots), "plots")
    finally:
        with _tolerating_failure("MLflow"):
            mlflow.end_run(state)


@contextlib.contextmanager
def _tolerating_failure(tracker: str) -> Iterator[None]:
    """Log the failure of a tracker, whatever it is, and go on: the files of the run hold everything."""

    def log_failure(_: object, error: BaseException | None, traceback: object) -> bool:
        if not isinstance(error, Exception):
            return False
        failure = f"{type(error).__name__}: {error!s:.200}"
        log.warning("%s failed while recording (%s). The run folder has all results.", tracker, failure)
        return True

    with contextlib.ExitStack() as stack:
        stack.push(log_failure)
        yield
