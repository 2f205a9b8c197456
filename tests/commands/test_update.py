"""Newer rows go on where the run's data end, the network goes on where it was, and nothing worse takes its place unasked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from forecast.cli.app import app
from forecast.commands.predict import predict
from forecast.commands.reproduce import reproduce, verdict_of
from forecast.commands.train import resume_training, train
from forecast.commands.update import UpdateOptions, update
from forecast.errors import ConfigError, DataError, RunError
from forecast.runs.loaded import read_trained
from forecast.runs.run import Run
from forecast.storage import sha256_of
from tests.conftest import seasonal_rows

pytestmark = pytest.mark.slow
KNOWN = 96  # rows that the run was trained on
EVEN_IF_WORSE = UpdateOptions(even_if_worse=True)
UNTRAINED = UpdateOptions(even_if_worse=True, intervals_only=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with the data up to a day, those after it, all of them, and a run of the first."""
    folder = tmp_path_factory.mktemp("updated")
    months = pd.date_range("2010-01-01", periods=120, freq="MS")
    table = pd.DataFrame({"shop": "north", "month": months, "sales": seasonal_rows()})
    table = pd.concat([table, table.assign(shop="south", sales=table.sales * 3)])
    begun = table.month < months[KNOWN]
    for name, rows in {"data": table[begun], "newer": table[~begun], "all": table}.items():
        rows.to_csv(folder / f"{name}.csv", index=False, sep=";")
    (folder / "config.yaml").write_text(
        "data: {path: data.csv, timestamp: month, target: sales, series_id: shop}\nsplits: {validation: 18, test: 18}\n"
        "windows: {lookback: 12, horizon: 3}\nmodel: {units: 4}\ntraining: {epochs: 3, refit: false}\n"
    )
    train(folder / "config.yaml", folder / "run")
    return folder


@pytest.fixture
def run(folder) -> Run:
    return Run.open(folder / "run")


