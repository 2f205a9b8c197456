"""Recurrent layers and their cells. A new cell is one subclass of `Cell`, and its name in `CELLS` and in `model.cell`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from forecast.forecasters.network.description import Array, Shape
from forecast.forecasters.network.layers.interface import Builder, Kind, Shapes, Tensor, Weights


class Cell(ABC):
    """A recurrent cell: the shapes of its weights, its Keras layer, and its equations in NumPy."""

    gates: ClassVar[int]  # Blocks of `units` columns in the kernel, in the order in which Keras keeps them.
    states: ClassVar[int] = 1  # Arrays of `units` numbers that the cell remembers.
    keras_layer: ClassVar[str] = ""  # Its layer in `keras.layers`, if Keras has one.

    def weights(self, channels: int, units: int) -> dict[str, Shape]:
        """Return the shape of each weight, in the order in which Keras keeps them."""
        gates = self.gates * units
        return {"kernel": (channels, gates), "recurrent_kernel": (units, gates), "bias": (gates,)}

    def build(self, builder: Builder, units: int, **options: Any) -> Any:
        """Return the untrained Keras layer."""
        initializers = _initializers(builder)
        return getattr(builder.keras.layers, self.keras_layer)(
            units,
            recurrent_dropout=builder.model.recurrent_dropout,
            kernel_regularizer=builder.l2(),
            recurrent_regularizer=builder.l2(),
            seed=builder.seed(),
            dtype=builder.precision,
            **initializers,
            **options,
        )

    @abstractmethod
    def compute(self, *args: Any, **kwargs: Any) -> Iterator[Array]:
        """Yield the state `(windows, units)` after each step of `x` `(windows, steps, channels)`.

        state: what the cell remembers before the first step, side by side: `(windows, states * units)`.
        """


class LSTM(Cell):
    """Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000."""

    gates, states, keras_layer = 4, 2, "LSTM"  # Gates i, f, g, o; states h, c.

    def compute(self, x: Array, state: Array, kernel: Array, recurrent_kernel: Array, bias: Array) -> Iterator[Array]:
        """Yield the state after each step."""
        h, c = np.split(state, 2, axis=1)
        for x_t in x.swapaxes(0, 1):
            i, f, g, o = np.split(x_t @ kernel + h @ recurrent_kernel + bias, 4, axis=1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            yield h


class GRU(Cell):
    """Cho et al. 2014, with the reset gate after the matrix product and a bias for each product."""

    gates, keras_layer = 3, "GRU"  # Gates z, r, h.

    def weights(self, channels: int, units: int) -> dict[str, Shape]:
        """Return the shapes, with a bias for the input and one for the state."""
        return super().weights(channels, units) | {"bias": (2, self.gates * units)}

    def compute(self, x: Array, state: Array, kernel: Array, recurrent_kernel: Array, bias: Array) -> Iterator[Array]:
        """Yield the state after each step."""
        h = state
        for x_t in x.swapaxes(0, 1):
            x_z, x_r, x_h = np.split(x_t @ kernel + bias[0], 3, axis=1)
            h_z, h_r, h_h = np.split(h @ recurrent_kernel + bias[1], 3, axis=1)
            z, r = sigmoid(x_z + h_z), sigmoid(x_r + h_r)
            h = z * h + (1 - z) * np.tanh(x_h + r * h_h)
            yield h


class SimpleRNN(Cell):
    """Elman 1990."""

    gates, keras_layer = 1, "SimpleRNN"

    def compute(self, x: Array, state: Array, kernel: Array, recurrent_kernel: Array, bias: Array) -> Iterator[Array]:
        """Yield the state after each step."""
        h = state
        for x_t in x.swapaxes(0, 1):
            h = np.tanh(x_t @ kernel + h @ recurrent_kernel + bias)
            yield h


class PeepholeLSTM(Cell):
    """An LSTM whose gates see the memory: i and f the one before, o the new one; Gers & Schmidhuber 2000."""

    gates, states = 4, 2

    def weights(self, channels: int, units: int) -> dict[str, Shape]:
        """Return the shapes, with a row of `peephole` for each of the gates i, f and o."""
        return super().weights(channels, units) | {"peephole": (3, units)}

    def build(self, builder: Builder, units: int, **options: Any) -> Any:
        """Return the untrained Keras layer."""
        from forecast.forecasters.network.keras_layers import PeepholeLSTMCell

        cell = PeepholeLSTMCell(units, **_initializers(builder), regularizer=builder.l2(), dtype=builder.precision)
        return builder.keras.layers.RNN(cell, dtype=builder.precision, **options)

    def compute(
        self, x: Array, state: Array, kernel: Array, recurrent_kernel: Array, bias: Array, peephole: Array
    ) -> Iterator[Array]:
        """Yield the state after each step."""
        h, c = np.split(state, 2, axis=1)
        p_i, p_f, p_o = peephole
        for x_t in x.swapaxes(0, 1):
            i, f, g, o = np.split(x_t @ kernel + h @ recurrent_kernel + bias, 4, axis=1)
            c = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * np.tanh(g)
            h = sigmoid(o + p_o * c) * np.tanh(c)
            yield h


CELLS: dict[str, Cell] = {"lstm": LSTM(), "peephole_lstm": PeepholeLSTM(), "gru": GRU(), "simple_rnn": SimpleRNN()}


@dataclass(frozen=True)
class Recurrent(Kind):
    """A cell that reads all steps, from zeros or from the state that a second input brings."""

    cell: str
    units: int
    bidirectional: bool
    sequences: bool  # Return the states after all steps, not only after the last.

    def infer_shapes(self, x: Shape, *first_state: Shape) -> Shapes:
        """Return `(steps, width)` or `(width,)`, and the weights of the cell or of the cells of both directions."""
        steps, channels = x
        width, weights = self.units, CELLS[self.cell].weights(channels, self.units)
        if self.bidirectional:
            width *= 2
            weights = {f"{direction}_{name}": shape for direction in ("forward", "backward") for name, shape in weights.items()}
        return ((steps, width) if self.sequences else (width,)), weights

    def build(self, builder: Builder, x: Tensor, *first_state: Tensor) -> Tensor:
        """Build the cell's Keras layer; in a portable model, a cell that Keras lacks is built step by step."""
        keras, cell = builder.keras, CELLS[self.cell]
        states = [_split_states(builder, state, self.units) for state in first_state]
        if builder.weights and not cell.keras_layer:
            if not self.bidirectional:
                return self._unroll(keras.ops, builder.weights, x, states[0] if states else None)
            forward, backward = _split_directions(builder.weights)
            halves = [self._unroll(keras.ops, forward, x), self._unroll(keras.ops, backward, x, backwards=True)]
            return keras.ops.concatenate(halves, axis=-1)
        if not self.bidirectional:
            layer = cell.build(builder, self.units, return_sequences=self.sequences, name=builder.name)
            return layer(x, initial_state=states[0]) if states else layer(x)
        # Without a backward layer Bidirectional would copy the forward one and drop some of its options.
        forward = cell.build(builder, self.units, return_sequences=self.sequences)
        backward = cell.build(builder, self.units, return_sequences=self.sequences, go_backwards=True)
        options = {"backward_layer": backward, "name": builder.name, "dtype": builder.precision}
        return keras.layers.Bidirectional(forward, **options)(x)

    def _unroll(
        self, ops: Any, weights: Weights, x: Tensor, states: list[Tensor] | None = None, backwards: bool = False
    ) -> Tensor:
        from forecast.forecasters.network.keras_layers import peephole_step

        zeros = ops.zeros_like(ops.repeat(x[:, 0, :1], self.units, axis=-1))
        h, c = states or [zeros, zeros]
        after = []
        for step in range(x.shape[1])[:: -1 if backwards else 1]:
            h, c = peephole_step(x[:, step], h, c, **weights)
            after.append(h)
        return ops.stack(after[:: -1 if backwards else 1], axis=1) if self.sequences else h

    def compute(self, weights: Weights, x: Array, first_state: Array | None = None) -> Array:
        """Run the cell over the steps; a bidirectional layer also runs one over the steps in reverse."""
        if first_state is None:
            first_state = np.zeros((len(x), CELLS[self.cell].states * self.units), x.dtype)
        if not self.bidirectional:
            return self._run(weights, x, first_state)
        forward, backward = _split_directions(weights)
        in_reverse = self._run(backward, x[:, ::-1], first_state)
        in_order = in_reverse[:, ::-1] if self.sequences else in_reverse
        return np.concatenate([self._run(forward, x, first_state), in_order], axis=-1)

    def _run(self, weights: Weights, x: Array, first_state: Array) -> Array:
        states = CELLS[self.cell].compute(x, first_state, **weights)
        if self.sequences:
            return np.stack(list(states), axis=1)  # (windows, steps, units)
        return deque(states, maxlen=1).pop()  # (windows, units), without the memory of all steps


