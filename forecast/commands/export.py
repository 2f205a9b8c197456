"""`export`: write a run in the format of another program, scaling included, and check that it forecasts the same."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from forecast.errors import RunError, check_installed, did_you_mean
from forecast.forecasters.network.description import CATEGORIES, Array
from forecast.forecasters.network.numpy_runtime import relative_difference
from forecast.runs import RECENT_WINDOWS, Run, Trained, make_continuing_windows, read_rows_to_continue, read_trained
from forecast.storage import translate_write_errors

if TYPE_CHECKING:
    from forecast.forecasters.network.backend import keras
    from forecast.windows import Windows

log = logging.getLogger(__name__)
MAX_EXAMPLES = 32  # Windows on which an export is checked, and which it contains.
MAX_COPIES = 100  # Copies of a network that continues its own forecasts.
EXPORT_TOLERANCE = 1e-4  # The largest `relative_difference`. An export scales in float32, the run in float64.
README, EXAMPLE, EXPECTED, SERIES = "README.md", "example.npz", "expected.npy", "series.csv"  # Files beside the model.


@dataclass(frozen=True)
class Export:
    """A folder with a run in another format, and how far its forecasts are from those of the run."""

    directory: Path
    windows: int  # Windows on which it was checked.
    difference: float  # The largest, in original units.
    difference_scaled: float  # The largest after scaling, as a fraction of the largest forecast.


@dataclass(frozen=True)
class Format:
    """A file format: a function that writes a Keras model to a file, and Python code that runs the file.

    imports, lines: code that computes `forecast` from `example`, a mapping of inputs.
    runs_with: packages that the code needs. writes_with: packages that writing needs besides Keras.
    batch: number of windows that the file takes at once. None means any number.
    """

    file: str
    write: Callable[[keras.Model, Path], None]
    imports: str
    lines: str
    runs_with: str
    writes_with: list[str] = field(default_factory=list)
    batch: int | None = None
    needs_tensorflow: bool = True

    @property
    def code(self) -> str:
        """Return a complete program, to be run in the folder of the export."""
        return f'{self.imports}\nimport numpy as np\nexample = dict(np.load("{EXAMPLE}"))\n{self.lines}'


def export(
    run: Run | str | Path, to: str, output: str | Path | None = None, on_progress: Callable[[str], None] | None = None
) -> Export:
    """Write the network of a run, with scaling and its inverse, in the format `to`: onnx, keras, saved_model or litert.

    output: a folder that is new, empty, or holds an earlier export. None means `exports/TO` in the run.
    on_progress: called with the name of each stage that takes seconds.

    Raises:
        RunError: the run is damaged, the folder holds other files, or the export would forecast differently.
        ForecastError: a package that the format needs is not installed.
    """
    if to not in FORMATS:
        raise RunError(f"there is no format `{to}`.", did_you_mean(to, FORMATS))
    run, form = run if isinstance(run, Run) else Run.open(run), FORMATS[to]
    report, trained, target = on_progress or (lambda stage: None), read_trained(run), Path(output or run.exports / to)
    if trained.horizon > MAX_COPIES * trained.network.horizon:
        problem = f"the export would contain {trained.horizon} copies of the network, one for each step."
        raise RunError(problem, "Train with another model.decoder, or use forecast predict.", str(run.directory))
    _check_target(target, form, None if output else run)
    if trained.combination:
        log.warning("%s: exports contain only the network. `forecast predict` combines it with baselines.", run.directory)
    check_installed(f"Export to {to}", ["keras", *form.writes_with], "export" if form.writes_with else None)
    windows, example, expected = make_examples(run, trained)
    with translate_write_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=target.parent) as temporary:
            folder = Path(temporary) / to
            folder.mkdir()
            np.savez(folder / EXAMPLE, allow_pickle=False, **example)
            np.save(folder / EXPECTED, expected)
            report(f"writing {form.file}")
            _write_model(trained, windows.static, form, folder / form.file, target)
            report("checking it in a new process")
            forecast = _run_code(form, folder, target)
            scaled = relative_difference(*(trained.scaler.apply(values, windows.series) for values in (forecast, expected)))
            if not scaled <= EXPORT_TOLERANCE:
                raise RunError(
                    f"the forecasts of the export would differ from those of the run by {scaled:.1e} of the largest forecast.",
                    "Exports compute in float32. If values are large compared with their changes, subtract a constant and train"
                    " again.",
                    str(target),
                )
            result = Export(target, len(expected), float(np.abs(forecast - expected).max()), scaled)
            _write_readme(folder, run, trained, form, result)
            shutil.rmtree(target, ignore_errors=True)
            folder.replace(target)
    return result


def _check_target(target: Path, form: Format, run: Run | None) -> None:
    """Refuse to replace anything but an earlier export. run: the one that holds the export, if a link must not lead out of it."""
    if run and Path(os.path.realpath(target)) != Path(os.path.realpath(run.directory)) / run.exports.name / target.name:
        raise RunError("this link points outside the run.", "Remove it.", str(run.exports))
    if not target.exists():
        return
    exported = {README, EXAMPLE, EXPECTED, SERIES, form.file}
    foreign = [path.name for path in target.iterdir() if path.name not in exported] if target.is_dir() else [target.name]
    if foreign:
        raise RunError(f"`{foreign[0]}` does not belong to an export.", "Choose another --output.", str(target))


def make_examples(run: Run, trained: Trained) -> tuple[Windows, dict[str, Array], Array]:
    """Return evenly spaced windows of the rows that a run holds, the inputs of an export for them, and the forecasts of the run.

    Inputs and forecasts are in original units.
    """
    panel = read_rows_to_continue(run, trained, None)
    trained = trained.for_panel(panel)
    before = trained.horizon if trained.known_channels else 0  # These rows hold the known covariates over the horizon.
    windows = make_continuing_windows(panel, trained, max_windows=RECENT_WINDOWS, before=before).sample_evenly(MAX_EXAMPLES)
    expected, _ = trained.forecast(windows, trained.forward("numpy"))
    known_covariates = panel.values[:, len(panel.columns) - panel.known_channels :]
    unscaled = replace(windows, past=panel.values, known_covariates=known_covariates, static={})
    example: dict[str, Array] = {name: values.astype(np.float32) for name, values in unscaled.inputs().items()}
    if len(trained.scaler.series_ids) > 1:
        example["series"] = windows.series[:, None].astype(np.int32)
    return windows, example, expected


def _write_model(trained: Trained, static: Mapping[str, Array], form: Format, path: Path, target: Path) -> None:
    from forecast.forecasters.network.backend import keras, silence_stderr

    if form.needs_tensorflow and keras.backend.backend() != "tensorflow":
        raise RunError(f"this export needs TensorFlow, but Keras runs on {keras.backend.backend()}.", "Unset KERAS_BACKEND.")
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # Converters log every step.
    try:
        with silence_stderr():
            form.write(build_graph(trained, static), path)
    except Exception as error:  # Converters raise errors of any kind.
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise RunError(f"{form.file} cannot be written ({lines[0]:.200}).", "Try another format.", str(target)) from error
    finally:
        logging.disable(before)


def build_graph(trained: Trained, static: Mapping[str, Array]) -> keras.Model:
    """Build the model from past values, and the index of their series if there are several, to forecasts, in original units.

    static: inputs of the network that are the same in all rows of a series, which the model looks up.
    """
    from forecast.forecasters.network.backend import keras
    from forecast.forecasters.network.keras_builder import load_keras
    from forecast.forecasters.network.layers.interface import add

    scaler, network = trained.scaler, trained.network
    targets, horizon, known_channels = network.forecast[1], trained.horizon, trained.known_channels
    values = keras.Input((network.lookback, network.channels), name="past")
    inputs = {"past": values} | ({"known": keras.Input((horizon, known_channels), name="known")} if known_channels else {})
    if len(scaler.series_ids) > 1:
        series = inputs["series"] = keras.Input((1,), dtype="int32", name="series")
    else:
        series = keras.ops.zeros_like(values[:, 0, :1], dtype="int32")

    def look_up(name: str, table: Array) -> keras.KerasTensor:
        lookup = keras.layers.Embedding(*table.shape, name=name, trainable=False)
        lookup.build()
        lookup.set_weights([table])
        return lookup(series)  # (batch, 1, columns)

    offset, scale = look_up("offset", scaler.offset), look_up("scale", scaler.scale)
    if scaler.transform == "log1p":  # ONNX has no log1p.
        logs = keras.ops.log(values[..., :targets] + 1)
        values = keras.ops.concatenate([logs, values[..., targets:]], axis=-1) if network.channels > targets else logs
    past = (values - offset) / scale
    ahead = (inputs["known"] - offset[..., -known_channels:]) / scale[..., -known_channels:] if known_channels else None
    constants = {
        name: keras.ops.cast(look_up(name, table)[:, 0], "int32" if name == CATEGORIES else "float32")
        for name, table in static.items()
    }
    models = [load_keras(network, weights, portable=True) for weights in trained.members]
    blocks: list[keras.KerasTensor] = []
    for begin in range(0, horizon, network.horizon):  # Each block continues the forecast, as `roll_out` does.
        if blocks:
            happened = [blocks[-1]] if ahead is None else [blocks[-1], ahead[:, begin - network.horizon : begin]]
            past = keras.ops.concatenate([past, keras.ops.concatenate(happened, axis=-1)], axis=1)[:, -network.lookback :]
        known_block = {} if ahead is None else {"known": ahead[:, begin : begin + network.horizon]}
        blocks.append(_median([network.point(model({"past": past, **known_block, **constants})) for model in models]))
    forecast = keras.ops.concatenate(blocks, axis=1) if len(blocks) > 1 else blocks[0]
    forecast = add(forecast * scale[..., :targets], offset[..., :targets])  # (batch, horizon, targets)
    return keras.Model(inputs, keras.ops.exp(forecast) - 1 if scaler.transform == "log1p" else forecast)


def _median(forecasts: list[keras.KerasTensor]) -> keras.KerasTensor:
    from forecast.forecasters.network.backend import keras
    from forecast.forecasters.network.layers.interface import add

    if len(forecasts) == 1:
        return forecasts[0]
    ranked, middle = keras.ops.sort(keras.ops.stack(forecasts, axis=-1), axis=-1), len(forecasts) // 2
    return ranked[..., middle] if len(forecasts) % 2 else add(ranked[..., middle - 1], ranked[..., middle]) / 2


def _write_onnx(model: keras.Model, path: Path) -> None:
    model.export(path, format="onnx", input_signature=_signature(model, None), verbose=False)


def _write_litert(model: keras.Model, path: Path) -> None:
    """Write a model for one window at a time. For any batch size, recurrent layers need operations that LiteRT lacks."""
    import tensorflow as tf

    operations = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    model.export(path, format="litert", input_signature=_signature(model, 1), target_spec=operations, verbose=False)


def _signature(model: keras.Model, batch: int | None) -> list[dict[str, keras.InputSpec]]:
    from forecast.forecasters.network.backend import keras

    return [{name: keras.InputSpec(x.dtype, (batch, *x.shape[1:]), name=name) for name, x in model.input.items()}]


def _run_code(form: Format, folder: Path, target: Path) -> Array:
    """Return the forecasts of the export, computed in a process that does not import this package."""
    result = folder / "forecast.npy"
    command = [sys.executable, "-P", "-c", f"{form.code}\nnp.save('{result.name}', forecast)"]
    done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", errors="replace")  # noqa: S603
    if done.returncode:
        lines = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise RunError(f"{form.file} was written, but does not run ({lines[0]:.200}).", "Try another format.", str(target))
    forecast: Array = np.load(result, allow_pickle=False)
    result.unlink()
    return forecast


def _write_readme(folder: Path, run: Run, trained: Trained, form: Format, result: Export) -> None:
    from jinja2 import Environment

    columns, series_ids, data = trained.scaler.columns, trained.scaler.series_ids, trained.config.data
    if len(series_ids) > 1:
        pd.DataFrame({"series_id": series_ids}).to_csv(folder / SERIES, index_label="series")
    templates = Environment(trim_blocks=True, keep_trailing_newline=True)  # noqa: S701  # Markdown, not HTML.
    templates.filters["code"] = lambda names: ", ".join(f"`{name}`" for name in names)
    readme = templates.from_string(Path(__file__).with_name("export.md").read_text(encoding="utf-8")).render(
        run=run.name,
        form=form,
        batch=form.batch or "batch",
        lookback=trained.network.lookback,
        horizon=trained.horizon,
        freq=trained.contract.freq,
        columns=columns,
        known=columns[len(columns) - trained.known_channels :],
        targets=data.target,
        calendar=data.computed,
        several_series=len(series_ids) > 1,
        packages=[f"{name} {metadata.version(name)}" for name in ("numpy", form.runs_with)],
        difference=result.difference,
    )
    (folder / README).write_text(readme, encoding="utf-8")


FORMATS = {
    "onnx": Format(
        "model.onnx",
        write=_write_onnx,
        imports="import onnxruntime",
        lines='forecast = onnxruntime.InferenceSession("model.onnx").run(None, example)[0]',
        runs_with="onnxruntime",
        writes_with=["tf2onnx", "onnx", "onnxruntime"],
    ),
    "keras": Format(
        "model.keras",
        write=lambda model, path: model.save(path),
        imports="import keras",
        lines='forecast = keras.saving.load_model("model.keras").predict(example, verbose=0)',
        runs_with="keras",
        needs_tensorflow=False,
    ),
    "saved_model": Format(
        "model",
        write=lambda model, path: model.export(path, format="tf_saved_model", verbose=False),
        imports="import tensorflow as tf",
        lines='model = tf.saved_model.load("model")\nforecast = model.serve(example).numpy()',
        runs_with="tensorflow",
    ),
    "litert": Format(
        "model.tflite",
        write=_write_litert,
        imports="from ai_edge_litert.interpreter import Interpreter",
        lines="""model = Interpreter("model.tflite").get_signature_runner()
windows = [{name: values[[i]] for name, values in example.items()} for i in range(len(example["past"]))]
forecast = np.concatenate([model(**window)["output_0"] for window in windows])""",
        runs_with="ai-edge-litert",
        writes_with=["ai_edge_litert"],
        batch=1,
    ),
}
