"""Train a network with Keras: losses, optimizers and learning rates."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from forecast.config import ResolvedTrainingConfig, TrainingConfig
from forecast.errors import RunError
from forecast.forecasters.network.backend import keras
from forecast.forecasters.network.batches import Batches
from forecast.forecasters.network.callbacks import (
    Checkpoint,
    CheckpointStore,
    EarlyStopping,
    Progress,
    ReportProgress,
    SaveCheckpoints,
)
from forecast.forecasters.network.layers.interface import Tensor
from forecast.windows import MAX_BATCH, Subset, Windows

LOSSES = {"mse": keras.losses.mean_squared_error, "mae": keras.losses.mean_absolute_error, "huber": keras.losses.huber}
USUAL_EPOCHS = 10  # Epochs between two steps of the learning rate, unless `schedule_every` says otherwise.
log = logging.getLogger(__name__)


class _GradientStatistics(keras.optimizers.Optimizer):
    """A part of an optimizer that sums the norms of the batches' gradients, and counts those that are clipped."""

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if not self.built:
            super().build(variables)
            self.statistics = self.add_variable((3,), name="statistics")  # Batches, sum of their norms, clipped batches.

    def apply(self, grads: Sequence[Tensor], trainable_variables: Sequence[keras.Variable] | None = None) -> None:
        """Update the statistics, then the weights."""
        gradients = [gradient for gradient in grads if gradient is not None]
        # TensorFlow's gradients of embeddings are sparse until they are reshaped.
        dense = [keras.ops.reshape(gradient, (-1,)) if hasattr(gradient, "indices") else gradient for gradient in gradients]
        squares = keras.ops.stack([keras.ops.sum(keras.ops.square(gradient)) for gradient in dense])
        clipped = keras.ops.max(squares) > (self.clipnorm or math.inf) ** 2
        if self.clipvalue:
            largest = keras.ops.stack([keras.ops.max(keras.ops.abs(gradient)) for gradient in dense])
            clipped = keras.ops.max(largest) > self.clipvalue
        norm = keras.ops.sqrt(keras.ops.sum(squares))
        update = keras.ops.stack([keras.ops.ones_like(norm), norm, keras.ops.cast(clipped, norm.dtype)])
        self.assign_add(self.statistics, update)
        super().apply(grads, trainable_variables)

    def pop_gradient_statistics(self) -> tuple[float, float]:
        """Return the mean norm and the share of clipped batches since the last call, and start again."""
        batches, norms, clipped = keras.ops.convert_to_numpy(self.statistics).tolist()
        self.statistics.assign(np.zeros(3))
        return norms / batches, clipped / batches


_KERAS_OPTIMIZERS = (keras.optimizers.Adam, keras.optimizers.AdamW, keras.optimizers.RMSprop, keras.optimizers.SGD)
OPTIMIZERS = {kind.__name__.lower(): type(kind.__name__, (_GradientStatistics, kind), {}) for kind in _KERAS_OPTIMIZERS}


def compile_model(model: keras.Model, config: ResolvedTrainingConfig, quantiles: Sequence[float]) -> None:
    """Give a model its optimizer and its loss, which is that of its quantiles if it forecasts any."""
    loss = ignore_missing(pinball(quantiles) if quantiles else LOSSES[config.loss or "mse"])
    # The metric is the loss without penalties: smaller weights are not better forecasts.
    error = keras.metrics.MeanMetricWrapper(loss, name="error")
    accumulated = config.accumulate_gradients if config.accumulate_gradients > 1 else None
    optimizer = OPTIMIZERS[config.optimizer](
        config.learning_rate,
        clipnorm=config.clipnorm,
        clipvalue=config.clipvalue,
        gradient_accumulation_steps=accumulated,
    )
    compiled = config.jit_compile if keras.backend.backend() == "tensorflow" else "auto"  # JAX always compiles.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `fit` warns if XLA cannot compile the network.
        model.compile(optimizer, loss=loss, metrics=[error], jit_compile=compiled)
    model.optimizer.build(model.trainable_variables)


