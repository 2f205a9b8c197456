"""`validate` says before training what would fail in it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

import forecast.forecasters.network
from forecast.commands.validate import validate
from forecast.config.load import load_config
from forecast.errors import ForecastError
from forecast.forecasters.network.keras_builder import build_keras
from forecast.forecasters.preparation import prepare
from forecast.training import check_can_train


def levels(findings):
    return {(finding.level, finding.subject) for finding in findings}


def test_a_good_config(project):
    findings = validate(project())
    assert levels(findings) == {("ok", subject) for subject in ("config", "data", "windows", "intervals", "network", "memory")}
    told = " ".join(finding.text for finding in findings)
    assert "120 rows, 1 series, freq MS, 2010-01-01" in told
    assert "70 train, 16 validation, 16 test" in told
    assert "The intervals are based on 6 non-overlapping held-out windows (fewer than 10)" in told


@pytest.mark.parametrize(
    ("sections", "subject", "told"),
    [
        ({"model": {"cell": "x"}}, "config", "`model.cell` is 'x'"),
        ({"data": {"target": "sale"}}, "data", "no column `sale`"),
        ({"windows": {"lookback": 100}}, "config", "windows.lookback is 100"),
        ({"windows": {"lookback": "7d", "horizon": "2d"}}, "config", "windows.horizon is 2d, which is not a whole number"),
    ],
    ids=["config", "column", "windows", "duration"],
)
def test_errors(project, sections, subject, told):
    last = validate(project(**sections))[-1]
    assert (last.level, last.subject) == ("error", subject)
    assert told in last.text


@pytest.mark.parametrize(
    ("sections", "subject", "told"),
    [
        ({"windows": {"lookback": 60}}, "windows", "only 22 training windows"),
        ({"windows": {"lookback": 6}}, "windows", "the lookback of 6 steps is shorter than the season of 12 steps"),
        ({"model": {"units": [200]}}, "network", "parameters learn from 210 target values"),
    ],
    ids=["few windows", "short lookback", "large network"],
)
def test_warnings(project, sections, subject, told):
    (warning,) = [finding for finding in validate(project(**sections)) if finding.level == "warning"]
    assert warning.subject == subject
    assert told in warning.text
    assert warning.remedy


def test_a_large_text_file_would_better_be_parquet(project, monkeypatch):
    path = project()
    assert not [finding for finding in validate(path) if "Parquet" in finding.text]
    monkeypatch.setattr("forecast.commands.validate.MAX_TEXT_BYTES", 100)
    (told,) = [finding for finding in validate(path) if "Parquet" in finding.text]
    assert told.remedy == "Convert it to Parquet, with numbers and names unchanged, and set data.path."


@pytest.mark.parametrize("keys", [{"cell": "gru", "bidirectional": True}, {"units": [5, 3], "normalization": "revin"}], ids=str)
def test_the_parameter_count_is_that_of_keras(project, keys):
    prepared = prepare(load_config(project(model=keys)))
    assert prepared.network.parameters == build_keras(prepared.network).count_params()


@pytest.mark.parametrize("backend", ["torch", "foo", "numpy"])
@pytest.mark.parametrize("where", ["KERAS_BACKEND", "keras.json"])
def test_a_backend_that_does_not_train_is_refused(backend, where, project, tmp_path, monkeypatch):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    if where == "KERAS_BACKEND":
        monkeypatch.setenv(where, backend)
    else:
        (tmp_path / where).write_text(json.dumps({"backend": backend}))
        monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    told = f"{where}: the Keras backend is '{backend}', but training supports only tensorflow and jax."
    with pytest.raises(ForecastError, match=rf"{told}\n  Set the environment variable KERAS_BACKEND to tensorflow or jax."):
        check_can_train()
    last = validate(project())[-1]
    assert (last.level, last.subject) == ("error", "training")
    assert last.text.endswith(told)
    spec = importlib.util.spec_from_file_location("fresh", Path(forecast.forecasters.network.__file__).with_name("backend.py"))
    with pytest.raises(ForecastError, match=told):  # as `predict --runtime keras` loads it
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


@pytest.mark.parametrize(
    ("absent", "backend", "tracking", "level", "target"),
    [
        ("jax", "jax", [], "error", "'.[jax]'"),
        ("scipy", "tensorflow", [], "error", " ."),
        ("mlflow", "tensorflow", ["tensorboard", "mlflow"], "error", "'.[mlflow]'"),
        ("keras", "tensorflow", [], "warning", " ."),
    ],
)
def test_what_train_would_not_find_installed(absent, backend, tracking, level, target, project, monkeypatch):
    config, find = load_config(project(), {"tracking": tracking}), importlib.util.find_spec
    monkeypatch.setenv("KERAS_BACKEND", backend)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == absent else find(name))
    last = validate(config)[-1]
    assert (last.level, last.subject) == (level, "training")
    assert f"`{absent}`, which is not installed." in last.text
    assert last.remedy.endswith(target)


def test_all_errors_of_the_data_are_found_at_once(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        "data: {path: data.csv, timestamp: day, target: sales, past_covariates: price}\nwindows: {lookback: 2, horizon: 1}\n"
    )
    (tmp_path / "data.csv").write_text("day,sales,price\n2024-01-01,x,1\n2024-01-02,2,low\nsoon,3,1\n")
    (finding,) = [finding for finding in validate(path) if finding.level == "error"]
    for problem in ("`sales` is not a number", "`price` is not a number", "`day` is not a timestamp"):
        assert problem in finding.text
    (tmp_path / "data.csv").write_text(
        "day,sales,price\n2024-01-01,1,1\n2024-01-02,,1\n2024-01-02,3,1\n2024-01-03,3,1\n2024-01-09,3,1\n"
    )
    errors = [finding.text for finding in validate(path) if finding.level == "error"]
    assert ["repeated timestamp" in errors[0], "the spacing is not" in errors[1], "`sales` is empty" in errors[2]] == [True] * 3
    assert len(errors) == 3
