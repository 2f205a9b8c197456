"""Keras layers that Keras lacks."""

from __future__ import annotations

from typing import Any

from forecast.forecasters.network.backend import keras
from forecast.forecasters.network.layers.interface import Tensor, add


class AffinePerChannel(keras.layers.Layer):
    """gamma * x + beta, and its inverse for a forecast whose targets may have several values each, side by side."""

    def build(self, shape: tuple[int, ...]) -> None:
        self.gamma = self.add_weight(shape=(shape[-1],), initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=(shape[-1],), initializer="zeros", name="beta")

    def call(self, x: Tensor, inverse: bool = False) -> Tensor:
        if not inverse:
            return x * self.gamma + self.beta
        values = x.shape[-1] // self.gamma.shape[0]
        return (x - keras.ops.repeat(self.beta, values)) / keras.ops.repeat(self.gamma, values)


@keras.saving.register_keras_serializable("forecast")
class PeepholeLSTMCell(keras.layers.Layer):
    """An LSTM cell whose gates see its memory (Gers & Schmidhuber 2000), for `keras.layers.RNN`; without dropout."""

    def __init__(
        self,
        units: int,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        regularizer: Any = None,
        **options: Any,
    ):
        super().__init__(**options)
        self.units, self.state_size, self.output_size = units, [units, units], units
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.recurrent_initializer = keras.initializers.get(recurrent_initializer)
        self.regularizer = keras.regularizers.get(regularizer)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `__init__` as plain values, from which Keras copies a cell."""
        return super().get_config() | {
            "units": self.units,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "recurrent_initializer": keras.initializers.serialize(self.recurrent_initializer),
            "regularizer": keras.regularizers.serialize(self.regularizer) if self.regularizer else None,
        }

    def build(self, shape: tuple[int, ...]) -> None:
        """Make the weights for inputs `(batch, channels)`."""
        gates, l2 = 4 * self.units, self.regularizer
        self.kernel = self.add_weight((shape[-1], gates), self.kernel_initializer, name="kernel", regularizer=l2)
        self.recurrent_kernel = self.add_weight(
            (self.units, gates), self.recurrent_initializer, name="recurrent_kernel", regularizer=l2
        )
        self.bias = self.add_weight((gates,), _start_remembering, name="bias")
        self.peephole = self.add_weight((3, self.units), "zeros", name="peephole")

    def call(self, x: Tensor, states: list[Tensor], training: bool = False) -> tuple[Tensor, list[Tensor]]:
        """Return the state after one step, and all states to remember."""
        states = peephole_step(x, states, self.kernel, self.recurrent_kernel, self.bias, self.peephole)
        return states[0], states


def peephole_step(
    x: Tensor, states: list[Tensor], kernel: Tensor, recurrent_kernel: Tensor, bias: Tensor, peephole: Tensor
) -> list[Tensor]:
    """Return state and memory `(batch, units)` after one more step of `x` `(batch, channels)`."""
    ops, (h, c) = keras.ops, states
    i, f, g, o = ops.split(add(add(ops.matmul(x, kernel), ops.matmul(h, recurrent_kernel)), bias), 4, axis=-1)
    c = add(ops.sigmoid(add(f, c * peephole[1])) * c, ops.sigmoid(add(i, c * peephole[0])) * ops.tanh(g))
    return [ops.sigmoid(add(o, c * peephole[2])) * ops.tanh(c), c]


def _start_remembering(shape: tuple[int, ...], dtype: str | None = None) -> Tensor:
    """Return a bias of 1 for the forget gate and 0 for the others (Jozefowicz et al. 2015), as Keras' own LSTM has."""
    return keras.ops.repeat(keras.ops.convert_to_tensor([0, 1, 0, 0], dtype), shape[0] // 4)
