"""The baselines that learn from the training set: a ridge regression and, if a config asks for them, boosted trees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from forecast.config import ConfigInSteps
from forecast.forecasters.boosting import SPLITS, TREES, Boosting, count_inputs, fit_boosting
from forecast.forecasters.linear import Linear, refit_linear
from forecast.windows import Windows

REGRESSIONS = ("linear", "boosting")
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Regressions:
    """The fitted baselines `linear` and, if the config asks for it, `boosting`."""

    linear: Linear
    boosting: Boosting | None = None

    def refit(self, train: Windows) -> Regressions:
        """Return the regressions of other training windows, with the settings that validation chose."""
        boosting = self.boosting and fit_boosting(train, self.boosting.season_length)
        return Regressions(refit_linear(self.linear, train), boosting)

    def forecast(self, name: str, windows: Windows) -> npt.NDArray[np.floating]:
        """Return the scaled forecasts of one of `REGRESSIONS`, `(windows, horizon, targets)`."""
        fitted = {"linear": self.linear, "boosting": self.boosting}[name]
        assert fitted is not None
        return fitted.forecast(windows)

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays to store. The config of the run has the rest."""
        arrays: dict[str, npt.NDArray[Any]] = self.linear.to_arrays()
        if self.boosting:
            arrays |= {f"boosting/{name}": getattr(self.boosting, name) for name in ("features", "thresholds", "values")}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]], config: ConfigInSteps, season_length: int) -> Regressions:
        """Return the regressions whose `to_arrays` are given.

        Raises:
            ValueError: they do not fit the config.
        """
        if {name: values.shape for name, values in arrays.items()} != get_shapes(config):
            raise ValueError("the linear or boosting baseline does not fit the config")
        linear = Linear(arrays["kernel"], arrays["bias"], [], config.model.normalization)
        if "boosting" not in config.baselines:
            return cls(linear)
        features, thresholds, values = (arrays[f"boosting/{name}"] for name in ("features", "thresholds", "values"))
        inputs = count_inputs(config.windows.lookback, config.data.known_channels, season_length)
        if features.dtype != np.int64 or features.min() < 0 or features.max() >= inputs:
            raise ValueError("the boosting baseline names an input that does not exist")
        if thresholds.dtype != np.float64 or values.dtype != np.float64 or not np.isfinite(values).all():
            raise ValueError("the boosting baseline has values that are not numbers")
        return cls(linear, Boosting(features, thresholds, values, season_length, config.windows.horizon))


def get_shapes(config: ConfigInSteps) -> Shapes:
    """Return the shapes of the arrays that `to_arrays` returns. Numbers take 8 bytes."""
    windows, targets = config.windows, len(config.data.target)
    shapes: Shapes = {"kernel": (windows.lookback, targets, windows.horizon), "bias": (windows.horizon, targets)}
    if "boosting" in config.baselines:
        leaves = {"features": SPLITS, "thresholds": SPLITS, "values": SPLITS + 1}
        shapes |= {f"boosting/{name}": (targets, TREES, count) for name, count in leaves.items()}
    return shapes
