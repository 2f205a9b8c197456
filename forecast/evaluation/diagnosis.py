"""Find what is wrong with a training from the figures of its run: the problem, the evidence and the setting to change."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecast.config import Config
from forecast.documents import Document
from forecast.errors import first_few
from forecast.evaluation.intervals import method_of
from forecast.evaluation.scoreboard import EQUAL, outcomes
from forecast.evaluation.scores import LABELS, MODEL, Metrics, Scores, TrainingMetrics
from forecast.evaluation.significance import ALPHA, Comparison

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
EXACT = 1e-3  # Fraction of the naive error below which a forecast counts as exact.
ROUNDING = 1e-6  # Scaled error that float32 rounding explains.
BIASED = 0.1  # Share of the squared bias in the mean squared error.
FAR_OFF = 0.1  # Distance of a coverage from its level that matters; or half of what may lie outside, if that is less.
LOPSIDED = 1.5  # Times the number of values that should lie on one side of an interval.
CHANCE = 0.01  # Probability below which chance does not explain a coverage.
UNSTEADY = 0.1  # Change of the validation loss between epochs, as a fraction of it, that hides a trend.
MIN_EPOCHS = 8  # Fewer show no trend.


@dataclass(frozen=True)
class Diagnosis:
    """One thing that is wrong: its name, the figures that say so, and what to change."""

    name: str
    evidence: str
    remedy: str


class Diagnoses(Document):
    """What is wrong with a training, the gravest problem first (diagnosis.json)."""

    problems: list[Diagnosis]


@dataclass(frozen=True)
class Evidence:
    """The figures of a finished run from which `find_problems` concludes.

    history: a row per epoch and seed; None if no epoch was trained. train_windows: windows of the training set.
    gradients: norms by recurrent step, the oldest first; None if they were not measured. continued: the run continues another.
    """

    config: Config
    metrics: TrainingMetrics
    history: pd.DataFrame | None
    train_windows: int
    gradients: list[float | None] | None
    continued: bool


def find_problems(evidence: Evidence) -> list[Diagnosis]:
    """Return what is wrong with a training, the gravest problem first; an empty list for a healthy one."""
    config, metrics = evidence.config, evidence.metrics
    return [
        *_of_the_loss(evidence),
        *_of_the_size(evidence),
        *_of_the_forecast(config, metrics),
        *_of_the_bias(config, metrics),
        *_of_the_intervals(config, metrics),
        *_of_the_lookback(evidence),
    ]


def explain_failure(reason: str) -> list[Diagnosis]:
    """Return the known causes of a training that failed for `reason`; an empty list if it is none of `FAILURES`."""
    evidence, _, remedy = reason.partition("\n")
    return [Diagnosis(name, evidence, remedy.strip()) for words, name in FAILURES.items() if words in reason]


def _of_the_loss(evidence: Evidence) -> list[Diagnosis]:
    """Return what the learning curves of all seeds say."""
    if evidence.history is None or _is_exact(evidence.metrics.validation):
        return []
    problems: dict[str, Diagnosis] = {}
    for seed, curve in evidence.history.groupby("seed"):
        for problem in _of_a_curve(curve, evidence.metrics.kept_epochs[seed], evidence.config):
            problems.setdefault(problem.name, problem)
    return list(problems.values())


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
    before = float(np.mean(errors[-3 - quarter : -quarter]))  # means, since single epochs are noisy
    fell = 1 - end / before if before > 0 else 0.0
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
    return _of_the_trend(errors, config)


def _of_the_trend(errors: np.ndarray, config: Config) -> list[Diagnosis]:
    """Say that a validation loss, by epoch from 0, goes up and down without falling."""
    after = errors[1:]
    if len(after) < MIN_EPOCHS:
        return []
    noise, third, best = _noise(after), len(after) // 3, 1 + int(np.argmin(after))
    fell = float(np.mean(after[:third]) - np.mean(after[-third:]))
    steady = fell < 2 * noise * math.sqrt(2 / third)  # two standard errors of a difference of means
    idle = _gained_by_chance(errors) and not config.model.linear_skip  # else it began where there may be nothing left to gain
    if not idle and not (steady and noise > UNSTEADY * float(np.mean(after))):
        return []
    return [
        Diagnosis(
            "validation loss without a trend",
            f"it was {errors[0]:.3g} before training, averaged {after[:third].mean():.3g} over the first third of {len(after)}"
            f" epochs and {after[-third:].mean():.3g} over the last, and varies by {noise:.2g} between epochs."
            f" Epoch {best} is the best only by chance.",
            "Use a longer validation set, a lower training.learning_rate or a larger training.batch_size. If the loss stays flat,"
            " there is nothing to learn beyond the baselines.",
        )
    ]


def _noise(losses: np.ndarray) -> float:
    """Return the deviation of the loss of a single epoch from its neighbours, by the median, which single leaps do not move."""
    changes = np.diff(losses)
    return 1.4826 * float(np.median(np.abs(changes - np.median(changes)))) / math.sqrt(2)


def _gained_by_chance(errors: np.ndarray) -> bool:
    """Return whether the best epoch is below epoch 0 by no more than the best of so many lies below the others by chance."""
    after = errors[1:]
    return float(errors[0] - after.min()) < _noise(after) * math.sqrt(2 * math.log(len(after)))


def remark(evidence: Evidence) -> str:
    """Return a sentence where the network is the linear baseline that it began as, or no better by more than chance; else "".

    This is no illness, but no merit of the network either.
    """
    config, kept = evidence.config, evidence.metrics.kept_epochs
    if not config.model.linear_skip or evidence.continued or evidence.history is None:
        return ""
    curves = [curve.val_loss.to_numpy() for _, curve in evidence.history.groupby("seed")]
    epochs = max(map(len, curves)) - 1
    ridge = "a ridge regression" if config.model.decoder == "recursive" else "the linear baseline"
    if not any(kept.values()):
        return f"The network is {ridge}: epoch 0 was kept, because none of {epochs} epochs had a smaller validation loss."
    if all(len(errors) > MIN_EPOCHS and _gained_by_chance(errors) for errors in curves):
        best = min(float(errors.min() / errors[0]) for errors in curves if errors[0] > 0)
        return (
            f"The network started as {ridge} and hardly improved on it: its best validation loss is {best:.1%} of the loss"
            " at epoch 0, a difference that chance alone can explain."
        )
    return ""


def _of_the_size(evidence: Evidence) -> list[Diagnosis]:
    """Compare the number of parameters with that of the values to learn from."""
    config, metrics = evidence.config, evidence.metrics
    values = evidence.train_windows * config.windows.horizon * len(metrics.test.forecast.per_target)
    parameters = metrics.parameters // len(config.seeds)
    if parameters <= CROWDED * values:
        return []
    return [
        Diagnosis(
            "too little data for this network",
            f"{parameters:,} parameters learn from {values:,} target values.",
            f"Use fewer model.units than {config.model.units}, or more rows.",
        )
    ]


def _of_the_forecast(config: Config, metrics: TrainingMetrics) -> list[Diagnosis]:
    """Compare the network with every baseline of the scoreboard, and the test part with what came before."""
    if _is_exact(metrics.test):
        return []
    findings = _of_the_baselines(config, metrics)
    ratios = [_ratio(metrics.test.of(name).total.mase, metrics.validation.of(name).total.mase) for name in (MODEL, "linear")]
    if min(ratios) > SHIFT:
        findings.append(
            Diagnosis(
                "the test part differs from what came before",
                f"errors there are {ratios[0]:.1f} times those of the validation part; those of a ridge regression"
                f" {ratios[1]:.1f} times.",
                "Look at the series around the borders of the parts; train on newer rows with `forecast update`.",
            )
        )
    return findings


def _ratio(error: float | None, reference: float | None) -> float:
    """Return the ratio of two errors, 0 if one is 0 or undefined."""
    return error / reference if error and reference else 0.0


def _is_exact(scores: Scores) -> bool:
    """Return whether errors of a part are so small that differences between them mean nothing."""
    network, naive = scores.forecast.total.mae_scaled, scores.naive.total.mae_scaled
    return network is not None and naive is not None and network <= max(EXACT * naive, ROUNDING)


def _of_the_baselines(config: Config, metrics: Metrics) -> list[Diagnosis]:
    """Name every baseline that forecasts better than the network, or as well."""
    compared = metrics.compared
    ended, findings, skip = outcomes(compared), [], config.model.linear_skip
    worse = ended["loses to"]
    equal = ended["equals"] + ended["is not distinguishable from"]
    if skip:  # the network begins as the linear baseline, and may stay near it
        equal = [name for name in equal if name != "linear"]
    if _is_no_better(compared["mean"]):
        worse, equal = [name for name in worse if name != "mean"], []
        findings.append(
            Diagnosis(
                "no signal",
                f"the error is {_error_beside(compared['mean'])} of that of the mean of all rows before.",
                "Check that each row has the right timestamp. If so, the past may not predict the target.",
            )
        )
    elif _is_no_better(compared["naive"]):
        worse, equal = [name for name in worse if name != "naive"], []
        findings.append(
            Diagnosis(
                "no better than persistence",
                f"the error is {_error_beside(compared['naive'])} of that of repeating the last value.",
                f"{'' if skip else 'Set model.linear_skip: true. '}Add covariates that predict the target. If there are"
                " none, use the last value as the forecast.",
            )
        )
    if names := worse or equal:
        errors = ", ".join(f"{_error_beside(compared[name])} of that of {LABELS.get(name, name)}" for name in names)
        begin = "" if skip or "linear" not in names else "Set model.linear_skip: true, to begin as the linear baseline. "
        remedy = f"{begin}Forecast with the baseline, or give the network covariates, more rows or another windows.lookback."
        name, luck = ("worse than a baseline", "") if worse else ("no better than a baseline", "; the difference may be luck")
        findings.append(Diagnosis(name, f"the error on the test part is {errors}{luck}.", remedy))
    return findings


def _is_no_better(compared: Comparison) -> bool:
    """Return whether the network is worse than a baseline that is not exact, or better by no more than luck."""
    return compared.skill is not None and (compared.skill < EQUAL or not compared.distinguishable)


def _error_beside(compared: Comparison) -> str:
    """Write the error of the network as a share of that of a baseline."""
    if compared.skill is None:
        return "an infinite multiple"
    chance = "" if compared.distinguishable or compared.p_value is None else f" (p {compared.p_value:.2g})"
    return f"{1 - compared.skill:.0%}{chance}"


def _of_the_bias(config: Config, metrics: Metrics) -> list[Diagnosis]:
    """Name the targets whose forecasts are too high or too low on average, by much and not by chance."""
    biases = metrics.test.bias
    if _is_exact(metrics.test):
        return []
    clear = {
        target: bias
        for target, bias in biases.items()
        if bias.p_value is not None and bias.p_value < ALPHA / len(biases) and bias.share**2 > BIASED
    }
    if not clear:
        return []
    sentences = [
        f"`{target}` is forecast too {'high' if bias.share > 0 else 'low'}: the mean error is {abs(bias.share):.0%} of the"
        f" root mean squared error (p {bias.p_value:.2g})"
        for target, bias in clear.items()
    ]
    if config.model.quantiles or config.training.loss in ("mae", "huber"):
        change = "set training.loss: mse" + (" and model.quantiles: null." if config.model.quantiles else ".")
        remedy = f"This loss targets the median, which differs from the mean when errors are skewed: {change}"
    elif config.scaling.transform != "none":
        remedy = "A mean on the transformed scale becomes a median in original units: set scaling.transform: none."
    else:
        remedy = "The level shifted: set model.normalization: last, add covariates that explain it, or train on newer rows."
    return [Diagnosis("biased forecasts", f"{first_few(sentences)}.", remedy)]


def _of_the_intervals(config: Config, metrics: Metrics) -> list[Diagnosis]:
    """Compare the share of actual values within each interval, and to each side of it, with what was asked for."""
    scores = metrics.test
    if not scores.intervals or _is_exact(scores):
        return []
    independent = scores.windows / config.windows.horizon  # windows that overlap tell the same again
    narrow, wide, skewed = [], [], []
    for level, measured in scores.intervals[method_of(config)].levels.items():
        nominal, coverage = float(level) / 100, measured.coverage
        low, high = measured.coverage_low, measured.coverage_high
        unlikely = low is None or high is None or not low <= nominal <= high
        far = unlikely and abs(coverage - nominal) > min(FAR_OFF, (1 - nominal) / 2)
        if far and _exceeds_chance(coverage, nominal, independent):
            text = f"the {level}% interval holds {coverage:.1%} of the actual values of {scores.windows} windows"
            (narrow if coverage < nominal else wide).append(text)
        outside = 1 - coverage
        below = outside / 2 if measured.below is None else min(measured.below, outside)  # Runs of earlier versions lack it.
        above = outside - below
        lopsided = max(below, above) > LOPSIDED * (1 - nominal) / 2
        if lopsided and _exceeds_chance(below / outside, 0.5, independent * outside):
            skewed.append(f"{below:.1%} of the actual values lie below the {level}% interval, {above:.1%} above it")
    method = "" if method_of(config) == "adaptive" else "Set intervals.method: adaptive, which follows the errors. "
    findings = {
        "intervals too narrow": (narrow, f"{method}A longer validation set or newer rows give a better estimate of the errors."),
        "intervals too wide": (wide, f"{method}Errors were larger on the validation set: use a newer or longer one."),
        "skewed intervals": (skewed, f"{method}Look for a bias or for a trend that the network does not follow."),
    }
    return [Diagnosis(name, f"{'; '.join(texts)}.", remedy) for name, (texts, remedy) in findings.items() if texts]


def _exceeds_chance(share: float, expected: float, count: float) -> bool:
    """Return whether `share` of `count` independent trials is too far from `expected` for chance, by Chernoff's bound.

    The probability of a share that far off is at most exp(-count * KL(share, expected)), whatever the count.
    """
    pairs = [(share, expected), (1 - share, 1 - expected)]
    divergence = sum(seen * math.log(seen / probability) for seen, probability in pairs if seen > 0)
    return count * divergence > -math.log(CHANCE)


def _of_the_lookback(evidence: Evidence) -> list[Diagnosis]:
    """Check that the network sees, and remembers, as far back as the season asks for."""
    config, metrics = evidence.config, evidence.metrics
    season, lookback = metrics.season_length, config.windows.lookback
    naive, seasonal_naive = metrics.test.naive.total.mae, metrics.test.seasonal_naive.total.mae
    found = []
    if lookback < season and seasonal_naive < naive:
        found.append(
            Diagnosis(
                "lookback too short for the season",
                f"the network sees {lookback} steps of a season of {season}, which repeats itself: seasonal naive has"
                f" {seasonal_naive / naive:.0%} of naive's error.",
                f"Set windows.lookback to {2 * season}.",
            )
        )
    model = config.model  # what goes past the last state reaches older steps, too
    if evidence.gradients and not (model.linear_skip or model.attention or model.bidirectional):
        norms = np.array(evidence.gradients, dtype=float)
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
