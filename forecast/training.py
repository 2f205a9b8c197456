"""`train`: a config goes in, a run comes out."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from forecast import __version__
from forecast.baselines import Linear, fit_linear
from forecast.config import Config, DataConfig
from forecast.contracts import contract
from forecast.data import Panel
from forecast.errors import DataError, RunError, check_installed
from forecast.evaluation import Scoreboard, advice, forecast_all, predictions_table, skill, verdict
from forecast.loading import load_config
from forecast.metrics import mae
from forecast.models.description import Network
from forecast.models.numpy_runtime import READER_TOLERANCE, forward, relative_difference
from forecast.prediction import predict
from forecast.preparation import Prepared, prepare
from forecast.repairs import told
from forecast.reports import write_plots
from forecast.runs import Run
from forecast.splits import PARTS
from forecast.timestamps import season_of
from forecast.trained import median_of, member_prefix, read_members, recent_rows
from forecast.windows import Forward, Windows, assumptions_of, gather

if TYPE_CHECKING:
    from forecast.models.fitting import Progress

MOST_VALUES = 10**6  # that each forecaster has in memory at once while it is scored
CHECKED_WINDOWS = 256  # of the test part, on which the two readers of the network are compared
log = logging.getLogger(__name__)


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
    check_trainable()
    config = config if isinstance(config, Config) else load_config(config)
    seconds: dict[str, float] = {}
    with _timed(seconds, "reading"):
        prepared = prepare(config)
    config = prepared.config
    if run_dir is not None and Path(run_dir).resolve() in Path(config.data.path).resolve().parents:
        raise RunError("the run directory holds the data.", "Choose another --run-dir.", str(run_dir))
    run = Run.create(config.name, run_dir, force)
    with run.recording():
        _record_inputs(run, prepared)
        with _timed(seconds, "ridge"):
            train_windows, validation = prepared.ridge_windows, prepared.windows["validation"]
            linear = start = fit_linear(train_windows, validation, config.model.normalization)
            if prepared.network.horizon < config.windows.horizon:  # the network takes smaller steps, and starts from such a ridge
                start = fit_linear(prepared.of_network(train_windows), prepared.of_network(validation), linear.normalization)
        with _timed(seconds, "training"):
            kept = _fit_members(prepared, start, run, on_progress)
        log.info("kept epochs by seed: %s; %d parameters each", kept, prepared.network.parameters)
        with _timed(seconds, "scoring"):
            log.info("test: %s", _score(run, prepared, linear, kept))
        _forecast(run, config.data, prepared.panel)
        with _timed(seconds, "plots"):
            try:
                write_plots(run)
            except (TypeError, ValueError, OverflowError) as error:  # a picture that cannot be drawn costs no trained run
                log.warning("the plots are not complete: %s", error)
        log.info("seconds: %s", seconds)
        run.write_json(run.environment, run.read_json(run.environment) | {"seconds": seconds})
    return run


@contextlib.contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[stage] = round(time.perf_counter() - began, 2)


def check_trainable() -> None:
    """What only training needs is installed.

    Raises:
        ForecastError: with the line that installs it.
    """
    check_installed("Training", ["keras", os.environ.get("KERAS_BACKEND", "tensorflow"), "matplotlib"], "train")


def _record_inputs(run: Run, prepared: Prepared) -> None:
    """Write all that is known before training starts."""
    config, panel = prepared.config, prepared.panel
    run.write_text(run.config, config.to_yaml())
    counts = {part: len(windows) for part, windows in prepared.windows.items()}
    run.write_json(run.contract, contract(panel) | {"parts": {part: {"windows": count} for part, count in counts.items()}})
    run.write_json(run.scaler, prepared.scaler.to_json())
    run.write_table(run.recent, recent_rows(panel, config))
    log.info("%s: %d rows, %d series; windows: %s", panel.source, len(panel.values), len(panel.series_ids), counts)
    for sentence in told(panel.record):
        log.warning("%s: %s", panel.source, sentence)


def _forecast(run: Run, config: DataConfig, panel: Panel) -> None:
    """Write forecast.csv, if what it needs of the future is in the file; else it is left to `predict`."""
    if config.needed_known and panel.told_ahead is None:
        log.info("no forecast.csv yet: it needs %s over the horizon", ", ".join(config.needed_known))
        return
    try:
        run.write_table(run.forecast, predict(run))
    except DataError as error:  # the file goes on, but not to the end of the horizon
        log.warning("no forecast.csv yet: %s", error)


def _fit_members(prepared: Prepared, ridge: Linear, run: Run, on_progress: Callable[[Progress], None] | None) -> dict[int, int]:
    """Train and save a network for each seed; returns the epoch that each keeps."""
    from forecast.models.backend import keras

    run.write_json(run.environment, _environment(keras.backend.backend()))
    config, kept, weights = prepared.config, {}, {}
    for member, seed in enumerate(config.seeds):

        def report(progress: Progress, member: int = member, seed: int = seed) -> None:
            progress = replace(progress, member=member + 1, members=len(config.seeds))
            if progress.done == 1:
                hidden = {"epochs", "done", "member", "members"}
                row = {name: value for name, value in asdict(progress).items() if name not in hidden}
                run.append_history({"seed": seed} | row)
            if on_progress:
                on_progress(progress)

        kept[seed], own = _fit_network(prepared, ridge, seed, report)
        prefix = member_prefix(seed) if config.training.seeds else ""
        weights |= {prefix + name: values for name, values in own.items()}
    run.write_json(run.network, prepared.network.to_json())
    run.write_weights(weights)
    run.seal()
    return kept


def _fit_network(
    prepared: Prepared, ridge: Linear, seed: int, report: Callable[[Progress], None]
) -> tuple[int, dict[str, np.ndarray]]:
    """Build and train the network of one seed; returns the epoch that it keeps, and its weights."""
    from forecast.models.fitting import fit
    from forecast.models.keras_builder import build_keras, get_weights, set_weights

    config, network = prepared.config, prepared.network
    model = build_keras(network, config.model, seed, config.training.mixed_precision)
    if config.model.linear_skip:
        skip = {"linear_skip/kernel": ridge.kernel, "linear_skip/bias": ridge.bias}
        skip = {name: values.astype(np.float32) for name, values in skip.items()}
        set_weights(model, network, get_weights(model, network) | skip)
    train, validation = (prepared.of_network(prepared.windows[part]) for part in ("train", "validation"))
    kept = fit(model, train, validation, config.training, seed, report)
    return kept, _with_average_categories(network, get_weights(model, network))


def _with_average_categories(network: Network, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights with the vector of code 0, an unknown category, at the mean of those that were trained."""
    averaged = dict(weights)
    for layer in network.layers:
        if layer.kind == "embedding":
            trained = weights[f"{layer.name}/embeddings"][1:]
            averaged[f"{layer.name}/embeddings"] = np.concatenate([trained.mean(axis=0, keepdims=True), trained])
    return averaged


