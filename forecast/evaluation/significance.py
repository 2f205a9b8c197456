"""Whether one forecaster is better than another or only luckier: losses at the same cutoffs, a confidence interval, a test.

Forecasts of a horizon overlap from one cutoff to the next, so their losses are correlated over up to a horizon; both methods
allow for it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import ceil

import numpy as np

DRAWS = 2000  # of the bootstrap
FEWEST_HORIZONS = 5  # that the cutoffs must span: with fewer, nothing is known about the spread between them
ALPHA = 0.05


@dataclass(frozen=True)
class Comparison:
    """A forecaster against an opponent.

    skill: by which fraction its loss is below the opponent's; None where that is exact and it is not.
    low, high: 95% confidence interval of the skill; p_value: of equal losses. None where the cutoffs are too few.
    """

    skill: float | None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None

    def to_json(self) -> dict:
        """Plain JSON values."""
        return asdict(self)

    @property
    def distinguishable(self) -> bool:
        """Whether a difference was found, or none was looked for."""
        return self.p_value is None or self.p_value < ALPHA


def compare_losses(losses: np.ndarray, opponent: np.ndarray, counts: np.ndarray, horizon: int) -> Comparison:
    """Compare two forecasters.

    losses, opponent: mean loss at each cutoff, `(cutoffs,)` in time order; counts: of how many series each is the mean.
    horizon: steps that a forecast reaches ahead of its cutoff.
    """
    own, other = float(np.sum(losses * counts)), float(np.sum(opponent * counts))
    if not other > 0:
        return Comparison(0.0 if own == 0 else None)
    skill = 1 - own / other
    interval = ratio_interval(np.column_stack([losses, opponent]) * counts[:, None], horizon)
    if interval is None:
        return Comparison(skill)
    low, high = interval
    return Comparison(skill, 1 - high, min(1 - low, 1.0), diebold_mariano((losses - opponent) * counts, horizon))


def ratio_interval(samples: np.ndarray, horizon: int) -> tuple[float, float] | None:
    """95% confidence interval of the ratio of the means of two columns, `(cutoffs, 2)`; None where the cutoffs are too few.

    It is that of the mean of what the first column has beyond the ratio's share of the second: a draw in which the second is all
    zeros then counts as any other.
    """
    if len(samples) < FEWEST_HORIZONS * max(horizon, 2):
        return None
    mean, other = samples.mean(axis=0)
    beyond = (samples[:, 0] - mean / other * samples[:, 1]) / other
    low, high = bootstrap(beyond, block_length(len(samples), horizon), np.random.default_rng(0))
    return mean / other + low, mean / other + high


def block_length(count: int, horizon: int) -> int:
    """Cutoffs that are drawn together: three times as many as forecasts overlap, at least the cube root of all, and at most so
    many that five blocks remain.

    >>> block_length(1000, 3), block_length(1000, 24), block_length(60, 12)
    (10, 70, 12)
    """
    return min(max(3 * horizon - 2, ceil(round(count ** (1 / 3), 6))), count // FEWEST_HORIZONS)


def bootstrap(samples: np.ndarray, block: int, rng: np.random.Generator, level: float = 95) -> tuple[float, float]:
    """Confidence interval of the mean of `samples` `(times,)`, by the moving-block bootstrap (Künsch 1989), whose blocks go on
    from the last time to the first (Politis & Romano 1992), so that all times are drawn as often.

    It is spread as Student's distribution is for so few blocks, or intervals from a dozen of them would be a tenth too narrow.
    """
    from scipy.special import stdtrit

    sums = np.concatenate([[0.0], np.cumsum(np.concatenate([samples, samples[: block - 1]]))])
    means = (sums[block:] - sums[:-block]) / block  # of every block there is
    drawn = means[rng.integers(len(means), size=(DRAWS, ceil(len(samples) / block)))].mean(axis=1)
    tail, blocks, middle = (100 - level) / 200, len(samples) / block, float(samples.mean())
    spread = np.sqrt(blocks / (blocks - 1)) * stdtrit(blocks - 1, 1 - tail) / stdtrit(np.inf, 1 - tail)
    low, high = middle + spread * (np.quantile(drawn, [tail, 1 - tail]) - middle)
    return float(low), float(high)


def p_value_of_mean(samples: np.ndarray, horizon: int) -> float | None:
    """Return the p-value that the mean of samples at successive cutoffs is zero; None where the cutoffs are too few."""
    return diebold_mariano(samples, horizon) if len(samples) >= FEWEST_HORIZONS * max(horizon, 2) else None


def ljung_box(residuals: np.ndarray, lags: int) -> tuple[np.ndarray, float]:
    """Autocorrelations `(lags,)` of successive residuals, and the p-value that all of them are zero (Ljung & Box 1978).

    >>> correlations, p_value = ljung_box(np.tile([1.0, -1.0], 20), 2)
    >>> correlations.round(3).tolist(), p_value < 0.001
    ([-0.975, 0.95], True)
    """
    from scipy.special import chdtrc  # the chi-squared distribution

    count, centred = len(residuals), residuals - residuals.mean()
    products = np.array([centred[lag:] @ centred[: count - lag] for lag in range(1, lags + 1)])
    correlations = products / (centred @ centred)
    statistic = count * (count + 2) * np.sum(correlations**2 / (count - np.arange(1, lags + 1)))
    return correlations, float(chdtrc(lags, statistic))


def diebold_mariano(differences: np.ndarray, horizon: int) -> float:
    """Two-sided p-value that the mean of loss differences at successive cutoffs, `(cutoffs,)`, is zero.

    Diebold & Mariano 1995, with the correction for small samples and Student's distribution of Harvey, Leybourne & Newbold
    1997, but with (n + 1) / h - 2 degrees of freedom, as many as there are forecasts that do not overlap, less two. For a horizon
    of 1 these are their n - 1; with theirs, 14% of equal forecasters differ at the 5% level from 60 cutoffs with a horizon of 12.
    """
    from scipy.special import stdtr  # Student's distribution, without the import of all of scipy.stats

    count, mean = len(differences), float(differences.mean())
    centred = differences - mean
    lags = np.array([float(centred[lag:] @ centred[: count - lag]) / count for lag in range(min(horizon, count))])
    variance = lags[0] + 2 * lags[1:].sum()
    if variance <= 0:  # which the sum of unweighted autocovariances may be; Bartlett's weights keep it positive
        variance = lags[0] + 2 * (lags[1:] * (1 - np.arange(1, len(lags)) / len(lags))).sum()
    if variance <= 0:
        return 1.0 if mean == 0 else 0.0
    correction = (count + 1 - 2 * horizon + horizon * (horizon - 1) / count) / count
    statistic = mean / np.sqrt(variance / count) * np.sqrt(max(correction, 0.0))
    return float(2 * stdtr(max(1.0, (count + 1) / horizon - 2), -abs(statistic)))
