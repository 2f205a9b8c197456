"""What a run was made with is recorded: versions, machine, threads, and the commit of the folder."""

from __future__ import annotations

import json
import subprocess

import pytest

from forecast.commands.train import train
from forecast.config.load import load_config
from forecast.runs.documents import Environment, GitState
from forecast.runs.environment import find_slow_settings, inspect_environment

pytestmark = pytest.mark.slow

SLOW = ", so the GPU is slower than it could be."
ON_TENSORFLOW = f"{SLOW} With tensorflow, cuDNN supports lstm and gru"


def git(*command: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    return subprocess.run(["git", *identity, *command], capture_output=True, text=True, check=True).stdout.strip()


def test_the_commit_of_the_folder_and_whether_it_was_changed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert inspect_environment().git is None
    git("init")
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    git("add", ".")
    git("commit", "-m", "first")
    assert inspect_environment().git == GitState(commit=git("rev-parse", "HEAD"), changed=False)
    (tmp_path / "config.yaml").write_text("seed: 2\n")
    assert inspect_environment().git.changed


def test_versions_machine_and_threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    environment = inspect_environment()
    assert Environment.model_validate_json(json.dumps(environment.to_json())) == environment
    assert environment.threads["OMP_NUM_THREADS"] == "1"
    assert environment.packages["keras"].startswith("3.")
    assert environment.backend in {"tensorflow", "jax"}
    assert any(device.startswith("cpu") for device in environment.devices)
    assert environment.cpu


def environment_with(backend: str, devices: list[str]) -> Environment:
    return inspect_environment().model_copy(update={"backend": backend, "devices": devices})


@pytest.mark.parametrize(
    ("keys", "backend", "devices", "told"),
    [
        ({}, "tensorflow", ["gpu:0"], None),
        ({"cell": "gru"}, "tensorflow", ["cpu:0", "gpu:0"], None),
        ({"cell": "gru"}, "jax", ["cuda:0"], f"model.cell: gru{SLOW} With jax, cuDNN supports lstm"),
        ({"recurrent_dropout": 0.2}, "tensorflow", ["gpu:0"], f"model.recurrent_dropout: 0.2{ON_TENSORFLOW}"),
        ({"recurrent_dropout": 0.2}, "tensorflow", ["cpu:0"], None),
        ({"cell": "simple_rnn"}, "tensorflow", ["gpu:0"], f"model.cell: simple_rnn{ON_TENSORFLOW}"),
    ],
)
def test_what_keeps_layers_from_cudnn(keys, backend, devices, told, project):
    config = load_config(project(model=keys))
    cannot = "cuDNN cannot run recurrent layers with"
    told = [f"{cannot} {told} without recurrent_dropout."] if told else []
    assert find_slow_settings(config, environment_with(backend, devices)) == told


@pytest.mark.parametrize(
    ("info", "devices", "mixed", "told"),
    [
        ("flags\t\t: fpu avx512f", ["cpu:0"], True, True),
        ("flags\t\t: fpu avx512f", ["cpu:0"], False, False),
        ("flags\t\t: fpu avx512f", ["gpu:0"], True, False),
        ("flags\t\t: fpu avx512f avx512_bf16", ["cpu:0"], True, False),
        ("Features\t: fp asimd bf16", ["cpu:0"], True, False),
        ("Features\t: fp asimd", ["cpu:0"], True, True),
        ("hardware: unknown", ["cpu:0"], True, False),
    ],
)
def test_a_cpu_that_does_not_know_bfloat16_is_told(info, devices, mixed, told, project, tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{info}\n")
    monkeypatch.setattr("forecast.runs.environment.CPUINFO", tmp_path / "cpuinfo")
    config = load_config(project(training={"mixed_precision": mixed}))
    sentences = find_slow_settings(config, environment_with("tensorflow", devices))
    assert [sentence.endswith("Set training.mixed_precision: false.") for sentence in sentences] == [True] * told


def test_training_says_that_cudnn_is_not_used(project, tmp_path, monkeypatch, caplog):
    environment = environment_with("tensorflow", ["gpu:0"])
    monkeypatch.setattr("forecast.commands.train.inspect_environment", lambda: environment)
    train(load_config(project(), {"training.epochs": 1, "model.recurrent_dropout": 0.1}), tmp_path / "run")
    assert "cuDNN cannot run recurrent layers with model.recurrent_dropout" in caplog.text
