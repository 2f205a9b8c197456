"""Learned vectors for categories, for positions in the horizon and for channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from forecast.forecasters.network.description import Array, Shape
from forecast.forecasters.network.layers.interface import Builder, Kind, Shapes, Tensor, Weights, add


@dataclass(frozen=True)
class Embedding(Kind):
    """A vector for each category in one column of the codes."""

    column: int
    size: int
    units: int

    def infer_shapes(self, codes: Shape) -> Shapes:
        return (self.units,), {"embeddings": (self.size, self.units)}

    def build(self, builder: Builder, codes: Tensor) -> Tensor:
        return _build_table(builder, self.size, self.units, deviation=0.05)(codes[:, self.column])

    def compute(self, weights: Weights, codes: Array) -> Array:
        return weights["embeddings"][codes[:, self.column]]


@dataclass(frozen=True)
class Positions(Kind):
    """A vector for each row of the output, the same in all windows; the input only counts the windows."""

    rows: int
    units: int

    def infer_shapes(self, state: Shape) -> Shapes:
        return (self.rows, self.units), {"embeddings": (self.rows, self.units)}

    def build(self, builder: Builder, state: Tensor) -> Tensor:
        ops = builder.keras.ops
        zeros = ops.repeat(ops.zeros_like(state[:, :1], dtype="int32"), self.rows, axis=1)
        return _build_table(builder, self.rows, self.units)(add(zeros, np.arange(self.rows, dtype=np.int32)))

    def compute(self, weights: Weights, state: Array) -> Array:
        return np.repeat(weights["embeddings"][None], len(state), axis=0)


@dataclass(frozen=True)
class ChannelEmbedding(Kind):
    """A vector for each channel, where each channel is a window, in the order of `SplitChannels`."""

    channels: int
    units: int

    def infer_shapes(self, state: Shape) -> Shapes:
        return (self.units,), {"embeddings": (self.channels, self.units)}

    def build(self, builder: Builder, state: Tensor) -> Tensor:
        ops = builder.keras.ops
        zeros = ops.reshape(ops.zeros_like(state[:, :1], dtype="int32"), (-1, self.channels))
        codes = ops.reshape(add(zeros, np.arange(self.channels, dtype=np.int32)), (-1,))
        return _build_table(builder, self.channels, self.units)(codes)

    def compute(self, weights: Weights, state: Array) -> Array:
        return np.tile(weights["embeddings"], (len(state) // self.channels, 1))


def _build_table(builder: Builder, rows: int, units: int, deviation: float = 1.0) -> Any:
    start = builder.keras.initializers.RandomNormal(stddev=deviation, seed=builder.seed())
    return builder.keras.layers.Embedding(rows, units, embeddings_initializer=start, name=builder.name)
