"""Training with Keras: batches of windows, the optimizer, and the losses."""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from forecast.config import TrainingConfig
from forecast.errors import RunError
from forecast.models.backend import keras
from forecast.models.callbacks import Checkpoint, CheckpointKeeping, EarlyStopping, Keeper, NumbersOnly, Progress, Reporter
from forecast.windows import BATCH, Windows

LOSSES = {"mse": keras.losses.mean_squared_error, "mae": keras.losses.mean_absolute_error, "huber": keras.losses.huber}


class _Watching:
    """Beside an optimizer's steps: adds up the norms of the batches' gradients, and in how many one is longer than `clipnorm`."""

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Keras calls this before the first step."""
        if self.built:
            return
        super().build(variables)
        self.watched = self.add_variable((3,), name="watched")  # batches, their norms, and those that are clipped

    def apply(self, grads: Sequence[keras.KerasTensor], trainable_variables: Sequence[keras.Variable] | None = None) -> None:
        """Keras calls this after each batch."""
        known = [own for own in grads if own is not None]
        whole = [keras.ops.reshape(own, (-1,)) if hasattr(own, "indices") else own for own in known]  # TensorFlow's of embeddings
        squares = keras.ops.stack([keras.ops.sum(keras.ops.square(own)) for own in whole])
        clipped = keras.ops.max(squares) > (self.clipnorm or math.inf) ** 2
        norm = keras.ops.sqrt(keras.ops.sum(squares))
        self.assign_add(self.watched, keras.ops.stack([keras.ops.ones_like(norm), norm, keras.ops.cast(clipped, norm.dtype)]))
        super().apply(grads, trainable_variables)

    def tell(self) -> tuple[float, float]:
        """The mean norm since the last time, and the share of batches that were clipped; begins anew."""
        batches, norms, clipped = keras.ops.convert_to_numpy(self.watched).tolist()
        self.watched.assign(np.zeros(3))
        return norms / batches, clipped / batches


OPTIMIZERS = {
    name: type(kind.__name__, (_Watching, kind), {})
    for name, kind in {
        "adam": keras.optimizers.Adam,
        "adamw": keras.optimizers.AdamW,
        "rmsprop": keras.optimizers.RMSprop,
        "sgd": keras.optimizers.SGD,
    }.items()
}
log = logging.getLogger(__name__)
HALVE_EVERY = 10  # epochs, for schedule: step
NEARLY = 0.8  # of the highest throughput is enough: a smaller batch takes more steps an epoch
WORTHWHILE = 1.1  # times the throughput without XLA, from which its seconds of compiling are
TRIED = 3.0  # seconds of steps, at least, after the first ones


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


class _Turns(Batches):
    """Batches of one size after the other, over and over again."""

    def __init__(self, windows: Windows, sizes: Sequence[int]):
        super().__init__(windows, max(sizes))
        self.sizes = sizes

    def __len__(self) -> int:
        return 1000 * len(self.sizes)

    def __getitem__(self, batch: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        chosen = np.arange(min(self.sizes[batch % len(self.sizes)], len(self.windows)))
        return self.windows.inputs(chosen), self.windows.targets(chosen)


class _Stopwatch(keras.callbacks.Callback):
    """The seconds of each size's steps."""

    def __init__(self, sizes: Sequence[int]):
        super().__init__()
        self.spent: dict[int, list[float]] = {size: [] for size in sizes}
        self.began = self.last = 0.0

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        float(logs["loss"])  # waits for it
        now, turn = time.perf_counter(), batch // len(self.spent)
        if turn:  # the first ones compile
            self.spent[list(self.spent)[batch % len(self.spent)]].append(now - self.last)
        elif batch + 1 == len(self.spent):
            self.began = now
        self.last = now
        whole = (batch + 1) % len(self.spent) == 0
        self.model.stop_training = whole and turn >= 2 and now - self.began > TRIED


def throughput(
    model: keras.Model, train: Windows, config: TrainingConfig, quantiles: Sequence[float] | None, sizes: Sequence[int]
) -> dict[int, float]:
    """Windows per second in training by batch size, measured; `model` takes these steps and is of no use afterwards.

    Nothing where XLA is asked for and cannot compile the network.
    """
    _compile(model, config, quantiles)
    if config.jit_compile and not model.jit_compile:
        return {}
    stopwatch = _Stopwatch(sizes)
    model.fit(_Turns(train, sizes), epochs=1, callbacks=[stopwatch], verbose=0, shuffle=False)
    return {size: size / float(np.median(spent)) for size, spent in stopwatch.spent.items()}


