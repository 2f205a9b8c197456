"""The NumPy reader of a network's description: the equations of every kind of layer, without Keras and its import.

Gates stand in the order i, f, g, o (LSTM) and z, r, h (GRU), as Keras keeps them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from forecast.models.description import Layer, Network
from forecast.windows import window_centre, window_scale

Weights = Mapping[str, np.ndarray]
READER_TOLERANCE = 1e-5  # of `relative_difference` between two readers of one network


def forward(network: Network, weights: Weights, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """The forecast of each window, `(windows, horizon, targets)`, from the network's scaled inputs, each `(windows, *shape)`."""
    values = dict(inputs)
    with np.errstate(all="ignore"):  # what overflows shows in the forecast
        for layer in network.layers:
            owner = layer.options.get("of", layer.name)
            own = {name.partition("/")[2]: array for name, array in weights.items() if name.startswith(f"{owner}/")}
            values[layer.name] = KINDS[layer.kind](layer, own, *(values[name] for name in layer.inputs))
    return values[network.layers[-1].name]


def relative_difference(forecasts: np.ndarray, others: np.ndarray) -> float:
    """The largest difference between scaled forecasts of the same windows, as a fraction of the largest of `others`."""
    return float(np.abs(forecasts - others).max() / max(np.abs(others).max(), np.finfo(np.float32).tiny))


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), in a form that cannot overflow."""
    return 0.5 * np.tanh(0.5 * x) + 0.5


def lstm(
    x: np.ndarray, first: np.ndarray, kernel: np.ndarray, recurrent_kernel: np.ndarray, bias: np.ndarray
) -> Iterator[np.ndarray]:
    """State `(windows, units)` after each step of `x` `(windows, steps, channels)`; `first` holds h and c before it.

    Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000.
    """
    h, c = np.split(first, 2, axis=1)
    for x_t in x.swapaxes(0, 1):
        i, f, g, o = np.split(x_t @ kernel + h @ recurrent_kernel + bias, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        yield h


def gru(x: np.ndarray, h: np.ndarray, kernel: np.ndarray, recurrent_kernel: np.ndarray, bias: np.ndarray) -> Iterator[np.ndarray]:
    """State after each step; Cho et al. 2014, with the reset gate after the matrix product and a bias for each product."""
    for x_t in x.swapaxes(0, 1):
        x_z, x_r, x_h = np.split(x_t @ kernel + bias[0], 3, axis=1)
        h_z, h_r, h_h = np.split(h @ recurrent_kernel + bias[1], 3, axis=1)
        z, r = sigmoid(x_z + h_z), sigmoid(x_r + h_r)
        h = z * h + (1 - z) * np.tanh(x_h + r * h_h)
        yield h


def simple_rnn(
    x: np.ndarray, h: np.ndarray, kernel: np.ndarray, recurrent_kernel: np.ndarray, bias: np.ndarray
) -> Iterator[np.ndarray]:
    """State after each step; Elman 1990."""
    for x_t in x.swapaxes(0, 1):
        h = np.tanh(x_t @ kernel + h @ recurrent_kernel + bias)
        yield h


CELLS = {"lstm": lstm, "gru": gru, "simple_rnn": simple_rnn}
STATES = {"lstm": 2, "gru": 1, "simple_rnn": 1}  # arrays of `units` numbers that a cell remembers


def _centre(layer: Layer, own: Weights, past: np.ndarray) -> np.ndarray:
    return window_centre(past, layer.options["method"])  # (windows, 1, channels)


def _scale(layer: Layer, own: Weights, past: np.ndarray) -> np.ndarray:
    return window_scale(past, layer.options["epsilon"])  # (windows, 1, channels)


def _normalize(layer: Layer, own: Weights, past: np.ndarray, centre: np.ndarray, *scale: np.ndarray) -> np.ndarray:
    return (past - centre) / (scale[0] if scale else 1)  # (windows, lookback, channels)


def _denormalize(layer: Layer, own: Weights, forecast: np.ndarray, centre: np.ndarray, *scale: np.ndarray) -> np.ndarray:
    targets = slice(0, forecast.shape[-1])
    return forecast * (scale[0][..., targets] if scale else 1) + centre[..., targets]  # (windows, horizon, targets)


def _affine(layer: Layer, own: Weights, past: np.ndarray) -> np.ndarray:
    return past * own["gamma"] + own["beta"]


def _affine_inverse(layer: Layer, own: Weights, forecast: np.ndarray) -> np.ndarray:
    targets = slice(0, forecast.shape[-1])
    return (forecast - own["beta"][targets]) / own["gamma"][targets]


def _recurrent(layer: Layer, own: Weights, x: np.ndarray, first: np.ndarray | None = None) -> np.ndarray:
    cell = CELLS[layer.options["cell"]]
    if first is None:
        first = np.zeros((len(x), STATES[layer.options["cell"]] * layer.options["units"]), x.dtype)
    names = ("kernel", "recurrent_kernel", "bias")

    def states(x: np.ndarray, direction: str = "") -> np.ndarray:  # (windows, steps, units), or the last (windows, units)
        after_each = cell(x, first, *(own[direction + name] for name in names))
        if layer.options["sequences"]:
            return np.stack(list(after_each), axis=1)
        for state in after_each:  # one at a time: only sequences are worth the memory of all
            last = state
        return last

    if not layer.options["bidirectional"]:
        return states(x)
    backward = states(x[:, ::-1], "backward_")
    in_time = backward[:, ::-1] if layer.options["sequences"] else backward
    return np.concatenate([states(x, "forward_"), in_time], axis=-1)


def _layer_norm(layer: Layer, own: Weights, x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + layer.options["epsilon"])
    return centred / deviation * own["gamma"] + own["beta"]


def _dropout(layer: Layer, own: Weights, x: np.ndarray) -> np.ndarray:
    return x  # it drops in training only


def _head(layer: Layer, own: Weights, features: np.ndarray) -> np.ndarray:
    return np.tensordot(features, own["kernel"], axes=1) + own["bias"]  # (windows, horizon, targets)


def _dense(layer: Layer, own: Weights, x: np.ndarray) -> np.ndarray:
    y = x @ own["kernel"] + own["bias"]  # (windows, steps, units)
    return np.tanh(y) if layer.options["activation"] == "tanh" else y


def _embedding(layer: Layer, own: Weights, codes: np.ndarray) -> np.ndarray:
    return own["embeddings"][codes[:, layer.options["column"]]]  # (windows, units)


def _repeat(layer: Layer, own: Weights, x: np.ndarray) -> np.ndarray:
    return np.repeat(x[:, None], layer.options["steps"], axis=1)  # (windows, steps, width)


def _select(layer: Layer, own: Weights, x: np.ndarray) -> np.ndarray:
    return x[..., layer.options["first"] : layer.options["first"] + layer.options["count"]]


def _concat(layer: Layer, own: Weights, *parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts, axis=-1)


def _split_channels(layer: Layer, own: Weights, x: np.ndarray) -> np.ndarray:
    windows, steps, channels = x.shape
    return x.transpose(0, 2, 1).reshape(windows * channels, steps, 1)


def _for_each(layer: Layer, own: Weights, x: np.ndarray) -> np.ndarray:
    return np.repeat(x, layer.options["count"], axis=0)  # beside each channel of a window, in the order of `split_channels`


def _join_channels(layer: Layer, own: Weights, x: np.ndarray) -> np.ndarray:
    return x.reshape(-1, layer.options["count"], x.shape[1]).transpose(0, 2, 1)


def _linear_skip(layer: Layer, own: Weights, past: np.ndarray) -> np.ndarray:
    targets = slice(0, layer.options["targets"])  # each target sees its own past
    return np.einsum("blt,lth->bht", past[..., targets], own["kernel"], optimize=True) + own["bias"]


def _sum(layer: Layer, own: Weights, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return one + other


KINDS: dict[str, Callable[..., np.ndarray]] = {
    "centre": _centre,
    "scale": _scale,
    "normalize": _normalize,
    "denormalize": _denormalize,
    "affine": _affine,
    "affine_inverse": _affine_inverse,
    "recurrent": _recurrent,
    "layer_norm": _layer_norm,
    "dropout": _dropout,
    "head": _head,
    "dense": _dense,
    "embedding": _embedding,
    "repeat": _repeat,
    "linear_skip": _linear_skip,
    "sum": _sum,
    "select": _select,
    "concat": _concat,
    "split_channels": _split_channels,
    "for_each": _for_each,
    "join_channels": _join_channels,
}
