"""A search finds what is planted, never looks at the test part, loses no trial and doubles none."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from forecast.cli.app import app
from forecast.config.load import load_config
from forecast.errors import ConfigError, ForecastError, RunError
from forecast.forecasters.preparation import read_and_resolve
from forecast.runs.run import Run
from forecast.search.space import DEFAULT_SPANS, Search
from forecast.search.tune import tune
from forecast.search.workers import Workers
from tests.conftest import kill_workers

RATE = {"training.learning_rate": {"float": [1e-6, 1e-2], "log": True}}
QUICK = {"tuning.search": RATE, "training.epochs": 2, "tuning.sampler": "random"}


def search_of(project, **tuning: object) -> Search:
    config = load_config(project(), {f"tuning.{key}": value for key, value in tuning.items()})
    return Search(*read_and_resolve(config))


def test_parameters_become_a_config(project):
    search = search_of(
        project, search=DEFAULT_SPANS | {"model.cell": {"choice": ["gru", "lstm"]}, "model.front": {"choice": [None]}}
    )
    config = search.config_of(
        {
            "model.layers": 3,
            "model.units": 64,
            "model.dropout": 0.1,
            "training.learning_rate": 1e-3,
            "model.cell": "gru",
            "model.front": "null",
        }
    )
    assert config.model.units == [64, 64, 64]
    assert (config.model.cell, config.model.front, config.training.learning_rate) == ("gru", None, 1e-3)


def test_lists_are_choices_too(project):
    search = search_of(project, search={"model.units": {"choice": [[8, 4], 16]}})
    search.check()
    assert search.config_of({"model.units": "[8, 4]"}).model.units == [8, 4]
    assert search.config_of({"model.units": 16}).model.units == [16]


@pytest.mark.parametrize(
    ("tuning", "message"),
    [
        ({"search": {"model.cel": {"choice": ["gru"]}}}, "unknown key `model.cel`.\\s+Did you mean `cell`"),
        ({"search": {"windows.horizon": {"int": [3, 6]}}}, "`windows.horizon` cannot be searched"),
        ({"search": {"training.seeds": {"choice": [[1], [2]]}}}, "`training.seeds` cannot be searched"),
        ({"search": {"windows.lookback": {"int": [6, 600]}}}, "windows.lookback is 600, but series"),
        ({"search": {"model.layers": {"int": [1, 2]}, "model.units": {"choice": [[8, 4]]}}}, "model.layers repeats one size"),
        ({"search": {"model.layers": {"float": [1, 3]}}}, "model.layers is a number of layers, from 1 to 100"),
        ({"search": {"model.layers": {"int": [1, 10**9]}}}, "model.layers is a number of layers, from 1 to 100"),
        ({"search": RATE, "objective": "backtest", "executions_per_trial": 2}, "backtest needs tuning.executions_per_trial: 1"),
        ({"search": {"model.dropout": {"float": [0.0, 1.0]}}}, "`model.dropout` is 1.0. It should be less than 1"),
        ({"search": RATE, "sampler": "grid"}, "sampler: grid needs a `choice` or a `step` for training.learning_rate"),
        ({"search": {"model.units": {"int": [4, 4000]}}, "sampler": "grid"}, "more than 1000 combinations"),
    ],
    ids=lambda value: "",
)
def test_what_cannot_be_searched_is_said_first(project, tuning, message):
    search = search_of(project, **tuning)
    with pytest.raises(ConfigError, match=message):
        search.check()


def test_the_config_as_it_stands_is_the_first_trial_where_it_lies_within(project):
    assert search_of(project, search=RATE).waiting() == [{"training.learning_rate": 1e-3}]
    assert search_of(project, search={"training.learning_rate": {"float": [0.01, 0.1]}}).waiting() == []
    assert search_of(project).waiting() == [], "its 4 units are fewer than the default search has"


def test_a_grid_is_all_combinations_once(project):
    search = search_of(
        project,
        search={"model.cell": {"choice": ["gru", "lstm"]}, "model.dropout": {"float": [0.0, 0.5], "step": 0.25}},
        sampler="grid",
    )
    tried = search.waiting()
    assert search.trials == len(tried) == 6
    assert len({tuple(params.values()) for params in tried}) == 6
    assert {params["model.dropout"] for params in tried} == {0.0, 0.25, 0.5}


def test_losses_in_other_units_are_not_pruned(project):
    assert search_of(project, search=RATE).prunes
    assert not search_of(project, search={"scaling.method": {"choice": ["minmax", "standard"]}}).prunes
    assert not search_of(project, search={"model.decoder": {"choice": ["direct", "recursive"]}}).prunes, "one of one step"
    assert not search_of(project, search=RATE, pruner="none").prunes


def test_stacked_layers_stay_stacked(project):
    config = load_config(project(model={"units": [8, 8]}), {"tuning.search": {"model.units": {"int": [4, 16]}}})
    search = Search(*read_and_resolve(config))
    assert search.config_of({"model.units": 6}).model.units == [6, 6]
    assert search.waiting() == [{"model.units": 8}]


def test_a_section_that_is_null_has_no_values_to_begin_with(project):
    assert search_of(project, search={"model.front.conv.filters": {"int": [4, 8]}}).waiting() == []


def test_a_config_lies_within_steps_though_they_are_no_binary_fractions(project):
    config = load_config(
        project(model={"dropout": 0.3}), {"tuning.search": {"model.dropout": {"float": [0.0, 0.5], "step": 0.1}}}
    )
    assert Search(*read_and_resolve(config)).waiting() == [{"model.dropout": 0.3}]


def test_values_that_change_what_is_scored_are_refused(project):
    months = pd.date_range("2010-01-01", periods=120, freq="MS")
    whole = pd.DataFrame({"month": months, "shop": "old", "sales": range(120)})
    late = whole[75:].assign(shop="late")  # its first windows lie in the validation part
    config = project(pd.concat([whole, late]), data={"series_id": "shop", "short_series": "skip"})
    search = {"windows.lookback": {"choice": [6, 20]}}
    with pytest.raises(ConfigError, match="windows.lookback=6 and windows.lookback=20 are scored on different windows"):
        Search(*read_and_resolve(load_config(config, {"tuning.search": search}))).check()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small series on which a learning rate of 1e-6 learns nothing."""
    from tests.conftest import seasonal_rows

    folder = tmp_path_factory.mktemp("tuning")
    months = pd.date_range("2010-01-01", periods=120, freq="MS")
    pd.DataFrame({"month": months, "sales": seasonal_rows()}).to_csv(folder / "data.csv", index=False)
    (folder / "config.yaml").write_text(
        "data: {path: data.csv, timestamp: month, target: sales}\nsplits: {validation: 18, test: 18}\n"
        "windows: {lookback: 12, horizon: 3}\nmodel: {units: 8, linear_skip: false}\n"
    )
    return folder


