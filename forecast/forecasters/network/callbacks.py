"""Callbacks of a training that Keras lacks: progress, checkpoints, and errors for a loss that is no number."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from forecast.config import TrainingConfig
from forecast.errors import BEGIN_ANEW, RunError
from forecast.forecasters.network.backend import keras
from forecast.forecasters.network.description import Array

MIN_SECONDS_BETWEEN_EPOCHS = 1.0  # Seconds since the last checkpoint, before another one at the end of an epoch.
MAX_SECONDS_WITHIN_EPOCH = 60.0  # Seconds since the last checkpoint, before another one within an epoch.
STATEFUL = {  # Attributes of Keras' callbacks that last from epoch to epoch.
    keras.callbacks.EarlyStopping: ("wait", "stopped_epoch", "best", "best_epoch"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
}
Logs = dict[str, Any]


@dataclass(frozen=True)
class Progress:
    """State of a training after a batch or an epoch. Losses are in scaled units and without penalties."""

    epoch: int  # From 1; 0 is the untrained network.
    epochs: int
    done: float  # Fraction of this epoch; 1 after its validation.
    loss: float  # Mean over this epoch so far; NaN for epoch 0.
    val_loss: float  # Loss on the validation set after the last whole epoch.
    learning_rate: float
    seconds: float  # Since the epoch began.
    gradient_norm: float = math.nan  # Mean over the batches, after the epoch.
    clipped: float = math.nan  # Share of the batches in which the gradient of some weight was longer than `clipnorm`.
    member: int = 1  # Number of the network in a combination, from 1.
    members: int = 1
    fold: int = 1  # Number of the fold in a backtest, from 1.
    folds: int = 1


@dataclass(frozen=True)
class Checkpoint:
    """State of a training after a step, from which it continues to the same bits.

    arrays: variables of the model and optimizer, metrics, and the weights of the best epoch.
    state: what the callbacks remember, as JSON values.
    """

    epoch: int  # Finished epochs.
    batch: int  # Finished batches of the next epoch.
    arrays: dict[str, Array]
    state: dict[str, Any]

    @classmethod
    def take(cls, model: keras.Model, epoch: int, batch: int, state: dict[str, Any], best: Sequence[Array]) -> Checkpoint:
        """Copy the state of a model."""
        kinds = {"variable": _list_variables(model), "metric": model.metrics_variables, "best": best}
        arrays = {
            f"{kind}/{number}": np.asarray(keras.ops.convert_to_numpy(variable), order="C")
            for kind, variables in kinds.items()
            for number, variable in enumerate(variables)
        }
        return cls(epoch, batch, arrays, state)

    def restore(self, model: keras.Model) -> None:
        """Put the variables back into a model that was built and compiled the same way.

        Raises:
            RunError: the checkpoint is of another model.
        """
        _assign(_list_variables(model), self.list_arrays("variable"))

    def restore_metrics(self, model: keras.Model) -> None:
        """Put the sums over the batches of an unfinished epoch back."""
        _assign(model.metrics_variables, self.list_arrays("metric"))

    def list_arrays(self, kind: str) -> list[Array]:
        """Return the arrays of a kind in order: variable, metric, or best for the weights of the best epoch."""
        count = sum(name.startswith(f"{kind}/") for name in self.arrays)
        return [self.arrays[name] for number in range(count) if (name := f"{kind}/{number}") in self.arrays]


def _assign(variables: Sequence[keras.Variable], arrays: Sequence[Array]) -> None:
    if [tuple(variable.shape) for variable in variables] != [array.shape for array in arrays]:
        raise RunError("the checkpoint is not of this network and optimizer.", BEGIN_ANEW, "checkpoint.safetensors")
    for variable, values in zip(variables, arrays, strict=True):
        variable.assign(values)


def _list_variables(model: keras.Model) -> list[keras.Variable]:
    """Return weights, states of random draws, and the optimizer's variables."""
    metrics = {id(variable) for variable in model.metrics_variables}
    return [variable for variable in model.variables if id(variable) not in metrics] + model.optimizer.variables


@dataclass(frozen=True)
class CheckpointStore:
    """The destination of the checkpoints of a training, so that another process can continue it.

    save: takes each checkpoint; resumed: the checkpoint to continue from; stop: asked after each step. If the answer is true, a
    checkpoint is saved and training ends with a KeyboardInterrupt.
    """

    save: Callable[[Checkpoint], object]
    resumed: Checkpoint | None
    stop: Callable[[], bool]


class EarlyStopping(keras.callbacks.EarlyStopping):
    """Stop as Keras does, but restore the untrained network if no epoch is better."""

    def __init__(self, untrained: float, patience: int, min_delta: float):
        options = {"mode": "min", "patience": patience, "min_delta": min_delta}
        super().__init__("val_error", restore_best_weights=True, start_from_epoch=-1, **options)
        self.untrained = untrained

    def on_train_begin(self, logs: Logs | None = None) -> None:
        super().on_train_begin(logs)
        self.on_epoch_end(-1, {self.monitor: self.untrained})


