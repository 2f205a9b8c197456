"""A run is reproduced to the last bit, and what was planted is named at the stage where it was planted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from forecast.cli.app import app
from forecast.commands.reproduce import reproduce, verdict_of
from forecast.commands.train import train
from forecast.errors import DataError, RunError
from forecast.runs.fingerprints import compare_documents, fingerprint_arrays
from forecast.runs.run import Run
from tests.conftest import write_project

STAGES = ["versions", "data", "windows", "initial weights", "epochs", "weights", "metrics"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with data and a run."""
    folder = tmp_path_factory.mktemp("reproduced")
    write_project(folder, model={"dropout": 0.2}, training={"epochs": 3, "early_stopping": None})
    train(folder / "config.yaml", folder / "run")
    return folder


@pytest.fixture
def run(folder, tmp_path) -> Run:
    """A copy of the run, to be tampered with."""
    shutil.copytree(folder / "run", tmp_path / "run")
    return Run(tmp_path / "run")


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def differing(stages) -> list[str]:
    return [stage.name for stage in stages if stage.verdict == "differs"]


@pytest.mark.slow
def test_a_run_is_reproduced_to_the_last_bit(folder):
    result = CliRunner().invoke(app, ["reproduce", str(folder / "run"), "-q", "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.output)
    assert told["verdict"] == "equal"
    assert [stage["name"] for stage in told["stages"]] == STAGES
    assert {stage["verdict"] for stage in told["stages"]} == {"equal"}
    assert sorted(path.name for path in folder.iterdir()) == ["config.yaml", "data.csv", "run"], "nothing else is left"


@pytest.mark.slow
def test_changed_data_are_named_and_nothing_is_trained(folder, run, tmp_path):
    data = tmp_path / "data.csv"
    shutil.copy(folder / "data.csv", data)
    edit(data, "2010-03-01,", "2010-03-01,1")
    stages = reproduce(run, data=data, on_progress=lambda progress: pytest.fail("trained"))
    assert differing(stages) == ["data", "windows"]
    assert stages[1].detail == "the file changed: the number of rows is the same, but some values differ"
    result = CliRunner().invoke(app, ["reproduce", str(run.directory), "--data", str(data)])
    assert result.exit_code == 1
    assert "✘ data" in result.output
    assert "the first stage that differs is data." in result.output


@pytest.mark.slow
def test_another_seed_shows_in_the_initial_weights(run):
    edit(run.config, "seed: 1", "seed: 2")
    run.seal()
    stages = reproduce(run)
    assert differing(stages)[0] == "initial weights"
    assert {stage.name for stage in stages if stage.verdict == "equal"} == {"versions", "data", "windows"}


@pytest.mark.slow
def test_another_scaling_shows_in_the_windows(run):
    edit(run.config, "method: minmax", "method: standard")
    run.seal()
    assert differing(reproduce(run)) == ["windows"]


@pytest.mark.slow
def test_other_versions_are_named_but_do_not_matter_by_themselves(run):
    environment = json.loads(run.environment.read_text())
    environment["packages"]["keras"] = "3.1.0"
    run.write_json(run.environment, environment)
    stages = reproduce(run)
    assert differing(stages) == ["versions"]
    assert stages[0].detail.startswith("keras changed from 3.1.0 to 3.")
    assert verdict_of(stages) == "equal"


@pytest.mark.slow
def test_an_epoch_is_named(run):
    history = pd.read_csv(run.history_file)
    history.loc[2, "val_loss"] *= 1.01
    history.loc[3, "val_loss"] *= 1.01
    run.write_table(run.history_file, history)
    stages = reproduce(run)
    assert differing(stages) == ["epochs"]
    assert next(stage.detail for stage in stages if stage.name == "epochs").startswith("epoch 2: val_loss changed from 0.")


@pytest.mark.slow
def test_numbers_within_the_tolerance(run):
    metrics = json.loads(run.metrics_file.read_text())
    metrics["test"]["forecast"]["total"]["mae"] *= 1.0001
    run.write_json(run.metrics_file, metrics)
    run.fingerprints.unlink()
    stages = reproduce(run)
    assert [stage.verdict for stage in stages if stage.name in {"windows", "initial weights"}] == ["not recorded"] * 2
    assert stages[-1].verdict == "within tolerance"
    assert stages[-1].detail == "test/forecast/total/mae has a relative difference of 1.0e-04"
    assert verdict_of(stages) == "within tolerance"


def test_what_cannot_be_reproduced(folder, run, tmp_path):
    with pytest.raises(RunError, match="this directory already exists"):
        reproduce(run, run_dir=tmp_path)
    with pytest.raises(DataError, match=r"gone.csv: the data file does not exist"):
        reproduce(run, data=tmp_path / "gone.csv")


def test_how_far_documents_are_apart():
    assert compare_documents({"a": [1.0, 2.0]}, {"a": [1.0, 2.0]}) == (0.0, "a/0")
    assert compare_documents({"a": [1.0, 2.0], "b": None}, {"a": [1.0, 2.5], "b": None}) == (0.2, "a/1")
    assert compare_documents({"a": 1}, {"b": 1}) == (float("inf"), "a")
    assert compare_documents({"a": "x"}, {"a": "y"}) == (float("inf"), "a")
    assert compare_documents({"a": float("nan")}, {"a": float("nan")}) == (0.0, "a")


def test_a_fingerprint_sees_one_bit():
    one = np.arange(6.0).reshape(2, 3)
    other = one.copy()
    other[1, 2] = np.nextafter(other[1, 2], 9)
    assert fingerprint_arrays({"w": one}) == fingerprint_arrays({"w": one.copy()})
    assert fingerprint_arrays({"w": one}).sha256 != fingerprint_arrays({"w": other}).sha256
    assert fingerprint_arrays({"w": one}).sha256 != fingerprint_arrays({"w": one.reshape(3, 2)}).sha256
