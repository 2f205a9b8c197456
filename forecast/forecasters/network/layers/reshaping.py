"""Layers that select, join, cut and repeat values; none of them has weights."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np

from forecast.forecasters.network.description import Array, Shape
from forecast.forecasters.network.layers.interface import Builder, Kind, Operation, Shapes, Tensor, Weights


@dataclass(frozen=True)
class Select(Operation):
    """`count` channels, from the channel `first` on."""

    first: int
    count: int

    def apply(self, ops: ModuleType, x: Tensor) -> Tensor:
        return x[..., self.first : self.first + self.count]


class Concat(Operation):
    """The channels of all inputs, side by side."""

    def apply(self, ops: ModuleType, *parts: Tensor) -> Tensor:
        return ops.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]


@dataclass(frozen=True)
class Repeat(Kind):
    """A vector, repeated at each of so many steps."""

    steps: int

    def infer_shapes(self, x: Shape) -> Shapes:
        return (self.steps, *x), {}

    def build(self, builder: Builder, x: Tensor) -> Tensor:
        return builder.keras.layers.RepeatVector(self.steps, name=builder.name)(x)

    def compute(self, weights: Weights, x: Array) -> Array:
        return np.repeat(x[:, None], self.steps, axis=1)


@dataclass(frozen=True)
class Segments(Operation):
    """Cut the steps into segments, each of which becomes one step; the first or the last step fills an incomplete one.

    Steps a b c d e with length 2, padded on the left: aa bc de.
    """

    length: int
    pad: str  # left or right

    def apply(self, ops: ModuleType, x: Tensor) -> Tensor:
        """Pad the steps and reshape them."""
        steps, channels = x.shape[1:]
        missing = -steps % self.length
        if missing and self.pad == "left":
            x = ops.concatenate([ops.repeat(x[:, :1], missing, axis=1), x], axis=1)
        elif missing:
            x = ops.concatenate([x, ops.repeat(x[:, -1:], missing, axis=1)], axis=1)
        return ops.reshape(x, (-1, (steps + missing) // self.length, self.length * channels))


@dataclass(frozen=True)
class JoinSegments(Operation):
    """The steps of a forecast from its segments `(segments, length * targets)`, without those after the horizon."""

    horizon: int
    targets: int

    def apply(self, ops: ModuleType, x: Tensor) -> Tensor:
        segments, width = x.shape[1:]
        return ops.reshape(x, (-1, segments * width // self.targets, self.targets))[:, : self.horizon]


class SplitChannels(Operation):
    """One window for each channel of each window, window by window."""

    def apply(self, ops: ModuleType, x: Tensor) -> Tensor:
        return ops.reshape(ops.transpose(x, (0, 2, 1)), (-1, x.shape[1], 1))


@dataclass(frozen=True)
class ForEach(Operation):
    """A copy for each channel of a window, in the order of `SplitChannels`."""

    count: int

    def apply(self, ops: ModuleType, x: Tensor) -> Tensor:
        return ops.repeat(x, self.count, axis=0)


@dataclass(frozen=True)
class JoinChannels(Operation):
    """The inverse of `SplitChannels`."""

    count: int

    def apply(self, ops: ModuleType, x: Tensor) -> Tensor:
        return ops.transpose(ops.reshape(x, (-1, self.count, x.shape[1])), (0, 2, 1))


@dataclass(frozen=True)
class RepeatTargets(Operation):
    """A copy of each target for each quantile, side by side."""

    count: int

    def apply(self, ops: ModuleType, x: Tensor) -> Tensor:
        return ops.repeat(x, self.count, axis=-1)


@dataclass(frozen=True)
class Quantiles(Operation):
    """The quantiles of each target, sorted so that none crosses another (Chernozhukov et al. 2010)."""

    quantiles: list[float]

    def apply(self, ops: ModuleType, x: Tensor) -> Tensor:
        horizon, width = x.shape[1:]
        count = len(self.quantiles)
        return ops.sort(ops.reshape(x, (-1, horizon, width // count, count)), axis=-1)
