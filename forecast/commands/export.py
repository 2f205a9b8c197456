"""`export`: a run as a file of another program's format, scaling included, checked against the run before it is announced."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from forecast.errors import RunError, check_installed, did_you_mean
from forecast.forecasters.network.description import CATEGORIES
from forecast.forecasters.network.numpy_runtime import relative_difference
from forecast.runs import RECENT_WINDOWS, Run, Trained, make_continuing_windows, read_rows_to_continue, read_trained

if TYPE_CHECKING:
    from forecast.forecasters.network.backend import keras
    from forecast.windows import Windows

EXAMPLES = 32  # windows that an export is checked on and brings along
MOST_COPIES = 100  # of a network that continues its own forecasts
EXPORT_TOLERANCE = 1e-4  # of `relative_difference`; an export scales in float32, the run in float64
README, EXAMPLE, EXPECTED, SERIES = "README.md", "example.npz", "expected.npy", "series.csv"  # beside the model


@dataclass(frozen=True)
class Export:
    """A folder that holds a run in another format, and how far its forecasts are from the run's."""

    directory: Path
    windows: int  # that it was checked on
    difference: float  # the largest, in the units of the file
    difference_scaled: float  # the largest after scaling, as a fraction of the largest forecast


@dataclass(frozen=True)
class Format:
    """How a run is written, and the Python that runs it, for its user as for our check.

    imports, lines: they turn `example`, a mapping of inputs, into `forecast`.
    batch: windows that the model takes at once; None is any number.
    runs_with: packages that the lines need; writes_with: those that writing needs beside Keras.
    """

    file: str
    write: Callable[[keras.Model, Path], None]
    imports: str
    lines: list[str]
    runs_with: list[str]
    writes_with: list[str] = field(default_factory=list)
    batch: int | None = None
    needs_tensorflow: bool = True

    @property
    def code(self) -> str:
        """A whole program, to be run in the folder of the export."""
        return "\n".join([self.imports, "import numpy as np", f'example = dict(np.load("{EXAMPLE}"))', *self.lines])


def export(
    run: Run | str | Path, to: str, output: str | Path | None = None, on_progress: Callable[[str], None] | None = None
) -> Export:
    """Write a run's network, with scaling and its inverse inside, in the format `to`: a key of `FORMATS`.

    output: a folder that is new, empty, or holds an earlier export; None takes `exports/TO` in the run.
    on_progress: told each stage that takes seconds.

    Raises:
        RunError: the run is damaged, the folder is taken, or the file would forecast something else than the run.
        ForecastError: a package that the format needs is not installed.
    """
    if to not in FORMATS:
        raise RunError(f"there is no format `{to}`.", did_you_mean(to, FORMATS))
    run, form, tell = run if isinstance(run, Run) else Run.open(run), FORMATS[to], on_progress or (lambda stage: None)
    trained, target = read_trained(run), Path(output or run.exports / to)
    if trained.horizon > MOST_COPIES * trained.network.horizon:
        found = f"an export would hold the network {trained.horizon} times, once for each step."
        raise RunError(found, "Train with another model.decoder, or forecast with this program.", str(run.directory))
    _check_target(target, form, None if output else run)
    check_installed(f"Export to {to}", ["keras", *form.writes_with], "export" if form.writes_with else None)
    windows, example, expected = _examples(run, trained)
    with _writing(target), tempfile.TemporaryDirectory(prefix=".export-", dir=target.parent) as folder:
        made = Path(folder) / to
        made.mkdir()
        np.savez(made / EXAMPLE, **example)
        np.save(made / EXPECTED, expected)
        tell(f"writing {form.file}")
        _write_model(trained, windows.static, form, made / form.file, target)
        tell("running it in a fresh process")
        got = _run_code(form, made, target)
        scaled = relative_difference(*(trained.scaler.apply(values, windows.series) for values in (got, expected)))
        if not scaled <= EXPORT_TOLERANCE:
            raise RunError(
                f"the exported file would forecast differently, by {scaled:.1e} of the largest forecast.",
                "It computes in float32: where values are large beside their changes, subtract a constant and train again.",
                str(target),
            )
        result = Export(target, len(expected), float(np.abs(got - expected).max()), scaled)
        _write_notes(made, run, trained, form, result)
        shutil.rmtree(target, ignore_errors=True)
        made.replace(target)
    return result


