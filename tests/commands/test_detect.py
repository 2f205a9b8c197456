"""What is odd is found, and little else."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest
from typer.testing import CliRunner

from forecast.cli.app import app
from forecast.commands.detect import detect
from forecast.commands.train import train
from forecast.config.load import load_config
from forecast.errors import DataError, RunError
from forecast.runs.run import Run

pytestmark = pytest.mark.slow


def test_a_planted_anomaly_is_found_in_newer_rows(sales, tmp_path):
    table = pd.read_csv(sales / "data.csv")
    table.loc[150, "sales"] += 60
    table.to_csv(tmp_path / "newer.csv", index=False)
    found = detect(sales / "run", tmp_path / "newer.csv")
    assert found.points == 180 - 12, "all but the first lookback"
    top = found.anomalies.sort_values("score").iloc[-1]
    assert (str(top.timestamp), top.target) == ("2017-07-01 00:00:00", "sales")
    assert top.score > 5
    assert top.actual > top.high > top.forecast > top.low
    assert found.file.name == "anomalies-newer.csv"
    assert pd.read_csv(found.file).score.tolist() == pytest.approx(found.anomalies.score.tolist())
    assert found.plot.stat().st_size > 1000


def test_about_as_many_lie_outside_as_the_level_says(sales):
    found = detect(sales / "run", sales / "data.csv", level=80)
    assert found.expected == pytest.approx(0.2)
    assert len(found.anomalies) / found.points == pytest.approx(0.2, abs=0.12)
    assert (found.anomalies.score > 1).all()


def test_the_test_part_needs_no_data(sales):
    found = detect(sales / "run")
    predictions = pd.read_csv(sales / "run" / "predictions.csv")
    first = predictions[predictions.step == 1]
    outside = (first.actual < first["q0.025"]) | (first.actual > first["q0.975"])
    assert found.points == 25
    assert len(found.anomalies) == outside.sum()


def test_too_few_rows_and_damaged_runs_are_refused(sales, tmp_path):
    table = pd.read_csv(sales / "data.csv").iloc[:12]
    table.to_csv(tmp_path / "short.csv", index=False)
    with pytest.raises(DataError, match="the file has no rows after the first 12"):
        detect(sales / "run", tmp_path / "short.csv")
    shutil.copytree(sales / "run", tmp_path / "run")
    (tmp_path / "run" / "predictions.csv").write_text("garbage")
    with pytest.raises(RunError, match=r"predictions.csv: this file cannot be read"):
        detect(tmp_path / "run")


def test_other_levels_are_refused(sales, tmp_path):
    with pytest.raises(RunError, match=r"the run has no 90% interval.\s+Available levels: 80, 95."):
        detect(sales / "run", level=90)
    without = train(load_config(sales / "config.yaml", {"intervals": None, "training.epochs": 1}), tmp_path / "run")
    assert not without.intervals.exists()
    assert "q0.1" not in pd.read_csv(without.forecast_file)
    with pytest.raises(RunError, match=r"the run has no intervals.\s+Train again with intervals."):
        detect(without)


def test_the_command(sales):
    shown = CliRunner().invoke(app, ["detect", str(sales / "run")])
    assert shown.exit_code == 0, shown.output
    assert "of 25 points" in shown.stdout
    assert "5% are expected." in shown.stdout
    told = json.loads(CliRunner().invoke(app, ["detect", str(sales / "run"), "--json"]).stdout)
    assert told["points"] == 25
    assert told["file"] == str(Run(sales / "run").directory / "anomalies.csv")
