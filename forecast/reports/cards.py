"""The cards on top of a report: how good a forecast is, at a glance and in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from forecast.evaluation import ALPHA, Comparison, Metrics, find_best_baseline, format_number
from forecast.reports.page import Card

FAIR_DISTANCE, BAD_DISTANCE = 0.05, 0.15  # Of the coverage of an interval from its level.
FAIR_BIAS, BAD_BIAS = 0.3, 0.6  # Shares of the MAE.
TONES: dict[str, Literal["good", "fair", "bad"]] = {"beats": "good", "loses to": "bad"}  # Other outcomes are fair.


def make_cards(metrics: Metrics) -> Iterator[Card]:
    """Yield cards for the error, the gain over the best baseline, the coverage of each interval, and the bias."""
    total = metrics.test.forecast.total
    share = "" if total.wape is None else f"{total.wape:.1%} of the actual values"
    yield Card("Mean absolute error", format_number(total.mae), share)
    best, comparison = find_best_baseline(metrics)
    yield Card(f"Against {metrics.test.labels[best]}, the best baseline", *_describe_gain(comparison))
    for method, scores in list(metrics.test.intervals.items())[:1]:
        for level, measured in scores.levels.items():
            missing = float(level) / 100 - measured.coverage
            tone = _grade(max(missing, min(-missing, BAD_DISTANCE)), FAIR_DISTANCE, BAD_DISTANCE)  # Too wide is never bad.
            low, high = measured.coverage_low, measured.coverage_high
            spread = "" if low is None or high is None else f", 95% CI {100 * low:.0f} to {100 * high:.0f}%"
            yield Card(f"Coverage of the {level}% interval", f"{measured.coverage:.0%}", f"{method}{spread}", tone)
    direction = "too high on average" if total.bias > 0 else "too low on average"
    tone = _grade(abs(total.bias) / total.mae if total.mae else 0.0, FAIR_BIAS, BAD_BIAS)
    is_certain = any(bias.p_value is not None and bias.p_value < ALPHA for bias in metrics.test.bias.values())
    note = direction if total.bias else "none"
    yield Card("Bias", f"{total.bias:+.3g}", note, "fair" if tone == "bad" and not is_certain else tone)


def _describe_gain(comparison: Comparison) -> tuple[str, str, Literal["good", "fair", "bad"]]:
    """Return the gain over a baseline, what is known about it, and its tone."""
    tone = TONES.get(comparison.outcome, "fair")
    if comparison.skill is None:
        return "worse", "the baseline is exact", "bad"
    value = f"{abs(comparison.skill):.0%} {'better' if comparison.skill >= 0 else 'worse'}"
    if comparison.low is None or comparison.high is None:
        return value, "too little time to tell skill from luck", "fair" if tone == "good" else tone
    return value, f"95% CI {100 * comparison.low:.0f} to {100 * comparison.high:.0f}%", tone


def _grade(distance: float, fair: float, bad: float) -> Literal["good", "fair", "bad"]:
    return "good" if distance <= fair else "fair" if distance <= bad else "bad"


def describe_size(metrics: Metrics) -> str:
    """Return the average error in a sentence that needs no knowledge of metrics."""
    total = metrics.test.forecast.total
    share = "" if total.wape is None else f", which is {total.wape:.1%} of the average actual value"
    return f"On the test set, a forecast is off by {format_number(total.mae)} on average{share}."
