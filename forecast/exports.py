"""`export`: a run as a file of another program's format, scaling included, checked against the run before it is announced."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from forecast.errors import RunError, check_installed, did_you_mean
from forecast.models.numpy_runtime import difference
from forecast.prediction import RECENT_WINDOWS, Trained, last_windows, read_trained, recent_panel
from forecast.runs import Run
from forecast.windows import gather

if TYPE_CHECKING:
    from forecast.models.backend import keras

EXAMPLES = 32  # windows that an export is checked on and brings along
TOLERANCE = 1e-4  # of the largest scaled forecast: values are float32 from the first step on, which the run's are not


@dataclass(frozen=True)
class Export:
    """A folder that holds a run in another format; `difference` is the largest to the run's forecasts, in units of the file."""

    directory: Path
    difference: float
    windows: int  # that it was checked on


@dataclass(frozen=True)
class Format:
    """How a run is written as `file`, and the lines of Python that run it, for its user as for our check."""

    file: str
    packages: list[str]
    write: Callable[[keras.Model, Path], None]
    code: list[str]  # `example` is a mapping of inputs, `forecast` the result


def export(run: Run | str | Path, to: str, output: str | Path | None = None) -> Export:
    """Write a run's network, with scaling and its inverse inside, in the format `to`: a key of `FORMATS`.

    output: a new or empty folder; None takes `exports/TO` in the run, whose last export it replaces.

    Raises:
        RunError: the run is damaged, the folder is taken, or the file would forecast something else than the run.
        ForecastError: a package that writes the format is not installed.
    """
    if to not in FORMATS:
        raise RunError(f"there is no format `{to}`.", did_you_mean(to, FORMATS))
    run = run if isinstance(run, Run) else Run.open(run)
    trained, target = read_trained(run), Path(output or run.exports / to)
    if output and target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise RunError("--output is neither new nor an empty folder.", "Choose another.", str(target))
    if not output and run.directory.resolve() not in target.resolve().parents:
        raise RunError("leads out of the run.", "Remove this link.", str(run.exports))
    form = FORMATS[to]
    check_installed(f"Export to {to}", ["keras", *form.packages], "export")
    example, expected = _examples(run, trained)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=target.parent) as folder:
            made = Path(folder) / to
            made.mkdir()
            np.savez(made / "example.npz", **example)
            _write_model(trained, form, made / form.file)
            got = _run_code(form, made)
            apart = _check(trained, got, expected, example)
            _write_notes(made, run, trained, form, apart)
            shutil.rmtree(target, ignore_errors=True)
            made.replace(target)
    except OSError as error:
        raise RunError(f"cannot be written ({error}).", "Check the folder, its permissions and the disk.", str(target)) from None
    return Export(target, apart, len(expected))


