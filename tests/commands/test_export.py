"""Exports forecast the same as the run, in programs that do not know this package."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from forecast.commands import export as exports
from forecast.commands.export import FORMATS, export
from forecast.commands.predict import predict
from forecast.commands.train import train
from forecast.errors import ForecastError, RunError
from forecast.runs.run import Run
from tests.hostile_runs import OLD_RUNS


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two series and two targets, log1p, revin, bidirectional GRUs with layer normalisation."""
    return Run(shutil.copytree(OLD_RUNS / "version-2", tmp_path_factory.mktemp("exports") / "run"))


@pytest.mark.slow
@pytest.mark.parametrize("to", FORMATS)
def test_every_format_forecasts_the_same(run, to):
    made = export(run, to)
    assert made.directory == run.exports / to
    assert made.windows == 32
    assert made.difference_scaled < 1e-5
    assert {path.name for path in made.directory.iterdir()} == {
        FORMATS[to].file,
        *["README.md", "example.npz", "expected.npy", "series.csv"],
    }


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "to"), [("simple_rnn", "onnx"), pytest.param("lstm", "litert", marks=pytest.mark.exhaustive)])
def test_one_series_needs_no_number(project, tmp_path, cell, to):
    model = {"cell": cell, "bidirectional": True, "units": [5, 4]}
    run = train(project(model=model, training={"epochs": 1}), tmp_path / "run")
    made = export(run, to, tmp_path / "made")
    assert made.difference_scaled < 1e-5
    with np.load(made.directory / "example.npz") as example:
        assert {name: values.shape for name, values in example.items()} == {"past": (32, 12, 1)}


@pytest.mark.slow
def test_an_export_takes_any_batch(trained, tmp_path):
    """As many windows as the horizon of 3 has steps, among others: see `forecast.forecasters.network.layers.interface.add`."""
    from forecast.forecasters.network.backend import keras

    made = export(trained(), "keras", tmp_path / "made").directory
    model, expected = keras.saving.load_model(made / "model.keras"), np.load(made / "expected.npy")
    with np.load(made / "example.npz") as example:
        for batch in range(1, 6):
            np.testing.assert_allclose(model.predict_on_batch({"past": example["past"][:batch]}), expected[:batch], rtol=1e-5)


def output_of(code, folder):
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_the_lines_of_the_readme_run(run, tmp_path):
    made = export(run, "onnx", tmp_path / "made")
    text = (made.directory / "README.md").read_text()
    code, own_rows = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert "| input `past` | float32 `(batch, 12, 2)` | the last 12 steps, oldest first: `sales`, `visits` |" in text
    assert "follow each other without gaps at the pandas\nfrequency `MS`" in text
    assert float(output_of(code, made.directory)) == pytest.approx(made.difference)

    pd.read_csv(run.recent).query("series_id == 'north'").to_csv(made.directory / "newer.csv")
    own = code.replace('example = dict(np.load("example.npz"))', own_rows).splitlines()[:-1]
    forecast = np.array(
        output_of("\n".join([*own, "print(forecast.ravel().tolist())"]), made.directory).strip("[]\n").split(", ")
    )
    expected = predict(run).query("series_id == 'north'").forecast
    np.testing.assert_allclose(forecast.astype(float), expected, rtol=1e-5)


def test_nothing_is_replaced_or_left_behind(run, tmp_path, monkeypatch):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("precious")
    with pytest.raises(RunError, match=r"thesis: `chapter.txt` does not belong to an export.\n  Choose another --output."):
        export(run, "onnx", tmp_path / "thesis")
    monkeypatch.setattr(exports, "_write_model", lambda trained, static, form, path, target: path.write_bytes(b"broken"))
    with pytest.raises(RunError, match=r"made: model.onnx was written, but does not run \(.*\).\n  Try another format"):
        export(run, "onnx", tmp_path / "made")
    monkeypatch.undo()
    broken = replace(FORMATS["onnx"], write=lambda model, path: 1 / 0)
    monkeypatch.setitem(FORMATS, "onnx", broken)
    with pytest.raises(RunError, match=r"made: model.onnx cannot be written \(division by zero\)"):
        export(run, "onnx", tmp_path / "made")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis"]


def test_a_link_out_of_the_run_is_not_followed(run, tmp_path):
    linked = Run(shutil.copytree(run.directory, tmp_path / "run"))
    shutil.rmtree(linked.exports, ignore_errors=True)
    (tmp_path / "home" / "onnx").mkdir(parents=True)
    linked.exports.symlink_to(tmp_path / "home")
    with pytest.raises(RunError, match="exports: this link points outside the run"):
        export(linked, "onnx")
    assert (tmp_path / "home" / "onnx").exists()


def test_an_export_that_differs_is_refused(run, tmp_path, monkeypatch):
    monkeypatch.setattr(exports, "_write_model", lambda *_: None)
    monkeypatch.setattr(exports, "_run_code", lambda *_: np.zeros((32, 3, 2), np.float32))
    with pytest.raises(
        RunError, match="the forecasts of the export would differ from those of the run by .* of the largest forecast"
    ):
        export(run, "keras", tmp_path / "made")


def test_what_is_missing_is_named(run, monkeypatch):
    with pytest.raises(RunError, match=r"there is no format `onx`.\n  Did you mean `onnx`\?"):
        export(run, "onx")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "tf2onnx" else object())
    with pytest.raises(
        ForecastError, match=r"Export to onnx needs `tf2onnx`, which is not installed.\n  In the source .*: pip install .*export"
    ):
        export(run, "onnx")