def _score(run: Run, prepared: Prepared, linear: Linear, kept: dict[int, int]) -> str:
    """Write metrics of network and baselines on validation and test, and the test forecasts; returns the verdict.

    The network is the one that the run holds, so that what is scored is what will forecast.
    """
    from forecast.models.keras_builder import load_keras

    config, network = prepared.config, prepared.network
    weights = read_members(run, config, network)
    members = [load_keras(network, member).predict_on_batch for member in weights]
    by_keras = median_of(members)
    scores: dict = {}
    for part in PARTS[1:]:
        windows = prepared.windows[part]
        board = Scoreboard(prepared.panel, prepared.splits, prepared.scaler, prepared.season_length, windows.lookback)
        with run.writing_table(run.predictions) as append:  # the last part, which is the test part, stays
            for piece in _pieces(windows):
                forecasts = forecast_all(
                    prepared.panel,
                    prepared.scaler,
                    piece,
                    piece.forecast_by(by_keras, network.horizon),
                    linear.forecast(piece),
                    prepared.season_length,
                )
                apart = members if len(members) > 1 else []
                board.add(forecasts, [piece.forecast_by(member, network.horizon) for member in apart])
                append(predictions_table(forecasts, prepared.panel))
        scores[part] = board.scores()
    run.write_table(run.per_series, board.per_series())
    checked = prepared.of_network(windows).spread(CHECKED_WINDOWS).inputs()
    by_numpy = median_of([partial(forward, network, member) for member in weights])
    apart = relative_difference(by_numpy(checked), by_keras(checked))
    if not apart <= READER_TOLERANCE:
        log.warning("NumPy and Keras forecast differently, by %.1e of the largest forecast: use predict --runtime keras.", apart)
    skills = skill(scores["test"])
    summary = {
        "verdict": verdict(skills),
        "advice": advice(skills, max(kept.values()), config.model.linear_skip),
        "skill": skills,
        "missing_known": _costs_of_missing(prepared, by_keras),
        "kept_epochs": kept,
        "parameters": network.parameters * len(weights),
        "runtime_difference": apart,
        "season_length": prepared.season_length,
        "linear_strength": dict(zip(prepared.panel.targets, linear.strength, strict=True)),
    }
    run.write_json(run.metrics, summary | scores)
    return summary["verdict"]


def _pieces(windows: Windows) -> Iterator[Windows]:
    """The windows, so many at a time that a forecaster has `MOST_VALUES` in memory."""
    return windows.pieces(MOST_VALUES // (windows.horizon * windows.future.shape[1]))


def _costs_of_missing(prepared: Prepared, forward: Forward) -> dict[str, dict]:
    """The MAE on the test part where a known covariate, each by itself, is missing over the horizon and its policy stands in."""
    data, panel, windows, costs = prepared.config.data, prepared.panel, prepared.windows["test"], {}
    for name, assumed in zip(data.missing_known, assumptions_of(data, season_of(data, panel.freq)), strict=True):
        absolute = 0.0
        for piece in _pieces(windows.without(assumed)):
            forecast = prepared.scaler.undo(piece.forecast_by(forward, prepared.network.horizon), piece.series)
            absolute += len(piece) * mae(gather(panel.target_values, piece.first, piece.horizon), forecast)
        costs[name] = {"policy": assumed.policy, "mae": float(absolute / len(windows))}
    return costs


def _environment(backend: str) -> dict:
    from importlib import metadata

    versions = {}
    for name in ("tensorflow", "jax", "keras", "numpy", "pandas", "safetensors"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {
        "forecast": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "backend": backend,
        "packages": versions,
    }
