"""The command line: exact messages, exit codes, one JSON document, and no heavy imports where none are needed."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from forecast.cli.app import app
from forecast.cli.output import _align
from forecast.cli.progress import reading
from forecast.cli.streams import echo
from forecast.runs.run import Run
from forecast.storage import report_read
from tests.hostile_runs import OLD_RUNS

HEAVY = {"tensorflow", "keras", "jax", "pandas", "matplotlib", "sklearn", "numpy"}
CALL = "from typer.testing import CliRunner\nfrom forecast.cli.app import app"
ROOT = Path(__file__).parents[2]


def call(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def loaded_by(code: str) -> set[str]:
    """Which heavy modules a fresh interpreter has loaded after `code`."""
    script = f"{code}\nimport sys\nprint('LOADED', *[m for m in {sorted(HEAVY)} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)  # noqa: S603
    return set(done.stdout.split("LOADED")[1].split())


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["predict", "--help"], ["--version"]], ids=" ".join)
def test_help_loads_nothing_heavy(arguments):
    assert loaded_by(f"{CALL}\nassert CliRunner().invoke(app, {arguments}).exit_code == 0") == set()


def test_importing_the_package_loads_nothing_heavy():
    assert loaded_by("import forecast; dir(forecast)") == set()


def test_a_config_error_loads_nothing_heavy(project):
    config = project(model={"cell": "lstmm"})
    assert loaded_by(f"{CALL}\nassert CliRunner().invoke(app, ['train', {str(config)!r}]).exit_code == 1") == set()


def test_a_data_error_loads_no_keras(project):
    config = project(data={"target": "sale"})
    loaded = loaded_by(f"{CALL}\nassert CliRunner().invoke(app, ['train', {str(config)!r}]).exit_code == 1")
    assert loaded == {"numpy", "pandas"}


def test_predict_loads_no_keras(tmp_path):
    command = ["predict", str(OLD_RUNS / "version-2"), "-o", str(tmp_path / "out.csv")]
    assert loaded_by(f"{CALL}\nassert CliRunner().invoke(app, {command}).exit_code == 0") == {"numpy", "pandas"}


@pytest.mark.slow
def test_export(tmp_path):
    run = OLD_RUNS / "version-2"
    done = call("export", run, "--to", "onnx", "-o", tmp_path / "made")
    first, second = done.stdout.splitlines()
    assert first == f"Wrote {tmp_path / 'made'}/. Its README.md explains how to run it."
    assert second.startswith("Checked on 32 windows: its forecasts differ from those of the run by at most ")
    assert done.stderr.splitlines() == ["writing model.onnx ...", "checking it in a new process ..."]
    taken = call("export", run, "--to", "onnx", "-o", Path(__file__).parent)
    assert "does not belong to an export.\n  Choose another --output.\n" in taken.stderr
    as_json = call("export", run, "--to", "onnx", "-o", tmp_path / "made", "--json")
    assert json.loads(as_json.stdout)["windows"] == 32
    assert as_json.stderr == ""


@pytest.mark.parametrize("command", ["train", "predict", "export", "init", "validate", "config", "schema"])
def test_help_has_an_example(command):
    assert f"Example:  forecast {command}" in call(command, "--help").stdout


def test_a_users_mistake_is_a_message_and_exit_code_1(project):
    config = project(model={"cell": "lstmm"})
    done = call("train", config)
    assert done.exit_code == 1
    assert done.stdout == ""
    line = config.read_text().splitlines().index("  cell: lstmm") + 1
    assert done.stderr == (
        f"error: {config}:{line}:3: `model.cell` is 'lstmm'. It must be 'lstm', 'gru', 'simple_rnn' or 'peephole_lstm'.\n"
        "  cell: Recurrent cell. In `peephole_lstm`, the gates also see the cell state.\n"
    )


def test_a_message_cannot_steer_the_terminal(tmp_path):
    (tmp_path / "a\x1b[2J.yaml").write_text("- \n")
    done = call("train", tmp_path / "a\x1b[2J.yaml")
    assert "\x1b" not in done.stderr
    assert r"a\x1b[2J.yaml: the file is not a mapping" in done.stderr
    (tmp_path / "b.yaml").write_text("".join(f"key{number}: 1\n" for number in range(500)))
    assert "... and " in call("train", tmp_path / "b.yaml").stderr.splitlines()[-1]


def test_debug_shows_the_traceback(project):
    from forecast.errors import ConfigError

    assert isinstance(call("train", project(model={"cell": "x"}), "--debug").exception, ConfigError)


def test_a_bug_is_reported_as_one_and_names_the_log(project, monkeypatch, tmp_path):
    def fail(*arguments: object) -> None:
        raise TypeError("no list")

    monkeypatch.setattr("forecast.commands.diagnose.find_problems", fail)
    run = OLD_RUNS / "version-3-scored"
    done = call("diagnose", run)
    assert done.exit_code == 1
    assert done.stderr == (
        "error: this is a bug in forecast (TypeError: no list).\n  Please report it. --debug shows the traceback.\n"
    )
    assert isinstance(call("diagnose", run, "--debug").exception, TypeError)
    monkeypatch.setattr("forecast.commands.train.fit_regressions", fail)
    done = call("train", project(), "--run-dir", tmp_path / "run")
    assert done.stderr.splitlines()[-2] == f"  The log of the run is {Run(tmp_path / 'run').log}."
    assert "in fail" in Run(tmp_path / "run").log.read_text()


USAGE = {
    "train": "error: specify either a config or --resume RUN.\n  See: forecast train --help\n",
    "trian": "error: no such command 'trian'. Did you mean 'train'?\n  See: forecast --help\n",
    "train a.yaml --epochs 3": "error: no such option: --epochs.\n  To change the config, use: --set training.epochs=VALUE\n",
    "train a.yaml --run-dirr x": "error: no such option: --run-dirr.\n  Did you mean `--run-dir`?\n",
    "train a.yaml --lr 3": "error: no such option: --lr.\n  See: forecast train --help\n",
    "predict": "error: missing argument 'RUN'.\n  Usage: forecast predict [OPTIONS] {RUN}\n  See: forecast predict --help\n",
    "--verison": "error: no such option: --verison.\n  Did you mean `--version`?\n",
    "compare one": "error: a comparison needs two runs or more.\n  Specify several runs. To see one: forecast show one\n",
    "predict run --horizon 3": "error: no such option: --horizon.\n  Use --steps.\n",
}


@pytest.mark.parametrize(("line", "message"), USAGE.items(), ids=USAGE)
def test_a_wrong_command_line_is_answered_with_what_to_do_next(line, message):
    done = CliRunner().invoke(app, line.split(), prog_name="forecast")
    assert done.exit_code == (1 if line.startswith("compare") else 2)
    assert done.stderr == message
    assert done.stdout == ""


WRONG_FILES = {
    "train data.csv": "data.csv: this is a data file, not a config.\n  Write a config for it with: forecast init data.csv",
    "train nothere.yaml": "nothere.yaml: the config file does not exist.\n  Use one of: `config.yaml`.",
    "train confg.yaml": "confg.yaml: the config file does not exist.\n  Did you mean `config.yaml`?",
    "train run": "run: this is a run directory, not a config.\n  Its config is run/config.yaml.",
    "predict config.yaml": "config.yaml: this is not a run directory.\n  Train the config first: forecast train config.yaml",
    "init dat.csv": "dat.csv: the data file does not exist.\n  Did you mean `data.csv`?",
    "init https://example.com/a.csv": "Only files on this machine can be read. Download the file first",
    "train config.yaml --set training.epoch=3": "unknown key `training.epoch`.\n  Did you mean `epochs`?",
    "validate config.yaml --set training.epochs": "is not of the form KEY=VALUE.\n  For example, use --set training.epochs=5.",
    "init data.csv --target salez": "data.csv:1: the file has no column `salez`.\n  Did you mean `sales`?",
    "init data.csv -o config.yaml": "config.yaml: this file already exists.\n  To train it: forecast train config.yaml.",
    "train config.yaml --fail-if-worse-than seasonal": "there is no baseline `seasonal`.\n  Did you mean `seasonal_naive`?",
    "train config.yaml --set model.cell=bilstm": "set cell: lstm and bidirectional: true.",
    "show nowhere": "nowhere: this directory does not exist.",
    "show somewhere": "somewhere: this is a folder of runs, not a run.\n  To list them: forecast runs somewhere",
    "predict run-1": "run-1: this directory does not exist.\n  Did you mean `runs/run-1`?",
    "runs nowhere": "nowhere: this directory does not exist.\n  Train a run first: forecast train CONFIG",
    "runs --sort maee": "--sort: there is no metric `maee` to sort by.\n  Did you mean `mae`?",
}


@pytest.mark.parametrize(("line", "message"), WRONG_FILES.items(), ids=WRONG_FILES)
def test_a_wrong_file_is_answered_with_what_to_do_next(line, message, project, tmp_path, monkeypatch):
    project()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("name: a\n")
    for folder in ("somewhere", "runs"):
        Run.create("run", tmp_path / folder / "run-1").write_status("finished")
    done = call(*line.split())
    assert done.exit_code == 1
    assert done.stderr.startswith("error: ")
    assert message in done.stderr


def test_help_groups_the_commands_in_the_order_of_use():
    lines = call().stdout.splitlines()
    headings = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["Options:", "Start:", "Trust:", "Improve:", "Operate:", "Config:"]
    listed = [line.split()[0] for line in lines[lines.index("Start:") :] if line.startswith("  ")]
    assert set(listed) == set(typer.main.get_command(app).commands)


COMPLETIONS = {
    "forecast train a.yaml --set training.ep": "training.epochs=",
    "forecast export run --to o": "onnx",
    "forecast train --fail-if-worse-than se": "seasonal_naive",
}


@pytest.mark.parametrize(("words", "completion"), COMPLETIONS.items(), ids=COMPLETIONS)
def test_the_shell_completes_values(words, completion, monkeypatch):
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    done = CliRunner().invoke(app, prog_name="forecast", env={"_FORECAST_COMPLETE": "complete_bash"})
    assert done.stdout.split() == [completion]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_colours_and_a_pipe_does_not(monkeypatch, capsys):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    echo("✔ good")
    assert capsys.readouterr().out == "✔ good\n"
    monkeypatch.setattr("sys.stdout", terminal := Terminal())
    echo("✔ good\n✘ bad")
    assert terminal.getvalue() == "\x1b[32m✔\x1b[0m good\n\x1b[31m✘\x1b[0m bad\n"
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("sys.stdout", terminal := Terminal())
    echo("✔ good")
    assert terminal.getvalue() == "✔ good\n"


def test_the_best_row_of_a_table_is_green(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stdout", Terminal())
    head, first, second = _align([("", "MAE"), ("a", "2.0"), ("b", "1.0")], best=2)
    assert head.startswith("\x1b[1m")
    assert "\x1b" not in first
    assert second.startswith("\x1b[32m")


def test_a_narrow_terminal_breaks_no_row_of_a_table(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setattr("sys.stdout", Terminal())
    assert len(list(_align([("run", "MAE"), ("runs/a-run-with-a-long-name", "1.0")]))) == 2


def test_show_prints_the_verdict_and_the_settings():
    lines = call("show", OLD_RUNS / "version-3-scored").stdout.splitlines()
    assert lines[0].startswith("version-3-scored: Beats naive by 74%")
    settings = dict(
        line.split(maxsplit=1) for line in lines[lines.index("Settings that differ from the defaults:") + 1 :] if line
    )
    assert settings["training.epochs"] == "3"
    document = json.loads(call("show", OLD_RUNS / "version-3-scored", "--json").stdout)
    assert document["state"] == "finished"
    assert document["metrics"]["verdict"] in lines[0]


def test_runs_lists_ranks_filters_and_writes_a_page(tmp_path):
    for name, share in (("a-1", 1.0), ("b-1", 0.5)):
        shutil.copytree(OLD_RUNS / "version-3-scored", tmp_path / name)
        metrics = json.loads((tmp_path / name / "metrics.json").read_text())
        metrics["test"]["forecast"]["total"]["mase"] *= share
        (tmp_path / name / "metrics.json").write_text(json.dumps(metrics))
    (tmp_path / ".part-d-1").mkdir()
    shutil.copy(tmp_path / "a-1" / "status.json", tmp_path / ".part-d-1")
    shutil.copytree(OLD_RUNS / "version-2", tmp_path / "c-1")  # It has no metrics.
    (tmp_path / "notes").mkdir()
    rows = json.loads(call("runs", tmp_path, "--sort", "mase", "--json").stdout)
    assert [(Path(row["run"]).name, row["state"]) for row in rows] == [
        ("b-1", "finished"),
        ("a-1", "finished"),
        ("c-1", "damaged"),
    ]
    assert rows[0]["best_baseline"] == "linear"
    assert rows[0]["gain"] == pytest.approx(0.04, abs=0.01)
    page = tmp_path / "runs.html"
    done = call("runs", tmp_path, "--filter", "b-1", "--html", page)
    assert [line.split()[0] for line in done.stdout.splitlines()[:3]] == ["Wrote", "run", str(tmp_path / "b-1")]
    assert "Better than the best baseline of the test set: 1 of 1." in page.read_text()
    assert call("runs", tmp_path, "--html", "runs.txt").exit_code == 1


def test_doctor_names_versions_extras_and_the_disk(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    done = call("doctor")
    assert done.exit_code == 0
    subjects = [line.split()[1] for line in done.stdout.splitlines() if line.startswith(("✔", "⚠"))]
    assert subjects[:4] == ["versions", "packages", "backend", "processor"]
    assert subjects[-1] == "disk"
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert call("doctor").exit_code == 1


@pytest.mark.slow
@pytest.mark.explained
def test_quick_goes_from_data_to_a_report(project, tmp_path, monkeypatch):
    project()
    monkeypatch.chdir(tmp_path)
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or True)
    done = call("quick", "data.csv", "--horizon", "3", "--open")
    assert done.exit_code == 0, done.output
    assert "HTML report: runs/data-1/report.html" in done.stdout
    assert done.stderr.startswith("Wrote data.yaml.\n")
    assert (tmp_path / "data.yaml").exists()
    assert opened == [(tmp_path / "runs/data-1/report.html").as_uri()]


def test_a_missing_run_and_a_missing_config():
    assert "nowhere: this directory does not exist." in call("predict", "nowhere").stderr
    assert "nowhere.yaml: the config file does not exist." in call("train", "nowhere.yaml").stderr


def test_init_then_validate(project, tmp_path, monkeypatch):
    project()
    monkeypatch.chdir(tmp_path)
    assert call("init", "data.csv", "-o", "mine.yaml").stdout.endswith("Next: forecast train mine.yaml\n")
    checked = call("validate", "mine.yaml")
    assert checked.exit_code == 0
    subjects = [line.split()[1] for line in checked.stdout.splitlines() if line.startswith(("✔", "⚠"))]
    assert " ".join(subjects) == "config data windows windows intervals network memory baselines baselines"
    assert call("init", "data.csv", "-o", "mine.yaml").stderr.startswith("error: mine.yaml: this file already exists.\n")


def test_validate_fails_with_a_cross(project):
    config = project(data={"target": "sale"})
    done = call("validate", config)
    assert done.exit_code == 1
    assert "✘ data" in done.stdout
    document = json.loads(call("validate", config, "--json").stdout)
    assert document["valid"] is False
    assert document["findings"][-1]["level"] == "error"


def test_validate_needs_no_keras(project):
    loaded = loaded_by(f"{CALL}\nassert CliRunner().invoke(app, ['validate', {str(project())!r}]).exit_code == 0")
    assert loaded == {"numpy", "pandas", "sklearn"}  # It fits the scaling.


def test_config_prints_what_holds(project, tmp_path):
    config = project()
    (tmp_path / "whole.yaml").write_text(call("config", config).stdout)
    assert call("config", tmp_path / "whole.yaml").stdout == call("config", config).stdout
    changed = call("config", config, "--diff", "--set", "training.epochs=7").stdout.splitlines()
    assert "training.epochs: 7" in changed
    assert not [line for line in changed if line.startswith("training.batch_size")]


def test_schema_is_json():
    assert json.loads(call("schema").stdout)["required"] == ["data", "windows"]


@pytest.mark.slow
def test_odd_new_rows_are_warned_of(trained, tmp_path):
    run = shutil.copytree(trained().directory, tmp_path / "run")
    old = pd.read_csv(trained().directory.with_name("data.csv"))
    old.head(60).to_csv(tmp_path / "old.csv", index=False)
    done = call("predict", run, "--data", tmp_path / "old.csv", "-q")
    assert done.exit_code == 0
    assert "warning: " in done.stderr
    assert "this forecasts the past" in done.stderr
    old.assign(sales=old.sales * 1000).to_csv(tmp_path / "kilo.csv", index=False)
    assert "a factor of about 10^3" in call("predict", run, "--data", tmp_path / "kilo.csv").stderr


@pytest.mark.explained
@pytest.mark.slow
def test_time_zones_reach_the_forecast(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hours = pd.date_range("2020-10-20", "2020-10-25 00:00", freq="h", tz="Europe/London")
    pd.DataFrame({"t": hours.tz_localize(None), "y": [hour.hour + (hour.day % 3) for hour in hours]}).to_csv("a.csv", index=False)
    keys = "data: {path: a.csv, timestamp: t, target: y, timezone: Europe/London}\nwindows: {lookback: 1d, horizon: 4}\n"
    (tmp_path / "a.yaml").write_text(keys + "model: {units: 2}\ntraining: {epochs: 1}\n")
    assert call("train", "a.yaml", "-q").exit_code == 0
    ahead = pd.read_csv("runs/a-1/forecast.csv").timestamp.tolist()
    assert ahead == [f"2020-10-25 {text}" for text in ("01:00:00+01:00", "01:00:00+00:00", "02:00:00+00:00", "03:00:00+00:00")]
    assert len(list((tmp_path / "runs/a-1/plots").iterdir())) == 5
    again = call("predict", "runs/a-1", "-q")
    assert (again.exit_code, pd.read_csv("runs/a-1/forecast.csv").timestamp.tolist()) == (0, ahead)


@pytest.mark.slow
@pytest.mark.explained
def test_train_then_predict(project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trained = call("train", project(name="shop"), "--set", "training.epochs=1")
    assert trained.exit_code == 0
    lines = trained.stdout.strip().splitlines()
    assert lines[0].startswith("shop-1: ")
    assert "naive by" in lines[0]
    names = ["this network", "naive", "seasonal naive (12)", "drift", "mean", "linear"]
    assert [line.split("  ")[0] for line in lines[3:9]] == names
    assert "Kept the weights of epoch" in lines[-3]
    assert lines[-2] == "HTML report: runs/shop-1/report.html"
    assert lines[-1] == "Next: forecast predict runs/shop-1"
    assert [line.split()[1] for line in trained.stderr.strip().splitlines()] == ["0/1", "1/1"]

    predicted = call("predict", "runs/shop-1")
    assert predicted.stdout.strip().endswith("Wrote runs/shop-1/forecast.csv")
    newer = tmp_path / "newer.csv"
    newer.write_bytes((tmp_path / "data.csv").read_bytes())
    assert call("predict", "runs/shop-1", "--data", newer, "--quiet").stdout == "runs/shop-1/forecast-newer.csv\n"
    assert call("predict", "runs/shop-1", "-o", "mine.csv").exit_code == 0
    for output, told in {
        newer: "replace --data",
        "runs/shop-1/metrics.json": "into the run directory",
        tmp_path: "is not a regular file",
    }.items():
        refused = call("predict", "runs/shop-1", "--data", newer, "-o", output)
        assert refused.exit_code == 1
        assert told in refused.stderr
    assert call("predict", "runs/shop-1", "-o", "no/such/folder.csv").exit_code == 1
    left, right = (pd.read_csv(path) for path in ("mine.csv", "runs/shop-1/forecast-newer.csv"))
    pd.testing.assert_frame_equal(left, right)
    document = json.loads(call("predict", "runs/shop-1", "--json").stdout)
    assert [row["step"] for row in document["forecast"]] == [1, 2, 3]


@pytest.mark.slow
def test_train_json_and_quiet(project, tmp_path):
    as_json = call("train", project(), "--json", "--run-dir", tmp_path / "x")
    document = json.loads(as_json.stdout)
    assert document["run"] == str(tmp_path / "x")
    assert set(document["skill"]) == {"naive", "seasonal_naive", "drift", "mean", "linear"}
    again = call("train", project(), "--run-dir", tmp_path / "x")
    assert again.exit_code == 1
    remedy = "Choose another --run-dir, or replace the run in it with --force."
    assert again.stderr == f"error: {tmp_path / 'x'}: this directory already exists.\n  {remedy}\n"
    forced = call("train", project(), "--run-dir", tmp_path / "x", "--force", "--quiet")
    assert (forced.stdout, forced.stderr) == (f"{tmp_path / 'x'}\n", "")


@pytest.mark.slow
def test_nothing_but_ours_reaches_the_terminal(project, tmp_path):
    command = [sys.executable, "-m", "forecast", "train", str(project()), "--run-dir", str(tmp_path / "x"), "--quiet"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)  # noqa: S603
    assert (done.stdout, done.stderr) == (f"{tmp_path / 'x'}\n", "")


def test_a_terminal_shows_how_far_a_large_file_is_read(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with reading():
        report_read(Path("small.csv"), 1.0)
        assert not capsys.readouterr().err
        report_read(Path("large.csv"), 0.5)
        report_read(Path("large.csv"), 1.0)
    assert "reading large.csv" in capsys.readouterr().err


def test_whatever_writes_says_where_with_the_same_letter():
    options = {
        (command.name or name, option.name): set(option.opts)
        for name, command in typer.main.get_command(app).commands.items()
        for option in command.params
    }
    short = {key: names for key, names in options.items() if key[1] in ("run_dir", "output")}
    assert len(short) >= 9
    assert [key for key, names in short.items() if "-o" not in names] == []
