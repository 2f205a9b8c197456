"""A search finds what is planted, never looks at the test part, loses no trial and doubles none."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
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
from forecast.reports.searches import draw_study
from forecast.runs.run import Run
from forecast.search.space import DEFAULT_SPANS, Search
from forecast.search.study import DRIVER
from forecast.search.tune import tune
from forecast.search.workers import LostError, Workers
from tests.search.fakes import error_of

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
        ({"search": {"model.layers": {"float": [1, 3]}}}, "model.layers must be a number of layers from 1 to 100"),
        ({"search": {"model.layers": {"int": [1, 10**9]}}}, "model.layers must be a number of layers from 1 to 100"),
        (
            {"search": RATE, "objective": "backtest", "executions_per_trial": 2},
            "executions_per_trial is above 1, but a backtest already trains",
        ),
        ({"search": {"model.dropout": {"float": [0.0, 1.0]}}}, "`model.dropout` is 1.0. It must be less than 1"),
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
def study(folder, fake_training):
    """Twelve trials, of which the first is the config as it stands."""
    reports = []
    overrides = QUICK | {"training.epochs": 12, "tuning.trials": 12}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("forecast.search.tune.draw_study", draw_study)
        return tune(folder / "config.yaml", folder / "study", overrides=overrides, on_finished=reports.append), reports


@pytest.mark.slow
def test_the_best_trial_is_trained_and_its_config_is_written(study):
    run, reports = study
    table = pd.read_csv(run.trials)
    assert table.trial.tolist() == list(range(12))
    assert table["training.learning_rate"][0] == 1e-3, "the config as it stands"
    best = table.loc[table.error.idxmin()]
    config = load_config(run.best)
    assert config.training.learning_rate == pytest.approx(best["training.learning_rate"]) != 1e-3
    assert best.error == pytest.approx(error_of(config))
    trained = Run.open(run.runs / "best")
    assert trained.read_config().training == config.training
    assert [finished.done for finished in reports] == list(range(1, 13))
    assert reports[-1].best_value == pytest.approx(best.error)
    assert reports[-1].best == f"trial {best.trial}"
    assert {path.name for path in run.plots.iterdir()} == {"history.png", "importance.png", "slice.png"}
    assert trained.read_json(trained.metrics_file)["verdict"][:20] in run.report.read_text()


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
    reports = []
    tune(folder / "config.yaml", folder / "study", overrides=overrides, on_finished=reports.append)
    after = pd.read_csv(run.trials)
    assert len(reports) == 2
    pd.testing.assert_frame_equal(after.head(12), before, check_dtype=False)
    assert not set(after["training.learning_rate"].tail(2)) & set(before["training.learning_rate"])
    with pytest.raises(
        RunError, match=r"was made with different settings in training.epochs, tuning.sampler, tuning.search.\s+Start"
    ):
        tune(folder / "config.yaml", folder / "study", overrides={"training.epochs": 3})


@pytest.mark.slow
def test_executions_are_averaged(folder, tmp_path, fake_training):
    overrides = QUICK | {"tuning.trials": 1, "tuning.executions_per_trial": 2}
    table = pd.read_csv(tune(folder / "config.yaml", tmp_path / "both", overrides=overrides).trials)
    config = load_config(folder / "config.yaml")
    single = [error_of(config.model_copy(update={"seed": seed})) for seed in (1, 2)]
    assert table.error[0] == pytest.approx(sum(single) / 2)
    assert table.epochs[0] == 4


@pytest.mark.slow
def test_a_budget_ends_the_search(folder, tmp_path, fake_training):
    run = tune(folder / "config.yaml", tmp_path / "run", overrides=QUICK | {"tuning.trials": 10**6, "tuning.budget": "1s"})
    assert 1 <= len(pd.read_csv(run.trials)) < 1000


@pytest.mark.slow
def test_trials_that_fail_count_and_are_told(folder, tmp_path, fake_training):
    search = {"training.learning_rate": {"choice": [1e-3, 1e6]}}
    overrides = QUICK | {"tuning.search": search, "tuning.sampler": "grid"}
    table = pd.read_csv(tune(folder / "config.yaml", tmp_path / "run", overrides=overrides).trials)
    assert set(table.state) == {"finished", "failed"}
    assert "the loss is no longer a number" in table.why[table.state == "failed"].iloc[0]
    search = {"training.learning_rate": {"choice": [1e6]}}
    with pytest.raises(RunError, match="no trial finished: .*the loss is no longer a number"):
        tune(folder / "config.yaml", tmp_path / "none", overrides=overrides | {"tuning.search": search})


def _arguments(folder: Path, *options: str) -> list[str]:
    sets = [f"--set={key}={json.dumps(value)}" for key, value in QUICK.items()]
    return ["tune", str(folder / "config.yaml"), *sets, *options]


@pytest.mark.slow
def test_a_journal_that_was_cut_goes_on(folder, tmp_path, fake_training):
    overrides = QUICK | {"tuning.trials": 2}
    run = tune(folder / "config.yaml", tmp_path / "run", overrides=overrides)
    text = run.journal.read_bytes()
    run.journal.write_bytes(text[:-40])  # the last trial never heard that it was finished
    again = pd.read_csv(tune(folder / "config.yaml", tmp_path / "run", overrides=overrides).trials)
    assert (again.state == "finished").sum() == 2


@pytest.mark.parametrize("text", ["my notes", '{"a": 1}\n', "month,sales\n1,2\n"])
def test_a_file_that_is_no_journal_is_left_alone(project, tmp_path, text):
    (tmp_path / "notes.txt").write_text(text)
    with pytest.raises(RunError, match="this file is not a journal of a search"):
        tune(project(), tmp_path / "run", overrides=QUICK, storage=tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == text
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_an_interrupted_trial_is_tried_again_however_often(folder, tmp_path, fake_training):
    overrides = QUICK | {"tuning.trials": 2}

    def interrupt(prepared, on_progress) -> None:
        raise KeyboardInterrupt("Ctrl-C")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("forecast.search.tune._compute_validation_error", interrupt)
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt, match="Ctrl-C"):
                tune(folder / "config.yaml", tmp_path / "run", overrides=overrides)
    table = pd.read_csv(tune(folder / "config.yaml", tmp_path / "run", overrides=overrides).trials)
    assert table.state.tolist() == ["finished", "finished"]
    assert table["training.learning_rate"][0] == 1e-3, "the config as it stands"


@pytest.mark.slow
def test_the_trial_of_a_killed_search_is_tried_again(folder, tmp_path, start, fake_training):
    run_dir = tmp_path / "run"
    process = start(0.2, *_arguments(folder, "--trials", "4", "--run-dir", str(run_dir), "--set=training.epochs=5"))
    assert process.stderr.readline().startswith("1/4")
    while (run_dir / "study.journal").read_text().count(DRIVER) < 2:
        time.sleep(0.001)  # Until the second trial is under way, and says by whom.
    process.kill()
    process.wait()
    reports = []
    overrides = QUICK | {"tuning.trials": 4, "training.epochs": 5}
    tune(folder / "config.yaml", run_dir, overrides=overrides, on_finished=reports.append)
    table = pd.read_csv(run_dir / "trials.csv")
    assert table.trial.tolist() == [0, 1, 2, 3]
    assert set(table.state) <= {"finished", "pruned"}
    assert [finished.done for finished in reports] == [2, 3, 4]
    assert not table["training.learning_rate"].duplicated().any()


@pytest.mark.slow
def test_a_trial_whose_process_is_killed_is_computed_again(folder, tmp_path, fake_training):
    class Losing(Workers):
        """Loses each job at the first attempt, and every attempt of the third. Arguments and results are sent."""

        def _attempt(self, function, next_job):
            attempts = Counter()
            while job := next_job():
                attempts[job[0]] += 1
                is_lost = attempts[job[0]] == 1 or job[0] == "trial 2"
                arguments = pickle.loads(pickle.dumps(job[1]))
                yield job, LostError("its process was killed.") if is_lost else pickle.loads(pickle.dumps(function(*arguments)))

    overrides = QUICK | {"tuning.trials": 4, "tuning.pruner": "none"}
    table = pd.read_csv(tune(folder / "config.yaml", tmp_path / "run", overrides=overrides, workers=Losing()).trials)
    assert table.state.tolist() == ["finished", "finished", "failed", "finished"]
    assert table.why[2] == "its process was killed."


def check_joined(folder: Path, tmp_path: Path, start, storage: str) -> None:
    """Two processes that join one study compute each trial once, and all of them."""
    process = start(0.2, *_arguments(folder, "--trials", "9", "--storage", storage, "--run-dir", str(tmp_path / "first")))
    lines = [process.stderr.readline()]  # The first trial has ended, and the second is under way.
    reports = []
    overrides = QUICK | {"tuning.trials": 9}
    run = tune(folder / "config.yaml", tmp_path / "second", overrides=overrides, storage=storage, on_finished=reports.append)
    lines += process.communicate(timeout=300)[1].splitlines()
    assert process.returncode == 0, lines
    names = [line.split("  ")[1] for line in lines if "/9" in line]
    assert len(names) >= 2
    assert sorted(names + [finished.name for finished in reports]) == sorted(f"trial {number}" for number in range(9))
    table = pd.read_csv(run.trials)
    assert set(table.state) <= {"finished", "pruned"}, "the second waits for the trials of the first"
    assert not table["training.learning_rate"].duplicated().any()


@pytest.mark.slow
def test_two_processes_join_one_study_through_a_journal(folder, tmp_path, start, fake_training):
    check_joined(folder, tmp_path, start, str(tmp_path / "study.journal"))


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
def test_two_processes_join_one_study_through_postgresql(folder, tmp_path, start, postgres, fake_training):
    check_joined(folder, tmp_path, start, postgres)


def test_a_cluster_elsewhere_needs_a_storage(project):
    with pytest.raises(RunError, match="the nodes of a cluster must share a study.\\s+Add --storage"):
        tune(project(), workers=Workers(engine="ray", address="10.0.0.1:6379"))


def test_a_storage_that_cannot_be_used_is_told_without_its_password(project, tmp_path, monkeypatch):
    config = project()
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    for url, message in [
        ("postgresql+psycopg://me:secret@127.0.0.1:1/x", "the storage cannot be used .*refused"),
        ("oracle://me:secret@x/y", "the storage cannot be used"),
        ("rhubarb://x", "the storage cannot be used"),
    ]:
        with pytest.raises(RunError, match=message) as error:
            tune(config, tmp_path / "run", overrides=QUICK, storage=url)
        assert "secret" not in str(error.value)


def test_a_missing_package_is_told(project, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "optuna" else True)
    with pytest.raises(ForecastError, match=r"Tuning needs `optuna`, which is not installed.\s+.*'.\[tune\]'"):
        tune(project())


@pytest.mark.slow
def test_the_command(folder, tmp_path, fake_training):
    command = _arguments(folder, "--trials", "2", "--run-dir", str(tmp_path / "run"))
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "2 trials: 2 finished" in result.stdout
    values = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert [trial["state"] for trial in values["trials"]] == ["finished", "finished"]
    assert values["trials"][0]["error"] == error_of(load_config(folder / "config.yaml"))
    assert "unknown key" in CliRunner().invoke(app, [*command, "--set=tuning.trails=3"]).stderr
