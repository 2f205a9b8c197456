"""Measure how far back recurrent layers can learn: how strongly the input at each step affects their last state."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from forecast.forecasters.network.backend import keras
from forecast.forecasters.network.description import Array, Network
from forecast.forecasters.network.layers.interface import Tensor


def measure_gradient_norms(model: keras.Model, network: Network, inputs: Mapping[str, Array]) -> npt.NDArray[np.float64]:
    """Return the norm of the gradient of the last state by the input of each recurrent step, the oldest first: `(steps,)`.

    The gradient is that of all recurrent layers that read the lookback, by one backward pass over all windows of `inputs`. Paths
    around these layers, such as the linear skip, do not count.
    """
    layers = [layer for layer in network.layers if layer.kind == "recurrent" and len(layer.inputs) == 1]
    first, last = (model.get_layer(layer.name) for layer in (layers[0], layers[-1]))
    seen = keras.Model(model.inputs, first.input)({name: inputs[name] for name in network.inputs})  # (batch, steps, channels)
    seen = keras.ops.convert_to_numpy(keras.ops.cast(seen, "float32"))
    states = keras.Model(first.input, last.output)
    direction = np.random.default_rng(0).normal(size=last.output.shape[-1]).astype(np.float32)  # One direction stands for all.

    def project_last_state(x: Tensor) -> Tensor:
        state = keras.ops.cast(states(x), "float32")
        return keras.ops.sum((state if len(state.shape) == 2 else state[:, -1]) * direction)

    gradient = np.asarray(_compute_gradient(project_last_state, seen), dtype=np.float64)
    return np.sqrt(np.sum(gradient**2, axis=(0, 2)))


def _compute_gradient(function: Callable[[Tensor], Tensor], values: Array) -> Array:
    """Return the gradient of a function with a single number as its result, by the backend of Keras."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        x = tf.convert_to_tensor(values)
        with tf.GradientTape() as tape:
            tape.watch(x)
            result = function(x)
        return tape.gradient(result, x).numpy()
    import jax

    return np.asarray(jax.grad(function)(values))
