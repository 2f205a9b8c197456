"""A file says what is varied; every combination is a run, each finished run is kept, and the best is chosen by validation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from forecast.cli.app import app
from forecast.config.load import load_config
from forecast.errors import ConfigError, RunError
from forecast.runs.run import Run
from forecast.search.experiment import _read_scores, compute_effects, experiment, summarize_settings
from forecast.search.grid import read_experiment
from tests.search.fakes import HereOnRay

GRID = {"base": "config.yaml", "grid": {"model.cell": ["gru", "simple_rnn"], "windows.lookback": [6, 12]}}


@pytest.fixture
def plan(project):
    """Writes an experiment beside a small project; returns its path."""

    def write(**keys: object) -> Path:
        config = project(training={"epochs": 1})
        path = config.with_name("cells.yaml")
        path.write_text(yaml.safe_dump(GRID | keys))
        return path

    return write


def test_every_combination_is_a_run_with_a_readable_name(plan):
    cells = read_experiment(plan(cases={"a": {}, "b": {"model.units": [8]}}, seeds=[1, 2])).cells
    assert len(cells) == 2 * 2 * 2 * 2
    assert cells[0].name == "a,cell=gru,lookback=6,seed=1"
    assert cells[-1].name == "b,cell=simple_rnn,lookback=12,seed=2"
    assert cells[-1].factors == {"case": "b", "model.cell": "simple_rnn", "windows.lookback": 12}
    last = cells[-1].config
    assert (last.model.cell, last.model.units, last.windows.lookback, last.seed) == ("simple_rnn", [8], 12, 2)


def test_a_path_to_data_starts_at_the_folder_of_the_experiment(plan, tmp_path):
    folder = tmp_path / "grids"
    folder.mkdir()
    path = plan(base="../config.yaml", grid={"data.path": ["more.csv", "/data/all.csv"]}).rename(folder / "paths.yaml")
    result = read_experiment(path)
    assert result.name == "paths"
    assert [cell.config.data.path for cell in result.cells] == [str(folder / "more.csv"), "/data/all.csv"]


def test_names_that_would_be_alike_are_told_apart(plan):
    cells = read_experiment(plan(grid={"model.units": [[84], [8, 4], [16] * 60]}, cases={"a": {}})).cells
    assert cells[0].name == "a,units=84"
    assert cells[1].name == "a,units=8-4"
    assert len(cells[2].name) < 140
    cells = read_experiment(plan(grid={"model.units": [8, [8]]})).cells
    assert len({cell.name for cell in cells}) == 2


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"grid": {"model.cel": ["gru"]}}, r"cells.yaml:3:3: model.cel=gru: unknown key `model.cel`.\s+Did you mean `cell`"),
        ({"grid": {"model.cell": ["gru", "lstmm"]}}, r"cells.yaml:3:3: model.cell=lstmm: `model.cell` is 'lstmm'"),
        ({"grid": {"model.cell": []}}, r"`grid.model.cell` is \[\]. It must have at least 1 item"),
        ({"grid": {"model.cell": ["gru", "gru"]}}, "`model.cell` lists the same value twice"),
        ({"cases": {"a": {"model.cell": "gru"}}}, "`model.cell` is in the grid and in a case"),
        ({"cases": {"a/b": {}}}, "It must start with a letter or digit"),
        ({"grid": {"seed": [1, 2]}}, "`seed` cannot be varied in `grid` or `cases`.\\s+Use `seeds`"),
        (
            {"cases": {"a": {"model": {"cell": "gru"}}}, "grid": {}},
            "`model` is a section.\\s+Vary its keys instead, such as `model.cell`",
        ),
        ({"seeds": [1, 1]}, "Each value must occur only once"),
        ({"base": "confg.yaml"}, "the base config .*confg.yaml does not exist"),
        ({"gird": {}}, "unknown key `gird`.\\s+Did you mean `grid`"),
        ({"grid": {f"model.{key}": list(range(100)) for key in "abc"}}, "the experiment has 1000000 runs. The maximum is 10000"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_is_wrong_is_said_before_anything_is_trained(plan, keys, message):
    with pytest.raises(ConfigError, match=message):
        read_experiment(plan(**keys))


def test_every_cell_is_checked_against_the_data_first(plan, tmp_path):
    with pytest.raises(ConfigError, match="cell=gru,lookback=500: .*") as error:
        experiment(plan(grid={"model.cell": ["gru", "lstm"], "windows.lookback": [12, 500]}), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert "500" in str(error.value)


@pytest.fixture(scope="module")
def finished(folder, fake_training):
    """Two cells with two seeds, on a small series."""
    reports = []
    return folder, experiment(folder / "cells.yaml", folder / "out", on_finished=reports.append), reports


@pytest.mark.slow
def test_the_leaderboard_is_ranked_by_validation(finished):
    _, run, reports = finished
    table = pd.read_csv(run.leaderboard)
    assert table.validation_mase.is_monotonic_increasing
    assert set(table.run) == {f"cell={cell},seed={seed}" for cell in ("gru", "simple_rnn") for seed in (1, 2)}
    for row in table.to_dict("records"):
        metrics = json.loads((run.runs / row["run"] / "metrics.json").read_text())
        assert row["validation_mase"] == metrics["validation"]["forecast"]["total"]["mase"]
        assert row["test_mae"] == pytest.approx(metrics["test"]["forecast"]["total"]["mae"])
    assert [finished.done for finished in reports] == [1, 2, 3, 4]
    assert reports[-1].best == table.run[0]
    assert reports[-1].seconds_left == 0 < reports[0].seconds_left


@pytest.mark.slow
def test_the_best_setting_is_the_best_mean_over_its_seeds(finished):
    _, run, _ = finished
    table = pd.read_csv(run.leaderboard)
    means = table.groupby("model.cell").validation_mase.mean()
    assert load_config(run.best).model.cell == means.idxmin()
    settings = summarize_settings(table, ["model.cell"])
    assert settings["mean"].tolist() == sorted(means)
    effects = compute_effects(table, ["model.cell"]).set_index("value")
    spread = table[table["model.cell"] == "gru"].validation_mase.std()
    assert effects.loc["gru", "mean"] == pytest.approx(means["gru"])
    assert effects.loc["gru", "seed_spread"] == pytest.approx(spread)


@pytest.mark.slow
def test_the_page_loads_nothing(finished):
    page = finished[1].report.read_text()
    assert "<svg" in page
    assert "cell=gru,seed=2" in page
    assert "src=" not in page
    assert "@import" not in page


@pytest.mark.slow
def test_called_again_it_keeps_what_is_finished_and_trains_the_rest(finished):
    folder, run, _ = finished
    before = run.leaderboard.read_bytes()
    kept = {path: path.stat().st_mtime_ns for path in run.runs.glob("*/metrics.json")}
    lost = run.runs / "cell=gru,seed=2"
    Run(lost).status.write_text('{"state": "running"}')
    reports = []
    experiment(folder / "cells.yaml", folder / "out", on_finished=reports.append)
    assert [finished.name for finished in reports] == ["cell=gru,seed=2"]
    assert run.leaderboard.read_bytes() == before
    assert {path for path in kept if path.stat().st_mtime_ns != kept[path]} == {lost / "metrics.json"}


@pytest.mark.slow
def test_runs_of_another_experiment_are_never_replaced_unasked(finished):
    folder, run, _ = finished
    with pytest.raises(RunError, match="was trained with different settings in training.\\s+Start again"):
        experiment(folder / "cells.yaml", folder / "out", overrides={"training.learning_rate": 0.01})
    assert pd.read_csv(run.leaderboard).state.eq("finished").all()
    with pytest.raises(RunError, match="is an experiment or a search with many runs"):
        Run.open(run.directory)


@pytest.mark.slow
def test_a_run_that_fails_is_told_and_the_others_go_on(plan, tmp_path, fake_training):
    run = experiment(plan(grid={"training.learning_rate": [1e-3, 1e6]}), tmp_path / "out")
    table = pd.read_csv(run.leaderboard).set_index("training.learning_rate")
    assert table.state.to_dict() == {1e-3: "finished", 1e6: "failed"}
    assert "the loss is no longer a number" in table.why[1e6]
    assert load_config(run.best).training.learning_rate == 1e-3
    assert "failed" in run.report.read_text()


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_with_the_same_leaderboard(finished, start, tmp_path):
    folder, run, _ = finished
    out = tmp_path / "out"
    process = start(0.3, "experiment", str(folder / "cells.yaml"), "--run-dir", str(out))
    assert process.stderr.readline().startswith("1/4"), "the second run is under way"
    process.kill()
    process.wait()
    reports = []
    experiment(folder / "cells.yaml", out, on_finished=reports.append)
    assert reports[0].done == 2
    assert (out / "leaderboard.csv").read_bytes() == run.leaderboard.read_bytes()
    assert not list((out / "runs").glob(".part-*"))


@pytest.mark.slow
def test_runs_come_back_from_a_machine_without_this_disk(finished, tmp_path):
    folder, run, _ = finished
    there = experiment(folder / "cells.yaml", tmp_path / "out", workers=HereOnRay(engine="ray"))
    assert there.leaderboard.read_bytes() == run.leaderboard.read_bytes()
    assert Run.open(there.runs / "cell=gru,seed=2").read_config().data.path == str(folder / "data.csv")


@pytest.mark.slow
def test_values_of_any_type_keep_it(plan, tmp_path, fake_training):
    run = experiment(plan(grid={"model.segment": [None, 3], "model.dropout": [0, 0.2]}), tmp_path / "out")
    assert set(pd.read_csv(run.leaderboard, keep_default_na=False).run) == {
        f"dropout={dropout},segment={segment}" for segment in (None, 3) for dropout in (0, 0.2)
    }
    best = pd.read_csv(run.leaderboard, keep_default_na=False).iloc[0]
    assert str(load_config(run.best).model.segment or "") == best["model.segment"]


@pytest.mark.slow
def test_no_name_of_a_case_is_taken_for_a_run_that_is_not_whole(plan, tmp_path, fake_training):
    run = experiment(plan(grid={}, cases={"a.part": {}, "a": {}}), tmp_path / "out")
    assert {path.name for path in run.runs.iterdir()} == {"a.part", "a"}


def test_what_is_scored_on_other_windows_is_not_ranked(plan, tmp_path):
    for grid in ({"windows.horizon": [1, 3]}, {"splits.validation": [12, 18]}, {"data.target": ["sales", "sales"]}):
        path = plan(grid=grid)
        with pytest.raises(ConfigError, match="different windows, so they cannot be ranked|lists the same value twice"):
            experiment(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_second_call_at_the_same_time_is_refused(finished, tmp_path):
    folder, run, _ = finished
    with run.record(), pytest.raises(RunError, match="another process is using this directory"):
        experiment(folder / "cells.yaml", run.directory)


@pytest.mark.slow
def test_another_kind_of_directory_is_left_alone(finished, tmp_path):
    folder, run, _ = finished
    (tmp_path / "runs").mkdir()
    (tmp_path / "config.yaml").write_text("mine")
    for directory in (tmp_path, run.runs / "cell=gru,seed=1"):
        with pytest.raises(RunError, match="this directory already exists"):
            experiment(folder / "cells.yaml", directory)
    assert (tmp_path / "config.yaml").read_text() == "mine"
    with pytest.raises(RunError, match="the run directory contains the experiment's file"):
        experiment(folder / "cells.yaml", folder, force=True)


@pytest.mark.slow
def test_when_all_fail_it_fails(plan, tmp_path, fake_training):
    with pytest.raises(RunError, match="no run finished: .*the loss is no longer a number"):
        experiment(plan(grid={}), tmp_path / "out", overrides={"training.learning_rate": 1e6})
    assert pd.read_csv(tmp_path / "out" / "leaderboard.csv").state.tolist() == ["failed"]


@pytest.mark.slow
def test_a_run_that_leaks_is_not_ranked(finished, tmp_path):
    folder, run, _ = finished
    shutil.copytree(run.directory, tmp_path / "out")
    best = pd.read_csv(run.leaderboard).run[0]
    Run(tmp_path / "out" / "runs" / best).leakage.write_text('{"passed": false, "checks": []}')
    experiment(folder / "cells.yaml", tmp_path / "out")
    last = pd.read_csv(tmp_path / "out" / "leaderboard.csv").iloc[-1]
    assert (last.run, last.state) == (best, "failed")
    assert "a leak was found" in last.why


def test_a_run_that_could_not_be_checked_for_leaks_is_not_ranked(tmp_path):
    row = _read_scores(Run(tmp_path))
    assert row == {"state": "failed", "why": f"it could not be checked for leaks: see {Run(tmp_path).log}"}


@pytest.mark.slow
def test_the_command(finished):
    folder, run, _ = finished
    result = CliRunner().invoke(app, ["experiment", str(folder / "cells.yaml"), "--run-dir", str(run.directory)])
    assert result.exit_code == 0, result.output
    assert "Ranked by the error on the validation set" in result.stdout
    assert f"Next: forecast train {run.best}" in result.stdout
    rows = json.loads(
        CliRunner().invoke(app, ["experiment", str(folder / "cells.yaml"), "--run-dir", str(run.directory), "--json"]).stdout
    )
    assert len(rows["leaderboard"]) == 4
    wrong = CliRunner().invoke(app, ["experiment", str(folder / "cells.yaml"), "--engine", "spark"])
    assert "there is no engine `spark`" in wrong.stderr
