"""Where else a training is recorded, as `tracking` says: TensorBoard, MLflow. The run's own CSV files are always written."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from forecast.config import Config, non_default_values
from forecast.errors import RunError, check_installed
from forecast.evaluation import TrainingMetrics
from forecast.runs.checkpoints import append_history
from forecast.runs.run import Run

HIDDEN = {"epoch", "seed", "fold"}  # of a row of the history: what names it, not what it measures
LONGEST_PARAMETER = 500  # characters that MLflow takes
Note = Callable[[Mapping[str, float]], object]  # takes a row of the history
log = logging.getLogger(__name__)


def check_trackers(config: Config) -> None:
    """Check that what `tracking` names is installed.

    Raises:
        ForecastError: with the line that installs it.
    """
    for name in config.tracking:
        check_installed(f"tracking: {name}", [name], name)


@contextlib.contextmanager
def tracked(run: Run, config: Config) -> Iterator[Note]:
    """While open, what is yielded records each row of the history, in history.csv first; when all went well, results follow.

    Raises:
        RunError: a tracker cannot begin. If one fails later, that is logged, and training goes on.
    """
    with contextlib.ExitStack() as stack:
        trackers = {"tensorboard": _tensorboard, "mlflow": _mlflow}
        notes = [partial(append_history, run), *(stack.enter_context(trackers[name](run, config)) for name in config.tracking)]
        yield lambda row: [note(row) for note in notes]


def results_of(run: Run) -> dict[str, float]:
    """The errors of a run on both parts, as `test/mae`."""
    metrics, results = run.read(run.metrics, TrainingMetrics), {}
    for part, scores in (("validation", metrics.validation), ("test", metrics.test)):
        total = scores.forecast.total
        results |= {f"{part}/mae": total.mae, f"{part}/rmse": total.rmse, f"{part}/mase": total.mase}
    return {name: value for name, value in results.items() if value is not None}


def _measured(row: Mapping[str, float]) -> dict[str, float]:
    """What a row of the history measures; networks of several seeds are told apart by their names."""
    return {name: value for name, value in row.items() if name not in HIDDEN and math.isfinite(value)}


@contextlib.contextmanager
def _tensorboard(run: Run, config: Config) -> Iterator[Note]:
    """Event files in the run, a folder for each seed: tensorboard --logdir runs."""
    from forecast.forecasters.network.backend import silence_stderr

    with silence_stderr():  # TensorBoard looks for TensorFlow.
        from tensorboard.summary import Writer
    writers = {seed: Writer(str(run.tensorboard / f"seed-{seed}")) for seed in config.seeds}
    try:
        yield partial(_note, writers)
        with _forgiven("TensorBoard"):
            for writer in writers.values():
                _write(writer, results_of(run), 0)
    finally:
        with _forgiven("TensorBoard"):
            for writer in writers.values():
                writer.close()


def _note(writers: Mapping[int, object], row: Mapping[str, float]) -> None:
    with _forgiven("TensorBoard"):
        _write(writers[int(row["seed"])], _measured(row), int(row["epoch"]))


def _write(writer: object, values: Mapping[str, float], step: int) -> None:
    for name, value in values.items():
        writer.add_scalar(name, value, step)


@contextlib.contextmanager
def _mlflow(run: Run, config: Config) -> Iterator[Note]:
    """A run in MLflow, where MLFLOW_TRACKING_URI says: parameters, metrics of each epoch, results, config and plots."""
    import mlflow

    try:
        mlflow.set_experiment(config.name)
        mlflow.start_run(run_name=run.name, nested=mlflow.active_run() is not None)
    except mlflow.exceptions.MlflowException as error:
        found = f"MLflow cannot begin: {str(error).splitlines()[0]}"
        raise RunError(found, "Set MLFLOW_TRACKING_URI, or leave mlflow out of `tracking`.", "tracking") from None

    def note(row: Mapping[str, float]) -> None:
        seed = f"seed-{int(row['seed'])}/" if config.training.seeds else ""
        with _forgiven("MLflow"):
            mlflow.log_metrics({seed + name: value for name, value in _measured(row).items()}, step=int(row["epoch"]))

    state = "FAILED"
    try:
        with _forgiven("MLflow"):
            mlflow.log_params({key: str(value)[:LONGEST_PARAMETER] for key, value in non_default_values(config).items()})
        yield note
        state = "FINISHED"
        with _forgiven("MLflow"):
            mlflow.log_metrics(results_of(run))
            for path in (run.config, run.metrics, run.history):
                mlflow.log_artifact(str(path))
            mlflow.log_artifacts(str(run.plots), "plots")
    finally:
        with _forgiven("MLflow"):
            mlflow.end_run(state)


@contextlib.contextmanager
def _forgiven(tracker: str) -> Iterator[None]:
    """Log the failure of a tracker, whatever it is, and go on: the run's own files hold everything."""
    try:
        yield
    except Exception as error:
        failure = f"{type(error).__name__}: {error!s:.200}"
        log.warning("%s failed while recording (%s). The run folder has all results.", tracker, failure)
