"""Whatever ends a training, a kill at any write or a full disk, what is left is whole, and goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from forecast.commands.train import resume_training, train
from forecast.config.load import load_config
from forecast.errors import ResourceError, RunError
from forecast.runs.checkpoints import Checkpoints
from forecast.runs.run import Run
from forecast.storage import PARTIAL_PREFIX, replace_file, sha256_of
from tests import killing


def kills(path: Path, folder: Path, *how: str) -> list[dict]:
    command = [sys.executable, killing.__file__, str(path), str(folder), *how]
    environment = os.environ | {"PYTHONPATH": str(Path(killing.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def wrong(made: list[dict]) -> list[dict]:
    """Kills after which something is not as it should be."""
    return [kill for kill in made if kill | {"wrong": [], "same": True, "left": []} != kill]


@pytest.mark.slow
@pytest.mark.parametrize("stride", [99, pytest.param(1, marks=pytest.mark.exhaustive)])
def test_killed_at_its_writes_a_training_leaves_nothing_that_is_wrong(project, tmp_path, stride):
    path = project(training={"epochs": 2, "checkpoint_every": 2, "batch_size": 16}, model={"dropout": 0.2})
    made = kills(path, tmp_path / "runs", "writes", str(stride))
    assert len(made) == -(-made[0]["of"] // stride) >= 3
    assert not wrong(made)
    assert all(kill["killed"] for kill in made)
    assert {kill["resumed"] for kill in made} == {True, False}


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("network", "count"),
    [({"cell": "lstm"}, "7"), ({"cell": "gru"}, "7"), ({"cell": "lstm", "bidirectional": True}, "6")],
    ids=["lstm", "gru", "bidirectional"],
)
def test_killed_at_random_moments_a_training_ends_as_if_it_had_not_been(project, tmp_path, network, count):
    training = {"epochs": 15, "schedule": "plateau", "accumulate_gradients": 3, "early_stopping": {"patience": 5}}
    path = project(model=network | {"dropout": 0.3, "recurrent_dropout": 0.1, "linear_skip": False}, training=training)
    made = kills(path, tmp_path / "runs", "moments", count)
    assert len(made) == int(count)
    assert not wrong(made)
    assert any(kill["checkpoint"] for kill in made)


@pytest.mark.slow
def test_a_full_disk_costs_no_checkpoint(project, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("forecast.forecasters.network.callbacks.MIN_SECONDS_BETWEEN_EPOCHS", 0.0)
    config = load_config(project(training={"epochs": 5}, model={"dropout": 0.2}))
    whole, run = train(config, tmp_path / "whole"), Run(tmp_path / "run")
    resource = pytest.importorskip("resource", reason="limits of files are Unix'")
    _, hard = limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(progress) -> None:
        if progress.epoch == 3:  # from now on no file may be larger than this
            resource.setrlimit(resource.RLIMIT_FSIZE, (run.checkpoint.stat().st_size // 2, hard))

    try:
        with pytest.raises(ResourceError, match=r"safetensors: cannot write to this path \(File too large\).\n  Check"):
            train(config, run.directory, on_progress=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    kept = Checkpoints(run).open_store(config.seeds[0]).resumed
    assert kept.epoch == 2
    assert json.loads(run.status.read_text())["state"] == "failed"
    assert "resume with: forecast train --resume" in run.log.read_text()
    assert "Traceback" not in capsys.readouterr().err
    resume_training(run.directory)
    assert sha256_of(run.weights) == sha256_of(whole.weights)


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def write(text: str, error: Exception | None) -> None:
        with replace_file(path) as temporary:
            temporary.write_text(text)
            if error:
                raise error

    with pytest.raises(ValueError, match="half-way"):
        write("ne", ValueError("half-way"))
    assert path.read_text() == "old"
    write("new", None)
    assert path.read_text() == "new"
    assert [left.name for left in tmp_path.iterdir()] == ["file.txt"]


def test_what_a_killed_process_left_is_cleared_away(tmp_path):
    run = Run.create("run", tmp_path / "run")
    for path in (run.status, run.weights):
        path.parent.mkdir()
        path.with_name(f"{PARTIAL_PREFIX}{path.name}-abc").write_text("half a f")
    (run.directory / "mine.tmp").write_text("somebody's")
    with run.record():
        pass
    left = {path.relative_to(run.directory).as_posix() for path in run.directory.rglob("*") if path.is_file()}
    assert left == {"mine.tmp", "training/log.txt", "training/status.json"}


def test_what_is_no_run_is_not_taken_for_the_rest_of_one(tmp_path):
    (tmp_path / "mine").mkdir()
    for name in ("important.tmp", "log.txt"):
        (tmp_path / "mine" / name).write_text("somebody's")
        with pytest.raises(RunError, match="this is not a run, so --force does not replace it"):
            Run.create("run", tmp_path / "mine", force=True)
        (tmp_path / "mine" / name).unlink()
    for status in (tmp_path / "mine" / "status.json", Run(tmp_path / "mine").status):  # In the earlier layout and in this one.
        status.parent.mkdir(exist_ok=True)
        status.with_name(f"{PARTIAL_PREFIX}{status.name}-abc").write_text("half")
        Run.create("run", tmp_path / "mine", force=True)
