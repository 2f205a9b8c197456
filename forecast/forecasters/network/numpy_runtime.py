"""The NumPy reader of a network's description: the equations of every kind of layer, without Keras and its import.

Gates stand in the order i, f, g, o (LSTM) and z, r, h (GRU), as Keras keeps them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from forecast.forecasters.network.description import STATES, Layer, Network
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
    x: np.ndarray, state: np.ndarray, kernel: np.ndarray, recurrent_kernel: np.ndarray, bias: np.ndarray
) -> Iterator[np.ndarray]:
    """State `(windows, units)` after each step of `x` `(windows, steps, channels)`.

    state: what the cell remembers before the first step, `(windows, states * units)`: here h and c, side by side.

    Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000.
    """
    h, c = np.split(state, 2, axis=1)
    for x_t in x.swapaxes(0, 1):
        i, f, g, o = np.split(x_t @ kernel + h @ recurrent_kernel + bias, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        yield h


def gru(
    x: np.ndarray, state: np.ndarray, kernel: np.ndarray, recurrent_kernel: np.ndarray, bias: np.ndarray
) -> Iterator[np.ndarray]:
    """State after each step; Cho et al. 2014, with the reset gate after the matrix product and a bias for each product."""
    h = state
    for x_t in x.swapaxes(0, 1):
        x_z, x_r, x_h = np.split(x_t @ kernel + bias[0], 3, axis=1)
        h_z, h_r, h_h = np.split(h @ recurrent_kernel + bias[1], 3, axis=1)
        z, r = sigmoid(x_z + h_z), sigmoid(x_r + h_r)
        h = z * h + (1 - z) * np.tanh(x_h + r * h_h)
        yield h


def simple_rnn(
    x: np.ndarray, state: np.ndarray, kernel: np.ndarray, recurrent_kernel: np.ndarray, bias: np.ndarray
) -> Iterator[np.ndarray]:
    """State after each step; Elman 1990."""
    h = state
    for x_t in x.swapaxes(0, 1):
        h = np.tanh(x_t @ kernel + h @ recurrent_kernel + bias)
        yield h


def peephole_lstm(
    x: np.ndarray, state: np.ndarray, kernel: np.ndarray, recurrent_kernel: np.ndarray, bias: np.ndarray, peephole: np.ndarray
) -> Iterator[np.ndarray]:
    """As `lstm`, with gates that see the memory: i and f the one before, o the new one; Gers & Schmidhuber 2000."""
    h, c = np.split(state, 2, axis=1)
    see_i, see_f, see_o = peephole
    for x_t in x.swapaxes(0, 1):
        i, f, g, o = np.split(x_t @ kernel + h @ recurrent_kernel + bias, 4, axis=1)
        c = sigmoid(f + see_f * c) * c + sigmoid(i + see_i * c) * np.tanh(g)
        h = sigmoid(o + see_o * c) * np.tanh(c)
        yield h


CELLS = {"lstm": lstm, "peephole_lstm": peephole_lstm, "gru": gru, "simple_rnn": simple_rnn}


ACTIVATIONS = {"linear": lambda x: x, "relu": lambda x: np.maximum(x, 0), "tanh": np.tanh}


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
    each = layer.options.get("each", 1)  # values of a target
    gamma, beta = (np.repeat(own[name][: forecast.shape[-1] // each], each) for name in ("gamma", "beta"))
    return (forecast - beta) / gamma


def _recurrent(layer: Layer, own: Weights, x: np.ndarray, first: np.ndarray | None = None) -> np.ndarray:
    if first is None:
        first = np.zeros((len(x), STATES[layer.options["cell"]] * layer.options["units"]), x.dtype)

    def states(x: np.ndarray, direction: str = "") -> np.ndarray:  # (windows, steps, units), or the last (windows, units)
        after_each = CELLS[layer.options["cell"]](x, first, **_only(own, direction))
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


def _only(own: Weights, direction: str) -> Weights:
    """The weights of a cell, named as its arguments are."""
    return {name.removeprefix(direction): values for name, values in own.items() if name.startswith(direction)}


def _recurrent_step(layer: Layer, own: Weights, x: np.ndarray, first: np.ndarray) -> np.ndarray:
    windows, steps, channels = x.shape  # each step starts from the same state
    first = np.repeat(first, steps, axis=0)
    (state,) = CELLS[layer.options["cell"]](x.reshape(windows * steps, 1, channels), first, **own)
    return state.reshape(windows, steps, -1)


def _segments(layer: Layer, own: Weights, x: np.ndarray) -> np.ndarray:
    windows, steps, channels = x.shape
    count, width = layer.shape
    lacking = count * layer.options["length"] - steps
    pad = (lacking, 0) if layer.options["pad"] == "left" else (0, lacking)
    return np.pad(x, [(0, 0), pad, (0, 0)], mode="edge").reshape(windows, count, width)


def _join_segments(layer: Layer, own: Weights, x: np.ndarray) -> np.ndarray:
    horizon, targets = layer.shape
    return x.reshape(len(x), -1, targets)[:, :horizon]


def _positions(layer: Layer, own: Weights, state: np.ndarray) -> np.ndarray:
    return np.repeat(own["embeddings"][None], len(state), axis=0)  # (windows, rows, units)


def _channel_embedding(layer: Layer, own: Weights, state: np.ndarray) -> np.ndarray:
    return np.tile(own["embeddings"], (len(state) // layer.options["channels"], 1))  # in the order of `split_channels`


def _conv(layer: Layer, own: Weights, x: np.ndarray) -> np.ndarray:
    """Causal: each output sees `kernel_size` steps, itself the last."""
    size, strides = layer.options["kernel_size"], layer.options["strides"]
    padded = np.pad(x, [(0, 0), (size - 1, 0), (0, 0)])
    seen = np.lib.stride_tricks.sliding_window_view(padded, size, axis=1)[:, ::strides]  # (windows, steps, channels, size)
    return np.maximum(np.tensordot(seen, own["kernel"], axes=([3, 2], [0, 1])) + own["bias"], 0)


def _batch_norm(layer: Layer, own: Weights, x: np.ndarray) -> np.ndarray:
    deviation = np.sqrt(own["moving_variance"] + layer.options["epsilon"])
    return (x - own["moving_mean"]) / deviation * own["gamma"] + own["beta"]


def _attend(layer: Layer, own: Weights, states: np.ndarray, scores: np.ndarray) -> np.ndarray:
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))  # (windows, steps, 1)
    return (weights / weights.sum(axis=1, keepdims=True) * states).sum(axis=1)


def _layer_norm(layer: Layer, own: Weights, x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + layer.options["epsilon"])
    return centred / deviation * own["gamma"] + own["beta"]


def _dropout(layer: Layer, own: Weights, x: np.ndarray) -> np.ndarray:
    return x  # it drops in training only


def _head(layer: Layer, own: Weights, features: np.ndarray) -> np.ndarray:
    return np.tensordot(features, own["kernel"], axes=1) + own["bias"]  # (windows, horizon, targets)


def _dense(layer: Layer, own: Weights, x: np.ndarray) -> np.ndarray:
    return ACTIVATIONS[layer.options["activation"]](x @ own["kernel"] + own["bias"])  # (windows, steps, units)


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


def _repeat_targets(layer: Layer, own: Weights, x: np.ndarray) -> np.ndarray:
    return np.repeat(x, layer.options["count"], axis=-1)  # each target's quantiles lie side by side


def _quantiles(layer: Layer, own: Weights, x: np.ndarray) -> np.ndarray:
    return np.sort(x.reshape(len(x), *layer.shape), axis=-1)  # sorted, so that none crosses (Chernozhukov et al. 2010)


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
    "recurrent_step": _recurrent_step,
    "segments": _segments,
    "join_segments": _join_segments,
    "positions": _positions,
    "channel_embedding": _channel_embedding,
    "conv": _conv,
    "batch_norm": _batch_norm,
    "attend": _attend,
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
    "repeat_targets": _repeat_targets,
    "quantiles": _quantiles,
}
