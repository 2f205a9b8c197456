"""Statistics of each window, the normalization that uses them, and normalization over channels and batches."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np

from forecast.forecasters.network.description import Array, Shape
from forecast.forecasters.network.layers.interface import Builder, Kind, Shapes, Tensor, Weights, add


def compute_centre(ops: ModuleType, past: Tensor, method: str) -> Tensor:
    """Return the last value or the mean of each window's past."""
    return past[:, -1:] if method == "last" else ops.mean(past, axis=1, keepdims=True)


def compute_scale(ops: ModuleType, past: Tensor, epsilon: float) -> Tensor:
    """Return the standard deviation of each window's past."""
    return ops.sqrt(ops.var(past, axis=1, keepdims=True) + epsilon)


def normalize(ops: ModuleType, past: Tensor, centre: Tensor, *scale: Tensor) -> Tensor:
    """Subtract a window's centre and divide by its scale, if there is one."""
    return (past - centre) / scale[0] if scale else past - centre


def denormalize(ops: ModuleType, forecast: Tensor, centre: Tensor, *scale: Tensor) -> Tensor:
    """Multiply a forecast by its window's scale, if there is one, and add the centre."""
    return add(forecast * scale[0] if scale else forecast, centre)


class Affine(Kind):
    """gamma * x + beta per channel (RevIN, Kim et al. 2022)."""

    def infer_shapes(self, past: Shape) -> Shapes:
        return past, {"gamma": past[-1:], "beta": past[-1:]}

    def build(self, builder: Builder, past: Tensor) -> Tensor:
        """Build the layer, and register it for its inverse."""
        if builder.weights:
            gamma, beta = (builder.weights[name].tolist() for name in ("gamma", "beta"))
            return builder.keras.layers.Rescaling(gamma, beta, name=builder.name)(past)
        builder.layers[builder.name] = builder.keras_layers.AffinePerChannel(name=builder.name)
        return builder.layers[builder.name](past)

    def compute(self, weights: Weights, past: Array) -> Array:
        return past * weights["gamma"] + weights["beta"]


@dataclass(frozen=True)
class AffineInverse(Kind):
    """(x - beta) / gamma, with the weights of the layer `of`; each target may have several values, side by side."""

    of: str

    def infer_shapes(self, forecast: Shape) -> Shapes:
        return forecast, {}

    def build(self, builder: Builder, forecast: Tensor) -> Tensor:
        if not builder.weights:
            return builder.layers[self.of](forecast, inverse=True)
        gamma, beta = self._repeat(builder.weights, forecast.shape[-1])
        return builder.keras.layers.Rescaling((1 / gamma).tolist(), (-beta / gamma).tolist(), name=builder.name)(forecast)

    def compute(self, weights: Weights, forecast: Array) -> Array:
        gamma, beta = self._repeat(weights, forecast.shape[-1])
        return (forecast - beta) / gamma

    def _repeat(self, weights: Weights, width: int) -> list[Array]:
        return [np.repeat(weights[name], width // len(weights[name])) for name in ("gamma", "beta")]


@dataclass(frozen=True)
class LayerNorm(Kind):
    """Normalize the channels of each step."""

    epsilon: float

    def infer_shapes(self, x: Shape) -> Shapes:
        return x, {"gamma": x[-1:], "beta": x[-1:]}

    def build(self, builder: Builder, x: Tensor) -> Tensor:
        return builder.keras.layers.LayerNormalization(epsilon=self.epsilon, name=builder.name)(x)

    def compute(self, weights: Weights, x: Array) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + self.epsilon)
        return centred / deviation * weights["gamma"] + weights["beta"]


@dataclass(frozen=True)
class BatchNorm(Kind):
    """Normalize each channel by the mean and variance of the training batches."""

    epsilon: float

    def infer_shapes(self, x: Shape) -> Shapes:
        return x, dict.fromkeys(("gamma", "beta", "moving_mean", "moving_variance"), x[-1:])

    def build(self, builder: Builder, x: Tensor) -> Tensor:
        return builder.keras.layers.BatchNormalization(epsilon=self.epsilon, name=builder.name)(x)

    def compute(self, weights: Weights, x: Array) -> Array:
        deviation = np.sqrt(weights["moving_variance"] + self.epsilon)
        return (x - weights["moving_mean"]) / deviation * weights["gamma"] + weights["beta"]
