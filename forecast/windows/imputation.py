"""Values that stand in for known covariates which are missing over the horizon (`data.missing_known`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast.config import ResolvedDataConfig, infer_season_length


@dataclass(frozen=True)
class Imputation:
    """How a known covariate is filled in where it is missing over the horizon.

    column: its position among the known covariates.
    policy: hold, the last value of the lookback; seasonal, its last season; drop, its mean.
    """

    column: int
    policy: str
    season_length: int

    def values(self, past: np.ndarray, horizon: int) -> np.ndarray:
        """Return values over the horizon, `(windows, horizon)`, from those over the lookback, `(windows, lookback)`.

        >>> Imputation(0, "seasonal", 2).values(np.array([[1.0, 2.0, 3.0]]), 3)
        array([[2., 3., 2.]])
        """
        if self.policy == "drop":
            return np.repeat(past.mean(axis=1, keepdims=True), horizon, axis=1)
        season = self.season_length if self.policy == "seasonal" else 1
        return past[:, past.shape[1] - season + np.arange(horizon) % season]


def make_imputations(data: ResolvedDataConfig, freq: str) -> list[Imputation]:
    """Return an imputation for each known covariate that `data.missing_known` names."""
    if not data.missing_known:
        return []
    season_length = data.season_length or infer_season_length(freq)
    return [Imputation(data.known_covariates.index(name), policy, season_length) for name, policy in data.missing_known.items()]
