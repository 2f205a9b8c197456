"""The Keras reader of a network's description: one small function for each kind of layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from forecast.config import ModelConfig
from forecast.forecasters.network.backend import keras
from forecast.forecasters.network.description import CATEGORIES, Layer, Network

Tensors = list[keras.KerasTensor]


def build_keras(network: Network, model: ModelConfig | None = None, seed: int = 0, mixed_precision: bool = False) -> keras.Model:
    """The Keras model of a description, untrained, from a mapping of its inputs to `(batch, *network.forecast)`.

    model: brings what matters in training only (recurrent dropout, l2); None builds for inference.
    seed: every initial weight and dropout mask follows from it.
    """
    builder = _Builder(model or ModelConfig(), np.random.default_rng(seed), "mixed_bfloat16" if mixed_precision else "float32")
    return builder.assemble(network)


def get_weights(model: keras.Model, network: Network) -> dict[str, np.ndarray]:
    """All weights by `layer/weight`, as the description names them."""
    weights = {}
    for layer in network.layers:
        if layer.weights:
            arrays = model.get_layer(layer.name).weights
            for name, array in zip(layer.weights, arrays, strict=True):
                weights[f"{layer.name}/{name}"] = keras.ops.convert_to_numpy(array)
    return weights


def set_weights(model: keras.Model, network: Network, weights: dict[str, np.ndarray]) -> None:
    """Put arrays, named as `get_weights` names them, into the model.

    Raises:
        RunError: they are not the arrays that the description names.
    """
    network.check_weights(weights)
    present = {layer.name for layer in model.layers}
    for layer in network.layers:
        if layer.weights and layer.name in present:
            built = model.get_layer(layer.name)
            arrays = [weights[f"{layer.name}/{name}"] for name in layer.weights]
            built.set_weights(arrays[: len(built.weights)])  # in a portable model the last ones, or all, may be constants


def load_keras(network: Network, weights: dict[str, np.ndarray], portable: bool = False) -> keras.Model:
    """The trained Keras model of a description and its weights, ready to forecast in float32.

    portable: made of Keras' own layers only, so that it can be saved and opened where this package is not.

    Raises:
        RunError: the weights are not those that the description names.
    """
    network.check_weights(weights)  # before anything is made as large as the description says
    builder = _Builder(ModelConfig(), np.random.default_rng(0), "float32", weights if portable else None)
    model = builder.assemble(network)
    set_weights(model, network, weights)
    return model


def _input(name: str, shape: list[int]) -> keras.KerasTensor:
    """One input of a network: whole numbers for categories, floats for all else."""
    return keras.Input(tuple(shape), name=name, dtype="int32" if name == CATEGORIES else "float32")


def add(x: keras.KerasTensor, y: keras.KerasTensor | np.ndarray) -> keras.KerasTensor:
    """Return `x + y`, broadcast as NumPy does; every addition of two tensors in a network or an export uses this function.

    `keras.ops.add` on TensorFlow (Keras 3.15, "Special case of `tf.add`") takes `y` for a bias where a single axis of `y` is
    longer than 1, and as long as the second or the last axis of `x`. With as many windows as steps in the horizon it adds the
    centre of window `i`, `(batch, 1, 1)`, to step `i` of all windows. LiteRT's converter cannot read such a bias either. A
    subtraction has no special case and gives the same bits.
    """
    return x - (-y)


class _Affine(keras.layers.Layer):
    """gamma * x + beta per channel, and its inverse for the targets, which are the first channels (RevIN, Kim et al. 2022)."""

    def build(self, shape: tuple[int, ...]) -> None:
        self.gamma = self.add_weight(shape=(shape[-1],), initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=(shape[-1],), initializer="zeros", name="beta")

    def call(self, x: keras.KerasTensor, inverse: bool = False, each: int = 1) -> keras.KerasTensor:
        if not inverse:
            return x * self.gamma + self.beta
        gamma, beta = (keras.ops.repeat(values[: x.shape[-1] // each], each) for values in (self.gamma, self.beta))
        return (x - beta) / gamma


@keras.saving.register_keras_serializable("forecast")
class PeepholeLSTMCell(keras.layers.Layer):
    """An LSTM cell whose gates see its memory (Gers & Schmidhuber 2000), for `keras.layers.RNN`; without dropout."""

    def __init__(
        self,
        units: int,
        kernel_initializer: object = "glorot_uniform",
        recurrent_initializer: object = "orthogonal",
        regularizer: object = None,
        **options: object,
    ):
        super().__init__(**options)
        self.units, self.state_size, self.output_size = units, [units, units], units
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.recurrent_initializer = keras.initializers.get(recurrent_initializer)
        self.regularizer = keras.regularizers.get(regularizer)

    def get_config(self) -> dict:
        """What `__init__` takes, as plain values: Keras makes copies of a cell from it."""
        return super().get_config() | {
            "units": self.units,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "recurrent_initializer": keras.initializers.serialize(self.recurrent_initializer),
            "regularizer": keras.regularizers.serialize(self.regularizer) if self.regularizer else None,
        }

    def build(self, shape: tuple[int, ...]) -> None:
        """Make the weights for inputs `(batch, channels)`."""
        units, kernels = self.units, {"regularizer": self.regularizer}
        self.kernel = self.add_weight((shape[-1], 4 * units), self.kernel_initializer, name="kernel", **kernels)
        self.recurrent_kernel = self.add_weight(
            (units, 4 * units), self.recurrent_initializer, name="recurrent_kernel", **kernels
        )
        self.bias = self.add_weight((4 * units,), _remembering, name="bias")
        self.peephole = self.add_weight((3, units), "zeros", name="peephole")

    def call(self, x: keras.KerasTensor, states: Tensors, training: bool = False) -> tuple[keras.KerasTensor, Tensors]:
        """The state after one step, and all that is remembered."""
        h, c = peephole_step(x, *states, self.kernel, self.recurrent_kernel, self.bias, self.peephole)
        return h, [h, c]


def _remembering(shape: tuple[int, ...], dtype: str | None = None) -> keras.KerasTensor:
    """1 for the forget gate and 0 for the others (Jozefowicz et al. 2015), as Keras' own LSTM starts."""
    return keras.ops.repeat(keras.ops.convert_to_tensor([0, 1, 0, 0], dtype), shape[0] // 4)


def peephole_step(
    x: object, h: object, c: object, kernel: object, recurrent_kernel: object, bias: object, peephole: object
) -> Tensors:
    """State and memory `(batch, units)` after one more step of `x` `(batch, channels)`."""
    ops = keras.ops
    i, f, g, o = ops.split(add(add(ops.matmul(x, kernel), ops.matmul(h, recurrent_kernel)), bias), 4, axis=-1)
    c = add(ops.sigmoid(add(f, c * peephole[1])) * c, ops.sigmoid(add(i, c * peephole[0])) * ops.tanh(g))
    return [ops.sigmoid(add(o, c * peephole[2])) * ops.tanh(c), c]


CELLS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "simple_rnn": keras.layers.SimpleRNN}


