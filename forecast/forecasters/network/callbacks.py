"""What happens beside the steps of a training: progress, early stopping, checkpoints; what Keras' own callbacks do not do."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from forecast.config import TrainingConfig
from forecast.errors import BEGIN_ANEW, RunError
from forecast.forecasters.network.backend import keras

BETWEEN_EPOCHS = 1.0  # seconds, at least, between two checkpoints
WITHIN_EPOCHS = 60.0  # seconds without a checkpoint, after which there is one in the middle of an epoch
STATEFUL = {  # callbacks that remember something from epoch to epoch, and what
    keras.callbacks.EarlyStopping: ("wait", "stopped_epoch", "best", "best_epoch"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
}


@dataclass(frozen=True)
class Progress:
    """Where training stands. Losses are in scaled units and without penalties."""

    epoch: int  # from 1; 0 is the untrained network
    epochs: int
    done: float  # fraction of this epoch; 1 once it is validated
    loss: float  # over this epoch so far; NaN for epoch 0
    val_loss: float  # of the last validated epoch
    learning_rate: float
    seconds: float  # since the epoch began
    gradient_norm: float = math.nan  # the mean over its batches; known once it is validated
    clipped: float = math.nan  # share of its batches in which the gradient of some weight was longer than `clipnorm`
    member: int = 1  # which of several networks, from 1
    members: int = 1
    fold: int = 1  # which of several in a backtest, from 1
    folds: int = 1


@dataclass(frozen=True)
class Checkpoint:
    """Where a training stood after a step: all that decides how it goes on."""

    epoch: int  # that were finished
    batch: int  # that were finished of the next one
    arrays: dict[str, np.ndarray]  # variables of model, optimizer and metrics, and the weights of the best epoch
    state: dict  # of the callbacks, as plain JSON values

    @classmethod
    def of(cls, model: keras.Model, epoch: int, batch: int, state: dict, best: Sequence[np.ndarray]) -> Checkpoint:
        """That of a model as it stands."""
        kinds = {"variable": _variables(model), "metric": model.metrics_variables, "best": best}
        arrays = {
            f"{kind}/{number}": np.asarray(keras.ops.convert_to_numpy(one), order="C")
            for kind, several in kinds.items()
            for number, one in enumerate(several)
        }
        return cls(epoch, batch, arrays, state)

    def restore(self, model: keras.Model) -> None:
        """Put it back into a model that was built and compiled the same way.

        Raises:
            RunError: it is of another one.
        """
        _assign(_variables(model), self.all("variable"))

    def restore_metrics(self, model: keras.Model) -> None:
        """Put back what an epoch had measured so far."""
        _assign(model.metrics_variables, self.all("metric"))

    def all(self, kind: str) -> list[np.ndarray]:
        """The arrays of a kind: variable, metric, or best, the weights of the best epoch so far."""
        count = sum(name.startswith(f"{kind}/") for name in self.arrays)
        return [self.arrays[name] for number in range(count) if (name := f"{kind}/{number}") in self.arrays]


def _assign(variables: Sequence[keras.Variable], arrays: Sequence[np.ndarray]) -> None:
    if [tuple(variable.shape) for variable in variables] != [array.shape for array in arrays]:
        found = "the checkpoint is not of this network and optimizer."
        raise RunError(found, BEGIN_ANEW, "checkpoint.safetensors")
    for variable, values in zip(variables, arrays, strict=True):
        variable.assign(values)


def _variables(model: keras.Model) -> list[keras.Variable]:
    """Weights, states of random draws, and the optimizer's."""
    metrics = {id(variable) for variable in model.metrics_variables}
    return [variable for variable in model.variables if id(variable) not in metrics] + model.optimizer.variables


@dataclass(frozen=True)
class Keeper:
    """What makes a training outlive its process.

    keep: takes a checkpoint, where one is due. resumed: the one to go on from; from there on, all is to the last bit as it would
    have been. stop: asked after each step, whether to keep a checkpoint and end with a KeyboardInterrupt.
    """

    keep: Callable[[Checkpoint], object]
    resumed: Checkpoint | None
    stop: Callable[[], bool]


class EarlyStopping(keras.callbacks.EarlyStopping):
    """Keras' early stopping, which also counts the network as it came: if no epoch beats it, it is kept."""

    def __init__(self, untrained: float, patience: int, min_delta: float):
        super().__init__(
            monitor="val_error",
            mode="min",
            patience=patience,
            min_delta=min_delta,
            restore_best_weights=True,
            start_from_epoch=-1,
        )
        self.untrained = untrained

    def on_train_begin(self, logs: dict | None = None) -> None:
        super().on_train_begin(logs)
        self.on_epoch_end(-1, {self.monitor: self.untrained})