def _examples(run: Run, trained: Trained) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Inputs in the units of the file, spread over the windows that the run keeps, and what the run forecasts from them."""
    panel = recent_panel(run, trained)
    windows, series = last_windows(panel, trained, RECENT_WINDOWS)
    chosen = np.linspace(0, len(windows) - 1, min(len(windows), EXAMPLES)).astype(np.int64)
    past = gather(panel.values, windows.first[chosen] - windows.lookback, windows.lookback)
    expected = trained.scaler.undo(trained.forward("numpy")(windows.inputs(chosen)), series[chosen])
    example = {"past": past.astype(np.float32)}
    if len(trained.scaler.series_ids) > 1:
        example["series"] = series[chosen, None].astype(np.int32)
    return example, expected


def _write_model(trained: Trained, form: Format, path: Path) -> None:
    from forecast.models.backend import keras, silent_stderr

    if keras.backend.backend() != "tensorflow" and form is not FORMATS["keras"]:
        raise RunError(f"this export needs TensorFlow, but Keras runs on {keras.backend.backend()}.", "Unset KERAS_BACKEND.")
    with silent_stderr():  # converters talk about what they do
        logging.disable(logging.WARNING)
        try:
            form.write(_graph(trained), path)
        finally:
            logging.disable(logging.NOTSET)


def _graph(trained: Trained) -> keras.Model:
    """Past values, and the index of their series where there are several, to forecasts; both in the units of the file."""
    from forecast.models.backend import keras
    from forecast.models.keras_builder import load_keras

    scaler, network = trained.scaler, trained.network
    past = keras.Input((network.lookback, network.channels), name="past")
    inputs = {"past": past}
    if len(scaler.series_ids) > 1:
        series = inputs["series"] = keras.Input((1,), dtype="int32", name="series")
    else:
        series = keras.ops.zeros_like(past[:, 0, :1], dtype="int32")

    def of_series(name: str, table: np.ndarray) -> keras.KerasTensor:
        lookup = keras.layers.Embedding(*table.shape, name=name, trainable=False)
        lookup.build()
        lookup.set_weights([table])
        return lookup(series)  # (batch, 1, channels)

    offset, scale = of_series("offset", scaler.offset), of_series("scale", scaler.scale)
    values = keras.ops.log(past + 1) if scaler.transform == "log1p" else past  # ONNX knows no log1p
    scaled = load_keras(network, trained.weights, portable=True)((values - offset) / scale)
    targets = network.forecast[1]
    forecast = scaled * scale[..., :targets] + offset[..., :targets]  # (batch, horizon, targets)
    return keras.Model(inputs, keras.ops.exp(forecast) - 1 if scaler.transform == "log1p" else forecast)


def _write_onnx(model: keras.Model, path: Path) -> None:
    model.export(path, format="onnx", input_signature=_signature(model, None), verbose=False)


def _write_litert(model: keras.Model, path: Path) -> None:
    """One window at a time: with a batch of unknown size the loops of recurrent layers need operations that LiteRT lacks."""
    import tensorflow as tf

    own = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    model.export(path, format="litert", input_signature=_signature(model, 1), target_spec=own, verbose=False)


def _signature(model: keras.Model, batch: int | None) -> list:
    from forecast.models.backend import keras

    return [{name: keras.InputSpec(x.dtype, (batch, *x.shape[1:]), name=name) for name, x in model.input.items()}]


def _run_code(form: Format, folder: Path) -> np.ndarray:
    """What the export forecasts, as its user will see it: in a process of its own, which does not know this package."""
    lines = [*_code(form), "np.save('forecast.npy', forecast)"]
    done = subprocess.run([sys.executable, "-P", "-c", "\n".join(lines)], cwd=folder, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        found = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise RunError(f"the exported file does not run ({found[0]}).", "Try another format, and report this one.", form.file)
    result = folder / "forecast.npy"
    forecast = np.load(result, allow_pickle=False)
    result.unlink()
    return forecast


def _check(trained: Trained, got: np.ndarray, expected: np.ndarray, example: dict[str, np.ndarray]) -> float:
    """The largest difference between export and run, in the units of the file; compared after scaling, where all are alike."""
    series = example["series"][:, 0] if "series" in example else np.zeros(len(expected), int)
    apart = difference(*(trained.scaler.apply(values, series) for values in (got, expected)))
    if not apart <= TOLERANCE:
        raise RunError(
            f"the exported file would forecast differently, by {apart:.1e} of the largest forecast.",
            "Its values are float32: where they are large beside their changes, subtract a constant and train again.",
        )
    return float(np.abs(got - expected).max())


def _code(form: Format) -> list[str]:
    return [form.code[0], 'example = dict(np.load("example.npz"))', *form.code[1:]]


def _write_notes(folder: Path, run: Run, trained: Trained, form: Format, apart: float) -> None:
    ids, batch = trained.scaler.series_ids, "1" if form is FORMATS["litert"] else "batch"
    if len(ids) > 1:
        pd.DataFrame({"series_id": ids}).to_csv(folder / "series.csv", index_label="series")
    notes = NOTES.format(
        run=run.name,
        file=form.file,
        batch=batch,
        lookback=trained.network.lookback,
        channels=trained.network.channels,
        horizon=trained.network.forecast[0],
        targets=trained.network.forecast[1],
        freq=trained.known["freq"],
        columns=", ".join(f"`{name}`" for name in trained.config.data.target),
        series=SERIES_NOTE.format(batch=batch) if len(ids) > 1 else "",
        code="\n".join(_code(form)),
        apart=apart,
    )
    (folder / "README.md").write_text(notes, encoding="utf-8")


NOTES = """# {run}: `{file}`

| | type and shape | what it is |
| --- | --- | --- |
| input `past` | float32 `({batch}, {lookback}, {channels})` | the last {lookback} steps, oldest first, one step of {freq} apart |
{series}| output | float32 `({batch}, {horizon}, {targets})` | the next {horizon} steps |

Columns: {columns}, in the units of the training data; scaling happens inside.

`example.npz` holds inputs from the end of the training data. In this folder, this forecasts from them:

```python
{code}
```

Checked so: on these windows the largest difference to the run's own forecasts was {apart:.1e}.
"""
SERIES_NOTE = "| input `series` | int32 `({batch}, 1)` | whose steps these are: the number of the series in `series.csv` |\n"


FORMATS = {
    "onnx": Format(
        "model.onnx",
        ["tf2onnx", "onnx", "onnxruntime"],
        _write_onnx,
        [
            "import numpy as np, onnxruntime",
            'forecast = onnxruntime.InferenceSession("model.onnx").run(None, example)[0]',
        ],
    ),
    "keras": Format(
        "model.keras",
        [],
        lambda model, path: model.save(path),
        [
            "import keras, numpy as np",
            'forecast = keras.saving.load_model("model.keras").predict(example, verbose=0)',
        ],
    ),
    "saved_model": Format(
        "model",
        [],
        lambda model, path: model.export(path, format="tf_saved_model", verbose=False),
        [
            "import numpy as np, tensorflow as tf",
            'model = tf.saved_model.load("model")',
            "forecast = model.serve(example).numpy()",
        ],
    ),
    "litert": Format(
        "model.tflite",
        ["ai_edge_litert"],
        _write_litert,
        [
            "import numpy as np; from ai_edge_litert.interpreter import Interpreter",
            'model = Interpreter("model.tflite").get_signature_runner()',
            "windows = [{name: values[i : i + 1] for name, values in example.items()} for i in range(len(example['past']))]",
            "forecast = np.concatenate([model(**window)['output_0'] for window in windows])",
        ],
    ),
}
