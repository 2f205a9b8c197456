"""Where only `constraints-predict.txt` is installed, everything but training and its kin works."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import seasonal_rows
from tests.hostile_runs import OLD_RUNS

ROOT = Path(__file__).parents[1]
MISSING = "Training needs `keras`, `tensorflow`, `matplotlib`, `scipy`, `sklearn`, which are not installed."


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A folder of packages that holds this one and what the constraints name, and nothing else."""
    folder = tmp_path_factory.mktemp("packages")
    (folder / "forecast").symlink_to(ROOT / "forecast")
    for line in (ROOT / "constraints-predict.txt").read_text().split():
        files = metadata.distribution(line.partition("==")[0]).files
        for name in {path.parts[0] for path in files} - {"..", "__pycache__"}:
            source = Path(files[0].locate()).parents[len(files[0].parts) - 1] / name
            (folder / name).symlink_to(source)
    return folder


def forecast(packages, *arguments, folder):
    command = [sys.executable, "-S", "-m", "forecast", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env={"PYTHONPATH": str(packages)}, capture_output=True, text=True)


def test_nothing_else_is_there(packages, tmp_path):
    names = ("tensorflow", "keras", "sklearn", "matplotlib", "scipy", "jax", "pytest")
    code = f"from importlib.util import find_spec; print([name for name in {names} if find_spec(name)])"
    shown = subprocess.run([sys.executable, "-S", "-c", code], env={"PYTHONPATH": str(packages)}, capture_output=True, text=True)
    assert shown.stdout == "[]\n"


def test_predict(packages, tmp_path):
    done = forecast(packages, "predict", OLD_RUNS / "version-2", "-o", "out.csv", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    now, then = (pd.read_csv(path).forecast.tolist() for path in (tmp_path / "out.csv", OLD_RUNS / "version-2" / "forecast.csv"))
    assert now == pytest.approx(then, rel=1e-5)


def test_init_and_validate(packages, tmp_path):
    rows = "".join(f"20{10 + i // 12}-{i % 12 + 1:02}-01,{value:.3f}\n" for i, value in enumerate(seasonal_rows()))
    (tmp_path / "sales.csv").write_text("month,sales\n" + rows)
    drafted = forecast(packages, "init", "sales.csv", folder=tmp_path)
    assert drafted.returncode == 0, drafted.stderr
    checked = forecast(packages, "validate", "sales.yaml", folder=tmp_path)
    assert checked.returncode == 0, checked.stdout
    assert f"⚠ training  {MISSING}" in checked.stdout


def test_training_names_what_to_install(packages, tmp_path):
    (tmp_path / "sales.yaml").write_text("data: {path: sales.csv, timestamp: t, target: y}\nwindows: {lookback: 9, horizon: 3}\n")
    done = forecast(packages, "train", "sales.yaml", folder=tmp_path)
    assert done.returncode == 1
    found, remedy = done.stderr.splitlines()
    assert found == f"error: {MISSING}"
    assert remedy == "  In the source folder, run: pip install -c constraints.txt ."
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("predict", "--runtime", "keras"), "Keras cannot be loaded (No module named 'keras')"),
        (("export", "--to", "keras"), "Export to keras needs `keras`"),
    ],
    ids=str,
)
def test_what_needs_keras_says_so(packages, tmp_path, arguments, message):
    command, *options = arguments
    done = forecast(packages, command, OLD_RUNS / "version-2", *options, "-o", "out", folder=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert "pip install -c constraints.txt" in done.stderr