class SaveCheckpoints(keras.callbacks.Callback):
    """Save checkpoints, and restore the state of the other callbacks from the checkpoint to continue from.

    untrained: the error of the untrained network; batches: their number in an epoch.
    interval: batches between checkpoints within an epoch; None goes by `MAX_SECONDS_WITHIN_EPOCH`.
    """

    def __init__(
        self,
        store: CheckpointStore,
        callbacks: Sequence[keras.callbacks.Callback],
        untrained: float,
        batches: int,
        interval: int | None,
    ):
        super().__init__()
        self.store, self.untrained, self.batches, self.interval = store, untrained, batches, interval
        self.stateful = {kind: callback for kind in STATEFUL for callback in callbacks if isinstance(callback, kind)}
        self.stopping = self.stateful.get(keras.callbacks.EarlyStopping)
        self.saved_at = time.perf_counter()
        self.epoch, self.skipped = 0, 0

    def on_train_begin(self, logs: Logs) -> None:
        self.restore_callbacks()  # Keras has just reset them.

    def restore_callbacks(self) -> None:
        """Restore the state of the other callbacks, if there is a checkpoint to continue from."""
        if self.store.resumed is None:
            return
        for kind, callback in self.stateful.items():
            for attribute, value in self.store.resumed.state[kind.__name__].items():
                setattr(callback, attribute, value)
        if self.stopping:
            self.stopping.best_weights = self.store.resumed.list_arrays("best")

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        resumed = self.store.resumed
        self.epoch, self.skipped = epoch, 0
        if resumed and resumed.epoch == epoch and resumed.batch:
            self.skipped = resumed.batch
            resumed.restore_metrics(self.model)

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """Save a checkpoint within an epoch, if one is due or training is to stop."""
        done = self.skipped + batch + 1
        if done < self.batches:
            due = self._seconds() >= MAX_SECONDS_WITHIN_EPOCH if self.interval is None else done % self.interval == 0
            self._save_if(due, self.epoch, done)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self._save_if(bool(self.skipped) or self._seconds() >= MIN_SECONDS_BETWEEN_EPOCHS, epoch + 1, 0)

    def _seconds(self) -> float:
        return time.perf_counter() - self.saved_at

    def _save_if(self, due: bool, epoch: int, batch: int) -> None:
        stop = self.store.stop()
        if due or stop:
            state: dict[str, Any] = {"untrained": float(self.untrained), "stopped": bool(self.model.stop_training)}
            for kind, callback in self.stateful.items():
                values = {name: getattr(callback, name) for name in STATEFUL[kind]}
                state[kind.__name__] = {
                    name: value if value is None else np.asarray(value).item() for name, value in values.items()
                }
            best = self.stopping.best_weights if self.stopping else []
            self.store.save(Checkpoint.take(self.model, epoch, batch, state, best))
            self.saved_at = time.perf_counter()
        if stop:
            raise KeyboardInterrupt


class RaiseOnNaN(keras.callbacks.Callback):
    """Raise an error when the loss is no longer a number."""

    def __init__(self, config: TrainingConfig):
        super().__init__()
        self.config, self.epoch = config, 0

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """Check the loss."""
        if not math.isfinite(logs["loss"]):
            rate = self.config.learning_rate
            clip = "" if self.config.clipnorm else " and set training.clipnorm: 1.0"
            raise RunError(
                f"the loss is no longer a number in epoch {self.epoch + 1}: the gradients exploded.",
                f"Lower training.learning_rate from {rate:g} to {rate / 10:g}{clip}.",
                "training",
            )


class ReportProgress(keras.callbacks.Callback):
    """Report the progress after each batch and each epoch.

    batches: their number in an epoch; skipped: batches of the first epoch that were trained before; untrained: the error of the
    untrained network.
    """

    def __init__(self, epochs: int, batches: int, skipped: int, untrained: float, on_progress: Callable[[Progress], None]):
        super().__init__()
        self.epochs, self.batches, self.skipped = epochs, batches, skipped
        self.val_loss, self.on_progress = untrained, on_progress
        self.epoch, self.rate, self.began = 0, 0.0, 0.0

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        self.epoch, self.began = epoch + 1, time.perf_counter()
        self.rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        self._report((self.skipped + batch + 1) / (self.batches + 1), logs)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self.val_loss = float(logs["val_error"])
        self._report(1.0, logs, *self.model.optimizer.pop_gradient_statistics())

    def _report(self, done: float, logs: Logs, gradient_norm: float = math.nan, clipped: float = math.nan) -> None:
        seconds, loss = time.perf_counter() - self.began, float(logs["error"])
        progress = Progress(self.epoch, self.epochs, done, loss, self.val_loss, self.rate, seconds, gradient_norm, clipped)
        self.on_progress(progress)