@pytest.fixture(scope="module")
def study(folder):
    told = []
    overrides = QUICK | {"training.epochs": 12, "tuning.trials": 12}
    return tune(folder / "config.yaml", folder / "study", overrides=overrides, on_finished=told.append), told


@pytest.mark.slow
def test_the_best_trial_is_trained_and_its_config_is_written(study):
    run, told = study
    table = pd.read_csv(run.trials)
    assert table.trial.tolist() == list(range(12))
    best = table.loc[table.error.idxmin()]
    config = load_config(run.best)
    assert config.training.learning_rate == best["training.learning_rate"] > 1e-4
    trained = Run.open(run.runs / "best")
    metrics = trained.read_json(trained.metrics)
    assert metrics["validation"]["forecast"]["total"]["mase"] == pytest.approx(best.error, rel=1e-5)
    assert trained.read_config().training == config.training
    assert [finished.done for finished in told] == list(range(1, 13))
    assert told[-1].best_value == best.error
    assert {path.name for path in run.plots.iterdir()} == {"history.png", "importance.png", "slice.png"}
    assert metrics["verdict"][:20] in run.report.read_text()


@pytest.mark.slow
def test_trials_end_early_where_they_are_worse_than_others(study):
    table = pd.read_csv(study[0].trials)
    pruned = table[table.state == "pruned"]
    assert len(pruned) >= 2
    assert (pruned.epochs < 12).all()
    assert (table[table.state == "finished"].epochs == 12).all()


