"""Experiments and searches train real networks, in this process, in others, and on Ray. The other files only copy runs."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest

from forecast.config.load import load_config
from forecast.forecasters.preparation import prepare
from forecast.runs.run import Run
from forecast.search.experiment import experiment
from forecast.search.tune import _compute_backtest_error, _compute_validation_error, tune
from forecast.search.workers import Workers
from tests.conftest import kill_workers

SEARCH = {"tuning.search": {"training.learning_rate": {"float": [1e-6, 1e-2], "log": True}}, "tuning.sampler": "random"}


@pytest.mark.slow
def test_runs_of_an_experiment_are_trained(folder, tmp_path):
    (folder / "one.yaml").write_text("base: config.yaml\ngrid: {model.cell: [gru]}\n")
    run = experiment(folder / "one.yaml", tmp_path / "out")
    (row,) = pd.read_csv(run.leaderboard).to_dict("records")
    trained = Run.open(run.runs / "cell=gru")
    metrics = json.loads(trained.metrics_file.read_text())
    assert row["validation_mase"] == pytest.approx(metrics["validation"]["forecast"]["total"]["mase"])
    assert trained.read_config().model.cell == load_config(run.best).model.cell == "gru"


@pytest.mark.slow
def test_the_best_trial_is_trained_with_the_same_error(folder, tmp_path):
    run = tune(folder / "config.yaml", tmp_path / "out", overrides=SEARCH | {"tuning.trials": 1, "training.epochs": 2})
    (trial,) = pd.read_csv(run.trials).to_dict("records")
    trained = Run.open(run.runs / "best")
    total = trained.read_json(trained.metrics_file)["validation"]["forecast"]["total"]
    assert total["mase"] == pytest.approx(trial["error"], rel=1e-5)
    assert trial["epochs"] == 2


@pytest.mark.slow
def test_the_test_set_chooses_nothing(folder, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(folder, other, ignore=shutil.ignore_patterns("run", "out", "study"))
    table = pd.read_csv(other / "data.csv")
    table.loc[len(table) - 9 :, "sales"] *= -3
    table.to_csv(other / "data.csv", index=False)
    configs = [load_config(side / "config.yaml", {"backtest.folds": 2}) for side in (folder, other)]
    first, second = (_compute_validation_error(prepare(config), lambda progress: None) for config in configs)
    assert first == second > 0
    first, second = (_compute_backtest_error(config, None) for config in configs)
    assert first == second
    assert first.epochs == 2


class KillOnce:
    """A callback that kills a worker the first time that it is called."""

    def __init__(self) -> None:
        self.killed: list[int] = []

    def __call__(self, finished: object) -> None:
        if not self.killed:
            self.killed.extend(kill_workers(1))


@pytest.fixture
def kill_once() -> KillOnce:
    return KillOnce()


@pytest.mark.slow
@pytest.mark.exhaustive
def test_two_processes_give_the_same_leaderboard_and_one_that_is_killed_is_replaced(folder, tmp_path, kill_once):
    there = experiment(folder / "cells.yaml", tmp_path / "there", workers=Workers(2), on_finished=kill_once)
    assert len(kill_once.killed) == 1
    here = experiment(folder / "cells.yaml", tmp_path / "here")
    errors = [pd.read_csv(run.leaderboard).set_index("run").validation_mase.to_dict() for run in (there, here)]
    assert errors[0] == pytest.approx(errors[1], rel=1e-5), "of another number of threads"


@pytest.mark.slow
@pytest.mark.exhaustive
def test_two_workers_search_and_one_that_is_killed_is_replaced(folder, tmp_path, kill_once):
    overrides = SEARCH | {"tuning.trials": 5, "training.epochs": 30, "tuning.pruner": "none"}
    run = tune(folder / "config.yaml", tmp_path / "run", overrides=overrides, workers=Workers(2), on_finished=kill_once)
    assert pd.read_csv(run.trials).state.tolist() == ["finished"] * 5


@pytest.mark.slow
@pytest.mark.exhaustive
def test_runs_and_trials_are_trained_on_ray(folder, tmp_path):
    overrides = SEARCH | {"tuning.trials": 2}
    sides = {"here": Workers(), "there": Workers(engine="ray")}
    trials, boards = [], []
    for side, workers in sides.items():
        search = tune(folder / "config.yaml", tmp_path / side, overrides=overrides, workers=workers)
        trials.append(pd.read_csv(search.trials))
        board = experiment(folder / "cells.yaml", tmp_path / f"{side}-cells", workers=workers).leaderboard
        boards.append(pd.read_csv(board).set_index("run").validation_mase.to_dict())
    assert trials[1].state.tolist() == ["finished", "finished"]
    assert trials[1].error[0] == pytest.approx(trials[0].error[0], rel=1e-5), "the config as it stands"
    assert boards[1] == pytest.approx(boards[0], rel=1e-5)
