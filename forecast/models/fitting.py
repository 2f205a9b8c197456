"""Training with Keras: batches of windows, the optimizer, and callbacks for what Keras' own do not do."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from forecast.config import TrainingConfig
from forecast.errors import RunError
from forecast.models.backend import keras
from forecast.windows import BATCH, Windows

OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": keras.optimizers.SGD,
}
LOSSES = {"mse": keras.losses.mean_squared_error, "mae": keras.losses.mean_absolute_error, "huber": keras.losses.huber}
HALVE_EVERY = 10  # epochs, for schedule: step
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
            f"{kind}/{number}": np.array(keras.ops.convert_to_numpy(one))
            for kind, several in kinds.items()
            for number, one in enumerate(several)
        }
        return cls(epoch, batch, arrays, state)

    def restore(self, model: keras.Model) -> None:
        """Put it back into a model that was built and compiled the same way."""
        for variable, values in zip(_variables(model), self.all("variable"), strict=True):
            variable.assign(values)

    def restore_metrics(self, model: keras.Model) -> None:
        """Put back what an epoch had measured so far."""
        for variable, values in zip(model.metrics_variables, self.all("metric"), strict=True):
            variable.assign(values)

    def all(self, kind: str) -> list[np.ndarray]:
        """The arrays of a kind: variable, metric, or best, the weights of the best epoch so far."""
        count = sum(name.startswith(f"{kind}/") for name in self.arrays)
        return [self.arrays[f"{kind}/{number}"] for number in range(count)]


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


class Batches(keras.utils.PyDataset):
    """Windows, copied one batch at a time; `rng` draws a new order each epoch, without it they come in time order.

    evenly: an epoch has as many windows of each series as of any other, drawn with replacement where a series has too few.
    """

    def __init__(self, windows: Windows, batch_size: int, rng: np.random.Generator | None = None, evenly: bool = False):
        super().__init__()
        self.windows, self.batch_size, self.rng, self.evenly = windows, batch_size, rng, evenly
        self.order = np.arange(len(windows)) if rng is None else self._draw()

    def __len__(self) -> int:
        return math.ceil(len(self.order) / self.batch_size)

    def __getitem__(self, batch: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        chosen = self.order[batch * self.batch_size : (batch + 1) * self.batch_size]
        return self.windows.inputs(chosen), self.windows.targets(chosen)

    def on_epoch_end(self) -> None:
        """Keras calls this after each epoch: draw the next one's order."""
        if self.rng is not None:
            self.order = self._draw()

    def after(self, batch: int) -> Batches:
        """What is left of this epoch after so many batches, in the same order."""
        rest = Batches(self.windows, self.batch_size)
        rest.order = self.order[batch * self.batch_size :]
        return rest

    def _draw(self) -> np.ndarray:
        count = len(self.windows)
        if not self.evenly:
            return self.rng.permutation(count)
        present, begins, sizes = np.unique(self.windows.series, return_index=True, return_counts=True)  # in order of series
        turns = self.rng.permutation(np.arange(count) % len(present))
        return begins[turns] + self.rng.integers(sizes[turns])


def fit(
    model: keras.Model,
    train: Windows,
    validation: Windows,
    config: TrainingConfig,
    seed: int,
    on_progress: Callable[[Progress], None],
    quantiles: Sequence[float] | None = None,
    keeper: Keeper | None = None,
) -> int:
    """Train `model` in place and return the epoch whose weights it keeps, 0 being the network as it came.

    `on_progress` is called after each batch and after each validation. quantiles: those that the model forecasts, if any.

    Raises:
        RunError: the loss is no longer a number.
        KeyboardInterrupt: the keeper said to stop, and holds a checkpoint.
    """
    # The metric is the bare loss: with an L2 penalty in it, shrinking weights would pass for better forecasts.
    loss = pinball(quantiles) if quantiles else LOSSES[config.loss or "mse"]
    error = keras.metrics.MeanMetricWrapper(loss, name="error")
    model.compile(_optimizer(config), loss=loss, metrics=[error], jit_compile=_jit())
    rng = np.random.default_rng([seed, 1])  # apart from the stream that drew the initial weights
    batches = Batches(train, config.batch_size, rng, evenly=config.sampling == "series")
    unseen = Batches(validation, max(config.batch_size, BATCH))
    resumed = keeper.resumed if keeper else None
    if resumed:
        for _ in range(resumed.epoch):
            batches.on_epoch_end()  # the orders that were drawn before
        untrained = resumed.state["untrained"]
    else:
        untrained = model.evaluate(unseen, verbose=0, return_dict=True)["error"]
        on_progress(Progress(0, config.epochs, 1.0, math.nan, untrained, 0.0, 0.0))
    fitting = _Fitting(model, config, unseen, untrained, on_progress, len(batches))
    if keeper and resumed and resumed.batch:
        batches.on_epoch_end()  # as Keras does before the first epoch of a fit
        model.test_on_batch(*unseen[0])  # what an epoch measured has its place once something is measured
        ends: list[Checkpoint] = []

        def keep(checkpoint: Checkpoint) -> None:
            keeper.keep(checkpoint)
            ends.append(checkpoint)

        fitting.run(batches.after(resumed.batch), resumed.epoch + 1, replace(keeper, keep=keep))
        keeper = replace(keeper, resumed=ends[-1])
    return fitting.run(batches, config.epochs, keeper)


