"""Networks that learn from newer rows once validation has chosen their epochs: what each stage knows, and what is stored."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest

from forecast.commands.predict import predict
from forecast.commands.reproduce import reproduce, verdict_of
from forecast.commands.train import resume_training, train
from forecast.errors import RunError
from forecast.evaluation import Scoreboard, check_leaks, score_validation
from forecast.evaluation.scoring import Fitted
from forecast.forecasters.preparation import prepare
from forecast.runs import Run, read_trained
from forecast.training import fit_regressions
from tests.conftest import seasonal_rows, write_project

pytestmark = pytest.mark.slow
SETTINGS = {"model": {"linear_skip": False}, "training": {"epochs": 6, "learning_rate": 0.01}, "combine": "weighted"}


def project_with_sales(folder, sales):
    months = pd.date_range("2010-01-01", periods=len(sales), freq="MS")
    folder.mkdir()
    return write_project(folder, pd.DataFrame({"month": months, "sales": sales}), **SETTINGS)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two runs whose data differ in the test set, after its first window."""
    folder, sales = tmp_path_factory.mktemp("refit"), seasonal_rows()
    changed = sales.copy()
    changed[-15:] += 200
    configs = [project_with_sales(folder / name, rows) for name, rows in (("same", sales), ("changed", changed))]
    return [train(config, config.parent / "run") for config in configs]


def weights_at(run, stage):
    return read_trained(run, stage).members[0]


def test_the_test_set_reaches_nothing_that_is_scored(pair):
    for stage, is_same in (("selected", True), ("scored", True), ("final", False)):
        first, second = (weights_at(run, stage) for run in pair)
        assert all(np.array_equal(first[name], second[name]) for name in first) == is_same, stage
    linear = [read_trained(run, stage).regressions.linear.kernel for stage in ("scored", "final") for run in pair]
    np.testing.assert_array_equal(linear[0], linear[1])
    assert not np.array_equal(linear[2], linear[3])
    first, second = (pd.read_csv(run.predictions_file).query("step <= 3").head(3) for run in pair)
    np.testing.assert_array_equal(first.forecast, second.forecast)
    certificates = [run.read_json(run.leakage) for run in pair]
    assert all("refit windows" in [check["what"] for check in document["checks"]] for document in certificates)


def test_each_stage_learns_from_more_rows(pair):
    stages = [weights_at(pair[0], stage) for stage in ("selected", "scored", "final")]
    name = next(iter(stages[0]))
    assert len({values[name].tobytes() for values in stages}) == 3
    assert pair[0].read_json(pair[0].metrics_file)["kept_epochs"]["1"] > 0, "an untrained network is not refitted"


def test_the_validation_set_is_scored_with_networks_that_never_saw_it(pair):
    run = pair[0]
    trained, prepared = read_trained(run, "selected"), prepare(run.read_config())
    regressions, _ = fit_regressions(prepared)
    board = Scoreboard(prepared)
    score_validation(Fitted(prepared, [trained.forward("numpy")], regressions, trained.combination), board)
    stored = run.read_json(run.metrics_file)["validation"]
    for name in ("forecast", "network", "linear"):
        assert board.scores().of(name).total.mae == pytest.approx(stored[name]["total"]["mae"], rel=1e-3)


def test_the_newest_rows_move_the_forecast(pair):
    """Only rows of the test set differ. They are 200 higher, and so is a forecast that has learned from them."""
    first, second = (predict(run).forecast.mean() for run in pair)
    assert second - first == pytest.approx(200, abs=60)


def test_an_interrupted_refit_ends_with_the_same_weights(pair, tmp_path):
    def interrupt(progress):
        if progress.refit and progress.epoch == 1:
            raise KeyboardInterrupt

    config = project_with_sales(tmp_path / "again", seasonal_rows())
    with pytest.raises(KeyboardInterrupt, match="^$"):
        train(config, tmp_path / "run", on_progress=interrupt)
    run = resume_training(tmp_path / "run")
    assert run.weights.read_bytes() == pair[0].weights.read_bytes()
    assert run.scored.read_bytes() == pair[0].scored.read_bytes()


def test_a_refitted_run_is_reproduced(pair):
    assert verdict_of(reproduce(pair[0])) == "equal"


def test_a_run_that_lost_its_scored_networks_is_refused(pair, tmp_path):
    run = Run(shutil.copytree(pair[0].directory, tmp_path / "copy"))
    run.scored.unlink()
    with pytest.raises(RunError, match=r"scored.safetensors: this file is missing"):
        read_trained(run)


def test_every_set_of_windows_is_checked_for_leaks(pair):
    subjects = {check.subject for check in check_leaks(pair[0].read_config())}
    assert {"train windows", "network windows", "refit windows", "validation windows", "test windows"} <= subjects


def test_without_refit_all_stages_are_the_same(trained):
    run = trained(training={"epochs": 2, "refit": False})
    assert not run.scored.exists()
    first, last = (weights_at(run, stage) for stage in ("selected", "final"))
    assert all(np.array_equal(first[name], last[name]) for name in first)
    assert verdict_of(reproduce(run)) == "equal"
