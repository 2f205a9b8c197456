"""Dense layers, convolution, attention and dropout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from forecast.forecasters.network.description import Array, Shape
from forecast.forecasters.network.layers.interface import Builder, Kind, Shapes, Tensor, Weights, add

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"linear": lambda x: x, "relu": lambda x: np.maximum(x, 0), "tanh": np.tanh}


@dataclass(frozen=True)
class Dense(Kind):
    """A matrix product with the channels of each step, and an activation."""

    units: int
    activation: str
    start: str  # Initial kernel: zeros, or `model.initializer`.

    def infer_shapes(self, x: Shape) -> Shapes:
        return (*x[:-1], self.units), {"kernel": (x[-1], self.units), "bias": (self.units,)}

    def build(self, builder: Builder, x: Tensor) -> Tensor:
        options = builder.kernel_options(self.start)
        return builder.keras.layers.Dense(self.units, activation=self.activation, name=builder.name, **options)(x)

    def compute(self, weights: Weights, x: Array) -> Array:
        return ACTIVATIONS[self.activation](x @ weights["kernel"] + weights["bias"])


@dataclass(frozen=True)
class Head(Kind):
    """All steps of the horizon from one vector."""

    start: str
    horizon: int
    targets: int

    def infer_shapes(self, x: Shape) -> Shapes:
        shape = self.horizon, self.targets
        return shape, {"kernel": (*x, *shape), "bias": shape}

    def build(self, builder: Builder, x: Tensor) -> Tensor:
        return _build_einsum(builder, "bf,fht->bht", (self.horizon, self.targets), x, **builder.kernel_options(self.start))

    def compute(self, weights: Weights, x: Array) -> Array:
        return np.tensordot(x, weights["kernel"], axes=1) + weights["bias"]


@dataclass(frozen=True)
class LinearSkip(Kind):
    """The linear baseline within a network, from each target's lookback to its horizon."""

    horizon: int
    targets: int

    def infer_shapes(self, past: Shape) -> Shapes:
        steps, targets = past
        return (self.horizon, targets), {"kernel": (steps, targets, self.horizon), "bias": (self.horizon, targets)}

    def build(self, builder: Builder, past: Tensor) -> Tensor:
        return _build_einsum(builder, "blt,lth->bht", (self.horizon, self.targets), past, kernel_initializer="zeros")

    def compute(self, weights: Weights, past: Array) -> Array:
        return np.einsum("blt,lth->bht", past, weights["kernel"], optimize=True) + weights["bias"]


@dataclass(frozen=True)
class Conv(Kind):
    """A causal convolution and relu: each output sees `kernel_size` steps, its own the last."""

    filters: int
    kernel_size: int
    strides: int

    def infer_shapes(self, x: Shape) -> Shapes:
        steps, channels = x
        weights = {"kernel": (self.kernel_size, channels, self.filters), "bias": (self.filters,)}
        return (-(-steps // self.strides), self.filters), weights

    def build(self, builder: Builder, x: Tensor) -> Tensor:
        options = {
            "padding": "causal",
            "activation": "relu",
            "name": builder.name,
            **builder.kernel_options(builder.model.initializer),
        }
        return builder.keras.layers.Conv1D(self.filters, self.kernel_size, self.strides, **options)(x)

    def compute(self, weights: Weights, x: Array) -> Array:
        padded = np.pad(x, [(0, 0), (self.kernel_size - 1, 0), (0, 0)])
        seen = np.lib.stride_tricks.sliding_window_view(padded, self.kernel_size, axis=1)[:, :: self.strides]
        # (windows, steps, channels, kernel_size)
        return np.maximum(np.tensordot(seen, weights["kernel"], axes=([3, 2], [0, 1])) + weights["bias"], 0)


class Attend(Kind):
    """The mean of the states of all steps, weighted by the softmax of their scores `(steps, 1)`."""

    def build(self, builder: Builder, states: Tensor, scores: Tensor) -> Tensor:
        return builder.keras.ops.sum(builder.keras.ops.softmax(scores, axis=1) * states, axis=1)

    def compute(self, weights: Weights, states: Array, scores: Array) -> Array:
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        return (shares / shares.sum(axis=1, keepdims=True) * states).sum(axis=1)


@dataclass(frozen=True)
class Dropout(Kind):
    """Drop a fraction of the values while the network is trained."""

    rate: float

    def build(self, builder: Builder, x: Tensor) -> Tensor:
        return builder.keras.layers.Dropout(self.rate, seed=builder.seed(), name=builder.name)(x)

    def compute(self, weights: Weights, x: Array) -> Array:
        return x


def _build_einsum(builder: Builder, equation: str, shape: Shape, x: Tensor, **options: Any) -> Tensor:
    """Build a dense layer with a bias of the output's `shape` `(horizon, targets)`, a constant in a portable model."""
    bias_axes = None if builder.weights else "ht"
    y = builder.keras.layers.EinsumDense(equation, shape, bias_axes=bias_axes, name=builder.name, **options)(x)
    return add(y, builder.weights["bias"]) if builder.weights else y
