"""Forecast with a network in NumPy, because importing Keras takes seconds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from forecast.forecasters.network.description import Array, Network, select_weights
from forecast.forecasters.network.layers import KINDS
from forecast.forecasters.network.layers.interface import Weights

READER_TOLERANCE = 1e-5  # Largest `relative_difference` between Keras and NumPy.


def forward(network: Network, weights: Weights, inputs: Mapping[str, Array]) -> Array:
    """Return the forecast of each window, `(windows, *network.forecast)`, from scaled inputs, each `(windows, *shape)`."""
    values = dict(inputs)
    with np.errstate(all="ignore"):  # An overflow shows in the forecast.
        for layer in network.layers:
            kind, seen = KINDS[layer.kind](**layer.options), [values[name] for name in layer.inputs]
            values[layer.name] = kind.compute(select_weights(layer, weights), *seen)
    return values[network.layers[-1].name]


def relative_difference(forecasts: Array, expected: Array) -> float:
    """Return the largest difference between scaled forecasts of the same windows, as a fraction of the largest of `expected`."""
    return float(np.abs(forecasts - expected).max() / max(np.abs(expected).max(), np.finfo(np.float32).tiny))
