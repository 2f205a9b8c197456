"""Find problems in the learning curve of a network."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecast.config import Config
from forecast.evaluation.metrics import Values
from forecast.evaluation.scores import Diagnosis

STILL_FALLING = 0.05  # Fall of the validation loss over the last quarter of the epochs if training ended too early.
ROSE, LEARNED = 1.3, 0.7  # Validation and training loss, as multiples of those of the best epoch, that show overfitting.
LEAP, LEAPS = 0.5, 0.1  # Rise of the validation loss between epochs, and share of the epochs, that are not noise.
EXPLODED = 10.0  # Norm of the gradient of losses that are near 1.
WORSE_THAN_UNTRAINED = 2.0  # Validation loss as a multiple of that of the untrained network.
UNSTEADY = 0.1  # Change of the validation loss between epochs, as a fraction of it, that hides a trend.
MIN_EPOCHS = 8  # Fewer show no trend.


@dataclass(frozen=True)
class Curve:
    """The learning curve of one seed.

    losses, errors: on the training and the validation set, by epoch from 0, the untrained network.
    gradient_norm: the largest mean over an epoch. saved_epoch: whose weights were saved.
    """

    losses: Values
    errors: Values
    gradient_norm: float
    saved_epoch: int

    @property
    def epochs(self) -> int:
        """Return the number of epochs after epoch 0."""
        return len(self.errors) - 1

    @property
    def best(self) -> int:
        """Return the epoch after epoch 0 with the smallest validation loss."""
        return 1 + int(np.argmin(self.errors[1:]))

    @property
    def end(self) -> float:
        """Return the mean validation loss of the last three epochs. Single ones are noisy."""
        return float(np.mean(self.errors[-3:]))

    @property
    def noise(self) -> float:
        """Return the deviation of the loss of an epoch from its neighbours, by the median, which single leaps do not move."""
        changes = np.diff(self.errors[1:])
        return 1.4826 * float(np.median(np.abs(changes - np.median(changes)))) / math.sqrt(2)

    @property
    def gained_by_chance(self) -> bool:
        """Return whether the best epoch is below epoch 0 by no more than the best of so many lies below the rest by chance."""
        gain = float(self.errors[0] - self.errors[1:].min())
        return gain < self.noise * math.sqrt(2 * math.log(self.epochs))


def split_by_seed(history: pd.DataFrame) -> list[tuple[int, pd.DataFrame]]:
    """Split the history of a training, a row per epoch and seed."""
    return [(seed, history[history.seed == seed]) for seed in sorted(history.seed.unique().tolist())]


def check_curve(curve: Curve, config: Config) -> Diagnosis | None:
    """Return the gravest problem in a learning curve, or None."""
    if curve.epochs < 1:
        return None
    return _check_stability(curve, config) or _check_end(curve, config) or _check_trend(curve, config)


def _check_stability(curve: Curve, config: Config) -> Diagnosis | None:
    losses, errors, rate = curve.losses, curve.errors, config.training.learning_rate
    leaps = int((np.diff(errors[1:]) > LEAP * errors[1:-1]).sum())
    diverged = curve.end > WORSE_THAN_UNTRAINED * errors[0] and losses[-1] > LEARNED * losses[1]
    if leaps < max(3, LEAPS * curve.epochs) and not diverged:
        return None
    name, clip = "unstable training", ""
    evidence = (
        f"the validation loss rose by more than {LEAP:.0%} in {leaps} of {curve.epochs} epochs. It was {errors[0]:.3g} before"
        f" training and {curve.end:.3g} at the end."
    )
    if config.training.clipnorm is None and config.training.clipvalue is None and curve.gradient_norm > EXPLODED:
        name, clip = "exploding gradients", ", and set training.clipnorm: 1.0"
        evidence += f" The mean norm of the gradient in an epoch reached {curve.gradient_norm:.3g}."
    return Diagnosis(name, evidence, f"Lower training.learning_rate from {rate:g}, for example to {rate / 10:g}{clip}.")


def _check_end(curve: Curve, config: Config) -> Diagnosis | None:
    """Return whether training ended too early or went on for too long."""
    losses, errors, epochs, best, end = curve.losses, curve.errors, curve.epochs, curve.best, curve.end
    quarter = max(1, epochs // 4)
    before = float(np.mean(errors[-3 - quarter : -quarter]))
    if epochs == config.training.epochs and best > epochs - quarter and end < (1 - STILL_FALLING) * before:
        return Diagnosis(
            "underfitting",
            f"over the last {quarter} of {epochs} epochs, the validation loss still fell by {1 - end / before:.0%}.",
            f"Set training.epochs to {4 * epochs} or more. Early stopping ends training when the loss no longer improves.",
        )
    if end > ROSE * errors[best] and losses[-1] < LEARNED * losses[best]:
        saved = "The weights of the best epoch were saved." if curve.saved_epoch <= best else "Set training.early_stopping: {}."
        return Diagnosis(
            "overfitting",
            f"after epoch {best}, the training loss kept falling, from {losses[best]:.3g} to {losses[-1]:.3g}, while the"
            f" validation loss rose from {errors[best]:.3g} to {end:.3g}.",
            f"{saved} Try fewer model.units, model.dropout: 0.2, or more data.",
        )
    return None


def _check_trend(curve: Curve, config: Config) -> Diagnosis | None:
    """Return whether the validation loss goes up and down without falling."""
    after, third = curve.errors[1:], curve.epochs // 3
    if curve.epochs < MIN_EPOCHS:
        return None
    first, last = float(np.mean(after[:third])), float(np.mean(after[-third:]))
    flat = first - last < 2 * curve.noise * math.sqrt(2 / third)  # Two standard errors of a difference of means.
    idle = curve.gained_by_chance and not config.model.linear_skip  # With the skip, there may be nothing left to gain.
    if not idle and not (flat and curve.noise > UNSTEADY * float(np.mean(after))):
        return None
    return Diagnosis(
        "validation loss without a trend",
        f"it was {curve.errors[0]:.3g} before training, averaged {first:.3g} over the first third of {curve.epochs} epochs and"
        f" {last:.3g} over the last, and varies by {curve.noise:.2g} between epochs. Epoch {curve.best} is the best only by"
        " chance.",
        "Use a longer validation set, a lower training.learning_rate or a larger training.batch_size. If the loss stays flat,"
        " there is nothing to learn beyond the baselines.",
    )