class _Builder:
    """Makes layers; holds what they share: training options, the source of seeds, the precision, and weights to write in."""

    def __init__(
        self, model: ModelConfig, rng: np.random.Generator, precision: str, constants: Mapping[str, np.ndarray] | None = None
    ):
        self.model, self.rng, self.precision, self.constants = model, rng, precision, constants
        self.affine: dict[str, _Affine] = {}
        self.kinds: dict[str, Callable[[Layer, Tensors], keras.KerasTensor]] = {
            "centre": self._centre,
            "scale": self._scale,
            "normalize": self._normalize,
            "denormalize": self._denormalize,
            "affine": self._affine,
            "affine_inverse": self._affine_inverse,
            "recurrent": self._recurrent,
            "recurrent_step": self._recurrent_step,
            "segments": self._segments,
            "join_segments": self._join_segments,
            "positions": self._positions,
            "channel_embedding": self._channel_embedding,
            "conv": self._conv,
            "batch_norm": self._batch_norm,
            "attend": self._attend,
            "layer_norm": self._layer_norm,
            "dropout": self._dropout,
            "head": self._head,
            "dense": self._dense,
            "embedding": self._embedding,
            "repeat": self._repeat,
            "linear_skip": self._linear_skip,
            "sum": self._sum,
            "select": self._select,
            "concat": self._concat,
            "split_channels": self._split_channels,
            "for_each": self._for_each,
            "join_channels": self._join_channels,
            "repeat_targets": self._repeat_targets,
            "quantiles": self._quantiles,
        }

    def assemble(self, network: Network) -> keras.Model:
        inputs = {name: _input(name, shape) for name, shape in network.inputs.items()}
        tensors = dict(inputs)
        for layer in network.layers:
            tensors[layer.name] = self.kinds[layer.kind](layer, [tensors[name] for name in layer.inputs])
        return keras.Model(inputs, tensors[network.layers[-1].name])

    def _seed(self) -> int:
        return int(self.rng.integers(2**31))

    def _l2(self) -> keras.regularizers.Regularizer | None:
        return keras.regularizers.L2(self.model.l2) if self.model.l2 else None

    def _centre(self, layer: Layer, inputs: Tensors) -> keras.KerasTensor:
        (past,) = inputs  # (batch, lookback, channels)
        return (
            past[:, -1:] if layer.options["method"] == "last" else keras.ops.mean(past, axis=1, keepdims=True)
        )  # (batch, 1, channels)

    def _scale(self, layer: Layer, inputs: Tensors) -> keras.KerasTensor:
        (past,) = inputs
        return keras.ops.sqrt(keras.ops.var(past, axis=1, keepdims=True) + layer.options["epsilon"])  # (batch, 1, channels)

    def _normalize(self, layer: Layer, inputs: Tensors) -> keras.KerasTensor:
        past, centre, *scale = inputs
        centred = past - centre
        return centred / scale[0] if scale else centred  # (batch, lookback, channels)

    def _denormalize(self, layer: Layer, inputs: Tensors) -> keras.KerasTensor:
        forecast, *statistics = inputs
        centre, *scale = [statistic[..., : forecast.shape[-1]] for statistic in statistics]
        return add(forecast * scale[0] if scale else forecast, centre)  # (batch, horizon, targets)

    def _affine(self, layer: Layer, inputs: Tensors) -> keras.KerasTensor:
        if self.constants:
            gamma, beta = (self.constants[f"{layer.name}/{name}"] for name in ("gamma", "beta"))
            return keras.layers.Rescaling(gamma.tolist(), beta.tolist(), name=layer.name)(inputs[0])
        self.affine[layer.name] = _Affine(name=layer.name)
        return self.affine[layer.name](inputs[0])

    def _affine_inverse(self, layer: Layer, inputs: Tensors) -> keras.KerasTensor:
        each = layer.options.get("each", 1)
        if self.constants:
            own = (self.constants[f"{layer.options['of']}/{name}"][: layer.shape[1] // each] for name in ("gamma", "beta"))
            gamma, beta = (np.repeat(values, each) for values in own)
            return keras.layers.Rescaling((1 / gamma).tolist(), (-beta / gamma).tolist(), name=layer.name)(inputs[0])
        return self.affine[layer.options["of"]](inputs[0], inverse=True, each=each)

    def _recurrent(self, layer: Layer, inputs: Tensors) -> keras.KerasTensor:
        options = layer.options
        if self.constants and options["cell"] == "peephole_lstm":
            return self._unrolled(layer, *inputs)
        if not options["bidirectional"]:
            first = {"initial_state": self._states(inputs[1], options["units"])} if len(inputs) > 1 else {}
            return self._cell(options, name=layer.name, return_sequences=options["sequences"])(inputs[0], **first)
        # Two layers made here, because Bidirectional would make its own copy of one and drop some of its options.
        there, back = (self._cell(options, return_sequences=options["sequences"], go_backwards=back) for back in (False, True))
        return keras.layers.Bidirectional(there, backward_layer=back, name=layer.name, dtype=self.precision)(inputs[0])

    def _cell(self, options: dict, **layer: object) -> keras.layers.Layer:
        start = {
            "kernel_initializer": keras.initializers.GlorotUniform(self._seed()),
            "recurrent_initializer": keras.initializers.Orthogonal(seed=self._seed()),
        }
        if options["cell"] == "peephole_lstm":
            cell = PeepholeLSTMCell(options["units"], **start, regularizer=self._l2(), dtype=self.precision)
            return keras.layers.RNN(cell, dtype=self.precision, **layer)
        return CELLS[options["cell"]](
            options["units"],
            recurrent_dropout=self.model.recurrent_dropout,
            kernel_regularizer=self._l2(),
            recurrent_regularizer=self._l2(),
            seed=self._seed(),
            dtype=self.precision,
            **start,
            **layer,
        )

    def _states(self, first: keras.KerasTensor, units: int) -> Tensors:
        """A cell's states, which lie side by side."""
        return keras.ops.split(first, first.shape[-1] // units, axis=-1)

    def _unrolled(self, layer: Layer, x: keras.KerasTensor, first: keras.KerasTensor | None = None) -> keras.KerasTensor:
        """A peephole layer step by step, for programs that know Keras' own layers only."""
        options, steps = layer.options, range(x.shape[1])

        def states(direction: str, order: Sequence[int]) -> keras.KerasTensor:
            names = ("kernel", "recurrent_kernel", "bias", "peephole")
            own = [self.constants[f"{layer.name}/{direction}{name}"] for name in names]
            zeros = keras.ops.zeros_like(keras.ops.repeat(x[:, 0, :1], options["units"], axis=-1))
            h, c = self._states(first, options["units"]) if first is not None else (zeros, zeros)
            after = {}
            for step in order:
                h, c = peephole_step(x[:, step], h, c, *own)
                after[step] = h
            return keras.ops.stack([after[step] for step in steps], axis=1) if options["sequences"] else h

        if not options["bidirectional"]:
            return states("", steps)
        return keras.ops.concatenate([states("forward_", steps), states("backward_", steps[::-1])], axis=-1)

    def _recurrent_step(self, layer: Layer, inputs: Tensors) -> keras.KerasTensor:
        (steps, channels), units = inputs[0].shape[1:], layer.options["units"]
        each = keras.ops.reshape(inputs[0], (-1, 1, channels))
        first = keras.ops.repeat(inputs[1], steps, axis=0)
        if self.constants and layer.options["cell"] == "peephole_lstm":
            own = [self.constants[f"{layer.name}/{name}"] for name in layer.weights]
            state, _ = peephole_step(each[:, 0], *self._states(first, units), *own)
        else:
            state = self._cell(layer.options, name=layer.name)(each, initial_state=self._states(first, units))
        return keras.ops.reshape(state, (-1, steps, units))

    def _segments(self, layer: Layer, inputs: Tensors) -> keras.KerasTensor:
        (x,), (count, width) = inputs, layer.shape
        lacking = count * layer.options["length"] - x.shape[1]
        if lacking and layer.options["pad"] == "left":
            x = keras.ops.concatenate([keras.ops.repeat(x[:, :1], lacking, axis=1), x], axis=1)
        elif lacking:
            x = keras.ops.concatenate([x, keras.ops.repeat(x[:, -1:], lacking, axis=1)], axis=1)
        return keras.ops.reshape(x, (-1, count, width))

    def _join_segments(self, layer: Layer, inputs: Tensors) -> keras.KerasTensor:
        horizon, targets = layer.shape
        count, width = inputs[0].shape[1:]
        return keras.ops.reshape(inputs[0], (-1, count * width // targets, targets))[:, :horizon]

    def _positions(self, layer: Layer, inputs: Tensors) -> keras.KerasTensor:
        rows = layer.options["rows"]
        each = keras.ops.repeat(self._zeros(inputs[0]), rows, axis=1)
        return self._table(layer, rows)(add(each, np.arange(rows, dtype=np.int32)))

    def _channel_embedding(self, layer: Layer, inputs: Tensors) -> keras.KerasTensor:
        channels = layer.options["channels"]
        each = keras.ops.reshape(self._zeros(inputs[0]), (-1, channels))
        codes = keras.ops.reshape(add(each, np.arange(channels, dtype=np.int32)), (-1,))
        return self._table(layer, channels)(codes)

    def _zeros(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return keras.ops.zeros_like(x[:, :1], dtype="int32")  # (batch, 1)

    def _table(self, layer: Layer, rows: int, deviation: float = 1.0) -> keras.layers.Embedding:
        start = keras.initializers.RandomNormal(stddev=deviation, seed=self._seed())
        return keras.layers.Embedding(rows, layer.options["units"], embeddings_initializer=start, name=layer.name)

    def _conv(self, layer: Layer, inputs: Tensors) -> keras.KerasTensor:
        options = layer.options
        return keras.layers.Conv1D(
            options["filters"],
            options["kernel_size"],
            options["strides"],
            padding="causal",
            activation="relu",
            kernel_initializer=keras.initializers.GlorotUniform(self._seed()),
            kernel_regularizer=self._l2(),
            name=layer.name,
        )(inputs[0])

    def _batch_norm(self, layer: Layer, inputs: Tensors) -> keras.KerasTensor:
        return keras.layers.BatchNormalization(epsilon=layer.options["epsilon"], name=layer.name)(inputs[0])

    def _attend(self, layer: Layer, inputs: Tensors) -> keras.KerasTensor:
        states, scores = inputs
        return keras.ops.sum(keras.ops.softmax(scores, axis=1) * states, axis=1)

    def _layer_norm(self, layer: Layer, inputs: Tensors) -> keras.KerasTensor:
        return keras.layers.LayerNormalization(epsilon=layer.options["epsilon"], name=layer.name)(inputs[0])

    def _dropout(self, layer: Layer, inputs: Tensors) -> keras.KerasTensor:
        return keras.layers.Dropout(layer.options["rate"], seed=self._seed(), name=layer.name)(inputs[0])

    def _head(self, layer: Layer, inputs: Tensors) -> keras.KerasTensor:
        start, l2 = self._start(layer), self._l2()
        return self._linear("bf,fht->bht", layer, inputs[0], kernel_initializer=start, kernel_regularizer=l2)

    def _dense(self, layer: Layer, inputs: Tensors) -> keras.KerasTensor:
        return keras.layers.Dense(
            layer.options["units"],
            activation=layer.options["activation"],
            kernel_initializer=self._start(layer),
            kernel_regularizer=self._l2(),
            name=layer.name,
        )(inputs[0])

    def _start(self, layer: Layer) -> str | keras.initializers.Initializer:
        return "zeros" if layer.options["start"] == "zeros" else keras.initializers.GlorotUniform(self._seed())

    def _embedding(self, layer: Layer, inputs: Tensors) -> keras.KerasTensor:
        options = layer.options
        return self._table(layer, options["size"], 0.05)(inputs[0][:, options["column"]])

    def _repeat(self, layer: Layer, inputs: Tensors) -> keras.KerasTensor:
        return keras.layers.RepeatVector(layer.options["steps"], name=layer.name)(inputs[0])

    def _select(self, layer: Layer, inputs: Tensors) -> keras.KerasTensor:
        first = layer.options["first"]
        return inputs[0][..., first : first + layer.options["count"]]

    def _concat(self, layer: Layer, inputs: Tensors) -> keras.KerasTensor:
        return keras.ops.concatenate(inputs, axis=-1) if len(inputs) > 1 else inputs[0]

    def _split_channels(self, layer: Layer, inputs: Tensors) -> keras.KerasTensor:
        return keras.ops.reshape(keras.ops.transpose(inputs[0], (0, 2, 1)), (-1, *layer.shape))

    def _for_each(self, layer: Layer, inputs: Tensors) -> keras.KerasTensor:
        return keras.ops.repeat(inputs[0], layer.options["count"], axis=0)

    def _join_channels(self, layer: Layer, inputs: Tensors) -> keras.KerasTensor:
        steps, count = layer.shape
        return keras.ops.transpose(keras.ops.reshape(inputs[0], (-1, count, steps)), (0, 2, 1))

    def _repeat_targets(self, layer: Layer, inputs: Tensors) -> keras.KerasTensor:
        return keras.ops.repeat(inputs[0], layer.options["count"], axis=-1)

    def _quantiles(self, layer: Layer, inputs: Tensors) -> keras.KerasTensor:
        return keras.ops.sort(keras.ops.reshape(inputs[0], (-1, *layer.shape)), axis=-1)

    def _linear_skip(self, layer: Layer, inputs: Tensors) -> keras.KerasTensor:
        targets = layer.shape[1]
        own = inputs[0][..., :targets]  # each target sees its own past
        return self._linear("blt,lth->bht", layer, own, kernel_initializer="zeros")

    def _linear(self, equation: str, layer: Layer, x: keras.KerasTensor, **options: object) -> keras.KerasTensor:
        bias_axes = None if self.constants else "ht"
        dense = keras.layers.EinsumDense(equation, tuple(layer.shape), bias_axes=bias_axes, name=layer.name, **options)
        return add(dense(x), self.constants[f"{layer.name}/bias"]) if self.constants else dense(x)

    def _sum(self, layer: Layer, inputs: Tensors) -> keras.KerasTensor:
        return add(inputs[0], inputs[1])