class CheckpointKeeping(keras.callbacks.Callback):
    """Keeps what a resumed training needs, and gives the other callbacks back what they had."""

    def __init__(
        self,
        callbacks: Sequence[keras.callbacks.Callback],
        untrained: float,
        keeper: Keeper | None,
        every: int | None,
        batches: int,
    ):
        """every: batches after which there is a checkpoint within an epoch, which has `batches`; None goes by the clock."""
        super().__init__()
        self.stateful = {kind: own for kind in STATEFUL for own in callbacks if isinstance(own, kind)}
        self.untrained, self.keeper, self.every, self.batches = untrained, keeper, every, batches
        self.resumed = keeper.resumed if keeper else None
        self.kept_at = time.perf_counter()
        self.epoch, self.skipped = 0, 0

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.restore_callbacks()  # after they have begun anew

    def restore_callbacks(self) -> None:
        """Put back what the checkpoint says."""
        if self.resumed is None:
            return
        for kind, callback in self.stateful.items():
            for attribute, value in self.resumed.state[kind.__name__].items():
                setattr(callback, attribute, value)
        if stopping := self.stateful.get(keras.callbacks.EarlyStopping):
            stopping.best_weights = self.resumed.all("best")

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.epoch = epoch
        self.skipped = self.resumed.batch if self.resumed and self.resumed.epoch == epoch else 0
        if self.skipped:
            self.resumed.restore_metrics(self.model)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        done = self.skipped + batch + 1
        if self.keeper is None or done == self.batches:  # the epoch's end is near
            return
        stop = self.keeper.stop()
        if stop or (self._seconds() >= WITHIN_EPOCHS if self.every is None else done % self.every == 0):
            self._keep(self.epoch, done)
        if stop:
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if self.keeper is None:
            return
        stop = self.keeper.stop()
        if stop or self.skipped or self._seconds() >= BETWEEN_EPOCHS:
            self._keep(epoch + 1, 0)
        if stop:
            raise KeyboardInterrupt

    def _seconds(self) -> float:
        return time.perf_counter() - self.kept_at

    def _keep(self, epoch: int, batch: int) -> None:
        state: dict = {"untrained": float(self.untrained), "stopped": bool(self.model.stop_training)}
        for kind, callback in self.stateful.items():
            values = {attribute: getattr(callback, attribute) for attribute in STATEFUL[kind]}
            state[kind.__name__] = {key: value if value is None else np.asarray(value).item() for key, value in values.items()}
        stopping = self.stateful.get(keras.callbacks.EarlyStopping)
        self.keeper.keep(Checkpoint.of(self.model, epoch, batch, state, stopping.best_weights if stopping else []))
        self.kept_at = time.perf_counter()


class NumbersOnly(keras.callbacks.Callback):
    """Stops training when the loss is no longer a number."""

    def __init__(self, config: TrainingConfig):
        super().__init__()
        self.config = config
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if logs and not math.isfinite(logs["loss"]):
            rate = self.config.learning_rate
            clip = "" if self.config.clipnorm else " and set training.clipnorm: 1.0"
            raise RunError(
                f"the loss is no longer a number in epoch {self.epoch + 1}: the gradients exploded.",
                f"Lower training.learning_rate from {rate:g} to {rate / 10:g}{clip}.",
                "training",
            )


class Reporter(keras.callbacks.Callback):
    """Tells the caller of every batch and every epoch."""

    def __init__(self, epochs: int, batches: int, skipped: int, untrained: float, on_progress: Callable[[Progress], None]):
        """skipped: of the batches of the first epoch, those that were done before."""
        super().__init__()
        self.epochs, self.batches, self.skipped = epochs, batches, skipped
        self.val_loss, self.on_progress = untrained, on_progress
        self.epoch, self.rate, self.began = 0, 0.0, 0.0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.epoch, self.began = epoch + 1, time.perf_counter()
        self.rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self._report((self.skipped + batch + 1) / (self.batches + 1), logs)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.val_loss = float(logs["val_error"])
        self._report(1.0, logs, *self.model.optimizer.tell())

    def _report(self, done: float, logs: dict | None, *gradients: float) -> None:
        seconds, loss = time.perf_counter() - self.began, float(logs["error"])
        self.on_progress(Progress(self.epoch, self.epochs, done, loss, self.val_loss, self.rate, seconds, *gradients))
