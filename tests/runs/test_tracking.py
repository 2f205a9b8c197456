"""What trackers hold is what the run's own files say."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from forecast.commands.train import train
from forecast.config.load import load_config
from forecast.errors import ForecastError, RunError

pytestmark = pytest.mark.slow


def value_of(event) -> float:
    from tensorboard.util.tensor_util import make_ndarray

    return float(make_ndarray(event.tensor_proto))


def test_tensorboard_has_every_epoch_of_every_seed(project, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = load_config(project(), {"tracking": "tensorboard", "training.seeds": [3, 4]})
    run = train(config, tmp_path / "run")
    history = pd.read_csv(run.history_file)
    for seed in (3, 4):
        events = EventAccumulator(str(run.tensorboard / f"seed-{seed}")).Reload()
        losses = [(event.step, pytest.approx(value_of(event))) for event in events.Tensors("val_loss")]
        assert losses == list(history[history.seed == seed][["epoch", "val_loss"]].itertuples(index=False, name=None))
        total = json.loads(run.metrics_file.read_text())["test"]["forecast"]["total"]
        assert value_of(events.Tensors("test/mae")[0]) == pytest.approx(total["mae"])


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A local file store of MLflow, which asks that one insists on it."""
    uri = (tmp_path / "mlruns").as_uri()
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return uri


@pytest.mark.explained
def test_mlflow_has_parameters_metrics_and_artifacts(project, tmp_path, store):
    from mlflow.tracking import MlflowClient

    run = train(load_config(project(), {"tracking": "mlflow"}), tmp_path / "run")
    client = MlflowClient(store)
    (recorded,) = client.search_runs([client.get_experiment_by_name("config").experiment_id])
    assert recorded.info.status == "FINISHED"
    assert recorded.info.run_name == "run"
    assert recorded.data.params["training.epochs"] == "2"
    history = pd.read_csv(run.history_file)
    steps = {metric.step: metric.value for metric in client.get_metric_history(recorded.info.run_id, "val_loss")}
    assert steps == pytest.approx(dict(zip(history.epoch, history.val_loss, strict=True)))
    assert recorded.data.metrics["test/mae"] == json.loads(run.metrics_file.read_text())["test"]["forecast"]["total"]["mae"]
    assert {item.path for item in client.list_artifacts(recorded.info.run_id)} == {
        "config.yaml",
        "metrics.json",
        "history.csv",
        "plots",
    }


def test_a_training_that_fails_is_failed_in_mlflow_too(project, tmp_path, store):
    from mlflow.tracking import MlflowClient

    config = load_config(project(training={"epochs": 20, "learning_rate": 1e6, "optimizer": "sgd", "clipnorm": None}))
    config = config.model_copy(update={"tracking": ["mlflow"]})
    with pytest.raises(RunError, match="the loss is no longer a number"):
        train(config, tmp_path / "run")
    client = MlflowClient(store)
    (recorded,) = client.search_runs([client.get_experiment_by_name("config").experiment_id])
    assert recorded.info.status == "FAILED"


def fail(*_: object, **__: object) -> None:
    raise ConnectionError("the server is gone")


def test_a_tracker_that_fails_later_costs_no_training(project, tmp_path, store, monkeypatch, caplog):
    import mlflow

    with monkeypatch.context() as broken:
        for name in ("mlflow.log_metrics", "mlflow.log_artifacts", "mlflow.end_run", "tensorboard.summary.Writer.add_scalar"):
            broken.setattr(name, fail)
        run = train(load_config(project(), {"tracking": ["mlflow", "tensorboard"]}), tmp_path / "run")
    mlflow.end_run()
    assert run.finished
    assert pd.read_csv(run.history_file).epoch.tolist() == [0, 1, 2]
    for tracker in ("mlflow", "tensorboard"):
        assert f"recording in {tracker} failed (ConnectionError: the server is gone). The run folder" in caplog.text


def test_a_tracker_that_cannot_begin_is_told(project, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    with pytest.raises(RunError, match="MLflow cannot start: .*\n.*MLFLOW_TRACKING_URI"):
        train(load_config(project(), {"tracking": "mlflow"}), tmp_path / "run")


def test_a_tracker_that_is_not_installed_is_said_before_anything_is_read(project, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "tensorboard" else True)
    with pytest.raises(ForecastError, match=r"`tensorboard`, which is not installed.\s+.*'.\[tensorboard\]'"):
        train(load_config(project(), {"tracking": "tensorboard"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
