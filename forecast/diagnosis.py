"""`diagnose`: what is wrong with a training, from what its run recorded, with the evidence and the knob to turn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from forecast.config import Config
from forecast.evaluation import EQUAL, MODEL
from forecast.runs import Run
from forecast.significance import ALPHA

HEALTHY = "Nothing is wrong with this training, as far as its figures tell."
FAILURES = {"the loss is no longer a number": "exploding gradients", "memory ran out": "too little memory"}
STILL_FALLING = 0.05  # of the validation loss, over the last quarter of the epochs: training ended too early
ROSE, LEARNED = 1.3, 0.7  # times the losses of the best epoch: validation above the one, training below the other, is overfitting
LEAP, LEAPS = 0.5, 0.1  # rise of the validation loss from an epoch to the next, and share of the epochs, that is no noise
EXPLODED = 10.0  # norm of the gradient of losses that are near 1
WORSE_THAN_UNTRAINED = 2.0  # times the validation loss of the network as it came
CROWDED = 100  # parameters for each target value to learn from
SHIFT = 2.5  # times the validation part's MASE on the test part
FADED = 1e-4  # of the strongest step's gradient, below which a step is not learned from
FORGOTTEN = 0.5  # of the steps


@dataclass(frozen=True)
class Diagnosis:
    """One thing that is wrong: its name, the figures that say so, and what to change."""

    name: str
    evidence: str
    remedy: str


def diagnose(run: Run | str | Path) -> list[Diagnosis]:
    """What is wrong with the training of a run, the gravest first; nothing where it is healthy.

    Raises:
        RunError: there is no run here, or it is damaged, or was cut short by something else than what is in `FAILURES`.
    """
    if not isinstance(run, Run):
        why = Run(run).why_failed
        evidence, _, remedy = why.partition("\n")
        failed = [Diagnosis(name, evidence, remedy.strip()) for words, name in FAILURES.items() if words in why]
        if failed:
            return failed
        run = Run.open(run)
    with run.telling_damage():
        config, metrics = run.read_config(), run.read_json(run.metrics)
        return [
            *_of_the_loss(run, config, metrics),
            *_of_the_size(run, config, metrics),
            *_of_the_forecast(config, metrics),
            *_of_the_lookback(run, config, metrics),
        ]


def _of_the_loss(run: Run, config: Config, metrics: dict) -> list[Diagnosis]:
    """What the learning curves of all seeds say."""
    if not run.history.exists():
        return []
    found: dict[str, Diagnosis] = {}
    for seed, own in pd.read_csv(run.history).groupby("seed"):
        for one in _of_a_curve(own, metrics["kept_epochs"][str(seed)], config):
            found.setdefault(one.name, one)
    return list(found.values())


def _of_a_curve(history: pd.DataFrame, kept: int, config: Config) -> list[Diagnosis]:
    losses, errors = history.loss.to_numpy(), history.val_loss.to_numpy()  # by epoch, from 0: the network as it came
    last, rate = len(errors) - 1, config.training.learning_rate
    if last < 1:
        return []
    rises = np.diff(errors[1:]) > LEAP * errors[1:-1]
    best, end = 1 + int(np.argmin(errors[1:])), float(np.mean(errors[-3:]))
    if rises.sum() >= max(3, LEAPS * last) or (end > WORSE_THAN_UNTRAINED * errors[0] and losses[-1] > LEARNED * losses[1]):
        name, clip = "unstable training", ""
        evidence = f"the validation loss rose by more than {LEAP:.0%} in {rises.sum()} of {last} epochs; it was {errors[0]:.3g}"
        evidence += f" before training and {end:.3g} at the end"
        longest = float(history.gradient_norm.max()) if "gradient_norm" in history else 0.0
        if config.training.clipnorm is None and longest > EXPLODED:
            name, clip = "exploding gradients", " and set training.clipnorm: 1.0"
            evidence += f"; over an epoch, the mean norm of the gradient was {longest:.3g}"
        return [Diagnosis(name, f"{evidence}.", f"Lower training.learning_rate from {rate:g}, such as to {rate / 10:g}{clip}.")]
    quarter = max(1, last // 4)
    fell = 1 - end / float(np.mean(errors[-3 - quarter : -quarter]))  # means, since single epochs are noisy
    if last == config.training.epochs and best > last - quarter and fell > STILL_FALLING:
        return [
            Diagnosis(
                "underfitting",
                f"over the last {quarter} of {last} epochs the validation loss still fell by {fell:.0%}.",
                f"Set training.epochs to {4 * last} or more; early stopping ends it in time.",
            )
        ]
    if end > ROSE * errors[best] and losses[-1] < LEARNED * losses[best]:
        saved = "The weights of the best epoch were kept." if kept <= best else "Set training.early_stopping: {}."
        return [
            Diagnosis(
                "overfitting",
                f"after epoch {best} the training loss went on falling, from {losses[best]:.3g} to {losses[-1]:.3g}, while the"
                f" validation loss rose from {errors[best]:.3g} to {end:.3g}.",
                f"{saved} Try fewer model.units, model.dropout: 0.2, or more data.",
            )
        ]
    return []


def _of_the_size(run: Run, config: Config, metrics: dict) -> list[Diagnosis]:
    """Whether there is enough to learn from."""
    windows = run.read_json(run.contract)["parts"]["train"]["windows"]
    values = windows * config.windows.horizon * len(metrics["test"][MODEL]["per_target"])
    parameters = metrics["parameters"] // len(config.seeds)
    if parameters <= CROWDED * values:
        return []
    return [
        Diagnosis(
            "too little data for this network",
            f"{parameters:,} parameters learn from {values:,} target values.",
            f"Use fewer model.units than {config.model.units}, or more rows.",
        )
    ]


def _of_the_forecast(config: Config, metrics: dict) -> list[Diagnosis]:
    """Whether the forecast is better than what costs nothing, and whether the test part is another world."""
    skill, found = metrics["skill"], []
    if _is_no_better(metrics["compared"]["mean"]):
        found.append(
            Diagnosis(
                "no signal",
                f"the error is {1 - skill['mean']:.0%} of that of the mean of all rows before.",
                "Check that rows and timestamps belong together; perhaps nothing in the past tells what comes next.",
            )
        )
    elif _is_no_better(metrics["compared"]["naive"]):
        skip = "" if config.model.linear_skip else "Set model.linear_skip: true. "
        found.append(
            Diagnosis(
                "no better than persistence",
                f"the error is {1 - skill['naive']:.0%} of that of repeating the last value.",
                f"{skip}Give covariates that tell what comes; if there are none, take the last value.",
            )
        )
    scaled = {part: {name: metrics[part][name]["total"]["mase"] for name in (MODEL, "linear")} for part in ("validation", "test")}
    if all(value for part in scaled.values() for value in part.values()):
        ratios = {name: scaled["test"][name] / scaled["validation"][name] for name in (MODEL, "linear")}
        if min(ratios.values()) > SHIFT:
            found.append(
                Diagnosis(
                    "the test part differs from what came before",
                    f"errors there are {ratios[MODEL]:.1f} times those of the validation part; those of a ridge regression"
                    f" {ratios['linear']:.1f} times.",
                    "Look at the series around the borders of the parts; train on newer rows with `forecast update`.",
                )
            )
    return found


def _is_no_better(compared: dict) -> bool:
    """Than what it is compared with, or by no more than luck."""
    skill, p_value = compared["skill"], compared["p_value"]
    return skill is not None and (skill < EQUAL or (p_value is not None and p_value >= ALPHA))


def _of_the_lookback(run: Run, config: Config, metrics: dict) -> list[Diagnosis]:
    """Whether the network sees, and remembers, as far back as the season asks for."""
    season, lookback = metrics["season_length"], config.windows.lookback
    total = {name: metrics["test"][name]["total"]["mae"] for name in ("naive", "seasonal_naive")}
    found = []
    if lookback < season and total["seasonal_naive"] < total["naive"]:
        found.append(
            Diagnosis(
                "lookback too short for the season",
                f"the network sees {lookback} steps of a season of {season}, which repeats itself: seasonal naive has"
                f" {total['seasonal_naive'] / total['naive']:.0%} of naive's error.",
                f"Set windows.lookback to {2 * season}.",
            )
        )
    model = config.model  # what goes past the last state reaches older steps, too
    if run.gradients.exists() and not (model.linear_skip or model.attention or model.bidirectional):
        norms = np.array(run.read_json(run.gradients)["network"], dtype=float)
        seen = norms > FADED * np.nanmax(norms)
        if seen.any() and seen.mean() < FORGOTTEN:
            found.append(
                Diagnosis(
                    "vanishing gradients",
                    f"of {len(norms)} recurrent steps, the last {len(norms) - int(np.argmax(seen))} are learned from: gradients"
                    f" of older ones are less than {FADED:g} of the strongest.",
                    "Use model.cell: lstm or gru, model.segment, model.linear_skip: true, or a shorter windows.lookback.",
                )
            )
    return found
