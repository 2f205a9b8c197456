"""A training that is cut short goes on as if nothing had happened."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from forecast.cli.app import app
from forecast.commands.predict import predict
from forecast.commands.train import resume_training, train
from forecast.config.load import load_config
from forecast.errors import RunError
from forecast.runs.checkpoints import Checkpoints, Interrupts
from forecast.runs.run import Run
from forecast.storage import sha256_of
from tests.conftest import write_project
from tests.hostile_runs import copy_in_earlier_layout

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _signals():
    """A shell starts programs in the background with Ctrl-C switched off, and so their children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


EVERYTHING = {
    "training.epochs": 12,
    "training.learning_rate": 0.02,
    "training.early_stopping": {"patience": 4},
    "training.accumulate_gradients": 3,
    "model.dropout": 0.3,
    "model.linear_skip": False,
}
NETWORKS = {
    "lstm, plateau": {"training.schedule": "plateau", "model.recurrent_dropout": 0.1},
    "gru, cosine": {
        "model.cell": "gru",
        "training.schedule": "cosine",
        "training.warmup_epochs": 2,
        "training.optimizer": "adamw",
    },
    "bidirectional, two seeds": {"model.bidirectional": True, "training.seeds": [1, 2], "training.sampling": "series"},
    "layers": {
        "model.layers": [{"units": 4, "cell": "gru", "dropout": 0.2}, {"units": 4, "residual": True}],
        "model.units": [64],  # The default, which the layers replace.
        "model.dropout": 0.0,
        "training.clipnorm": None,
        "training.clipvalue": 0.5,
    },
    "no early stopping": {"training.early_stopping": None, "training.epochs": 6, "training.optimizer": "rmsprop"},
}


def digest(run: Run) -> str:
    return hashlib.sha256(run.weights.read_bytes()).hexdigest()


def history(run: Run) -> pd.DataFrame:
    return pd.read_csv(run.history_file).drop(columns="seconds")


@pytest.fixture(autouse=True)
def _after_every_epoch(monkeypatch):
    monkeypatch.setattr("forecast.forecasters.network.callbacks.MIN_SECONDS_BETWEEN_EPOCHS", 0.0)


def within(epoch: int, done: float, action, member: int = 1):
    """Something that happens in the middle of an epoch, once."""
    happened = []

    def at(progress) -> None:
        if (progress.member, progress.epoch) == (member, epoch) and done <= progress.done < 1 and not happened:
            happened.append(True)
            action()

    return at


FIRST, *REST = NETWORKS


@pytest.fixture
def uninterrupted(trained):
    """Returns the run of a network."""

    def find(name: str) -> Run:
        model, training = {}, {"checkpoint_every": 4, "batch_size": 8}
        for key, value in (EVERYTHING | NETWORKS[name]).items():
            section, _, option = key.partition(".")
            {"model": model, "training": training}[section][option] = value
        return trained(model=model, training=training)

    return find


@pytest.mark.parametrize("name", [FIRST, *(pytest.param(name, marks=pytest.mark.exhaustive) for name in REST)])
def test_the_weights_are_those_of_an_uninterrupted_training(uninterrupted, tmp_path, name):
    whole = uninterrupted(name)
    config = load_config(whole.directory.with_name("config.yaml"))
    for epoch, done, kept in ((2, 0.1, (1, 0)), (4, 0.7, (3, 4))):  # of nine batches each
        run = Run(tmp_path / f"cut-{epoch}")
        with pytest.raises(KeyboardInterrupt, match="^$"):
            train(config, run.directory, on_progress=within(epoch, done, _interrupt))
        assert json.loads(run.status.read_text())["state"] == "interrupted"
        found = Checkpoints(run).open_store(config.seeds[0]).resumed
        assert (found.epoch, found.batch) == kept
        resume_training(run.directory)
        assert digest(run) == digest(whole)
        pd.testing.assert_frame_equal(history(run), history(whole))
        assert not run.checkpoint.exists()


def test_networks_that_were_done_are_not_trained_again(project, tmp_path):
    config = load_config(
        project(), {"training.seeds": [1, 2], "training.epochs": 2, "model.linear_skip": False, "model.cell": "simple_rnn"}
    )
    whole, run = train(config, tmp_path / "whole"), Run(tmp_path / "cut")
    with pytest.raises(KeyboardInterrupt, match="^$"):
        train(config, run.directory, on_progress=within(2, 0.0, _interrupt, member=2))
    assert list(Checkpoints(run).done) == [1]
    resume_training(run.directory)
    assert digest(run) == digest(whole)
    pd.testing.assert_frame_equal(history(run), history(whole))


def _interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.backend
def test_the_first_signal_lets_the_step_finish(uninterrupted, tmp_path):
    whole, run = uninterrupted(FIRST), Run(tmp_path / "run")
    config = load_config(whole.directory.with_name("config.yaml"))
    ask = lambda: os.kill(os.getpid(), signal.SIGINT)  # noqa: E731
    with pytest.raises(KeyboardInterrupt, match="^$"):
        train(config, run.directory, on_progress=within(2, 0.5, ask))
    batch = Checkpoints(run).open_store(config.seeds[0]).resumed.batch
    assert batch > 0, "a checkpoint of this very step, though none was due"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert "stopping after this batch" in run.log.read_text()
    resume_training(run.directory)
    assert digest(run) == digest(whole)
    pd.testing.assert_frame_equal(history(run), history(whole))


