"""How far back recurrent layers learn from: how strongly what they read at each step moves their last state."""

from __future__ import annotations

import numpy as np

from forecast.forecasters.network.backend import keras
from forecast.forecasters.network.description import Network


def norms_per_step(model: keras.Model, network: Network, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Norm of the gradient of the last state by the input of each recurrent step, the oldest first: `(steps,)`.

    It is that of the layers that read the lookback, one behind the other, by one backward pass over all windows of `inputs`; what
    goes past them, such as the linear skip, does not count.
    """
    layers = [layer for layer in network.layers if layer.kind == "recurrent" and len(layer.inputs) == 1]
    first, last = (model.get_layer(layer.name) for layer in (layers[0], layers[-1]))
    read = keras.Model(model.inputs, first.input)({name: inputs[name] for name in network.inputs})  # (batch, steps, channels)
    read = keras.ops.convert_to_numpy(keras.ops.cast(read, "float32"))
    states = keras.Model(first.input, last.output)
    towards = np.random.default_rng(0).normal(size=last.output.shape[-1]).astype(np.float32)  # one direction stands for all

    def moved(x: object) -> object:
        made = keras.ops.cast(states(x), "float32")
        return keras.ops.sum((made if len(made.shape) == 2 else made[:, -1]) * towards)

    gradient = np.asarray(_gradient(moved, read), dtype=np.float64)
    return np.sqrt(np.sum(gradient**2, axis=(0, 2)))


def _gradient(function: object, at: np.ndarray) -> np.ndarray:
    """Of a function that gives one number, by whatever computes for Keras."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        x = tf.convert_to_tensor(at)
        with tf.GradientTape() as tape:
            tape.watch(x)
            made = function(x)
        return tape.gradient(made, x).numpy()
    import jax

    return np.asarray(jax.grad(function)(at))
