"""Fit the forecasters of prepared data: the ridge regressions and the network of each seed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import numpy as np

from forecast.forecasters.linear import Linear, fit_linear
from forecast.forecasters.network.description import Network
from forecast.forecasters.preparation import Prepared
from forecast.runs import Checkpoints, Run

if TYPE_CHECKING:
    from forecast.forecasters.network.callbacks import Progress

Weights = dict[str, np.ndarray]  # Arrays by `layer/weight`, as the description of the network names them.
Members = dict[int, tuple[int, Weights]]  # By seed: the best epoch of its network, and the weights of that epoch.
NOT_RECORDED = {"epochs", "done", "member", "members", "fold", "folds"}  # Fields of `Progress` that history.csv leaves out.


def fit_ridges(prepared: Prepared) -> tuple[Linear, Linear]:
    """Fit the linear baseline, and the ridge regression that the network starts from, which may forecast fewer steps."""
    train_windows, validation = prepared.ridge_windows, prepared.windows["validation"]
    linear = fit_linear(train_windows, validation, prepared.config.model.normalization)
    if prepared.network.horizon == prepared.config.windows.horizon:
        return linear, linear
    return linear, fit_linear(prepared.limit_horizon(train_windows), prepared.limit_horizon(validation), linear.normalization)


def fit_members(
    prepared: Prepared,
    ridge: Linear,
    record: Callable[[dict[str, float]], object],
    on_progress: Callable[[Progress], None] | None = None,
    run: Run | None = None,
    initial_weights: Mapping[int, Weights] | None = None,
    **fold: int,
) -> Members:
    """Train a network for each seed, and return the best epoch and weights of each.

    record: receives a row for each epoch. run: stores checkpoints, and may hold one to resume from. initial_weights: by seed, of
    networks that continue others; None draws them. fold: `fold` and `folds` of a backtest, for the rows and for `on_progress`.
    """
    config, members = prepared.config, {}
    checkpoints = Checkpoints(run)
    for number, seed in enumerate(config.seeds):
        if seed in checkpoints.done:
            members[seed] = checkpoints.done[seed]
            continue

        def report(progress: Progress, number: int = number, seed: int = seed) -> None:
            progress = replace(progress, member=number + 1, members=len(config.seeds), **fold)
            if progress.done == 1:
                row = {name: value for name, value in asdict(progress).items() if name not in NOT_RECORDED}
                record(({"fold": progress.fold} if fold else {}) | {"seed": seed} | row)
            if on_progress:
                on_progress(progress)

        with checkpoints.interrupts if run else contextlib.nullcontext():
            start = initial_weights[seed] if initial_weights else ridge
            members[seed] = _fit_network(prepared, start, seed, report, checkpoints)
        checkpoints.done[seed] = members[seed]
    return members


def _fit_network(
    prepared: Prepared, begin: Linear | Weights, seed: int, report: Callable[[Progress], None], checkpoints: Checkpoints
) -> tuple[int, Weights]:
    """Build and train the network of one seed; returns the epoch that it keeps, and its weights.

    begin: all its weights, or those of the linear skip alone, and the others are drawn.
    """
    from forecast.forecasters.network.fitting import compile_model, fit
    from forecast.forecasters.network.keras_builder import build_keras, get_weights, set_weights

    config, network = prepared.config, prepared.network
    model = build_keras(network, config.model, seed, config.training.mixed_precision)
    if not isinstance(begin, Linear):
        set_weights(model, network, begin)
    elif config.model.linear_skip:
        skip = {"linear_skip/kernel": begin.kernel, "linear_skip/bias": begin.bias}
        skip = {name: values.astype(np.float32) for name, values in skip.items()}
        set_weights(model, network, get_weights(model, network) | skip)
    checkpoints.record_initial_weights(seed, get_weights(model, network))
    windows = {subset: prepared.limit_horizon(windows) for subset, windows in prepared.windows.items()}
    compile_model(model, config.training, network.quantiles)
    kept = fit(model, windows, config.training, seed, report, checkpoints.open_store(seed))
    return kept, _with_average_categories(network, get_weights(model, network))


def _with_average_categories(network: Network, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights with the vector of code 0, an unknown category, at the mean of those that were trained."""
    averaged = dict(weights)
    for layer in network.layers:
        if layer.kind == "embedding":
            trained = weights[f"{layer.name}/embeddings"][1:]
            averaged[f"{layer.name}/embeddings"] = np.concatenate([trained.mean(axis=0, keepdims=True), trained])
    return averaged
