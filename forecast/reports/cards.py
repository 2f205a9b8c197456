"""The cards at the top of a report: the quality of a forecast at a glance, and in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from forecast.evaluation import ALPHA, Comparison, Metrics, find_best_baseline, format_number
from forecast.reports.page import Card

FAIR_DISTANCE, BAD_DISTANCE = 0.05, 0.15  # Distances of the coverage of an interval from its level.
FAIR_BIAS, BAD_BIAS = 0.3, 0.6  # Shares of the MAE.
TONES: dict[str, Literal["good", "fair", "bad"]] = {"beats": "good", "loses to": "bad"}  # Other outcomes are fair.


def make_cards(metrics: Metrics, method: str) -> Iterator[Card]:
    """Yield cards for the error, the gain over the best baseline, the coverage of each interval, and the bias.

    method: that of the intervals.
    """
    total = metrics.test.forecast.total
    size = "" if total.wape is None else f"{total.wape:.1%} of the average size of the values"
    yield Card("Mean absolute error", format_number(total.mae), size)
    best, comparison = find_best_baseline(metrics)
    yield Card(f"Against {metrics.test.labels[best]}, the best baseline", *_describe_gain(comparison))
    scores = metrics.test.intervals.get(method)
    for level, measured in (scores.levels if scores else {}).items():
        missing = float(level) / 100 - measured.coverage
        tone = _grade(max(missing, min(-missing, BAD_DISTANCE)), FAIR_DISTANCE, BAD_DISTANCE)  # Too wide is never bad.
        low, high = measured.coverage_low, measured.coverage_high
        spread = "" if low is None or high is None else f", 95% CI {_percent(low)} to {_percent(high)}%"
        yield Card(f"Coverage of the {level}% interval", f"{measured.coverage:.0%}", f"{method}{spread}", tone)
    share = abs(total.bias) / total.mae if total.mae else 0.0
    direction = f"too {'high' if total.bias > 0 else 'low'} on average, by {share:.0%} of the error"
    tone = _grade(share, FAIR_BIAS, BAD_BIAS)
    is_certain = any(bias.p_value is not None and bias.p_value < ALPHA for bias in metrics.test.bias.values())
    value = format_number(total.bias, digits=3)
    note = direction if total.bias else "none"
    yield Card("Bias", "+" * (total.bias > 0) + value, note, "fair" if tone == "bad" and not is_certain else tone)


def _describe_gain(comparison: Comparison) -> tuple[str, str, Literal["good", "fair", "bad"]]:
    """Return the gain over a baseline, what is known about it, and its tone."""
    tone, skill = TONES.get(comparison.outcome, "fair"), comparison.skill
    if skill is None:
        return "worse", "the baseline is exact", "bad"
    value = "equal" if comparison.outcome == "equals" else f"{abs(skill):.0%} {'better' if skill > 0 else 'worse'}"
    low, high = comparison.low, comparison.high
    if low is None or high is None:
        return value, "too few cutoffs for a significance test", "fair" if tone == "good" else tone
    low, high = (low, high) if skill > 0 else (-high, -low)
    return value, f"95% CI {_percent(low)} to {_percent(high)}%", tone


def _percent(share: float) -> int:
    return round(100 * share)


def _grade(distance: float, fair: float, bad: float) -> Literal["good", "fair", "bad"]:
    return "good" if distance <= fair else "fair" if distance <= bad else "bad"


def describe_rank(metrics: Metrics) -> str:
    """Return in one sentence how the forecast compares with the best baseline."""
    best, comparison = find_best_baseline(metrics)
    label, skill = f"{metrics.test.labels[best]}, the best baseline", comparison.skill
    if skill is None:
        return f"Worse than {label}, which is exact."
    if comparison.outcome in ("equals", "is not distinguishable from"):
        return f"About as good as {label}."
    return f"{abs(skill):.0%} {'better' if skill > 0 else 'worse'} than {label}."


def describe_size(metrics: Metrics) -> str:
    """Return the average error in a sentence that needs no knowledge of metrics."""
    total = metrics.test.forecast.total
    share = "" if total.wape is None else f", which is {total.wape:.1%} of the average size of the actual values"
    return f"On the test set, a forecast is off by {format_number(total.mae)} on average{share}."
