"""Fit the forecasters of prepared data: the ridge regressions and the network of each seed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import numpy as np

from forecast.forecasters.linear import Linear, fit_linear
from forecast.forecasters.network.description import Array, Network
from forecast.forecasters.preparation import Prepared
from forecast.runs import Checkpoints, Run

if TYPE_CHECKING:
    from forecast.forecasters.network.callbacks import Progress

Weights = dict[str, Array]  # Arrays by `layer/weight`, as the description of the network names them.
Members = dict[int, tuple[int, Weights]]  # By seed: the best epoch of its network, and the weights of that epoch.
OnProgress = Callable[["Progress"], None]  # Called after each batch and each epoch.
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
    on_progress: OnProgress | None = None,
    run: Run | None = None,
    initial_weights: Mapping[int, Weights] | None = None,
) -> Members:
    """Train a network for each seed, and return the best epoch and weights of each.

    record: receives a row for each epoch. run: stores checkpoints, and may hold one to resume from. initial_weights: by seed, of
    networks that continue others; None draws them.
    """
    seeds, members = prepared.config.seeds, {}
    checkpoints = Checkpoints(run)
    for number, seed in enumerate(seeds):
        if seed in checkpoints.done:
            members[seed] = checkpoints.done[seed]
            continue

        def report(progress: Progress, number: int = number, seed: int = seed) -> None:
            if progress.done == 1:
                record({"seed": seed} | {name: value for name, value in asdict(progress).items() if name not in NOT_RECORDED})
            if on_progress:
                on_progress(replace(progress, member=number + 1, members=len(seeds)))

        with checkpoints.interrupts if run else contextlib.nullcontext():
            start = initial_weights[seed] if initial_weights else ridge
            members[seed] = _fit_network(prepared, start, seed, report, checkpoints)
        checkpoints.done[seed] = members[seed]
    return members


def _fit_network(
    prepared: Prepared, start: Linear | Weights, seed: int, report: OnProgress, checkpoints: Checkpoints
) -> tuple[int, Weights]:
    """Build and train the network of a seed. Return its best epoch, and the weights of that epoch.

    start: all initial weights, or those of the linear skip alone; then the others are drawn.
    """
    from forecast.forecasters.network.fitting import compile_model, fit
    from forecast.forecasters.network.keras_builder import build_keras, get_weights, set_weights

    config, network = prepared.config, prepared.network
    model = build_keras(network, config.model, seed, config.training.mixed_precision)
    if not isinstance(start, Linear):
        set_weights(model, network, start)
    elif config.model.linear_skip:
        skip = {"linear_skip/kernel": start.kernel, "linear_skip/bias": start.bias}
        skip = {name: values.astype(np.float32) for name, values in skip.items()}
        set_weights(model, network, get_weights(model, network) | skip)
    checkpoints.record_initial_weights(seed, get_weights(model, network))
    windows = {subset: prepared.limit_horizon(windows) for subset, windows in prepared.windows.items()}
    compile_model(model, config.training, network.quantiles)
    best_epoch = fit(model, windows, config.training, seed, report, checkpoints.open_store(seed))
    return best_epoch, _average_categories(network, get_weights(model, network))


def _average_categories(network: Network, weights: Weights) -> Weights:
    """Replace the embedding of code 0, an unknown category, by the mean of those that were trained."""
    for layer in network.layers:
        if layer.kind == "embedding":
            trained = weights[f"{layer.name}/embeddings"][1:]
            weights = weights | {f"{layer.name}/embeddings": np.concatenate([trained.mean(axis=0, keepdims=True), trained])}
    return weights
