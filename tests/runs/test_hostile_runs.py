"""A run directory from anywhere is refused when it is not what training left, and executes nothing."""

from __future__ import annotations

import shutil
import subprocess

import pandas as pd
import pytest

from forecast.commands.export import export
from forecast.commands.predict import predict
from forecast.errors import ForecastError
from forecast.runs.run import Run
from tests.hostile_runs import CANARY, HOSTILE, OLD_RUNS, copy_in_current_layout, make_hostile


@pytest.mark.parametrize("version", sorted(path.name for path in OLD_RUNS.iterdir()))
def test_old_runs_open_and_forecast_the_same(version):
    run = Run.open(OLD_RUNS / version)
    then = pd.read_csv(run.forecast_file, parse_dates=["timestamp"])
    pd.testing.assert_frame_equal(predict(run), then, rtol=1e-5, check_dtype=False)  # another processor rounds differently


@pytest.mark.parametrize("version", sorted(path.name for path in OLD_RUNS.iterdir()))
def test_old_runs_forecast_the_same_in_the_layout_of_today(version, tmp_path):
    run = copy_in_current_layout(OLD_RUNS / version, tmp_path / "run")
    pd.testing.assert_frame_equal(predict(Run.open(run.directory)), predict(OLD_RUNS / version))


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum is not installed")
def test_the_checksums_are_those_of_sha256sum(tmp_path):
    run = copy_in_current_layout(OLD_RUNS / "version-3", tmp_path / "run")
    command = ["sha256sum", "--check", run.checksums.name]
    checked = subprocess.run(command, cwd=run.checksums.parent, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.splitlines()[0] == "../config.yaml: OK"
    run.config.write_text("seed: 2")
    assert subprocess.run(command, cwd=run.checksums.parent, capture_output=True).returncode == 1


@pytest.mark.parametrize("name", ["config cut to 50%", "weights with a bit flipped at 50%", "no checksums", "no weights"])
def test_a_hostile_run_of_the_earlier_layout_is_refused(name, tmp_path):
    message, damage = HOSTILE[name]
    shutil.copytree(OLD_RUNS / "version-3", tmp_path / "run")
    damage(Run(tmp_path / "run"))
    with pytest.raises(ForecastError, match=message):
        predict(tmp_path / "run")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_run_is_refused_and_executes_nothing(name, tmp_path):
    directory = make_hostile(OLD_RUNS / "version-3", name, tmp_path)
    told, _ = HOSTILE[name]
    with pytest.raises(ForecastError, match=told) as refusal:
        predict(directory)
    assert refusal.value.location.startswith(str(directory)) or told.startswith(("the forecasts are", "the interval bounds"))
    assert not list(tmp_path.rglob(CANARY))


@pytest.mark.parametrize(
    "name", ["recent rows of one series", "a scaler that magnifies", "no checksums", "an affine map onto nothing"]
)
def test_exports_refuse_what_predictions_refuse(name, tmp_path):
    directory = make_hostile(OLD_RUNS / "version-2", name, tmp_path)
    with pytest.raises(ForecastError, match=HOSTILE[name][0]):
        export(directory, "keras")