def reset_optimizer(model: keras.Model) -> None:
    """Set the optimizer state of a model to zero, so that another training can begin without compiling again."""
    for variable in model.optimizer.variables:
        variable.assign(keras.ops.zeros(variable.shape, variable.dtype))


def fit(
    model: keras.Model,
    windows: Mapping[Subset, Windows],
    config: ResolvedTrainingConfig,
    seed: int,
    on_progress: Callable[[Progress], None],
    store: CheckpointStore | None = None,
) -> int:
    """Train a compiled model in place and return the epoch whose weights it keeps; 0 is the untrained network.

    windows: those of the training and validation sets; on_progress: called after each batch and each validation.

    Raises:
        RunError: the loss is no longer a number, or the checkpoint does not fit the config.
        KeyboardInterrupt: `store` asked to stop, and has saved a checkpoint.
    """
    if config.jit_compile and not model.jit_compile:
        log.warning("training.jit_compile: XLA cannot compile this network here. It is trained without XLA.")
    rng = np.random.default_rng([seed, 1])  # Another stream than that of the initial weights.
    batches = Batches(windows["train"], config.batch_size, rng, evenly=config.sampling == "series")
    validation = Batches(windows["validation"], max(config.batch_size, MAX_BATCH))
    resumed = store.resumed if store else None
    if resumed is None:
        untrained = model.evaluate(validation, verbose=0, return_dict=True)["error"]
        on_progress(Progress(0, config.epochs, 1.0, math.nan, untrained, 0.0, 0.0))
    else:
        untrained = resumed.state["untrained"]
        _check_resumable(resumed, config, len(batches))
        for _ in range(resumed.epoch):
            batches.on_epoch_end()  # Draw the orders of the finished epochs.
    training = _Training(model, config, validation, untrained, on_progress, store)
    if resumed and resumed.batch:
        batches.on_epoch_end()  # Keras draws once more before the first epoch.
        model.test_on_batch(*validation[0])  # Create the variables of the metrics, which the checkpoint restores.
        training.run(batches.skip(resumed.batch), resumed.epoch + 1)
    return training.run(batches, config.epochs)


def _check_resumable(resumed: Checkpoint, config: ResolvedTrainingConfig, batches: int) -> None:
    """Check that the epoch of the checkpoint can be finished."""
    if not 0 <= resumed.batch < batches:
        message = f"the checkpoint was saved at batch {resumed.batch}, but an epoch has {batches} batches."
        raise RunError(message, "Start the training again.", "training")
    if resumed.batch and resumed.epoch >= config.epochs:
        message = f"epoch {resumed.epoch + 1} has begun, but training.epochs is {config.epochs}."
        raise RunError(message, f"Set training.epochs to {resumed.epoch + 1} or more.", "training")


