"""The Keras reader of a network's description: one small function for each kind of layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from forecast.config import ModelConfig
from forecast.models.backend import keras
from forecast.models.description import CATEGORIES, Layer, Network

CELLS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "simple_rnn": keras.layers.SimpleRNN}
Tensors = list[keras.KerasTensor]


def build_keras(network: Network, model: ModelConfig | None = None, seed: int = 0, mixed_precision: bool = False) -> keras.Model:
    """The Keras model of a description, from a mapping of its inputs to `(batch, horizon, targets)`, untrained.

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
    for layer in network.layers:
        if layer.weights:
            built = model.get_layer(layer.name)
            arrays = [weights[f"{layer.name}/{name}"] for name in layer.weights]
            built.set_weights(arrays[: len(built.weights)])  # in a portable model the last ones may be constants


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


def keras_input(name: str, shape: list[int]) -> keras.KerasTensor:
    """One input of a network: whole numbers for categories, floats for all else."""
    return keras.Input(tuple(shape), name=name, dtype="int32" if name == CATEGORIES else "float32")


class _Affine(keras.layers.Layer):
    """gamma * x + beta per channel, and its inverse for the targets, which are the first channels (RevIN, Kim et al. 2022)."""

    def build(self, shape: tuple[int, ...]) -> None:
        self.gamma = self.add_weight(shape=(shape[-1],), initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=(shape[-1],), initializer="zeros", name="beta")

    def call(self, x: keras.KerasTensor, inverse: bool = False) -> keras.KerasTensor:
        if not inverse:
            return x * self.gamma + self.beta
        targets = x.shape[-1]
        return (x - self.beta[:targets]) / self.gamma[:targets]


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
        }

    def assemble(self, network: Network) -> keras.Model:
        inputs = {name: keras_input(name, shape) for name, shape in network.inputs.items()}
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
        return (forecast * scale[0] if scale else forecast) + centre  # (batch, horizon, targets)

    def _affine(self, layer: Layer, inputs: Tensors) -> keras.KerasTensor:
        if self.constants:
            gamma, beta = (self.constants[f"{layer.name}/{name}"] for name in ("gamma", "beta"))
            return keras.layers.Rescaling(gamma.tolist(), beta.tolist(), name=layer.name)(inputs[0])
        self.affine[layer.name] = _Affine(name=layer.name)
        return self.affine[layer.name](inputs[0])

    def _affine_inverse(self, layer: Layer, inputs: Tensors) -> keras.KerasTensor:
        if self.constants:
            gamma, beta = (self.constants[f"{layer.options['of']}/{name}"][: layer.shape[1]] for name in ("gamma", "beta"))
            return keras.layers.Rescaling((1 / gamma).tolist(), (-beta / gamma).tolist(), name=layer.name)(inputs[0])
        return self.affine[layer.options["of"]](inputs[0], inverse=True)

    def _recurrent(self, layer: Layer, inputs: Tensors) -> keras.KerasTensor:
        options = layer.options

        def cell(name: str | None = None, go_backwards: bool = False) -> keras.layers.Layer:
            return CELLS[options["cell"]](
                options["units"],
                return_sequences=options["sequences"],
                recurrent_dropout=self.model.recurrent_dropout,
                kernel_initializer=keras.initializers.GlorotUniform(self._seed()),
                recurrent_initializer=keras.initializers.Orthogonal(seed=self._seed()),
                kernel_regularizer=self._l2(),
                recurrent_regularizer=self._l2(),
                seed=self._seed(),
                dtype=self.precision,
                name=name,
                go_backwards=go_backwards,
            )

        if len(inputs) > 1:
            first = keras.ops.split(inputs[1], inputs[1].shape[-1] // options["units"], axis=-1)
            return cell(layer.name)(inputs[0], initial_state=first)
        if not options["bidirectional"]:
            return cell(layer.name)(inputs[0])
        # Two layers made here, because Bidirectional would make its own copy of one and drop some of its options.
        return keras.layers.Bidirectional(cell(), backward_layer=cell(go_backwards=True), name=layer.name, dtype=self.precision)(
            inputs[0]
        )

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
        start = keras.initializers.RandomUniform(-0.05, 0.05, seed=self._seed())
        return keras.layers.Embedding(options["size"], options["units"], embeddings_initializer=start, name=layer.name)(
            inputs[0][:, options["column"]]
        )

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

    def _linear_skip(self, layer: Layer, inputs: Tensors) -> keras.KerasTensor:
        targets = layer.shape[1]
        own = inputs[0][..., :targets]  # each target sees its own past
        return self._linear("blt,lth->bht", layer, own, kernel_initializer="zeros")

    def _linear(self, equation: str, layer: Layer, x: keras.KerasTensor, **options: object) -> keras.KerasTensor:
        bias_axes = None if self.constants else "ht"
        dense = keras.layers.EinsumDense(equation, tuple(layer.shape), bias_axes=bias_axes, name=layer.name, **options)
        return self._add(dense(x), self.constants[f"{layer.name}/bias"]) if self.constants else dense(x)

    def _sum(self, layer: Layer, inputs: Tensors) -> keras.KerasTensor:
        return self._add(inputs[0], inputs[1])

    def _add(self, one: keras.KerasTensor, other: keras.KerasTensor | np.ndarray) -> keras.KerasTensor:
        """In a portable model by a subtraction: some additions Keras makes a bias_add, which LiteRT's converter cannot read."""
        return one - (-other) if self.constants else one + other
