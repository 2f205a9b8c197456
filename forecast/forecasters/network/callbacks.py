"""Training callbacks that Keras lacks: progress, checkpoints, and an error if the loss is not a number."""

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
from forecast.forecasters.network.batches import Batches
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
    clipped: float = math.nan  # Share of the batches in which the gradient of some weight was clipped.
    member: int = 1  # Number of the network in a combination, from 1.
    members: int = 1
    fold: int = 1  # Number of the fold in a backtest, from 1.
    folds: int = 1
    refit: bool = False  # Whether the network is trained further after validation has chosen its epochs.


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
        names = (f"{kind}/{number}" for number in range(len(self.arrays)))
        return [self.arrays[name] for name in names if name in self.arrays]


def _assign(variables: Sequence[keras.Variable], arrays: Sequence[Array]) -> None:
    if [tuple(variable.shape) for variable in variables] != [array.shape for array in arrays]:
        raise RunError("the checkpoint does not belong to this network and optimizer.", BEGIN_ANEW, "checkpoint.safetensors")
    for variable, values in zip(variables, arrays, strict=True):
        variable.assign(values)


def _list_variables(model: keras.Model) -> list[keras.Variable]:
    """Return weights, states of random draws, and the optimizer's variables."""
    metrics = {id(variable) for variable in model.metrics_variables}
    return [variable for variable in model.variables if id(variable) not in metrics] + model.optimizer.variables


@dataclass
class CheckpointStore:
    """The destination of the checkpoints of a training, so that another process can continue it.

    save: takes each checkpoint; resumed: the checkpoint to continue from, the last one; stop: asked after each step. If the
    answer is true, a checkpoint is saved and training ends with a KeyboardInterrupt.
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

    untrained: the error of the untrained network.
    interval: batches between checkpoints within an epoch; None goes by `MAX_SECONDS_WITHIN_EPOCH`.
    """

    def __init__(
        self,
        store: CheckpointStore,
        callbacks: Sequence[keras.callbacks.Callback],
        untrained: float,
        batches: Batches,
        interval: int | None,
    ):
        super().__init__()
        self.store, self.untrained, self.batches, self.interval = store, untrained, batches, interval
        self.stateful = {kind: callback for kind in STATEFUL for callback in callbacks if isinstance(callback, kind)}
        self.stopping = self.stateful.get(keras.callbacks.EarlyStopping)
        self.epoch, self.saved_at = 0, time.perf_counter()

    def on_train_begin(self, logs: Logs) -> None:
        """Restore the state of the other callbacks, which Keras has just reset."""
        if resumed := self.store.resumed:
            for kind, callback in self.stateful.items():
                vars(callback).update(resumed.state[kind.__name__])
            if self.stopping:
                self.stopping.best_weights = resumed.list_arrays("best")

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        self.epoch = epoch
        if self.batches.skipped and self.store.resumed:
            self.store.resumed.restore_metrics(self.model)

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """Save a checkpoint within an epoch, if one is due or training is to stop."""
        done = self.batches.skipped + batch + 1
        if done < self.batches.count:
            due = self._seconds() >= MAX_SECONDS_WITHIN_EPOCH if self.interval is None else done % self.interval == 0
            self._save_if(due, self.epoch, done)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self._save_if(self.batches.skipped > 0 or self._seconds() >= MIN_SECONDS_BETWEEN_EPOCHS, epoch + 1, 0)

    def _seconds(self) -> float:
        return time.perf_counter() - self.saved_at

    def _save_if(self, due: bool, epoch: int, batch: int) -> None:
        stop = self.store.stop()
        if due or stop:
            state: dict[str, Any] = {"untrained": float(self.untrained), "stopped": bool(self.model.stop_training)}
            for kind, callback in self.stateful.items():
                state[kind.__name__] = {name: np.asarray(getattr(callback, name)).item() for name in STATEFUL[kind]}
            best = self.stopping.best_weights if self.stopping else []
            self.store.resumed = Checkpoint.take(self.model, epoch, batch, state, best)
            self.store.save(self.store.resumed)
            self.saved_at = time.perf_counter()
        if stop:
            raise KeyboardInterrupt


class ReportProgress(keras.callbacks.Callback):
    """Report the progress after each batch and each epoch, and raise an error when the loss is no longer a number.

    untrained: the error of the untrained network.
    """

    def __init__(self, config: TrainingConfig, batches: Batches, untrained: float, on_progress: Callable[[Progress], None]):
        super().__init__()
        self.config, self.batches, self.val_loss, self.on_progress = config, batches, untrained, on_progress
        self.epoch, self.rate, self.began = 0, 0.0, 0.0

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        self.epoch, self.began = epoch + 1, time.perf_counter()
        self.rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """Report the batch.

        Raises:
            RunError: the loss is not finite.
        """
        if not math.isfinite(logs["loss"]):
            rate, is_clipped = self.config.learning_rate, self.config.clipnorm or self.config.clipvalue
            clip = "" if is_clipped else " and set training.clipnorm: 1.0"
            raise RunError(
                f"the loss is no longer a number in epoch {self.epoch}: the gradients exploded.",
                f"Lower training.learning_rate from {rate:g} to {rate / 10:g}{clip}.",
                "training",
            )
        self._report((self.batches.skipped + batch + 1) / (self.batches.count + 1), logs)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self.val_loss = float(logs["val_error"])
        self._report(1.0, logs, *self.model.optimizer.pop_gradient_statistics())

    def _report(self, done: float, logs: Logs, gradient_norm: float = math.nan, clipped: float = math.nan) -> None:
        seconds, loss, epochs = time.perf_counter() - self.began, float(logs["error"]), self.config.epochs
        self.on_progress(Progress(self.epoch, epochs, done, loss, self.val_loss, self.rate, seconds, gradient_norm, clipped))