def test_the_second_signal_does_not_wait():
    reached = []

    def ask_twice() -> None:
        with Interrupts():
            for _ in range(3):
                os.kill(os.getpid(), signal.SIGINT)
                reached.append(True)

    with pytest.raises(KeyboardInterrupt, match="^$"):
        ask_twice()
    assert len(reached) == 1


def test_a_signal_after_the_last_step_is_heard():
    def ask() -> None:
        with Interrupts():
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="^$"):
        ask()


def test_signals_that_others_answer_are_left_alone():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGINT)
            assert not interrupts.requested
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def cut_short(tmp_path_factory) -> Path:
    """A project whose run was interrupted in the third of four epochs."""
    folder = tmp_path_factory.mktemp("cut")
    path = write_project(folder, training={"epochs": 4})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("forecast.forecasters.network.callbacks.MIN_SECONDS_BETWEEN_EPOCHS", 0.0)
        with pytest.raises(KeyboardInterrupt, match="^$"):
            train(path, folder / "run", on_progress=within(3, 0.0, _interrupt))
    return folder


@pytest.fixture
def cut(cut_short, tmp_path) -> Run:
    """A copy of it."""
    shutil.copytree(cut_short, tmp_path, dirs_exist_ok=True)
    run = Run(tmp_path / "run")
    run.config.write_text(run.config.read_text().replace(str(cut_short), str(tmp_path)))
    return run


def test_what_may_change_and_what_may_not(cut, tmp_path):
    path, run = tmp_path / "config.yaml", cut
    with pytest.raises(RunError, match=r"cannot change training.batch_size: \(default\) was changed to 8.\s+Only training"):
        resume_training(run.directory, load_config(run.config, {"training.batch_size": 8}))
    result = CliRunner().invoke(app, ["train", "--resume", str(run.directory), "--set", "training.epochs=6"])
    assert result.exit_code == 0, result.output
    assert history(run).epoch.tolist() == [0, 1, 2, 3, 4, 5, 6]
    with pytest.raises(RunError, match=r"this training run has already finished.\s+Next: forecast predict"):
        resume_training(run.directory)
    with pytest.raises(RunError, match="there is no training run to resume here"):
        resume_training(tmp_path / "nowhere")
    both = CliRunner().invoke(app, ["train", str(path), "--resume", str(run.directory)])
    assert both.exit_code == 2


def test_an_epoch_that_is_under_way_is_finished(project, tmp_path):
    path = project(training={"epochs": 4, "checkpoint_every": 2, "batch_size": 8})
    run = Run(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt, match="^$"):
        train(path, run.directory, on_progress=within(3, 0.7, _interrupt))
    with pytest.raises(RunError, match=r"epoch 3 has begun, but training.epochs is 2.\n  Set training.epochs to 3 or more"):
        resume_training(run.directory, load_config(run.config, {"training.epochs": 2}))
    with pytest.raises(RunError, match=r"cannot change training.early_stopping: \(default\) was changed to None"):
        resume_training(run.directory, load_config(run.config, {"training.early_stopping": None}))
    resume_training(run.directory, load_config(run.config, {"training.epochs": 3}))
    assert history(run).epoch.tolist() == [0, 1, 2, 3]


def test_a_damaged_checkpoint_is_named(cut):
    run = cut
    for arrays in ({}, {"state": np.frombuffer(b"[]", dtype=np.uint8)}):
        run.write_arrays(run.checkpoint, arrays)
        with pytest.raises(
            RunError, match=r"checkpoint.safetensors: this is not a checkpoint.\n  Delete this file. Then --resume starts from"
        ):
            resume_training(run.directory)
    run.checkpoint.unlink()
    assert resume_training(run.directory).finished


def test_a_training_of_an_earlier_version_goes_on_in_its_layout(cut, trained, tmp_path):
    old = copy_in_earlier_layout(cut.directory, tmp_path / "old")
    whole, again = trained(training={"epochs": 4}), resume_training(old.directory)
    assert sha256_of(whole.weights) == sha256_of(again.weights)
    assert (old.directory / "history.csv").read_bytes().count(b"\n") == 6
    assert not (old.directory / "training").exists()
    assert predict(Run.open(old.directory)).equals(predict(whole))


@pytest.mark.parametrize(("kind", "named"), [("backtest", "a backtest"), ("experiment", "an experiment")])
def test_what_is_no_training_is_not_resumed(tmp_path, kind, named):
    run = Run.create("run", tmp_path / "run")
    run.kind = kind
    run.write_status("interrupted")
    with pytest.raises(RunError, match=f"run: this is {named}, not a training run"):
        resume_training(run.directory)
    assert f"this is {named}" in CliRunner().invoke(app, ["train", "--resume", str(run.directory)]).output


def test_changed_data_are_refused(cut, tmp_path):
    data = tmp_path / "data.csv"
    data.write_text(data.read_text().replace("2010-01-01,", "2010-01-01,9"))
    with pytest.raises(RunError, match="the data has changed since this training run began"):
        resume_training(cut.directory)


@pytest.mark.parametrize("number", [2, pytest.param(15, marks=pytest.mark.exhaustive)], ids=["SIGINT", "SIGTERM"])
def test_an_interrupted_training_says_how_to_go_on(project, tmp_path, number):
    path = project(training={"epochs": 10**6, "early_stopping": None})
    run = Run(tmp_path / "run")
    command = [sys.executable, "-m", "forecast", "train", str(path), "-q", "--run-dir", str(run.directory)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not run.checkpoint.exists():
        time.sleep(0.05)
        assert process.poll() is None
    os.kill(process.pid, number)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"forecast train --resume {run.directory}" in told
    assert "Traceback" not in told