def _check_target(target: Path, form: Format, run: Run | None) -> None:
    """Nothing is replaced but an earlier export; `run` is given where the export stays in it, and no link may lead it out."""
    if run and Path(os.path.realpath(target)) != Path(os.path.realpath(run.directory)) / run.exports.name / target.name:
        raise RunError("leads elsewhere.", "Remove this link.", str(run.exports))
    if not target.exists():
        return
    ours = {README, EXAMPLE, EXPECTED, SERIES, form.file}
    others = [path.name for path in target.iterdir() if path.name not in ours] if target.is_dir() else [target.name]
    if others:
        raise RunError(f"`{others[0]}` is there, which no export wrote.", "Choose another --output.", str(target))


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[None]:
    """The folder in which `target` is made; what the system says of it becomes a message."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise RunError(f"cannot be written ({error}).", "Check the folder, its permissions and the disk.", str(target)) from None


def _examples(run: Run, trained: Trained) -> tuple[Windows, dict[str, np.ndarray], np.ndarray]:
    """Windows spread over those that the run keeps, the inputs of an export for them in the units of the file, and forecasts."""
    panel = read_rows_to_continue(run, trained, None)
    trained = trained.for_panel(panel)
    before = trained.horizon if trained.known_channels else 0  # so that the covariates over the horizon are in these rows, too
    windows = make_continuing_windows(panel, trained, max_windows=RECENT_WINDOWS, before=before).sample_evenly(EXAMPLES)
    expected, _ = trained.forecast(windows, trained.forward("numpy"))
    in_units = replace(
        windows, past=panel.values, known_covariates=panel.values[:, len(panel.columns) - panel.known_channels :], static={}
    )
    example = {name: values.astype(np.float32) for name, values in in_units.inputs().items()}
    if len(trained.scaler.series_ids) > 1:
        example["series"] = windows.series[:, None].astype(np.int32)
    return windows, example, expected


def _write_model(trained: Trained, static: Mapping[str, np.ndarray], form: Format, path: Path, target: Path) -> None:
    from forecast.forecasters.network.backend import keras, silence_stderr

    if form.needs_tensorflow and keras.backend.backend() != "tensorflow":
        raise RunError(f"this export needs TensorFlow, but Keras runs on {keras.backend.backend()}.", "Unset KERAS_BACKEND.")
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # converters talk about what they do
    try:
        with silence_stderr():
            form.write(_graph(trained, static), path)
    except Exception as error:  # they raise what they like; --debug shows it
        found = str(error).strip().splitlines() or [type(error).__name__]
        raise RunError(f"{form.file} cannot be written ({found[0]:.200}).", "Try another format.", str(target)) from error
    finally:
        logging.disable(before)


def _graph(trained: Trained, static: Mapping[str, np.ndarray]) -> keras.Model:
    """Past values, and the index of their series where there are several, to forecasts; both in the units of the file.

    static: the network's inputs that stay the same in all rows of a series, which the graph looks up.
    """
    from forecast.forecasters.network.backend import keras
    from forecast.forecasters.network.keras_builder import load_keras
    from forecast.forecasters.network.layers.interface import add

    scaler, network = trained.scaler, trained.network
    targets, known, horizon = network.forecast[1], trained.known_channels, trained.horizon
    inputs = {"past": keras.Input((network.lookback, network.channels), name="past")}
    if known:
        inputs["known"] = keras.Input((horizon, known), name="known")
    if len(scaler.series_ids) > 1:
        series = inputs["series"] = keras.Input((1,), dtype="int32", name="series")
    else:
        series = keras.ops.zeros_like(inputs["past"][:, 0, :1], dtype="int32")

    def of_series(name: str, table: np.ndarray) -> keras.KerasTensor:
        lookup = keras.layers.Embedding(*table.shape, name=name, trainable=False)
        lookup.build()
        lookup.set_weights([table])
        return lookup(series)  # (batch, 1, columns)

    offset, scale = of_series("offset", scaler.offset), of_series("scale", scaler.scale)
    values = inputs["past"]
    if scaler.transform == "log1p":  # ONNX knows no log1p
        logs = keras.ops.log(values[..., :targets] + 1)
        values = keras.ops.concatenate([logs, values[..., targets:]], axis=-1) if network.channels > targets else logs
    past = (values - offset) / scale
    ahead = (inputs["known"] - offset[..., -known:]) / scale[..., -known:] if known else None
    beside = {
        name: keras.ops.cast(of_series(name, table)[:, 0], "int32" if name == CATEGORIES else "float32")
        for name, table in static.items()
    }
    models = [load_keras(network, weights, portable=True) for weights in trained.members]
    forecast = _unrolled(
        lambda seen: _median([network.point(model(seen)) for model in models]), past, ahead, beside, horizon, network.horizon
    )
    forecast = add(forecast * scale[..., :targets], offset[..., :targets])  # (batch, horizon, targets)
    return keras.Model(inputs, keras.ops.exp(forecast) - 1 if scaler.transform == "log1p" else forecast)


def _unrolled(
    model: Callable[[dict[str, keras.KerasTensor]], keras.KerasTensor],
    past: keras.KerasTensor,
    ahead: keras.KerasTensor | None,
    beside: dict[str, keras.KerasTensor],
    horizon: int,
    block: int,
) -> keras.KerasTensor:
    """The network as often as the horizon needs it, each time continuing its own forecast, as `Windows.forecast_with` does."""
    from forecast.forecasters.network.backend import keras

    lookback, blocks = past.shape[1], []
    for begin in range(0, horizon, block):
        known = {} if ahead is None else {"known": ahead[:, begin : begin + block]}
        blocks.append(model({"past": past, **known, **beside}))
        if begin + block < horizon:
            happened = keras.ops.concatenate([blocks[-1], *known.values()], axis=-1) if known else blocks[-1]
            past = keras.ops.concatenate([past, happened], axis=1)[:, -lookback:]
    return keras.ops.concatenate(blocks, axis=1) if len(blocks) > 1 else blocks[0]


def _median(forecasts: list[keras.KerasTensor]) -> keras.KerasTensor:
    from forecast.forecasters.network.backend import keras
    from forecast.forecasters.network.layers.interface import add

    if len(forecasts) == 1:
        return forecasts[0]
    ranked, middle = keras.ops.sort(keras.ops.stack(forecasts, axis=-1), axis=-1), len(forecasts) // 2
    return ranked[..., middle] if len(forecasts) % 2 else add(ranked[..., middle - 1], ranked[..., middle]) / 2


def _write_onnx(model: keras.Model, path: Path) -> None:
    model.export(path, format="onnx", input_signature=_signature(model, None), verbose=False)


def _write_saved_model(model: keras.Model, path: Path) -> None:
    model.export(path, format="tf_saved_model", verbose=False)


def _write_litert(model: keras.Model, path: Path) -> None:
    """For one window at a time: with a batch of unknown size, recurrent layers need operations that LiteRT lacks."""
    import tensorflow as tf

    own = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    model.export(path, format="litert", input_signature=_signature(model, 1), target_spec=own, verbose=False)


def _signature(model: keras.Model, batch: int | None) -> list:
    from forecast.forecasters.network.backend import keras

    return [{name: keras.InputSpec(x.dtype, (batch, *x.shape[1:]), name=name) for name, x in model.input.items()}]


def _run_code(form: Format, folder: Path, target: Path) -> np.ndarray:
    """What the export forecasts, in a process of its own that imports nothing of this package."""
    result = folder / "forecast.npy"
    code = f"{form.code}\nnp.save('{result.name}', forecast)"
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", errors="replace")  # noqa: S603
    if done.returncode:
        found = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise RunError(f"{form.file} was written, but does not run ({found[0]:.200}).", "Try another format.", str(target))
    forecast = np.load(result, allow_pickle=False)
    result.unlink()
    return forecast


def _write_notes(folder: Path, run: Run, trained: Trained, form: Format, result: Export) -> None:
    ids, columns, network = trained.scaler.series_ids, trained.scaler.columns, trained.network
    if len(ids) > 1:
        pd.DataFrame({"series_id": ids}).to_csv(folder / SERIES, index_label="series")
    sizes = {
        "batch": form.batch or "batch",
        "lookback": network.lookback,
        "channels": network.channels,
        "known": trained.known_channels,
    }
    sizes |= {"horizon": trained.horizon, "targets": network.forecast[1], "freq": trained.contract.freq}
    ahead = ", ".join(f"`{name}`" for name in columns[len(columns) - trained.known_channels :])
    own_rows = OWN_ROWS.format(chosen=columns, series_line=SERIES_LINE if len(ids) > 1 else "", **sizes)
    notes = NOTES.format(
        run=run.name,
        file=form.file,
        columns=", ".join(f"`{name}`" for name in columns),
        forecast_columns=", ".join(f"`{name}`" for name in trained.config.data.target),
        known_row=KNOWN_ROW.format(ahead=ahead, **sizes) if trained.known_channels else "",
        series_row=SERIES_ROW.format(**sizes) if len(ids) > 1 else "",
        calendar=CALENDAR if trained.config.data.calendar else "",
        one=ONE_WINDOW if form.batch == 1 else "",
        packages=", ".join(f"{name} {metadata.version(name)}" for name in ["numpy", *form.runs_with]),
        code=form.code,
        difference=result.difference,
        own_rows="" if trained.known_channels else own_rows,
        **sizes,
    )
    (folder / README).write_text(notes, encoding="utf-8")


NOTES = """# {run}: `{file}`