def choose_pace(rates: Mapping[tuple[int, bool], float]) -> tuple[int, bool]:
    """Batch size, and whether XLA compiles, from windows per second: the smallest batch that is nearly as fast as the fastest,
    and XLA where it is worth the wait for it.

    >>> choose_pace({(32, False): 700.0, (32, True): 750.0, (64, False): 850.0, (64, True): 1000.0, (128, True): 1100.0})
    (64, True)
    >>> choose_pace({(64, False): 950.0, (64, True): 1000.0})
    (64, False)
    """
    nearly = NEARLY * max(rates.values())
    size = min(size for (size, _), rate in rates.items() if rate >= nearly)
    return size, rates.get((size, True), 0.0) > WORTHWHILE * rates.get((size, False), 0.0)


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
    _compile(model, config, quantiles)
    if config.jit_compile and not model.jit_compile:
        log.warning("training.jit_compile: XLA cannot compile this network here; it is trained without.")
    rng = np.random.default_rng([seed, 1])  # apart from the stream that drew the initial weights
    batches = Batches(train, config.batch_size, rng, evenly=config.sampling == "series")
    unseen = Batches(validation, max(config.batch_size, BATCH))
    resumed = keeper.resumed if keeper else None
    if resumed:
        _check_ahead(resumed, config, len(batches))
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


def _compile(model: keras.Model, config: TrainingConfig, quantiles: Sequence[float] | None) -> None:
    # The metric is the bare loss: with an L2 penalty in it, shrinking weights would pass for better forecasts.
    loss = pinball(quantiles) if quantiles else LOSSES[config.loss or "mse"]
    error = keras.metrics.MeanMetricWrapper(loss, name="error")
    compiled = config.jit_compile if keras.backend.backend() == "tensorflow" else "auto"  # others cannot do without
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a network that XLA cannot compile; the caller says so
        model.compile(_optimizer(config), loss=loss, metrics=[error], jit_compile=compiled)
    model.optimizer.build(model.trainable_variables)


def _check_ahead(resumed: Checkpoint, config: TrainingConfig, batches: int) -> None:
    """What was begun of an epoch is to be finished."""
    if not 0 <= resumed.batch < batches:
        raise RunError(f"the checkpoint is of batch {resumed.batch}, of {batches}.", "Train anew.", "training")
    if resumed.batch and resumed.epoch >= config.epochs:
        found = f"epoch {resumed.epoch + 1} is under way, and training.epochs is {config.epochs}."
        raise RunError(found, f"Set training.epochs to {resumed.epoch + 1} or more.", "training")


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
        callbacks: list[keras.callbacks.Callback] = [NumbersOnly(config)]
        if config.schedule == "plateau":
            patience = max(1, config.early_stopping.patience // 3) if config.early_stopping else HALVE_EVERY
            halve = keras.callbacks.ReduceLROnPlateau("val_error", factor=0.5, patience=patience, mode="min", min_delta=0)
            callbacks.append(halve)
        if config.schedule != "plateau" or config.warmup_epochs:
            callbacks.append(
                keras.callbacks.LearningRateScheduler(lambda epoch, current: learning_rate_at(epoch, config, current))
            )
        skipped = self.batches - len(batches)
        callbacks.append(Reporter(config.epochs, self.batches, skipped, self.untrained, self.on_progress))
        stopping = None
        if config.early_stopping:
            stopping = EarlyStopping(self.untrained, config.early_stopping.patience, config.early_stopping.min_delta)
            callbacks.append(stopping)
        checkpoints = CheckpointKeeping(callbacks, self.untrained, keeper, config.checkpoint_every, self.batches)
        callbacks.append(checkpoints)  # the last, so that it sees what the others made of an epoch
        if resumed:
            resumed.restore(self.model)
        if resumed and (begin >= until or _stopped(resumed, config)):
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


def _stopped(resumed: Checkpoint, config: TrainingConfig) -> bool:
    """Whether early stopping had ended it, and would with a patience that may be another now."""
    waited = resumed.state.get("EarlyStopping", {}).get("wait", 0)
    return resumed.state["stopped"] and config.early_stopping is not None and waited >= config.early_stopping.patience


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
