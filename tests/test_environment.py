"""What a run was made with is recorded: versions, machine, threads, and the commit of the folder."""

from __future__ import annotations

import json
import subprocess

import pytest

from forecast.environment import environment

pytestmark = pytest.mark.slow


def git(*command: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    return subprocess.run(["git", *identity, *command], capture_output=True, text=True, check=True).stdout.strip()


def test_the_commit_of_the_folder_and_whether_it_was_changed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert environment()["git"] is None
    git("init")
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    git("add", ".")
    git("commit", "-m", "first")
    assert environment()["git"] == {"commit": git("rev-parse", "HEAD"), "changed": False}
    (tmp_path / "config.yaml").write_text("seed: 2\n")
    assert environment()["git"]["changed"]


def test_versions_machine_and_threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    told = environment()
    assert json.loads(json.dumps(told)) == told
    assert told["threads"]["OMP_NUM_THREADS"] == "1"
    assert told["packages"]["keras"].startswith("3.")
    assert told["backend"] in {"tensorflow", "jax"}
    assert any(device.startswith("cpu") for device in told["devices"])
    assert told["cpu"]
