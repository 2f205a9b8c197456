"""Combine the forecasts of several networks, and of a network and baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from forecast.config import Config
from forecast.documents import Document
from forecast.forecasters.naive import Rows, Values
from forecast.windows import Forward, Scaler

NETWORK = "network"  # Its name among the members of a combination.
ROUNDS = 30  # Members that are selected one after another. A weight is the share of these selections.
EQUAL_WINDOWS = 5  # Independent validation windows that are worth as much as the belief in equal weights.
MAX_RELATIVE_ERROR = 1.3  # Error of a member, relative to that of the best one, with which it takes part in equal weights.
UNCERTAINTY = 0.6  # Relative uncertainty of errors on a single window. Members within it take part, too.
MIN_DIFFERENCE = 0.25  # Difference between members, relative to the error of the best one, below which they share a weight.
MIN_WEIGHT = 0.05  # A smaller one is dropped.
MIN_LOG1P = -0.99  # Lowest combination where the scaling takes logarithms, which -1 does not have.


def combine_by_median(forwards: Sequence[Forward]) -> Forward:
    """Return a function from a network's inputs to the median, step by step, of what several networks forecast."""
    if len(forwards) == 1:
        return forwards[0]
    return lambda inputs: np.median([forward(inputs) for forward in forwards], axis=0)


class Combination(Document):
    """The members of a combination and their weights (combination.json).

    weights: by member, at least 0 with sum 1; of the median they only name the members. season_length: of seasonal naive,
    boosting and the statistical members, in steps.
    """

    method: Literal["mean", "median", "weighted"]
    weights: dict[str, float]
    season_length: int = Field(ge=1)

    @property
    def members(self) -> list[str]:
        """The names of the members that count."""
        return [name for name, weight in self.weights.items() if weight]

    def apply(self, points: Mapping[str, Values]) -> Values:
        """Combine the forecasts of the members, each `(windows, horizon, targets)` in units of the data."""
        if self.method == "median":
            return np.asarray(np.median([points[name] for name in self.members], axis=0))
        return np.asarray(sum(self.weights[name] * points[name] for name in self.members))

    def shift(self, output: Values, network: Values, points: Mapping[str, Values], scaler: Scaler, series: Rows) -> Values:
        """Return the output of a network, shifted so that its point forecast is that of the combination.

        output: scaled, `(windows, horizon, targets)` or `(..., quantiles)`, which are shifted alike. network: its scaled point
        forecasts. points: the forecasts of the other members.
        """
        combined = self.apply({NETWORK: scaler.undo(network, series), **points})
        if scaler.transform == "log1p":
            combined = np.maximum(combined, MIN_LOG1P)
        shift = scaler.apply(combined, series) - network
        return np.asarray(output + (shift if output.ndim == shift.ndim else shift[..., None]))


def name_members(config: Config, season_length: int) -> list[str]:
    """Return the members of the combination that a config asks for. Without a season, seasonal naive is naive."""
    return [NETWORK, "linear", "naive", *(["seasonal_naive"] if season_length > 1 else []), *config.baselines]


def choose_weights(points: Mapping[str, Values], actual: Values, scales: Values, independent: float) -> dict[str, float]:
    """Return the weights that forecast the windows of a validation set best, shrunk towards equal ones.

    Members are selected one after another, each so that the mean of all that are selected has the lowest error (ensemble
    selection, Caruana et al. 2004). The fewer independent windows there are, the more weight goes to the equal mean of all
    members whose error is near that of the best. Of these, members that forecast almost the same share a weight, as naive,
    seasonal naive and Theta may do. Weights below `MIN_WEIGHT` are dropped.

    points: by member, `(windows, horizon, targets)`. scales: the error that counts as 1, `(windows, targets)`, NaN to ignore.
    """
    usual = np.where(scales > 0, scales, np.nan)[:, None]
    usual = usual if np.isfinite(usual).any() else np.ones_like(usual)

    def measure_error(forecasts: Values) -> float:
        return float(np.nanmean(np.abs(forecasts - actual) / usual))

    def measure_likeness(first: Values, second: Values) -> float:
        """Return 1 for equal forecasts, down to 0 for different ones."""
        difference = float(np.nanmean(np.abs(first - second) / usual))
        return 1 - difference / (MIN_DIFFERENCE * lowest) if difference < MIN_DIFFERENCE * lowest else float(difference == 0)

    errors = {name: measure_error(values) for name, values in points.items()}
    lowest = min(errors.values())
    limit = max(MAX_RELATIVE_ERROR, 1 + UNCERTAINTY / np.sqrt(max(independent, 1)))
    near = {name: points[name] for name in points if errors[name] <= limit * lowest}
    shares = {name: 1 / sum(measure_likeness(values, other) for other in near.values()) for name, values in near.items()}
    counts, total = dict.fromkeys(points, 0), np.zeros_like(actual, dtype=np.float64)
    for selected in range(1, ROUNDS + 1):
        best = min(points, key=lambda name: measure_error((total + points[name]) / selected))
        total, counts[best] = total + points[best], counts[best] + 1
    shrinkage = EQUAL_WINDOWS / (EQUAL_WINDOWS + independent)
    equal = {name: shares.get(name, 0.0) / sum(shares.values()) for name in points}
    weights = {name: (1 - shrinkage) * count / ROUNDS + shrinkage * equal[name] for name, count in counts.items()}
    large = sum(weight for weight in weights.values() if weight >= MIN_WEIGHT)
    return {name: weight / large if weight >= MIN_WEIGHT else 0.0 for name, weight in weights.items()}
