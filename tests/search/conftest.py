"""A small project with a trained run, and trainings that copy it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from forecast.commands.train import train
from tests.conftest import seasonal_rows
from tests.search import fakes

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A small series, its config, a run, and an experiment of two cells with two seeds."""
    folder = tmp_path_factory.mktemp("search")
    months = pd.date_range("2010-01-01", periods=60, freq="MS")
    pd.DataFrame({"month": months, "sales": seasonal_rows(60)}).to_csv(folder / "data.csv", index=False)
    (folder / "config.yaml").write_text(
        "data: {path: data.csv, timestamp: month, target: sales}\nsplits: {validation: 9, test: 9}\n"
        "windows: {lookback: 6, horizon: 2}\nmodel: {units: 2}\ntraining: {epochs: 1}\n"
    )
    (folder / "cells.yaml").write_text("base: config.yaml\ngrid: {model.cell: [gru, simple_rnn]}\nseeds: [1, 2]\n")
    train(folder / "config.yaml", folder / "run")
    return folder


@pytest.fixture(scope="module")
def fake_training(folder):
    """Lets experiments and searches copy a run in place of training."""
    with pytest.MonkeyPatch.context() as patch:
        fakes.install(patch, folder / "run")
        yield


@pytest.fixture
def start(folder):
    """Starts a command in another process, where trainings copy a run and each epoch takes so many seconds."""
    processes = []

    def start_process(seconds: float, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.search.fakes", str(folder / "run"), str(seconds), *arguments]
        pipe = subprocess.PIPE
        processes.append(subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True))
        return processes[-1]

    yield start_process
    for process in processes:
        process.kill()
        process.communicate()
