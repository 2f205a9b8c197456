"""Build the Keras model from a network's description, and move weights in and out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from forecast.config import ModelConfig
from forecast.forecasters.network import keras_layers
from forecast.forecasters.network.backend import keras
from forecast.forecasters.network.description import CATEGORIES, Array, Network, select_weights
from forecast.forecasters.network.layers import KINDS
from forecast.forecasters.network.layers.interface import Builder, Weights


def build_keras(network: Network, model: ModelConfig | None = None, seed: int = 0, mixed_precision: bool = False) -> keras.Model:
    """Build the untrained Keras model of a description, from a mapping of its inputs to `(batch, *network.forecast)`.

    model: brings the settings that matter in training only (recurrent dropout, l2); None builds for inference.
    seed: every initial weight and dropout mask follows from it.
    """
    precision = "mixed_bfloat16" if mixed_precision else "float32"
    return _connect(network, Builder(keras, keras_layers, model or ModelConfig(), np.random.default_rng(seed), precision))


def load_keras(network: Network, weights: Weights, portable: bool = False) -> keras.Model:
    """Build the trained Keras model of a description and its weights, ready to forecast in float32.

    portable: made of Keras' own layers only, so that it can be saved and opened where this package is not.

    Raises:
        RunError: the weights are not those that the description names.
    """
    network.check_weights(weights)  # before anything is made as large as the description says
    builder = Builder(keras, keras_layers, ModelConfig(), np.random.default_rng(0), "float32")
    model = _connect(network, builder, weights if portable else None)
    set_weights(model, network, weights)
    return model


def _connect(network: Network, builder: Builder, constants: Weights | None = None) -> keras.Model:
    """Build every layer and connect them. constants: the weights of a portable model."""
    inputs = {
        name: keras.Input(tuple(shape), name=name, dtype="int32" if name == CATEGORIES else "float32")
        for name, shape in network.inputs.items()
    }
    tensors = dict(inputs)
    for layer in network.layers:
        weights = select_weights(layer, constants) if constants else None
        kind, seen = KINDS[layer.kind](**layer.options), [tensors[name] for name in layer.inputs]
        tensors[layer.name] = kind.build(replace(builder, name=layer.name, weights=weights), *seen)
    return keras.Model(inputs, tensors[network.layers[-1].name])


def get_weights(model: keras.Model, network: Network) -> dict[str, Array]:
    """Return all weights by `layer/weight`, as the description names them."""
    return {name: keras.ops.convert_to_numpy(variable) for name, variable in _name_variables(model, network).items()}


def set_weights(model: keras.Model, network: Network, weights: Mapping[str, Array]) -> None:
    """Put arrays, named as `get_weights` names them, into the model.

    Raises:
        RunError: they are not the arrays that the description names.
    """
    network.check_weights(weights)
    for name, variable in _name_variables(model, network).items():
        variable.assign(weights[name])


def _name_variables(model: keras.Model, network: Network) -> dict[str, keras.Variable]:
    """Return the variables of a model by `layer/weight`. A portable model has constants for some."""
    built = {layer.name: layer.weights for layer in model.layers}
    pairs = [(layer.name, zip(layer.weights, built.get(layer.name, []), strict=False)) for layer in network.layers]
    return {f"{layer}/{name}": variable for layer, variables in pairs for name, variable in variables}
