"""Planted illnesses are named, and the healthy are left alone."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from forecast.cli.app import app
from forecast.commands.diagnose import diagnose
from forecast.commands.train import train
from forecast.config.schema import Config
from forecast.errors import RunError
from forecast.evaluation.diagnosis import Evidence, _check_bias, _check_forecast, _check_intervals, remark
from forecast.evaluation.scores import BASELINES, MODEL, Errors, LevelStepScores, StepErrors, TrainingMetrics
from forecast.runs.run import Run

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


def rising() -> np.ndarray:
    """The last fifth rises to where no row has been before."""
    return hourly() + np.maximum(np.arange(1500) - 1200, 0) / 5


def noisier() -> np.ndarray:
    """The noise of the last fifth is six times as strong."""
    values = hourly()
    values[1200:] += np.random.default_rng(7).normal(0, 0.6, 300)
    return values


ILLNESSES = {
    "learning rate x100": ("unstable training", hourly(), PLAIN, {"learning_rate": 0.1, "epochs": 40}),
    "three epochs": ("underfitting", hourly(), PLAIN, {"epochs": 3, "learning_rate": 3e-4}),
    "400 units for 100 rows": ("too little data for this network", yearly(100), {"units": [400]}, {"epochs": 2}),
    "lookback 3, yearly season": ("lookback too short for the season", yearly(), {"lookback": 3}, {"epochs": 10}),
    "shuffled target": ("no signal", np.random.default_rng(5).permutation(hourly()), {}, {}),
    "no clipping, exploding": (
        "exploding gradients", hourly() * 1.0, PLAIN | {"cell": "simple_rnn"},
        {"clipnorm": None, "optimizer": "sgd", "learning_rate": 20.0},
    ),
    "simple RNN, lookback 500": (
        "vanishing gradients", hourly(2500), PLAIN | {"cell": "simple_rnn", "lookback": 500}, {"epochs": 1},
    ),
    "noise, learned by heart": (
        "overfitting", np.random.default_rng(6).permutation(hourly(260)), PLAIN | {"units": [64]},
        {"epochs": 200, "batch_size": 8, "early_stopping": None, "learning_rate": 0.01},
    ),
    "another world in the test part": ("the test set differs from earlier data", shifted(), {}, {}),
    "random walk": ("no better than persistence", walk(), {}, {}),
    "a ridge regression is better": ("worse than a baseline", hourly(), PLAIN, {"epochs": 2}),
    "the test part rises": ("biased forecasts", rising(), PLAIN, {"epochs": 5}),
    "noisier in the test part": ("intervals too narrow", noisier(), {}, {"epochs": 2}),
}  # fmt: skip


def train_with(folder, values: np.ndarray, model: dict, training: dict) -> Run:
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
        "training": {"epochs": 15, "learning_rate": 3e-3} | training,
    }
    (folder / "config.yaml").write_text(json.dumps(config))
    return train(folder / "config.yaml", folder / "run")


QUICK = ("no clipping, exploding", "simple RNN, lookback 500", "a ridge regression is better", "the test part rises")


@pytest.mark.explained
@pytest.mark.slow
@pytest.mark.parametrize(
    "illness", [pytest.param(name, marks=pytest.mark.exhaustive if name not in QUICK else ()) for name in ILLNESSES]
)
def test_a_planted_illness_is_named(illness, tmp_path):
    name, *planted = ILLNESSES[illness]
    try:
        train_with(tmp_path, *planted)
    except RunError as error:
        assert "no longer a number" in str(error)  # noqa: PT017
    found = diagnose(tmp_path / "run")
    assert name in [one.name for one in found], found
    assert all(one.evidence and one.remedy for one in found)


@pytest.mark.explained
@pytest.mark.slow
@pytest.mark.parametrize(
    "values",
    [
        pytest.param(hourly(), id="hourly", marks=pytest.mark.exhaustive),
        pytest.param(yearly(), id="yearly"),
        pytest.param(hourly(600, 1.0), id="noisy", marks=pytest.mark.exhaustive),
    ],
)
def test_the_healthy_are_left_alone(values, tmp_path):
    assert diagnose(train_with(tmp_path, values, {}, {"epochs": 40})) == []


CONFIG = {"data": {"path": "a.csv", "timestamp": "t", "target": ["y"]}, "windows": {"lookback": 3, "horizon": 2}}


def config(**sections: dict) -> Config:
    return Config.model_validate(CONFIG | sections)


def scored(compared: dict | None = None, kept_epoch: int = 1, **test: object) -> TrainingMetrics:
    """Return the metrics of a network that is twice as good as every baseline, apart from the arguments."""
    skills = {name: {"skill": 0.5} for name in BASELINES} | (compared or {})
    errors, steps = dict.fromkeys(Errors.model_fields, 1.0), {name: [1.0] for name in StepErrors.model_fields}
    scores: dict = {"windows": 100}
    for name in (MODEL, *BASELINES):
        total = errors | {"mae_scaled": 1.0 if name == MODEL else 2.0}
        scores[name] = {"total": total, "per_step": steps, "per_target": {"y": errors}}
    document = {"verdict": "", "advice": "", "skill": {}, "compared": skills, "persistence": 1.0, "season_length": 1}
    document |= {"kept_epochs": {1: kept_epoch}, "parameters": 1, "validation": scores, "test": scores | test}
    return TrainingMetrics.model_validate_json(json.dumps(document))


COMPARED = {
    "ridge is better": ({"linear": {"skill": -0.2}}, True, "worse than a baseline", "120% of that of linear"),
    "a later baseline": ({"theta": {"skill": -0.1, "p_value": 0.01}}, True, "worse than a baseline", "110% of that of Theta"),
    "naive is exact": ({"naive": {"skill": None}}, True, "worse than a baseline", "an infinite multiple of that of naive"),
    "several": ({"drift": {"skill": -0.1}, "linear": {"skill": -0.2}}, True, "worse than a baseline", "drift, 120% of that"),
    "luck": ({"theta": {"skill": 0.04, "p_value": 0.3}}, True, "no better than a baseline", r"96% \(p 0.3\) of that of Theta"),
    "as good as ridge, without it": ({"linear": {"skill": 0.0}}, False, "no better than a baseline", "100% of that of linear"),
    "no signal is said once": ({"mean": {"skill": -0.1}, "drift": {"skill": 0.0}}, True, "no signal", "110% of that of the mean"),
}  # fmt: skip


@pytest.mark.parametrize(("compared", "skip", "name", "evidence"), COMPARED.values(), ids=COMPARED)
def test_every_baseline_on_the_scoreboard_is_compared(compared, skip, name, evidence):
    (finding,) = _check_forecast(config(model={"linear_skip": skip}), scored(compared))
    assert finding.name == name
    assert re.search(evidence, finding.evidence), finding.evidence


@pytest.mark.parametrize("compared", [{}, {"linear": {"skill": 0.0}}, {"linear": {"skill": -0.02, "p_value": 0.4}}], ids=str)
def test_a_network_that_began_as_the_ridge_regression_may_be_near_it(compared):
    assert not list(_check_forecast(config(), scored(compared)))


BIASES = {
    "much, and no chance": (0.5, 0.001, True),
    "too low": (-0.5, 0.001, True),
    "may be chance": (0.5, 0.2, False),
    "too few cutoffs to say": (0.5, None, False),
    "no chance, but little": (0.1, 1e-9, False),
}


@pytest.mark.parametrize(("share", "p_value", "told"), BIASES.values(), ids=BIASES)
def test_a_bias_is_told_where_it_is_large_and_no_chance(share, p_value, told):
    found = list(_check_bias(config(), scored(bias={"y": {"share": share, "p_value": p_value}})))
    assert [finding.name for finding in found] == ["biased forecasts"] * told
    assert not told or f"too {'high' if share > 0 else 'low'}" in found[0].evidence


REMEDIES = {
    "the median": ({"training": {"loss": "mae"}}, "training.loss: mse"),
    "the median, by quantiles": ({"model": {"quantiles": [0.1, 0.5, 0.9]}}, "training.loss: mse and model.quantiles: null"),
    "logarithms": ({"scaling": {"transform": "log1p"}}, "scaling.transform: none"),
    "else": ({}, "model.normalization: last"),
}


@pytest.mark.parametrize(("sections", "remedy"), REMEDIES.values(), ids=REMEDIES)
def test_the_remedy_of_a_bias_is_that_of_its_cause(sections, remedy):
    (finding,) = _check_bias(config(**sections), scored(bias={"y": {"share": 0.6, "p_value": 0.0}}))
    assert remedy in finding.remedy


INTERVALS = {  # level, share within, share below, windows of a horizon of 2 steps
    "as asked for": ("80", 0.81, 0.1, 1000, []),
    "somewhat narrow": ("80", 0.72, 0.14, 1000, []),
    "narrow": ("80", 0.6, 0.2, 200, ["intervals too narrow"]),
    "narrow by 12 windows": ("80", 0.6, 0.2, 12, []),
    "none within, by 12 windows": ("80", 0.0, 0.5, 12, ["intervals too narrow"]),
    "narrow at 95%": ("95", 0.9, 0.05, 500, ["intervals too narrow"]),
    "wide": ("80", 0.99, 0.005, 200, ["intervals too wide"]),
    "all within, by 20 windows": ("80", 1.0, 0.0, 20, []),
    "skewed": ("80", 0.8, 0.19, 400, ["skewed intervals"]),
    "skewed to the other side": ("80", 0.8, 0.01, 400, ["skewed intervals"]),
    "skewed by 20 windows": ("80", 0.8, 0.19, 20, []),
    "of an earlier version": ("80", 0.8, None, 400, []),
}


@pytest.mark.parametrize(("level", "coverage", "below", "windows", "names"), INTERVALS.values(), ids=INTERVALS)
def test_intervals_are_told_where_chance_does_not_make_them(level, coverage, below, windows, names):
    measured = {"coverage": coverage, "width": 1.0, "winkler": 1.0} | ({} if below is None else {"below": below})
    measured["per_step"] = {name: [1.0] for name in LevelStepScores.model_fields}

    def problems(low: float | None, high: float | None) -> list[str]:
        levels = {level: measured | {"coverage_low": low, "coverage_high": high}}
        intervals = {method: {"levels": levels, "pinball": {}, "crps": 1.0} for method in ("conformal", "adaptive")}
        return [problem.name for problem in _check_intervals(config(), scored(windows=windows, intervals=intervals))]

    assert problems(None, None) == names
    assert not {"intervals too narrow", "intervals too wide"} & set(problems(0.0, 1.0))


NOISE = np.random.default_rng(8).normal(0, 1, 40)


@pytest.mark.parametrize(
    ("kept", "losses", "skip", "sentence"),
    [
        (
            0,
            1 + 0.05 * np.r_[0, np.abs(NOISE)],
            True,
            "The network is the linear baseline: epoch 0 was kept, because none of the 40",
        ),
        (
            7,
            1 + 0.05 * np.r_[0.0, NOISE],
            True,
            "The network started as the linear baseline and hardly improved on it: its best",
        ),
        (40, np.r_[1.0, np.linspace(0.9, 0.5, 40)], True, ""),
        (0, 1 + 0.05 * np.r_[0, np.abs(NOISE)], False, ""),
    ],
    ids=["epoch 0", "by chance", "learned", "began as nothing"],
)
def test_a_network_that_is_the_linear_baseline_is_said_to_be(kept, losses, skip, sentence):
    history = pd.DataFrame({"seed": 1, "epoch": range(41), "loss": losses, "val_loss": losses})
    metrics = scored(kept_epoch=kept)
    evidence = Evidence(config(model={"linear_skip": skip}), metrics, history, train_windows=1, gradients=None, continued=False)
    assert remark(evidence).startswith(sentence)
    assert bool(remark(evidence)) == bool(sentence)


@pytest.mark.slow
def test_the_command_tells_what_to_turn(trained, tmp_path):
    done = CliRunner().invoke(app, ["diagnose", str(trained().directory), "--json"])
    assert done.exit_code == 0
    Run.create("x", tmp_path / "run").write_status("failed", "training: memory ran out.\n  Lower training.batch_size.")
    done = CliRunner().invoke(app, ["diagnose", str(tmp_path / "run"), "--json"])
    assert [set(one) for one in json.loads(done.stdout)] == [{"name", "evidence", "remedy"}]
    done = CliRunner().invoke(app, ["diagnose", str(tmp_path / "none")])
    assert done.exit_code == 1
    assert "does not exist" in done.stderr


def test_memory_that_ran_out_is_told_with_what_helps(tmp_path):
    run = Run.create("x", tmp_path / "run")
    run.write_status("failed", "training: memory ran out. Training was expected to need 9 GB.\n  Lower training.batch_size.")
    (one,) = diagnose(tmp_path / "run")
    assert (one.name, one.remedy) == ("too little memory", "Lower training.batch_size.")
    assert "Training was expected to need 9 GB" in one.evidence
