"""Statistical significance of a lead: two forecasters' losses at the same cutoffs, a confidence interval and a test.

Forecasts of successive cutoffs overlap, so their losses are correlated over up to a horizon. Both methods allow for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cbrt, ceil
from typing import Literal

import numpy as np

from forecast.evaluation.metrics import Values

DRAWS = 2000  # Bootstrap samples.
MIN_HORIZONS = 5  # Horizons that the cutoffs must span.
ALPHA = 0.05  # Level of significance.
EQUAL = 0.005  # Skills below this count as equal.
Outcome = Literal["beats", "equals", "is not distinguishable from", "loses to"]
OUTCOMES: tuple[Outcome, ...] = ("beats", "equals", "is not distinguishable from", "loses to")


@dataclass(frozen=True)
class Comparison:
    """A forecaster compared with an opponent.

    skill: 1 - loss / loss of the opponent. None if only the opponent is exact.
    low, high: 95% confidence interval of the skill. p_value: of equal losses. None with too few cutoffs.
    """

    skill: float | None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None

    @property
    def outcome(self) -> Outcome:
        """Return how the comparison ended. With too few cutoffs for a test, every difference counts as significant."""
        if self.skill is not None and abs(self.skill) < EQUAL:
            return "equals"
        if self.p_value is not None and self.p_value >= ALPHA:
            return "is not distinguishable from"
        return "beats" if self.skill is not None and self.skill > 0 else "loses to"


def compare_losses(losses: Values, opponent: Values, counts: Values, horizon: int) -> Comparison:
    """Compare the losses of a forecaster with those of an opponent.

    losses, opponent: mean loss at each cutoff, `(cutoffs,)` in time order. counts: number of windows of each mean.
    horizon: steps that a forecast reaches ahead of its cutoff.
    """
    total, opponent_total = float(np.sum(losses * counts)), float(np.sum(opponent * counts))
    if not opponent_total > 0:
        return Comparison(0.0 if total == 0 else None)
    skill = 1 - total / opponent_total
    interval = ratio_interval(np.column_stack([losses, opponent]) * counts[:, None], horizon)
    if interval is None:
        return Comparison(skill)
    return Comparison(skill, 1 - interval[1], min(1 - interval[0], 1.0), diebold_mariano((losses - opponent) * counts, horizon))


def are_few(cutoffs: int, horizon: int) -> bool:
    """Return whether so many successive cutoffs say nothing about the spread between them."""
    return cutoffs < MIN_HORIZONS * max(horizon, 2)


def ratio_interval(samples: Values, horizon: int) -> tuple[float, float] | None:
    """Return the 95% confidence interval of the ratio of the means of two columns, `(cutoffs, 2)`, or None with too few cutoffs.

    It is bootstrapped from the difference of the first column and the second times the ratio. A draw in which the second column
    is all zeros then counts as any other.
    """
    if are_few(len(samples), horizon):
        return None
    mean, opponent_mean = samples.mean(axis=0)
    ratio = mean / opponent_mean
    differences = (samples[:, 0] - ratio * samples[:, 1]) / opponent_mean
    low, high = bootstrap(differences, block_length(len(samples), horizon), np.random.default_rng(0))
    return ratio + low, ratio + high


def block_length(count: int, horizon: int) -> int:
    """Return how many of `count` cutoffs to draw together.

    It is three times the overlap of forecasts, at least the cube root of `count`, and leaves at least five blocks.

    >>> block_length(1000, 3), block_length(1000, 24), block_length(60, 12)
    (10, 70, 12)
    """
    return min(max(3 * horizon - 2, ceil(round(cbrt(count), 6))), count // MIN_HORIZONS)


def bootstrap(samples: Values, block: int, rng: np.random.Generator) -> tuple[float, float]:
    """Return the 95% confidence interval of the mean of `samples` `(cutoffs,)` by the moving-block bootstrap (Künsch 1989).

    Blocks continue from the last cutoff at the first (Politis & Romano 1992), so that all cutoffs are drawn equally often. The
    interval is widened as Student's distribution is for so few blocks: from a dozen, it would be a tenth too narrow.
    """
    from scipy.special import stdtrit

    sums = np.concatenate([[0.0], np.cumsum(np.concatenate([samples, samples[: block - 1]]))])
    means = (sums[block:] - sums[:-block]) / block  # One for each start of a block.
    drawn = means[rng.integers(len(means), size=(DRAWS, ceil(len(samples) / block)))].mean(axis=1)
    blocks, mean = len(samples) / block, float(samples.mean())
    spread = np.sqrt(blocks / (blocks - 1)) * stdtrit(blocks - 1, 0.975) / stdtrit(np.inf, 0.975)
    low, high = mean + spread * (np.quantile(drawn, [0.025, 0.975]) - mean)
    return float(low), float(high)


def ljung_box(residuals: Values, lags: int) -> tuple[Values, float]:
    """Return autocorrelations `(lags,)` of successive residuals, and the p-value that all are zero (Ljung & Box 1978).

    >>> correlations, p_value = ljung_box(np.tile([1.0, -1.0], 20), 2)
    >>> correlations.round(3).tolist(), p_value < 0.001
    ([-0.975, 0.95], True)
    """
    from scipy.special import chdtrc  # The chi-squared distribution.

    count, centred = len(residuals), residuals - residuals.mean()
    products = np.array([centred[lag:] @ centred[: count - lag] for lag in range(1, lags + 1)])
    correlations = products / (centred @ centred)
    statistic = count * (count + 2) * np.sum(correlations**2 / (count - np.arange(1, lags + 1)))
    return correlations, float(chdtrc(lags, statistic))


def diebold_mariano(differences: Values, horizon: int) -> float | None:
    """Return the two-sided p-value that the mean of differences at successive cutoffs, `(cutoffs,)`, is zero; None for few.

    Diebold & Mariano 1995, with the correction for small samples and Student's distribution of Harvey, Leybourne & Newbold 1997,
    but with (n + 1) / h - 2 degrees of freedom: the number of forecasts that do not overlap, less two. For a horizon of 1 these
    are their n - 1. With theirs, 14% of equal forecasters differ at the 5% level from 60 cutoffs with a horizon of 12.
    """
    from scipy.special import stdtr  # Student's distribution, without the import of all of scipy.stats.

    if are_few(len(differences), horizon):
        return None
    count, mean = len(differences), float(differences.mean())
    centred = differences - mean
    lags = np.array([float(centred[lag:] @ centred[: count - lag]) / count for lag in range(min(horizon, count))])
    variance = lags[0] + 2 * lags[1:].sum()
    if variance <= 0:  # Unweighted autocovariances may add up to that. Bartlett's weights keep the sum positive.
        variance = lags[0] + 2 * (lags[1:] * (1 - np.arange(1, len(lags)) / len(lags))).sum()
    if variance <= 0:
        return 1.0 if mean == 0 else 0.0
    correction = (count + 1 - 2 * horizon + horizon * (horizon - 1) / count) / count
    statistic = mean / np.sqrt(variance / count) * np.sqrt(max(correction, 0.0))
    return float(2 * stdtr(max(1.0, (count + 1) / horizon - 2), -abs(statistic)))
