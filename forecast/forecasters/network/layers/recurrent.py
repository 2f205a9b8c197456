"""Recurrent layers and their cells. A new cell needs a subclass of `Cell`, and its name in `CELLS` and in `model.cell`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from forecast.forecasters.network.description import Array, Shape
from forecast.forecasters.network.layers.interface import Builder, Kind, Shapes, Tensor, Weights, add, make_initializer

States = list[Tensor]  # What a cell remembers, in NumPy or Keras; the first is its output.


class Cell(ABC):
    """A recurrent cell: the shapes of its weights, its Keras layer, and its equations.

    gates: blocks of `units` columns in the kernel, in the order in which Keras keeps them.
    states: arrays of `units` numbers that the cell remembers.
    keras_layer: the layer in `keras.layers`. A cell without one has `initial_bias`, a number for each gate, and its `step` works
    in Keras, too.
    """

    gates: ClassVar[int]
    states: ClassVar[int] = 1
    keras_layer: ClassVar[str] = ""
    initial_bias: ClassVar[Sequence[int]] = ()

    def weights(self, channels: int, units: int) -> dict[str, Shape]:
        """Return the shape of each weight, in the order in which Keras keeps them."""
        gates = self.gates * units
        return {"kernel": (channels, gates), "recurrent_kernel": (units, gates), "bias": (gates,)}

    @abstractmethod
    def step(self, ops: ModuleType, x: Tensor, states: States, *args: Any, **kwargs: Any) -> States:
        """Return the states `(windows, units)` after a step of `x` `(windows, channels)`; the other arguments are the weights."""


class LSTM(Cell):
    """Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000."""

    gates, states, keras_layer = 4, 2, "LSTM"

    def step(self, ops: ModuleType, x: Array, states: States, kernel: Array, recurrent_kernel: Array, bias: Array) -> States:
        h, c = states
        i, f, g, o = np.split(x @ kernel + h @ recurrent_kernel + bias, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return [sigmoid(o) * np.tanh(c), c]


class GRU(Cell):
    """Cho et al. 2014, with the reset gate after the matrix product and a bias for each product."""

    gates, keras_layer = 3, "GRU"

    def weights(self, channels: int, units: int) -> dict[str, Shape]:
        return super().weights(channels, units) | {"bias": (2, self.gates * units)}

    def step(self, ops: ModuleType, x: Array, states: States, kernel: Array, recurrent_kernel: Array, bias: Array) -> States:
        (h,) = states
        x_z, x_r, x_h = np.split(x @ kernel + bias[0], 3, axis=1)
        h_z, h_r, h_h = np.split(h @ recurrent_kernel + bias[1], 3, axis=1)
        z, r = sigmoid(x_z + h_z), sigmoid(x_r + h_r)
        return [z * h + (1 - z) * np.tanh(x_h + r * h_h)]


class SimpleRNN(Cell):
    """Elman 1990."""

    gates, keras_layer = 1, "SimpleRNN"

    def step(self, ops: ModuleType, x: Array, states: States, kernel: Array, recurrent_kernel: Array, bias: Array) -> States:
        (h,) = states
        return [np.tanh(x @ kernel + h @ recurrent_kernel + bias)]


class PeepholeLSTM(Cell):
    """An LSTM whose gates see the memory: i and f the one before, o the new one; Gers & Schmidhuber 2000."""

    gates, states, initial_bias = 4, 2, (0, 1, 0, 0)  # It remembers at first, as Keras' LSTM does (Jozefowicz et al. 2015).

    def weights(self, channels: int, units: int) -> dict[str, Shape]:
        return super().weights(channels, units) | {"peephole": (3, units)}

    def step(self, ops: ModuleType, x: Tensor, states: States, **weights: Tensor) -> States:
        (h, c), peephole = states, weights["peephole"]
        products = add(ops.matmul(x, weights["kernel"]), ops.matmul(h, weights["recurrent_kernel"]))
        i, f, g, o = ops.split(add(products, weights["bias"]), 4, axis=-1)
        c = add(sigmoid(add(f, c * peephole[1]), ops) * c, sigmoid(add(i, c * peephole[0]), ops) * ops.tanh(g))
        return [sigmoid(add(o, c * peephole[2]), ops) * ops.tanh(c), c]


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
        if builder.weights and not CELLS[self.cell].keras_layer:
            return self._unroll(builder.keras.ops, builder.weights, x, *first_state)
        if not self.bidirectional:
            layer = _build_cell(builder, self.cell, self.units, return_sequences=self.sequences, name=builder.name)
            states = [_split_states(builder.keras.ops, state, self.units) for state in first_state]
            return layer(x, initial_state=states[0]) if states else layer(x)
        # Without a backward layer Bidirectional would copy the forward one and drop some of its options.
        forward = _build_cell(builder, self.cell, self.units, return_sequences=self.sequences)
        backward = _build_cell(builder, self.cell, self.units, return_sequences=self.sequences, go_backwards=True)
        options = {"backward_layer": backward, "name": builder.name, "dtype": builder.precision}
        return builder.keras.layers.Bidirectional(forward, **options)(x)

    def compute(self, weights: Weights, x: Array, *first_state: Array) -> Array:
        return self._unroll(np, weights, x, *first_state)

    def _unroll(self, ops: ModuleType, weights: Weights, x: Tensor, *first_state: Tensor) -> Tensor:
        """Run the cell over the steps; a bidirectional layer also runs another cell over the steps in reverse."""
        zeros = ops.zeros_like(ops.repeat(x[:, 0, :1], CELLS[self.cell].states * self.units, axis=-1))
        states = _split_states(ops, first_state[0] if first_state else zeros, self.units)
        if not self.bidirectional:
            return self._run(ops, weights, x, states)
        forward, backward = (
            {name.removeprefix(prefix): values for name, values in weights.items() if name.startswith(prefix)}
            for prefix in ("forward_", "backward_")
        )
        halves = [self._run(ops, forward, x, states), self._run(ops, backward, x, states, -1)]
        return ops.concatenate(halves, axis=-1)

    def _run(self, ops: ModuleType, weights: Weights, x: Tensor, states: States, direction: int = 1) -> Tensor:
        outputs = []
        for number in range(x.shape[1])[::direction]:
            states = CELLS[self.cell].step(ops, x[:, number], states, **weights)
            if self.sequences:
                outputs.append(states[0])
        return ops.stack(outputs[::direction], axis=1) if self.sequences else states[0]


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
        states = _split_states(ops, ops.repeat(first_state, steps, axis=0), self.units)
        if builder.weights and not cell.keras_layer:
            state, *_ = cell.step(ops, x[:, 0], states, **builder.weights)
        else:
            state = _build_cell(builder, self.cell, self.units, name=builder.name)(x, initial_state=states)
        return ops.reshape(state, (-1, steps, self.units))

    def compute(self, weights: Weights, x: Array, first_state: Array) -> Array:
        windows, steps, channels = x.shape
        states = _split_states(np, np.repeat(first_state, steps, axis=0), self.units)
        state, *_ = CELLS[self.cell].step(np, x.reshape(windows * steps, channels), states, **weights)
        return state.reshape(windows, steps, self.units)


def sigmoid(x: Tensor, ops: ModuleType = np) -> Tensor:
    """Return 1 / (1 + exp(-x)), in NumPy in a form that cannot overflow."""
    return 0.5 * np.tanh(0.5 * x) + 0.5 if ops is np else ops.sigmoid(x)


def _build_cell(builder: Builder, cell: str, units: int, **options: Any) -> Any:
    """Build the untrained Keras layer of a cell."""
    keras, model, keras_layer = builder.keras, builder.model, CELLS[cell].keras_layer
    seeds, options = (builder.seed(), builder.seed()), {"dtype": builder.precision, **options}
    if not keras_layer:
        settings = {"initializer": model.initializer, "l1": model.l1, "l2": model.l2, "dtype": builder.precision}
        step_cell = builder.keras_layers.StepCell(cell, units, *seeds, **settings)
        return keras.layers.RNN(step_cell, **options)
    return getattr(keras.layers, keras_layer)(
        units,
        kernel_initializer=make_initializer(keras, model.initializer, seeds[0]),
        recurrent_initializer=keras.initializers.Orthogonal(seed=seeds[1]),
        kernel_regularizer=builder.penalty(),
        recurrent_regularizer=builder.penalty(),
        recurrent_dropout=model.recurrent_dropout,
        seed=builder.seed(),
        **options,
    )


def _split_states(ops: ModuleType, state: Tensor, units: int) -> States:
    """Return the states of a cell, which lie side by side in a layer's first state."""
    return ops.split(state, state.shape[-1] // units, axis=-1)