@dataclass(frozen=True)
class _Training:
    """A training, which is run in two parts if it resumes within an epoch. untrained: the error of the untrained network."""

    model: keras.Model
    config: ResolvedTrainingConfig
    validation: Batches
    untrained: float
    on_progress: Callable[[Progress], None]
    store: CheckpointStore | None

    def run(self, batches: Batches, until: int) -> int:
        """Train from the last checkpoint to the end of epoch `until`, counted from 1. Return the epoch whose weights are kept."""
        config, resumed = self.config, self.store.resumed if self.store else None
        begin, callbacks, stopping = 0, self._make_callbacks(batches), None
        if config.early_stopping:
            stopping = EarlyStopping(self.untrained, config.early_stopping.patience, config.early_stopping.min_delta)
            callbacks.append(stopping)
        if self.store:  # The last callback, because it saves the state of the others.
            callbacks.append(SaveCheckpoints(self.store, callbacks[:], self.untrained, batches, config.checkpoint_every))
        if resumed:
            begin = resumed.epoch
            resumed.restore(self.model)
            until = begin if _has_stopped(resumed, config) else until  # Without an epoch, Keras restores the best weights only.
        options = {"validation_data": self.validation, "callbacks": callbacks, "verbose": 0, "shuffle": False}
        self.model.fit(batches, epochs=until, initial_epoch=begin, **options)
        return stopping.best_epoch + 1 if stopping else max(begin, until)

    def _make_callbacks(self, batches: Batches) -> list[keras.callbacks.Callback]:
        """Return the callbacks that set the learning rate and report progress."""
        config = self.config
        callbacks: list[keras.callbacks.Callback] = []
        if config.schedule == "plateau":
            patience = max(1, config.early_stopping.patience // 3) if config.early_stopping else USUAL_EPOCHS
            patience = config.schedule_every or patience
            options = {"factor": config.schedule_factor, "patience": patience, "mode": "min", "min_delta": 0}
            callbacks.append(keras.callbacks.ReduceLROnPlateau("val_error", **options))
        if config.schedule != "plateau" or config.warmup_epochs:
            schedule = keras.callbacks.LearningRateScheduler(lambda epoch, rate: compute_learning_rate(epoch, config, rate))
            callbacks.append(schedule)
        return [*callbacks, ReportProgress(config, batches, self.untrained, self.on_progress)]


def _has_stopped(resumed: Checkpoint, config: ResolvedTrainingConfig) -> bool:
    """Return whether training had stopped early, and would also with today's patience."""
    waited = resumed.state.get("EarlyStopping", {}).get("wait", 0)
    return resumed.state["stopped"] and config.early_stopping is not None and waited >= config.early_stopping.patience


def pinball(quantiles: Sequence[float]) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss of quantile regression (Koenker & Bassett 1978), averaged over the quantiles.

    Its arguments are actuals `(batch, horizon, targets, quantiles or 1)` and forecasts `(batch, horizon, targets, quantiles)`.
    """
    shares = np.array(quantiles, dtype=np.float32)

    def loss(y_true: Tensor, y_pred: Tensor) -> Tensor:
        error = keras.ops.cast(y_true, y_pred.dtype) - y_pred
        return keras.ops.mean(keras.ops.maximum(shares * error, (shares - 1) * error), axis=-1)

    return loss


def ignore_missing(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a loss that is 0, and has no gradient, where an actual value is NaN."""

    def masked(y_true: Tensor, y_pred: Tensor) -> Tensor:
        if len(y_true.shape) < len(y_pred.shape):  # Each actual value has a forecast for every quantile.
            y_true = keras.ops.expand_dims(y_true, -1)
        return loss(keras.ops.where(keras.ops.isnan(y_true), y_pred, y_true), y_pred)

    return masked


def compute_learning_rate(epoch: int, config: TrainingConfig, current: float | None = None) -> float:
    """Return the learning rate of an epoch, counted from 0; `current` is the rate that `schedule: plateau` has reached.

    >>> config = TrainingConfig(learning_rate=0.8, schedule="step", warmup_epochs=2)
    >>> [compute_learning_rate(epoch, config) for epoch in (0, 1, 2, 11, 12, 22)]
    [0.4, 0.8, 0.8, 0.8, 0.4, 0.2]
    >>> config = TrainingConfig(learning_rate=1, schedule="step", schedule_every=2, schedule_factor=0.1)
    >>> [round(compute_learning_rate(epoch, config), 6) for epoch in (1, 2, 4)]
    [1.0, 0.1, 0.01]
    """
    if epoch < config.warmup_epochs:
        return config.learning_rate * (epoch + 1) / config.warmup_epochs
    after = epoch - config.warmup_epochs
    if config.schedule == "step":
        return config.learning_rate * config.schedule_factor ** (after // (config.schedule_every or USUAL_EPOCHS))
    if config.schedule == "cosine":
        left = max(1, config.epochs - config.warmup_epochs)
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * after / left))
    return current if config.schedule == "plateau" and current is not None else config.learning_rate