@pytest.mark.slow
def test_a_study_goes_on_where_it_was(folder, study):
    run, _ = study
    before = pd.read_csv(run.trials)
    overrides = QUICK | {"training.epochs": 12, "tuning.trials": 14}
    told = []
    tune(folder / "config.yaml", folder / "study", overrides=overrides, on_finished=told.append)
    after = pd.read_csv(run.trials)
    assert len(told) == 2
    pd.testing.assert_frame_equal(after.head(12), before, check_dtype=False)
    assert not set(after["training.learning_rate"].tail(2)) & set(before["training.learning_rate"])
    with pytest.raises(RunError, match=r"holds a search with another training, tuning.search.\s+Begin anew"):
        tune(folder / "config.yaml", folder / "study", overrides={"training.epochs": 3})


@pytest.mark.slow
def test_the_test_part_chooses_nothing(folder, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(folder, other, ignore=shutil.ignore_patterns("study*"))
    table = pd.read_csv(other / "data.csv")
    table.loc[len(table) - 18 :, "sales"] *= -3
    table.to_csv(other / "data.csv", index=False)
    for objective in ("validation", "backtest"):
        overrides = QUICK | {"tuning.trials": 1, "tuning.objective": objective, "backtest.folds": 2}
        runs = [
            tune(side / "config.yaml", tmp_path / f"{side.name}-{objective}", overrides=overrides) for side in (folder, other)
        ]
        first, second = (pd.read_csv(run.trials).error[0] for run in runs)
        assert first == second > 0


@pytest.mark.slow
def test_executions_are_averaged(folder, tmp_path):
    overrides = QUICK | {"tuning.trials": 1, "tuning.executions_per_trial": 2}
    both = pd.read_csv(tune(folder / "config.yaml", tmp_path / "both", overrides=overrides).trials)
    single = []
    for seed in (1, 2):
        own = QUICK | {"tuning.trials": 1, "seed": seed}
        single.append(pd.read_csv(tune(folder / "config.yaml", tmp_path / str(seed), overrides=own).trials).error[0])
    assert both.error[0] == pytest.approx(sum(single) / 2)
    assert both.epochs[0] == 4


@pytest.mark.slow
def test_a_budget_ends_the_search(folder, tmp_path):
    run = tune(folder / "config.yaml", tmp_path / "run", overrides=QUICK | {"tuning.trials": 10**6, "tuning.budget": "3s"})
    assert 1 <= len(pd.read_csv(run.trials)) < 1000


@pytest.mark.slow
def test_trials_that_fail_count_and_are_told(folder, tmp_path):
    search = {"training.learning_rate": {"choice": [1e-3, 1e6]}}
    overrides = QUICK | {
        "tuning.search": search,
        "tuning.sampler": "grid",
        "training.optimizer": "sgd",
        "training.clipnorm": None,
    }
    table = pd.read_csv(tune(folder / "config.yaml", tmp_path / "run", overrides=overrides | {"training.epochs": 20}).trials)
    assert set(table.state) == {"finished", "failed"}
    assert "the loss is no longer a number" in table.why[table.state == "failed"].iloc[0]
    search = {"training.learning_rate": {"choice": [1e6]}}
    with pytest.raises(RunError, match="no trial finished: .*the loss is no longer a number"):
        tune(folder / "config.yaml", tmp_path / "none", overrides=overrides | {"tuning.search": search})


def _command(folder: Path, *options: str) -> list[str]:
    sets = [f"--set={key}={json.dumps(value)}" for key, value in QUICK.items()]
    return [sys.executable, "-m", "forecast", "tune", str(folder / "config.yaml"), *sets, *options]


@pytest.mark.slow
def test_a_journal_that_was_cut_goes_on(folder, tmp_path):
    overrides = QUICK | {"tuning.trials": 2}
    run = tune(folder / "config.yaml", tmp_path / "run", overrides=overrides)
    text = run.journal.read_bytes()
    run.journal.write_bytes(text[:-40])  # the last trial never heard that it was finished
    again = pd.read_csv(tune(folder / "config.yaml", tmp_path / "run", overrides=overrides).trials)
    assert (again.state == "finished").sum() == 2


@pytest.mark.parametrize("text", ["my notes", '{"a": 1}\n', "month,sales\n1,2\n"])
def test_a_file_that_is_no_journal_is_left_alone(folder, tmp_path, text):
    (tmp_path / "notes.txt").write_text(text)
    with pytest.raises(RunError, match="this file is not a journal of a search"):
        tune(folder / "config.yaml", tmp_path / "run", overrides=QUICK, storage=tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == text
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_an_interrupted_trial_is_tried_again_however_often(folder, tmp_path):
    overrides = QUICK | {"tuning.trials": 2}

    def interrupt(*given) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("forecast.search.tune._validation_error", interrupt)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                tune(folder / "config.yaml", tmp_path / "run", overrides=overrides)
    table = pd.read_csv(tune(folder / "config.yaml", tmp_path / "run", overrides=overrides).trials)
    assert table.state.tolist() == ["finished", "finished"]
    assert table["training.learning_rate"][0] == 1e-3, "the config as it stands"


@pytest.mark.slow
def test_the_trial_of_a_killed_search_is_tried_again(folder, tmp_path):
    command = _command(folder, "--trials", "4", "--run-dir", str(tmp_path / "run"), "--set=training.epochs=30")
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr.readline().startswith("1/4")
    time.sleep(1)
    process.kill()
    process.wait()
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    table = pd.read_csv(tmp_path / "run" / "trials.csv")
    assert len(table) == 4
    assert set(table.state) <= {"finished", "pruned"}
    assert "4/4" in again.stderr
    assert not table["training.learning_rate"].duplicated().any()


def check_joined(folder: Path, tmp_path: Path, storage: str, trials: int) -> None:
    """Two processes that join one study compute each trial once, and all of them."""
    sides = [
        subprocess.Popen(
            _command(folder, "--trials", str(trials), "--storage", storage, "--run-dir", str(tmp_path / side)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for side in ("a", "b")
    ]
    lines = [side.communicate(timeout=300)[1].splitlines() for side in sides]
    assert [side.returncode for side in sides] == [0, 0], lines
    own = [[line.split("  ")[1] for line in side if "/" in line and "trial" in line] for side in lines]
    assert all(own), "both had something to do"
    done = Counter(name for side in own for name in side)
    assert max(done.values()) == 1
    tables = [pd.read_csv(tmp_path / side / "trials.csv") for side in ("a", "b")]
    last = max(tables, key=lambda table: (table.state != "running").sum())
    assert len(last) == len(done) == trials
    assert not last["training.learning_rate"].duplicated().any()


@pytest.mark.slow
def test_two_processes_join_one_study_through_a_journal(folder, tmp_path):
    check_joined(folder, tmp_path, str(tmp_path / "study.journal"), 12)


@pytest.fixture
def postgres(tmp_path):
    """The URL of a PostgreSQL server that lives as long as the test."""
    tools = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not tools:
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL is not installed in CI")
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    account = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []  # it refuses to run as root
    data = Path(subprocess.check_output([*account, "mktemp", "-d"], text=True, cwd="/").strip())
    tool = tools[-1].parent
    port = 20000 + os.getpid() % 10000
    options = f"-p {port} -k {data} -c listen_addresses=127.0.0.1 -c fsync=off"

    def call(*command: str) -> None:
        subprocess.run([*account, *command], check=True, cwd="/", stdout=subprocess.DEVNULL, timeout=60)

    call(str(tool / "initdb"), "-D", str(data / "db"), "-U", "forecast", "--auth=trust")
    call(str(tool / "pg_ctl"), "-D", str(data / "db"), "-w", "-l", str(data / "log"), "-o", options, "start")
    try:
        call(str(tool / "createdb"), "-h", "127.0.0.1", "-p", str(port), "-U", "forecast", "studies")
        yield f"postgresql+psycopg://forecast@127.0.0.1:{port}/studies"
    finally:
        call(str(tool / "pg_ctl"), "-D", str(data / "db"), "-m", "immediate", "stop")
        call("rm", "-r", str(data))


@pytest.mark.slow
def test_two_processes_join_one_study_through_postgresql(folder, tmp_path, postgres):
    check_joined(folder, tmp_path, postgres, 12)


@pytest.mark.slow
def test_two_workers_search_and_one_that_is_killed_is_replaced(folder, tmp_path):
    killed = []

    def kill_once(finished) -> None:
        if not killed:
            killed.extend(kill_workers())

    overrides = QUICK | {"tuning.trials": 5, "training.epochs": 30, "tuning.pruner": "none"}
    run = tune(folder / "config.yaml", tmp_path / "run", overrides=overrides, workers=Workers(2), on_finished=kill_once)
    table = pd.read_csv(run.trials)
    assert len(table) == 5
    assert (table.state == "finished").all()
    assert table.trial.max() > 4, "what was lost was tried again under another number"


@pytest.mark.slow
def test_trials_run_on_ray(folder, tmp_path):
    workers = Workers(engine="ray")
    two = QUICK | {"tuning.trials": 2}
    there = pd.read_csv(tune(folder / "config.yaml", tmp_path / "there", overrides=two, workers=workers).trials)
    here = pd.read_csv(tune(folder / "config.yaml", tmp_path / "here", overrides=two).trials)
    assert there.state.tolist() == ["finished", "finished"]
    assert there.error[0] == pytest.approx(here.error[0], rel=1e-5), "the config as it stands"
    with pytest.raises(RunError, match="the nodes of a cluster need a study that they share.\\s+Add --storage"):
        tune(folder / "config.yaml", tmp_path / "far", workers=Workers(engine="ray", address="10.0.0.1:6379"))


def test_a_storage_that_cannot_be_used_is_told_without_its_password(folder, tmp_path):
    for url, found in [
        ("postgresql+psycopg://me:secret@127.0.0.1:1/x", "the storage cannot be used .*refused"),
        ("oracle://me:secret@x/y", "the storage cannot be used"),
        ("rhubarb://x", "the storage cannot be used"),
    ]:
        with pytest.raises(RunError, match=found) as error:
            tune(folder / "config.yaml", tmp_path / "run", overrides=QUICK, storage=url)
        assert "secret" not in str(error.value)


def test_a_missing_package_is_told(folder, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "optuna" else True)
    with pytest.raises(ForecastError, match=r"Tuning needs `optuna`, which is not installed.\s+.*'.\[tune\]'"):
        tune(folder / "config.yaml")


@pytest.mark.slow
def test_the_command(folder, tmp_path):
    command = ["tune", str(folder / "config.yaml"), "--trials", "2", "--run-dir", str(tmp_path / "run")]
    sets = [f"--set={key}={json.dumps(value)}" for key, value in QUICK.items()]
    result = CliRunner().invoke(app, [*command, *sets])
    assert result.exit_code == 0, result.output
    assert "2 trials: 2 finished" in result.stdout
    told = json.loads(CliRunner().invoke(app, [*command, *sets, "--json"]).stdout)
    assert len(told["trials"]) == 2
    assert math.isfinite(told["trials"][0]["error"])
    assert "unknown key" in CliRunner().invoke(app, [*command, "--set=tuning.trails=3"]).stderr