| | type and shape | what it is |
| --- | --- | --- |
| input `past` | float32 `({batch}, {lookback}, {channels})` | the last {lookback} steps, oldest first: {columns} |
{known_row}{series_row}| output | float32 `({batch}, {horizon}, {targets})` | the next {horizon} steps: {forecast_columns} |

All values are in the units of the training data; scaling happens inside. Steps follow each other without gaps at the pandas
frequency `{freq}`, and no cell may be empty: one NaN makes the whole forecast NaN. {calendar}{one}

`example.npz` holds inputs from the end of the training data, and `expected.npy` what the run forecasts from them. In this
folder, with {packages}:

```python
{code}
print(np.abs(forecast - np.load("expected.npy")).max())  # {difference:.2g} when this was written
```
{own_rows}"""
OWN_ROWS = """
For rows of your own, put in place of `example`:

```python
import pandas as pd
rows = pd.read_csv("newer.csv")[{chosen}].tail({lookback})
example = {{"past": rows.to_numpy("float32")[None]}}{series_line}
```
"""
KNOWN_ROW = "| input `known` | float32 `({batch}, {horizon}, {known})` | the {horizon} steps to forecast: {ahead} |\n"
CALENDAR = "Calendar columns are the sine and cosine of 2 pi times the part of the day, week, month or year that is over. "
SERIES_ROW = "| input `series` | int32 `({batch}, 1)` | whose steps these are: a number in `series.csv`; there is no other |\n"
SERIES_LINE = '\nexample["series"] = np.array([[0]], "int32")  # rows of one series at a time: the first one in series.csv'
ONE_WINDOW = "This format takes one window at a time."
FORMATS = {
    "onnx": Format(
        file="model.onnx",
        write=_write_onnx,
        imports="import onnxruntime",
        lines=['forecast = onnxruntime.InferenceSession("model.onnx").run(None, example)[0]'],
        runs_with=["onnxruntime"],
        writes_with=["tf2onnx", "onnx", "onnxruntime"],
    ),
    "keras": Format(
        file="model.keras",
        write=lambda model, path: model.save(path),
        imports="import keras",
        lines=['forecast = keras.saving.load_model("model.keras").predict(example, verbose=0)'],
        runs_with=["keras"],
        needs_tensorflow=False,
    ),
    "saved_model": Format(
        file="model",
        write=_write_saved_model,
        imports="import tensorflow as tf",
        lines=['model = tf.saved_model.load("model")', "forecast = model.serve(example).numpy()"],
        runs_with=["tensorflow"],
    ),
    "litert": Format(
        file="model.tflite",
        write=_write_litert,
        imports="from ai_edge_litert.interpreter import Interpreter",
        lines=[
            'model = Interpreter("model.tflite").get_signature_runner()',
            "windows = [{name: values[[i]] for name, values in example.items()} for i in range(len(example['past']))]",
            "forecast = np.concatenate([model(**window)['output_0'] for window in windows])",
        ],
        runs_with=["ai-edge-litert"],
        writes_with=["ai_edge_litert"],
        batch=1,
    ),
}
