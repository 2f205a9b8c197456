"""Find the problems in a training run from its numbers: the name of each, the evidence and the settings to change."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecast.config import ConfigInSteps
from forecast.errors import first_few
from forecast.evaluation.curves import MIN_EPOCHS, Curve, check_curve, split_by_seed
from forecast.evaluation.intervals import method_of
from forecast.evaluation.scores import LABELS, MODEL, Diagnosis, Metrics, Scores, TrainingMetrics
from forecast.evaluation.significance import ALPHA, Comparison
from forecast.forecasters.combination import NETWORK

HEALTHY = "No problems were found in this training run."
FAILURES = {"the loss is no longer a number": "exploding gradients", "memory ran out": "too little memory"}
CROWDED = 100  # Parameters for each target value to learn from.
SHIFT = 2.5  # MASE on the test set as a multiple of that on the validation set.
FADED = 1e-4  # Gradient of a step, as a share of the largest, below which the network does not learn from it.
FORGOTTEN = 0.5  # Share of the steps.
EXACT = 1e-3  # Fraction of the naive error below which a forecast counts as exact.
ROUNDING = 1e-6  # Scaled error that float32 rounding explains.
BIASED = 0.1  # Share of the squared bias in the mean squared error.
FAR_OFF = 0.1  # Distance of a coverage from its level that matters, or half of what may lie outside if that is less.
LOPSIDED = 1.5  # Multiple of the number of values that should lie on one side of an interval.
CHANCE = 0.01  # Probability below which chance does not explain a coverage.
SIMPLEST = {  # Baselines that say why, if the network does not beat them: the problem, the baseline in words, the remedy.
    "mean": (
        "no signal",
        "the mean of all earlier rows",
        "Check that each row has the right timestamp. If so, the past may not predict the target.",
    ),
    "naive": (
        "no better than persistence",
        "repeating the last value",
        "Add covariates that predict the target. If there are none, use the last value as the forecast.",
    ),
}
INTERVAL_REMEDIES = {
    "intervals too narrow": "A longer validation set or newer rows give a better estimate of the errors.",
    "intervals too wide": "Errors were larger on the validation set. Use a newer or longer one.",
    "skewed intervals": "Look for a bias or for a trend that the network does not follow.",
}


@dataclass(frozen=True)
class Evidence:
    """The figures of a finished run from which `find_problems` concludes.

    history: a row per epoch and seed; None if no epoch was trained. train_windows: windows of the training set.
    gradients: norms by recurrent step, the oldest first; None if they were not measured. continued: the run continues another.
    """

    config: ConfigInSteps
    metrics: TrainingMetrics
    history: pd.DataFrame | None
    train_windows: int
    gradients: list[float | None] | None
    continued: bool


def find_problems(evidence: Evidence) -> list[Diagnosis]:
    """Return the problems of a training, causes before effects; an empty list for a healthy one."""
    config, metrics = evidence.config, evidence.metrics
    problems = [*_check_curves(evidence), *_check_network(evidence)]
    if not _is_exact(metrics.test):
        problems += [*_check_forecast(config, metrics), *_check_bias(config, metrics), *_check_intervals(config, metrics)]
    return problems


def explain_failure(reason: str) -> list[Diagnosis]:
    """Return the known causes of a training that failed for `reason`; an empty list if it is none of `FAILURES`."""
    evidence, _, remedy = reason.partition("\n")
    return [Diagnosis(name, evidence, remedy.strip()) for words, name in FAILURES.items() if words in reason]


def remark(evidence: Evidence) -> str:
    """Return a sentence if the network is the linear baseline that it began as, or no better by more than chance; else ""."""
    config = evidence.config
    if not config.model.linear_skip or evidence.continued or evidence.history is None:
        return ""
    curves = _curves(evidence)
    ridge = "a ridge regression" if config.model.decoder == "recursive" else "the linear baseline"
    if not any(evidence.metrics.kept_epochs.values()):
        epochs = max(curve.epochs for curve in curves)
        return f"The network is {ridge}: epoch 0 was kept, because none of the {epochs} epochs had a smaller validation loss."
    if all(curve.epochs >= MIN_EPOCHS and curve.gained_by_chance for curve in curves):
        best = min(float(curve.errors.min() / curve.errors[0]) for curve in curves if curve.errors[0] > 0)
        return (
            f"The network started as {ridge} and hardly improved on it: its best validation loss is {best:.1%} of the loss"
            " at epoch 0, a difference that chance alone can explain."
        )
    return ""


def _curves(evidence: Evidence) -> list[Curve]:
    """Return the learning curve of each seed."""
    assert evidence.history is not None
    return [
        Curve(
            history.loss.to_numpy(),
            history.val_loss.to_numpy(),
            float(history.gradient_norm.max()) if "gradient_norm" in history else 0.0,
            evidence.metrics.kept_epochs[seed],
        )
        for seed, history in split_by_seed(evidence.history)
    ]


def _check_curves(evidence: Evidence) -> list[Diagnosis]:
    """Return the problems in the learning curves of all seeds, each once."""
    if evidence.history is None or _is_exact(evidence.metrics.validation):
        return []
    problems = [problem for curve in _curves(evidence) if (problem := check_curve(curve, evidence.config))]
    return list({problem.name: problem for problem in problems}.values())


def _check_network(evidence: Evidence) -> Iterator[Diagnosis]:
    """Check that the network is not too large for the data, sees a whole season if seasons repeat, and learns from old steps."""
    config, metrics, model = evidence.config, evidence.metrics, evidence.config.model
    values = evidence.train_windows * config.windows.horizon * len(metrics.test.forecast.per_target)
    parameters = metrics.parameters // len(config.seeds)
    if parameters > CROWDED * values:
        yield Diagnosis(
            "too little data for this network",
            f"{parameters:,} parameters learn from {values:,} target values.",
            f"Use fewer model.units than {[layer.units for layer in model.stack]}, or more rows.",
        )
    lookback, season = config.windows.lookback, metrics.season_length
    naive, seasonal_naive = metrics.test.naive.total.mae, metrics.test.seasonal_naive.total.mae
    if lookback < season and seasonal_naive < naive:
        yield Diagnosis(
            "lookback too short for the season",
            f"the network sees {lookback} steps of a season of {season}. The season repeats: the error of seasonal naive is"
            f" {seasonal_naive / naive:.0%} of that of naive.",
            f"Set windows.lookback to {2 * season}.",
        )
    if not evidence.gradients or model.linear_skip or model.attention or any(layer.bidirectional for layer in model.stack):
        return  # Recurrent layers are not the only path to old steps.
    norms = np.array(evidence.gradients, dtype=float)
    learned = norms > FADED * np.nanmax(norms)
    if learned.any() and learned.mean() < FORGOTTEN:
        yield Diagnosis(
            "vanishing gradients",
            f"the network learns from the last {len(norms) - int(np.argmax(learned))} of {len(norms)} recurrent steps. Gradients"
            f" of older steps are less than {FADED:g} of the largest.",
            "Use model.cell: lstm or gru, model.segment, model.linear_skip: true, or a shorter windows.lookback.",
        )


def _is_exact(scores: Scores) -> bool:
    """Return whether the errors are so small that differences between them mean nothing."""
    network, naive = scores.forecast.total.mae_scaled, scores.naive.total.mae_scaled
    return network is not None and naive is not None and network <= max(EXACT * naive, ROUNDING)


def _check_forecast(config: ConfigInSteps, metrics: TrainingMetrics) -> Iterator[Diagnosis]:
    """Compare the network with every baseline, and the test set with the validation set."""
    yield from _check_baselines(config.model.linear_skip, metrics.compared)
    network, linear = (
        _ratio(metrics.test.of(name).total.mase, metrics.validation.of(name).total.mase) for name in (MODEL, "linear")
    )
    if min(network, linear) > SHIFT:
        yield Diagnosis(
            "the test set differs from earlier data",
            f"from the validation set to the test set, the error of the network grows by a factor of {network:.1f}, and the"
            f" error of the linear baseline by a factor of {linear:.1f}.",
            "Look at the series around the start of the test set. Train on newer rows with `forecast update`.",
        )


def _ratio(error: float | None, reference: float | None) -> float:
    """Return the ratio of two errors, 0 if one is 0 or undefined."""
    return error / reference if error and reference else 0.0


def _check_baselines(skip: bool, compared: Mapping[str, Comparison]) -> Iterator[Diagnosis]:
    """Name every baseline that forecasts better than the network, or as well. skip: the network began as the linear one."""
    compared = {name: comparison for name, comparison in compared.items() if name != NETWORK}
    start = "" if skip else "Set model.linear_skip: true to start from the linear baseline. "
    worse = [name for name, comparison in compared.items() if comparison.outcome == "loses to"]
    equal = [name for name, comparison in compared.items() if comparison.outcome not in ("loses to", "beats")]
    for simplest, (problem, baseline, remedy) in SIMPLEST.items():
        if compared[simplest].skill is not None and simplest in worse + equal:
            evidence = f"the error is {_error_relative_to(compared[simplest])} of that of {baseline}."
            yield Diagnosis(problem, evidence, remedy if simplest == "mean" else start + remedy)
            worse, equal = [name for name in worse if name != simplest], []
            break
    if names := worse or [name for name in equal if not (skip and name == "linear")]:
        errors = ", ".join(f"{_error_relative_to(compared[name])} of that of {LABELS.get(name, name)}" for name in names)
        name = "worse than a baseline" if worse else "no better than a baseline"
        chance = "" if worse else " The difference may be due to chance."
        remedy = "Use the baseline, add covariates or rows, or change windows.lookback."
        yield Diagnosis(name, f"the error on the test set is {errors}.{chance}", start * ("linear" in names) + remedy)


def _error_relative_to(compared: Comparison) -> str:
    """Format the error of the network as a share of that of a baseline."""
    if compared.skill is None:
        return "an infinite multiple"
    chance = f" (p {compared.p_value:.2g})" if compared.p_value is not None and compared.p_value >= ALPHA else ""
    return f"{1 - compared.skill:.0%}{chance}"


def _check_bias(config: ConfigInSteps, metrics: Metrics) -> Iterator[Diagnosis]:
    """Name the targets whose forecasts are too high or too low on average, by much and not by chance."""
    biases = metrics.test.bias
    sentences = [
        f"`{target}` is forecast too {'high' if bias.share > 0 else 'low'}: the mean error is {abs(bias.share):.0%} of the"
        f" root mean squared error (p {bias.p_value:.2g})"
        for target, bias in biases.items()
        if bias.p_value is not None and bias.p_value < ALPHA / len(biases) and bias.share**2 > BIASED
    ]
    if not sentences:
        return
    if config.model.quantiles or config.training.loss in ("mae", "huber"):
        change = "Set training.loss: mse" + (" and model.quantiles: null." if config.model.quantiles else ".")
        remedy = f"This loss targets the median, which differs from the mean when errors are skewed. {change}"
    elif config.scaling.transform != "none":
        remedy = "A mean on the transformed scale becomes a median in original units. Set scaling.transform: none."
    else:
        remedy = "The level has probably shifted. Set model.normalization: last, add covariates that explain it,"
        remedy += " or train on newer rows."
    yield Diagnosis("biased forecasts", f"{first_few(sentences)}.", remedy)


def _check_intervals(config: ConfigInSteps, metrics: Metrics) -> Iterator[Diagnosis]:
    """Compare the share of actual values within each interval, and to each side of it, with its level."""
    scores, method = metrics.test, method_of(config)
    if not scores.intervals:
        return
    independent = scores.windows / config.windows.horizon  # Windows that overlap add no information.
    texts: dict[str, list[str]] = {problem: [] for problem in INTERVAL_REMEDIES}
    for level, measured in scores.intervals[method].levels.items():
        nominal, coverage, outside = float(level) / 100, measured.coverage, 1 - measured.coverage
        low, high = measured.coverage_low, measured.coverage_high
        unlikely = low is None or high is None or not low <= nominal <= high
        far = unlikely and abs(coverage - nominal) > min(FAR_OFF, (1 - nominal) / 2)
        if far and _exceeds_chance(coverage, nominal, independent):
            problem = "intervals too narrow" if coverage < nominal else "intervals too wide"
            holds = f"the {level}% interval contains {coverage:.1%} of the actual values of {scores.windows} windows"
            texts[problem].append(holds)
        below = outside / 2 if measured.below is None else min(measured.below, outside)  # Runs of earlier versions lack it.
        lopsided = max(below, outside - below) > LOPSIDED * (1 - nominal) / 2
        if lopsided and _exceeds_chance(below / outside, 0.5, independent * outside):
            sides = f"{below:.1%} of the actual values lie below the {level}% interval and {outside - below:.1%} above it"
            texts["skewed intervals"].append(sides)
    adapt = "" if method == "adaptive" else "Set intervals.method: adaptive, which follows the errors. "
    for problem, sentences in texts.items():
        if sentences:
            yield Diagnosis(problem, f"{'; '.join(sentences)}.", adapt + INTERVAL_REMEDIES[problem])


def _exceeds_chance(share: float, expected: float, count: float) -> bool:
    """Return whether `share` of `count` independent trials is too far from `expected` for chance, by Chernoff's bound.

    The probability of a share that far off is at most exp(-count * KL(share, expected)), whatever the count.
    """
    pairs = [(share, expected), (1 - share, 1 - expected)]
    divergence = sum(observed * math.log(observed / probability) for observed, probability in pairs if observed > 0)
    return count * divergence > -math.log(CHANCE)