class _Fitting:
    """A model, and all that stays the same when it is fitted in two parts."""

    def __init__(
        self,
        model: keras.Model,
        config: TrainingConfig,
        unseen: Batches,
        untrained: float,
        on_progress: Callable[[Progress], None],
        batches: int,
    ):
        """untrained: the error of the network as it came; batches: in an epoch."""
        self.model, self.config, self.unseen, self.untrained = model, config, unseen, untrained
        self.on_progress, self.batches = on_progress, batches

    def run(self, batches: Batches, until: int, keeper: Keeper | None) -> int:
        """Train to the end of epoch `until`, from 1, and return the epoch whose weights are kept."""
        config, resumed = self.config, keeper.resumed if keeper else None
        begin = resumed.epoch if resumed else 0
        callbacks: list[keras.callbacks.Callback] = [_NumbersOnly(config)]
        if config.schedule == "plateau":
            patience = max(1, config.early_stopping.patience // 3) if config.early_stopping else HALVE_EVERY
            callbacks.append(keras.callbacks.ReduceLROnPlateau(monitor="val_error", factor=0.5, patience=patience, min_delta=0))
        if config.schedule != "plateau" or config.warmup_epochs:
            callbacks.append(
                keras.callbacks.LearningRateScheduler(lambda epoch, current: learning_rate_at(epoch, config, current))
            )
        skipped = self.batches - len(batches)
        callbacks.append(_Reporter(config.epochs, self.batches, skipped, self.untrained, self.on_progress))
        stopping = None
        if config.early_stopping:
            stopping = _EarlyStopping(self.untrained, config.early_stopping.patience, config.early_stopping.min_delta)
            callbacks.append(stopping)
        checkpoints = _Checkpoints(callbacks, self.untrained, keeper, config.checkpoint_every, self.batches)
        callbacks.append(checkpoints)  # the last, so that it sees what the others made of an epoch
        if resumed:
            self.model.optimizer.build(self.model.trainable_variables)
            resumed.restore(self.model)
        if resumed and (resumed.state["stopped"] or begin >= until):
            checkpoints.restore_callbacks()
            if stopping:
                stopping.set_model(self.model)
                stopping.on_train_end()
        else:
            self.model.fit(
                batches,
                epochs=until,
                initial_epoch=begin,
                validation_data=self.unseen,
                callbacks=callbacks,
                verbose=0,
                shuffle=False,
            )
        return stopping.best_epoch + 1 if stopping else max(begin, until)


def pinball(quantiles: Sequence[float]) -> Callable[[keras.KerasTensor, keras.KerasTensor], keras.KerasTensor]:
    """The loss of quantile regression (Koenker & Bassett 1978): actuals `(batch, horizon, targets)`, forecasts
    `(batch, horizon, targets, quantiles)` -> `(batch, horizon, targets)`, the mean over the quantiles.
    """
    shares = np.array(quantiles, dtype=np.float32)

    def loss(y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
        error = keras.ops.expand_dims(keras.ops.cast(y_true, y_pred.dtype), -1) - y_pred
        return keras.ops.mean(keras.ops.maximum(shares * error, (shares - 1) * error), axis=-1)

    return loss


def learning_rate_at(epoch: int, config: TrainingConfig, current: float | None = None) -> float:
    """The learning rate of an epoch, counted from 0; `current` is what a plateau has left of it.

    >>> config = TrainingConfig(learning_rate=0.8, schedule="step", warmup_epochs=2)
    >>> [learning_rate_at(epoch, config) for epoch in (0, 1, 2, 11, 12, 22)]
    [0.4, 0.8, 0.8, 0.8, 0.4, 0.2]
    """
    if epoch < config.warmup_epochs:
        return config.learning_rate * (epoch + 1) / config.warmup_epochs
    after = epoch - config.warmup_epochs
    if config.schedule == "step":
        return config.learning_rate * 0.5 ** (after // HALVE_EVERY)
    if config.schedule == "cosine":
        left = max(1, config.epochs - config.warmup_epochs)
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * after / left))
    return current if config.schedule == "plateau" and current is not None else config.learning_rate


def _optimizer(config: TrainingConfig) -> keras.optimizers.Optimizer:
    batches = config.accumulate_gradients if config.accumulate_gradients > 1 else None
    return OPTIMIZERS[config.optimizer](config.learning_rate, clipnorm=config.clipnorm, gradient_accumulation_steps=batches)


def _jit() -> bool | str:
    """XLA takes 5-10 s to compile on TensorFlow, more than it saves on data of ordinary size; JAX needs it."""
    return False if keras.backend.backend() == "tensorflow" else "auto"


class _EarlyStopping(keras.callbacks.EarlyStopping):
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


class _Checkpoints(keras.callbacks.Callback):
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
        if stop or self.skipped or self.every or self._seconds() >= BETWEEN_EPOCHS:
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


class _NumbersOnly(keras.callbacks.Callback):
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


class _Reporter(keras.callbacks.Callback):
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
        self._report(1.0, logs)

    def _report(self, done: float, logs: dict | None) -> None:
        seconds = time.perf_counter() - self.began
        self.on_progress(Progress(self.epoch, self.epochs, done, float(logs["error"]), self.val_loss, self.rate, seconds))
