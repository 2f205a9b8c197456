"""Fit the forecasters of prepared data: the regressions and the network of each seed."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, get_args

import numpy as np

from forecast.forecasters.boosting import fit_boosting
from forecast.forecasters.linear import Linear, fit_linear, refit_linear
from forecast.forecasters.network.description import Array, Network
from forecast.forecasters.preparation import Prepared
from forecast.forecasters.regressions import Regressions
from forecast.runs import Checkpoints, Run, TrainingStage, pop_prefixed
from forecast.windows import Subset, Windows

if TYPE_CHECKING:
    import keras

    from forecast.forecasters.network.callbacks import CheckpointStore, Progress

Weights = dict[str, Array]  # Arrays by `layer/weight`, as the description of the network names them.
OnProgress = Callable[["Progress"], None]  # Called after each batch and each epoch.
# Fields of `Progress` that history.csv leaves out.
NOT_RECORDED = {"epochs", "done", "member", "members", "fold", "folds", "refit"}
REFIT_SHARE, REFIT_RATE = 0.2, 0.25  # Epochs and learning rate of a refit, relative to those of the training.
REFITTED: dict[TrainingStage, Subset] = {"scored": "validation", "final": "test"}  # The last subset of each refit.


@dataclass(frozen=True)
class Member:
    """A trained network at three stages, which are the same without `training.refit`.

    epoch: the best one. selected: weights of that epoch. scored: after the refit on the validation set. final: after the
    refit on all rows.
    """

    epoch: int
    selected: Weights
    scored: Weights
    final: Weights

    @classmethod
    def unchanged(cls, weights: Weights, epoch: int = 0) -> Member:
        """Return a network that is the same at all stages."""
        return cls(epoch, weights, weights, weights)

    def at(self, stage: TrainingStage) -> Weights:
        """Return the weights of a stage."""
        weights: Weights = getattr(self, stage)
        return weights

    def to_arrays(self) -> Weights:
        """Return the weights of all stages by `stage/layer/weight`, or by `layer/weight` if they are the same."""
        if self.final is self.selected:
            return self.selected
        return {f"{stage}/{name}": values for stage in get_args(TrainingStage) for name, values in self.at(stage).items()}

    @classmethod
    def from_arrays(cls, epoch: int, arrays: Weights) -> Member:
        """Return the network whose `to_arrays` are given."""
        arrays, first = dict(arrays), get_args(TrainingStage)[0]
        if not any(name.startswith(f"{first}/") for name in arrays):
            return cls.unchanged(arrays, epoch)
        return cls(epoch, *(pop_prefixed(arrays, f"{stage}/") for stage in get_args(TrainingStage)))


Members = dict[int, Member]  # By seed.


def fit_regressions(prepared: Prepared) -> tuple[Regressions, Linear]:
    """Fit the regressions, and the ridge regression that the network starts from, which may forecast fewer steps."""
    train, validation = prepared.windows["train"], prepared.windows["validation"]
    linear = fit_linear(train, validation, prepared.config.model.normalization)
    boosting = fit_boosting(train, prepared.season_length) if "boosting" in prepared.config.baselines else None
    regressions = Regressions(linear, boosting)
    if prepared.network.horizon == prepared.config.windows.horizon:
        return regressions, linear
    return regressions, fit_linear(prepared.limit_horizon(train), prepared.limit_horizon(validation), linear.normalization)


def refit_regressions(prepared: Prepared, regressions: Regressions, stage: TrainingStage) -> Regressions:
    """Return the regressions at a stage of `REFITTED`."""
    if not prepared.config.training.refit:
        return regressions
    return regressions.refit(prepared.extend_training(REFITTED[stage]))


def fit_members(
    prepared: Prepared,
    ridge: Linear,
    record: Callable[[dict[str, float]], object],
    on_progress: OnProgress | None = None,
    run: Run | None = None,
    initial_weights: Mapping[int, Weights] | None = None,
    refits: Sequence[TrainingStage] = ("scored", "final"),
) -> Members:
    """Train a network for each seed.

    record: receives a row for each epoch. run: stores checkpoints, and may hold one to resume from. initial_weights: by seed, of
    networks that continue others; None draws them. refits: the stages to train if the config asks for refits. A stage that is
    left out equals the one before it.
    """
    seeds, members = prepared.config.seeds, {}
    checkpoints = Checkpoints(run)
    for number, seed in enumerate(seeds):
        if seed in checkpoints.done:
            members[seed] = Member.from_arrays(*checkpoints.done[seed])
            continue

        def report(progress: Progress, number: int = number, seed: int = seed) -> None:
            if progress.done == 1 and not progress.refit:
                record({"seed": seed} | {name: value for name, value in asdict(progress).items() if name not in NOT_RECORDED})
            if on_progress:
                on_progress(replace(progress, member=number + 1, members=len(seeds)))

        with checkpoints.interrupts if run else contextlib.nullcontext():
            start = initial_weights[seed] if initial_weights else ridge
            members[seed] = _fit_network(prepared, start, seed, report, checkpoints, refits)
        checkpoints.done[seed] = members[seed].epoch, members[seed].to_arrays()
    return members


def _fit_network(
    prepared: Prepared,
    start: Linear | Weights,
    seed: int,
    report: OnProgress,
    checkpoints: Checkpoints,
    refits: Sequence[TrainingStage],
) -> Member:
    """Build and train the network of a seed, and refit it if the config says so.

    start: all initial weights, or those of the linear skip alone; then the others are drawn.
    """
    from forecast.forecasters.network.fitting import compile_model, fit
    from forecast.forecasters.network.keras_builder import build_keras, get_weights, set_weights

    config, network = prepared.config, prepared.network
    model = build_keras(network, config.model, seed, config.training.mixed_precision)
    if not isinstance(start, Linear):
        set_weights(model, network, start)
    else:
        set_weights(model, network, get_weights(model, network) | _make_skip(network, start))
    checkpoints.record_initial_weights(seed, get_weights(model, network))
    windows = {subset: prepared.limit_horizon(windows) for subset, windows in prepared.network_windows.items()}
    compile_model(model, config.training, network.quantiles)
    store = checkpoints.open_store(seed)
    epoch = fit(model, windows, config.training, seed, report, store)
    selected = _average_categories(network, get_weights(model, network))
    stages = [selected]
    for stage in refits if config.training.refit else ():
        last = REFITTED[stage]
        if epoch or not isinstance(start, Linear):
            _refit(model, prepared, last, max(1, math.ceil(REFIT_SHARE * epoch)), seed, report, store)
            stages.append(_average_categories(network, get_weights(model, network)))
        else:  # The network is the ridge regression, or was best without any training.
            ridge = refit_linear(start, prepared.limit_horizon(prepared.extend_training(last)))
            stages.append(selected | _make_skip(network, ridge))
    return Member(epoch, *stages, *(3 - len(stages)) * stages[-1:])


def _make_skip(network: Network, ridge: Linear) -> Weights:
    """Return the weights of a linear skip that is a ridge regression, or none if the network has no such layer."""
    weights = {"linear_skip/kernel": ridge.kernel, "linear_skip/bias": ridge.bias}
    return {name: values.astype(np.float32) for name, values in weights.items() if name in network.weights}


def _refit(
    model: keras.Model,
    prepared: Prepared,
    last: Subset,
    epochs: int,
    seed: int,
    report: OnProgress,
    store: CheckpointStore | None,
) -> None:
    """Train a network further on all rows up to the end of a subset. Save no checkpoint: a resumed training repeats the refit."""
    from forecast.forecasters.network.fitting import fit, reset_optimizer

    training = prepared.config.training
    rate = REFIT_RATE * training.learning_rate
    changes = {"epochs": epochs, "learning_rate": rate, "schedule": "cosine", "warmup_epochs": 0, "early_stopping": None}
    windows: dict[Subset, Windows] = {
        "train": prepared.limit_horizon(prepared.extend_training(last, with_gaps=True)),
        "validation": prepared.limit_horizon(prepared.network_windows["validation"]),
    }
    reset_optimizer(model)
    if store:
        store = replace(store, save=lambda checkpoint: None, resumed=None)
    fit(model, windows, training.model_copy(update=changes), seed, lambda progress: report(replace(progress, refit=True)), store)


def _average_categories(network: Network, weights: Weights) -> Weights:
    """Replace the embedding of code 0, an unknown category, by the mean of those that were trained."""
    for layer in network.layers:
        if layer.kind == "embedding":
            trained = weights[f"{layer.name}/embeddings"][1:]
            weights = weights | {f"{layer.name}/embeddings": np.concatenate([trained.mean(axis=0, keepdims=True), trained])}
    return weights
