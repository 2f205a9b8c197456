"""Planted illnesses are named, and the healthy are left alone."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from forecast.cli import app
from forecast.diagnosis import diagnose
from forecast.errors import RunError
from forecast.runs import Run
from forecast.training import train

PLAIN = {"normalization": "none", "linear_skip": False, "units": [16]}


def hourly(rows: int = 1500, noise: float = 0.1) -> np.ndarray:
    """Three days in one and a slow swing, learnable to the noise."""
    time = np.arange(rows)
    swings = np.sin(2 * np.pi * time / 24) + 0.5 * np.sin(2 * np.pi * time / 7.3) + 0.3 * np.sin(2 * np.pi * time / 311)
    return 10 + 3 * swings + np.random.default_rng(1).normal(0, noise, rows)


def yearly(rows: int = 240) -> np.ndarray:
    time = np.arange(rows)
    return 50 + 10 * np.sin(2 * np.pi * time / 12) + np.random.default_rng(2).normal(0, 0.5, rows)


def walk(rows: int = 1500) -> np.ndarray:
    return 100 + np.cumsum(np.random.default_rng(3).normal(0, 1, rows))


def shifted() -> np.ndarray:
    """The last fifth swings five times as much."""
    values = hourly() - 10
    values[1200:] = 5 * values[1200:] + np.random.default_rng(4).normal(0, 3, 300)
    return values


ILLNESSES = {
    "learning rate x100": ("unstable training", hourly(), PLAIN, {"learning_rate": 0.1}),
    "three epochs": ("underfitting", hourly(), PLAIN, {"epochs": 3, "learning_rate": 3e-4}),
    "a thousand units for 100 rows": ("too little data for this network", yearly(100), {"units": [1000]}, {"epochs": 2}),
    "lookback 3, yearly season": ("lookback too short for the season", yearly(), {"lookback": 3}, {"epochs": 10}),
    "shuffled target": ("no signal", np.random.default_rng(5).permutation(hourly()), {}, {}),
    "no clipping, exploding": (
        "exploding gradients", hourly() * 1.0, PLAIN | {"cell": "simple_rnn"},
        {"clipnorm": None, "optimizer": "sgd", "learning_rate": 20.0},
    ),
    "simple RNN, lookback 500": (
        "vanishing gradients", hourly(3000), PLAIN | {"cell": "simple_rnn", "lookback": 500}, {"epochs": 2},
    ),
    "noise, learned by heart": (
        "overfitting", np.random.default_rng(6).permutation(hourly(260)), PLAIN | {"units": [64]},
        {"epochs": 200, "batch_size": 8, "early_stopping": None, "learning_rate": 0.01},
    ),
    "another world in the test part": ("the test part differs from what came before", shifted(), {}, {}),
    "random walk": ("no better than persistence", walk(), {}, {}),
}  # fmt: skip


def trained(folder, values: np.ndarray, model: dict, training: dict) -> Run:
    monthly = len(values) <= 240
    stamps = pd.date_range("2000-01-01", periods=len(values), freq="MS" if monthly else "h")
    pd.DataFrame({"time": stamps, "value": values}).to_csv(folder / "data.csv", index=False)
    model = dict(model)
    windows = {"lookback": model.pop("lookback", 24), "horizon": 6}
    config = {
        "data": {"path": "data.csv", "timestamp": "time", "target": "value"},
        "splits": {"validation": 0.2, "test": 0.2},
        "windows": windows,
        "model": {"units": [16]} | model,
        "training": {"epochs": 40, "learning_rate": 3e-3} | training,
    }
    (folder / "config.yaml").write_text(json.dumps(config))
    return train(folder / "config.yaml", folder / "run")


@pytest.mark.slow
@pytest.mark.parametrize("illness", ILLNESSES)
def test_a_planted_illness_is_named(illness, tmp_path):
    name, *planted = ILLNESSES[illness]
    try:
        trained(tmp_path, *planted)
    except RunError as error:
        assert "no longer a number" in str(error)  # noqa: PT017
    found = diagnose(tmp_path / "run")
    assert name in [one.name for one in found], found
    assert all(one.evidence and one.remedy for one in found)


@pytest.mark.slow
@pytest.mark.parametrize("values", [hourly(), yearly(), hourly(600, 1.0)], ids=["hourly", "yearly", "noisy"])
def test_the_healthy_are_left_alone(values, tmp_path):
    assert diagnose(trained(tmp_path, values, {}, {"epochs": 100})) == []


@pytest.mark.slow
def test_the_command_tells_what_to_turn(sales, tmp_path):
    done = CliRunner().invoke(app, ["diagnose", str(sales / "run"), "--json"])
    assert done.exit_code == 0
    Run.create("x", tmp_path / "run").write_status("failed", "training: memory ran out.\n  Lower training.batch_size.")
    done = CliRunner().invoke(app, ["diagnose", str(tmp_path / "run"), "--json"])
    assert [set(one) for one in json.loads(done.stdout)] == [{"name", "evidence", "remedy"}]
    done = CliRunner().invoke(app, ["diagnose", str(tmp_path / "none")])
    assert done.exit_code == 1
    assert "does not exist" in done.stderr


def test_memory_that_ran_out_is_told_with_what_helps(tmp_path):
    run = Run.create("x", tmp_path / "run")
    run.write_status("failed", "training: memory ran out; expected was 9 GB.\n  Lower training.batch_size.")
    (one,) = diagnose(tmp_path / "run")
    assert (one.name, one.remedy) == ("too little memory", "Lower training.batch_size.")
    assert "expected was 9 GB" in one.evidence
