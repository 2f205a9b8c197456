"""The verdict: which baselines the network beats, what follows from that, and the coverage of its intervals."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from forecast.evaluation.intervals import explain_few_windows
from forecast.evaluation.metrics import format_number
from forecast.evaluation.scoreboard import Scoreboard
from forecast.evaluation.scores import LABELS, MODEL, Metrics, TrainingMetrics
from forecast.evaluation.significance import OUTCOMES, Comparison, Outcome, compare_losses
from forecast.forecasters.combination import NETWORK, Combination

PERSISTENT = 0.1  # Distance of the forecasts from the last value, relative to that of the actual values, that counts as none.


def summarize(board: Scoreboard, trained: bool, calibration_windows: int) -> Metrics:
    """Return the metrics of the test set. trained: whether some network differs from its untrained state.

    calibration_windows: independent windows of the validation set, on which intervals rest.
    """
    compared, persistence = compare_with_baselines(board.losses(), board.config.windows.horizon), board.persistence()
    return Metrics(
        verdict=write_verdict(compared),
        advice=write_advice(compared, persistence, trained, board.config.model.linear_skip),
        skill={name: comparison.skill for name, comparison in compared.items()},
        compared=compared,
        persistence=persistence,
        season_length=board.season_length,
        test=board.scores(),
        calibration_windows=calibration_windows,
    )


def compare_with_baselines(losses: pd.DataFrame, horizon: int) -> dict[str, Comparison]:
    """Compare the network with each baseline by `Scoreboard.losses`."""
    metric = choose_loss_metric(losses)
    network, counts = losses[f"{metric}_{MODEL}"].to_numpy(), losses.windows.to_numpy()
    names = [name for name in LABELS if name != MODEL and f"{metric}_{name}" in losses]
    return {name: compare_losses(network, losses[f"{metric}_{name}"].to_numpy(), counts, horizon) for name in names}


def choose_loss_metric(losses: pd.DataFrame) -> str:
    """Return the error that compares forecasters: mase, which weighs series of any size alike, or mae if that is undefined."""
    return "mae" if losses[f"mase_{MODEL}"].isna().any() else "mase"


def write_verdict(compared: Mapping[str, Comparison]) -> str:
    """Return in one line which baselines the network beats, and by how much.

    >>> write_verdict({"naive": Comparison(0.5, 0.44, 0.55, 0.001), "linear": Comparison(-0.1, -0.2, 0.1, 0.4)})
    'Beats naive by 50% (95% CI 44..55); is not distinguishable from linear (-10%, 95% CI -20..10, p 0.4).'
    >>> write_verdict({"seasonal_naive": Comparison(-0.25), "mean": Comparison(None)})
    'Loses to seasonal naive by 25%, mean (which is exact).'
    """
    texts: dict[Outcome, list[str]] = {outcome: [] for outcome in OUTCOMES}
    for name, comparison in compared.items():
        texts[comparison.outcome].append(f"{LABELS[name]}{_describe_lead(comparison)}")
    sentence = "; ".join(f"{outcome} {', '.join(names)}" for outcome, names in texts.items() if names)
    return sentence[0].upper() + sentence[1:] + "."


def _describe_lead(comparison: Comparison) -> str:
    skill, low, high = comparison.skill, comparison.low, comparison.high
    if skill is None:
        return " (which is exact)"
    if comparison.outcome == "equals":
        return ""
    if low is None or high is None:
        return f" by {abs(skill):.0%}"
    if comparison.outcome == "is not distinguishable from":
        return f" ({skill:.0%}, 95% CI {round(100 * low)}..{round(100 * high)}, p {comparison.p_value:.2g})"
    if comparison.outcome == "loses to":
        low, high = -high, -low
    return f" by {abs(skill):.0%} (95% CI {round(100 * low)}..{round(100 * high)})"


def write_advice(compared: Mapping[str, Comparison], persistence: float, trained: bool, linear_skip: bool) -> str:
    """Return in one line what follows from the verdict; "" if the network beats everything.

    persistence: from `Scoreboard`. trained: whether some network differs from its untrained state.
    """
    combined = NETWORK in compared
    if persistence < PERSISTENT:
        return (
            f"The forecast almost repeats the last value: it moves away from that value only {persistence:.0%} as far as the"
            " actual values do. In a plot, the forecast looks close to the actual values, but so does the naive forecast."
        )
    untrained, linear = "", compared["linear"].outcome
    if linear_skip and not trained:
        subject = "the network" if combined else "this forecast"
        untrained = (
            f"The recurrent layers added nothing on the validation set: {subject} is the ridge regression they started from."
        )
    rivals = [name for name, comparison in compared.items() if comparison.outcome != "beats" and name not in ("linear", NETWORK)]
    if rivals:
        best = min(rivals, key=lambda name: OUTCOMES.index(compared[name].outcome))
        if combined:
            name = LABELS[best][:1].upper() + LABELS[best][1:]
            return f"{name} alone is simpler than this combination and may be as good. {untrained}".rstrip()
        return f"Do not trust this network yet: {LABELS[best]} costs nothing and may be as good. {untrained}".rstrip()
    if untrained or combined:
        return untrained
    if linear == "is not distinguishable from":
        return (
            "The recurrent layers do not measurably improve on a ridge regression."
            " Trust the network no more than that regression."
        )
    if linear == "loses to":
        return "A ridge regression is better" + ("." if linear_skip else ". Set model.linear_skip: true to start from it.")
    return ""


def find_best_baseline(metrics: Metrics) -> tuple[str, Comparison]:
    """Return the baseline with the smallest loss on the test set, and the comparison with it."""
    compared = {name: comparison for name, comparison in metrics.compared.items() if name != NETWORK}
    best = min(compared, key=lambda name: float("-inf") if (skill := compared[name].skill) is None else skill)
    return best, compared[best]


def warn_of_few_windows(metrics: Metrics) -> str:
    """Return a sentence if the test set is too short for a significance test, else ""."""
    if any(comparison.p_value is not None or comparison.skill is None for comparison in metrics.compared.values()):
        return ""
    return "There are too few cutoffs for a significance test. Use a longer test set, or run `forecast backtest` with --stride."


def describe_fit(metrics: TrainingMetrics) -> str:
    """Return the error of the network alone on each set in a sentence; "" for runs that did not measure the first."""
    if metrics.training is None:
        return ""
    sets = {"training": metrics.training.mae}
    for name, scores in (("validation", metrics.validation), ("test", metrics.test)):
        sets[name] = (scores.network or scores.forecast).total.mae
    errors = [f"{format_number(error)} on the {name} set" for name, error in sets.items()]
    name = "network alone" if metrics.test.network else "network"
    return f"The MAE of the {name} is {', '.join(errors[:-1])} and {errors[-1]}."


def describe_combination(combination: Combination) -> str:
    """Return in one line the members of a combination and their weights.

    >>> describe_combination(Combination(method="weighted", weights={"network": 0.0, "theta": 1.0}, season_length=12))
    'The combination is 100% Theta. The network does not help on the validation set, so its weight is 0.'
    """
    if combination.method == "median":
        return f"The combination is the median of {', '.join(LABELS[name] for name in combination.members)}."
    ranked = sorted(combination.members, key=lambda name: -combination.weights[name])
    names = {**LABELS, NETWORK: "the network"}
    sentence = f"The combination is {', '.join(f'{combination.weights[name]:.0%} {names[name]}' for name in ranked)}."
    if combination.weights[NETWORK]:
        return sentence
    return f"{sentence} The network does not help on the validation set, so its weight is 0."


def is_worse_than(metrics: Metrics, baseline: str) -> bool:
    """Return whether the network loses to a baseline by more than chance can explain."""
    return metrics.compared[baseline].outcome == "loses to"


def describe_coverage(metrics: Metrics) -> list[str]:
    """Return a sentence for each interval with the share of the actual values of the test set within it.

    One more says so if the intervals rest on few windows.
    """
    shares: dict[str, list[str]] = {}
    for method, scores in metrics.test.intervals.items():
        for level, measured in scores.levels.items():
            low, high = measured.coverage_low, measured.coverage_high
            interval = f", 95% CI {100 * low:.0f}..{100 * high:.0f}" if low is not None and high is not None else ""
            shares.setdefault(level, []).append(f"{measured.coverage:.1%} ({method}{interval})")
    sentences = [f"Actual values within the {level}% interval: {', '.join(texts)}." for level, texts in shares.items()]
    note = explain_few_windows(metrics.calibration_windows) if shares else ""
    return [*sentences, note] if note else sentences
