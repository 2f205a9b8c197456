"""`train`: a config goes in, a run comes out."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from forecast import __version__
from forecast.baselines import Linear, fit_linear
from forecast.config import Config, load_config
from forecast.data import Panel, check_moves, contract, read_panel, season_length_of
from forecast.evaluation import forecast_all, predictions_table, score_all, skill, verdict
from forecast.models.description import Network, describe_network
from forecast.prediction import predict, recent_rows
from forecast.reports import write_plots
from forecast.runs import Run
from forecast.scaling import Scaler, check_scaled, fit_scaler
from forecast.splits import PARTS, Part, Splits, make_splits
from forecast.windows import Windows, check_windows, make_windows

if TYPE_CHECKING:
    import keras

    from forecast.models.fitting import Progress


@dataclass(frozen=True)
class Prepared:
    """Everything that exists before the first weight: read, checked, split, scaled and cut into windows."""

    panel: Panel
    splits: Splits
    scaler: Scaler
    windows: dict[Part, Windows]
    season_length: int


def train(
    config: Config | str | Path,
    run_dir: str | Path | None = None,
    force: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> Run:
    """Train the network that `config` (or the file it names) describes and write a run directory.

    run_dir: where; None takes the next free `runs/NAME-N`. force: replace the run that is there.
    on_progress: called after each batch and each epoch.

    Raises:
        ConfigError, DataError: nothing is written.
        RunError: the directory cannot be used, or training failed; the run's status says so.
    """
    config = config if isinstance(config, Config) else load_config(config)
    prepared = prepare(config)
    run = Run.create(config.name, run_dir, force)
    with run.recording() as log:
        _record_inputs(run, config, prepared)
        sizes = ", ".join(f"{len(windows)} {part}" for part, windows in prepared.windows.items())
        log.info(
            "%s: %d rows, %d series; windows: %s",
            config.data.path,
            len(prepared.panel.values),
            len(prepared.panel.series_ids),
            sizes,
        )
        linear = fit_linear(prepared.windows["train"], prepared.windows["validation"], config.model.normalization)
        network, model, kept = _fit_network(config, prepared, linear, run, on_progress)
        log.info("weights of epoch %d are kept; %d parameters", kept, network.parameters)
        scores = _score(run, prepared, model, linear)
        scores |= {"kept_epoch": kept, "parameters": network.parameters, "season_length": prepared.season_length}
        scores["linear_strength"] = dict(zip(prepared.panel.targets, linear.strength, strict=True))
        run.write_json(run.metrics, scores)
        run.write_table(run.forecast, predict(run))
        write_plots(run)
        log.info("test: %s", scores["verdict"])
    return run


def prepare(config: Config) -> Prepared:
    """Read the data, check that it can be used as the config says, fit the scaler and cut the windows.

    Raises:
        ConfigError, DataError
    """
    panel = read_panel(config.data)
    check_moves(panel, config.data.path)
    splits = make_splits(panel, config.splits)
    check_windows(panel, splits, config)
    scaler = fit_scaler(panel, splits, config.scaling)
    scaled = scaler.apply(panel.values, panel.series)
    check_scaled(panel, scaled)
    windows = {part: make_windows(panel, scaled, splits, part, config) for part in PARTS}
    return Prepared(panel, splits, scaler, windows, config.data.season_length or season_length_of(panel.freq))


def _record_inputs(run: Run, config: Config, prepared: Prepared) -> None:
    """Write all that is known before training starts."""
    run.write_text(run.config, config.to_yaml())
    panel = prepared.panel
    parts = {part: {"windows": len(windows)} for part, windows in prepared.windows.items()}
    run.write_json(run.contract, contract(panel, config.data.path) | {"parts": parts})
    run.write_json(run.scaler, prepared.scaler.to_json())
    run.write_json(run.environment, _environment())
    run.write_table(run.recent, recent_rows(panel, config.data, config.windows.lookback))


def _fit_network(
    config: Config, prepared: Prepared, linear: Linear, run: Run, on_progress: Callable[[Progress], None] | None
) -> tuple[Network, keras.Model, int]:
    """Build, train and save the network; returns its description, the Keras model, and the epoch that it keeps."""
    from forecast.models.fitting import fit
    from forecast.models.keras_builder import build_keras, get_weights, set_weights

    def report(progress: Progress) -> None:
        if progress.done == 1:
            run.append_history({name: value for name, value in asdict(progress).items() if name not in {"epochs", "done"}})
        if on_progress:
            on_progress(progress)

    train, validation = prepared.windows["train"], prepared.windows["validation"]
    past, forecast = (train.lookback, train.past.shape[1]), (train.horizon, train.future.shape[1])
    network = describe_network(config.model, past, forecast)
    model = build_keras(network, config.model, config.seed, config.training.mixed_precision)
    if config.model.linear_skip:
        skip = {"linear_skip/kernel": linear.kernel, "linear_skip/bias": linear.bias}
        set_weights(model, network, {name: values.astype(np.float32) for name, values in skip.items()})
    kept = fit(model, train, validation, config.training, config.seed, report)
    run.write_json(run.network, network.to_json())
    run.write_weights(get_weights(model, network))
    return network, model, kept


def _score(run: Run, prepared: Prepared, model: keras.Model, linear: Linear) -> dict:
    """Metrics of network and baselines on validation and test; the test forecasts go into the run."""
    from forecast.models.fitting import forecast_windows

    scores: dict = {}
    for part in PARTS[1:]:
        windows = prepared.windows[part]
        forecasts = forecast_all(
            prepared.panel,
            prepared.scaler,
            windows,
            forecast_windows(model, windows),
            linear.forecast(windows),
            prepared.season_length,
        )
        scores[part] = score_all(forecasts, prepared.panel, prepared.splits, prepared.scaler, prepared.season_length)
    run.write_table(run.predictions, predictions_table(forecasts, prepared.panel))  # of the last part, which is the test part
    skills = skill(scores["test"])
    return {"verdict": verdict(skills), "skill": skills} | scores


def _environment() -> dict:
    from importlib import metadata

    packages = ("tensorflow", "jax", "keras", "numpy", "pandas", "scikit-learn", "safetensors")
    found = {dist.metadata["Name"].lower(): dist.version for dist in metadata.distributions() if dist.metadata["Name"]}
    return {
        "forecast": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
        "packages": {name: found[name] for name in packages if name in found},
    }