def test_newer_rows_are_appended_and_trained_on(folder, run, tmp_path):
    command = ["update", str(run.directory), str(folder / "newer.csv"), "--run-dir", str(tmp_path / "new"), "--even-if-worse"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    new = Run.open(tmp_path / "new")
    joined, (old, newer) = new.data / "data.csv", (folder / "data.csv", folder / "newer.csv")
    lines = [line.replace(";", ",") for path in (old, newer) for line in path.read_text().splitlines()]
    assert joined.read_text().splitlines() == [line for number, line in enumerate(lines) if number == 0 or line != lines[0]]
    parent = json.loads(new.parent.read_text())
    assert parent["run"] == str(run.directory)
    assert parent["windows"] == 2 * 18 - 2 * 2, "of the test part, those whose last target is newer than the run's data"
    assert parent["after"]["mase"] <= 1.005 * parent["before"]["mase"]
    assert f"Continues {run.directory}: MAE on the 32 newest windows was" in result.output
    before, after = read_trained(run), read_trained(new)
    assert after.scaler.to_json() == before.scaler.to_json()
    assert after.config.training == before.config.training
    assert after.config.data.path == str(new.data / "data.csv")
    assert predict(new).timestamp.min() == pd.Timestamp("2020-01-01")
    assert not [check for check in json.loads(new.leakage.read_text())["checks"] if not check["passed"]]


def test_all_rows_do_without_the_old_file(folder, tmp_path):
    shutil.copytree(folder / "run", tmp_path / "run")
    run = Run(tmp_path / "run")
    moved = folder / "data.csv"
    moved.rename(folder / "moved.csv")
    try:
        with pytest.raises(
            DataError, match=r"newer.csv: the data file of the run no longer exists: .*data.csv.\n  Restore the original data"
        ):
            update(run, folder / "newer.csv", tmp_path / "part")
        new = update(run, folder / "all.csv", tmp_path / "new", options=UNTRAINED)
    finally:
        (folder / "moved.csv").rename(moved)
    assert (new.data / "data.csv").read_text() == (folder / "all.csv").read_text()


@pytest.mark.explained
def test_only_the_intervals_are_made_anew(folder, run, tmp_path):
    new = update(run, folder / "newer.csv", tmp_path / "new", options=UpdateOptions(intervals_only=True))
    page = new.report.read_text()
    assert "Settings that differ from that run." in page
    assert f"This run continues {run.directory.resolve()}" in page
    assert "forecast train" not in page, "that is not how it was made"
    assert sha256_of(new.weights) == sha256_of(run.weights)
    assert sha256_of(new.intervals) != sha256_of(run.intervals)
    told = json.loads(new.parent.read_text())
    assert told["before"] == told["after"]
    assert verdict_of(reproduce(new)) == "equal"


def test_a_worse_one_is_refused_unless_forced(folder, run, tmp_path):
    worse = {"training.learning_rate": 0.5, "training.early_stopping": None, "training.epochs": 1}
    with pytest.raises(
        RunError, match=r"the new run's MASE on the 32 newest windows is .*, compared with .* for run.\n  Keep the old run"
    ):
        update(run, folder / "newer.csv", tmp_path / "new", options=UpdateOptions(worse))
    with pytest.raises(RunError, match="the training of this run failed: .*the new run's MASE on the 32 newest windows"):
        Run.open(tmp_path / "new")
    forced = update(run, folder / "newer.csv", tmp_path / "new", force=True, options=UpdateOptions(worse, even_if_worse=True))
    told = json.loads(forced.parent.read_text())
    assert told["after"]["mase"] > told["before"]["mase"]
    assert Run.open(forced.directory)


def test_an_update_is_resumed_and_reproduced(folder, run, tmp_path, monkeypatch):
    monkeypatch.setattr("forecast.forecasters.network.callbacks.MIN_SECONDS_BETWEEN_EPOCHS", 0.0)
    whole = update(run, folder / "newer.csv", tmp_path / "whole", options=EVEN_IF_WORSE)

    def interrupt(progress) -> None:
        if progress.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        update(run, folder / "newer.csv", tmp_path / "cut", options=EVEN_IF_WORSE, on_progress=interrupt)
    resumed = resume_training(tmp_path / "cut")
    assert sha256_of(resumed.weights) == sha256_of(whole.weights)
    assert {stage.verdict for stage in reproduce(whole)} == {"equal"}


def test_rows_that_do_not_follow(folder, run, tmp_path):
    rows = pd.read_csv(folder / "newer.csv", sep=";")
    late = tmp_path / "late.csv"
    rows[rows.month >= "2018-04-01"].to_csv(late, index=False)
    with pytest.raises(DataError, match=r"rows are missing: series 'north' ends at 2017-12-01 .* and continues at 2018-04-01"):
        update(run, late, tmp_path / "new")
    with pytest.raises(DataError, match="no rows after 2017-12-01.*, the last timestamp of the run"):
        update(run, folder / "data.csv", tmp_path / "new")
    other = tmp_path / "other.csv"
    rows[rows.shop == "north"].assign(shop="east").to_csv(other, index=False)
    with pytest.raises(DataError, match="none of these series was in the training data: 'east'"):
        update(run, other, tmp_path / "new")
    scaled = tmp_path / "scaled.csv"
    rows.assign(sales=rows.sales * 1000).to_csv(scaled, index=False)
    with pytest.raises(DataError, match="`sales` is about .*, but was about .* in training"):
        update(run, scaled, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_what_an_update_cannot_change(folder, run, tmp_path):
    for key, value in {"model.units": [8], "windows.lookback": 6, "training.seeds": [1, 2], "splits.test": 6}.items():
        with pytest.raises(ConfigError, match=rf"an update cannot change {key}.\n  Train again, or change only training"):
            update(run, folder / "newer.csv", tmp_path / "new", options=UpdateOptions({key: value}))
    with pytest.raises(RunError, match="the run directory contains the run to update"):
        update(run, folder / "newer.csv", run.directory, force=True)


def test_what_was_known_of_the_future_is_replaced_by_what_came(tmp_path):
    months = pd.date_range("2010-01-01", periods=120, freq="MS")
    price = np.where(months.month == 12, 8.0, 10.0)
    table = pd.DataFrame({"month": months, "sales": seasonal_rows(), "price": price})
    old = table[: KNOWN + 3].astype({"sales": object})
    old.loc[KNOWN:, "sales"] = ""
    old.to_csv(tmp_path / "data.csv", index=False)
    table[KNOWN : KNOWN + 12].to_csv(tmp_path / "newer.csv", index=False)
    (tmp_path / "config.yaml").write_text(
        "data: {path: data.csv, timestamp: month, target: sales, known_covariates: price}\nsplits: {validation: 18, test: 18}\n"
        "windows: {lookback: 12, horizon: 3}\nmodel: {units: 4}\ntraining: {epochs: 2}\n"
    )
    run = train(tmp_path / "config.yaml", tmp_path / "run")
    new = update(run, tmp_path / "newer.csv", tmp_path / "new", options=UNTRAINED)
    joined = pd.read_csv(new.data / "data.csv", parse_dates=["month"])
    pd.testing.assert_frame_equal(joined, table[: KNOWN + 12], check_dtype=False)


def test_a_series_without_newer_rows_stays(folder, run, tmp_path):
    newer, whole = (pd.read_csv(folder / name, sep=";") for name in ("newer.csv", "all.csv"))
    only = tmp_path / "only.csv"
    for rows in (newer[newer.shop == "north"], whole[whole.shop == "north"]):
        rows.to_csv(only, index=False, sep=";")
        new = update(run, only, tmp_path / "new", force=True, options=UNTRAINED)
        joined = pd.read_csv(new.data / "data.csv")
        assert joined.shop.value_counts().to_dict() == {"north": 120, "south": KNOWN}


def test_a_run_and_its_parent_may_move(folder, run, tmp_path):
    shutil.copytree(run.directory, tmp_path / "parent")
    update(tmp_path / "parent", folder / "newer.csv", tmp_path / "new", options=UNTRAINED)
    (tmp_path / "new").rename(tmp_path / "moved")
    assert verdict_of(reproduce(tmp_path / "moved", data=tmp_path / "moved" / "data" / "data.csv")) == "equal"
    assert verdict_of(reproduce(tmp_path / "moved")) == "equal"
    (tmp_path / "parent").rename(tmp_path / "elsewhere")
    with pytest.raises(RunError, match=r"moved: this run continues another run, which cannot be read: .*parent: this directory"):
        reproduce(tmp_path / "moved")


def test_revised_values_are_told(folder, run, tmp_path, caplog):
    rows = pd.read_csv(folder / "all.csv", sep=";")
    late = rows[rows.month >= "2017-10-01"].copy()
    late.loc[late.month == "2017-11-01", "sales"] += 1
    late.to_csv(tmp_path / "late.csv", index=False)
    update(run, tmp_path / "late.csv", tmp_path / "new", options=UNTRAINED)
    assert "rows that differ from those in the run: 2. The first is at 2017-11-01" in caplog.text
