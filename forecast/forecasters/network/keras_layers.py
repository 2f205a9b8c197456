"""Layers that Keras lacks."""

from __future__ import annotations

from typing import Any

from forecast.forecasters.network.backend import keras
from forecast.forecasters.network.layers.interface import Tensor, make_initializer
from forecast.forecasters.network.layers.recurrent import CELLS, States


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
class StepCell(keras.layers.Layer):
    """A cell of `CELLS` that Keras lacks, for `keras.layers.RNN`; it has no dropout.

    The arguments are plain values, so that Keras can copy the cell.
    """

    def __init__(
        self,
        cell: str,
        units: int,
        kernel_seed: int,
        recurrent_seed: int,
        initializer: str = "glorot_uniform",
        l1: float = 0.0,
        l2: float = 0.0,
        **options: Any,
    ):
        super().__init__(**options)
        self.cell, self.units, self.penalty = cell, units, keras.regularizers.L1L2(l1, l2) if l1 or l2 else None
        self.state_size, self.output_size = [units] * CELLS[cell].states, units
        self.initializers = {
            "kernel": make_initializer(keras, initializer, kernel_seed),
            "recurrent_kernel": keras.initializers.Orthogonal(seed=recurrent_seed),
            "bias": self._initialize_bias,
        }

    def build(self, shape: tuple[int, ...]) -> None:
        """Make the weights for inputs `(batch, channels)`."""
        penalties = dict.fromkeys(("kernel", "recurrent_kernel"), self.penalty)
        self.arrays = {
            name: self.add_weight(size, self.initializers.get(name, "zeros"), name=name, regularizer=penalties.get(name))
            for name, size in CELLS[self.cell].weights(shape[-1], self.units).items()
        }

    def call(self, x: Tensor, states: States, training: bool = False) -> tuple[Tensor, States]:
        """Return the output of one step, and all states to remember."""
        states = CELLS[self.cell].step(keras.ops, x, states, **self.arrays)
        return states[0], states

    def _initialize_bias(self, shape: tuple[int, ...], dtype: str | None = None) -> Tensor:
        return keras.ops.repeat(keras.ops.convert_to_tensor(CELLS[self.cell].initial_bias, dtype), self.units)