@dataclass(frozen=True)
class RecurrentStep(Kind):
    """A single step of a cell for each step of the input, all from the state that the second input brings."""

    cell: str
    units: int

    def infer_shapes(self, x: Shape, first_state: Shape) -> Shapes:
        steps, channels = x
        return (steps, self.units), CELLS[self.cell].weights(channels, self.units)

    def build(self, builder: Builder, x: Tensor, first_state: Tensor) -> Tensor:
        """Build the cell's Keras layer over windows of one step each."""
        ops, cell, (steps, channels) = builder.keras.ops, CELLS[self.cell], x.shape[1:]
        x = ops.reshape(x, (-1, 1, channels))
        states = _split_states(builder, ops.repeat(first_state, steps, axis=0), self.units)
        if builder.weights and not cell.keras_layer:
            from forecast.forecasters.network.keras_layers import peephole_step

            state, _ = peephole_step(x[:, 0], *states, **builder.weights)
        else:
            state = cell.build(builder, self.units, name=builder.name)(x, initial_state=states)
        return ops.reshape(state, (-1, steps, self.units))

    def compute(self, weights: Weights, x: Array, first_state: Array) -> Array:
        windows, steps, channels = x.shape
        first_state = np.repeat(first_state, steps, axis=0)
        (state,) = CELLS[self.cell].compute(x.reshape(windows * steps, 1, channels), first_state, **weights)
        return state.reshape(windows, steps, -1)


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)), in a form that cannot overflow."""
    return 0.5 * np.tanh(0.5 * x) + 0.5


def _initializers(builder: Builder) -> dict[str, Any]:
    return {
        "kernel_initializer": builder.glorot(),
        "recurrent_initializer": builder.keras.initializers.Orthogonal(seed=builder.seed()),
    }


def _split_states(builder: Builder, state: Tensor, units: int) -> list[Tensor]:
    """Return the states of a cell, which lie side by side in a layer's first state."""
    return builder.keras.ops.split(state, state.shape[-1] // units, axis=-1)


def _split_directions(weights: Weights) -> list[Weights]:
    """Return the weights of the forward cell and of the backward cell, named as its equations name them."""
    return [
        {name.removeprefix(prefix): values for name, values in weights.items() if name.startswith(prefix)}
        for prefix in ("forward_", "backward_")
    ]
