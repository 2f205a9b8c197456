"""The network as plain data: a list of named layers with their sizes, from which any reader can rebuild it.

The layers form a graph; each names the earlier layers whose outputs it takes. All shapes leave out the leading axis of windows.
`SIZES` says which kinds of layers there are and how large each is; every reader (`numpy_runtime`, `keras_builder`) has a function
for each of them. `architectures` says which layers a config asks for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

import numpy as np

from forecast.errors import DAMAGED, RunError

VERSION = 3
GATES = {"lstm": 4, "peephole_lstm": 4, "gru": 3, "simple_rnn": 1}
STATES = {"lstm": 2, "peephole_lstm": 2, "gru": 1, "simple_rnn": 1}  # arrays of `units` numbers that a cell remembers
Shape = tuple[int, ...]
Sizes = tuple[Shape, dict[str, Shape]]  # of a layer's output, and of each of its weights in the order in which Keras keeps them
# The network's inputs, scaled: (lookback, channels), (horizon, known channels), (static covariates,); and codes of categories.
PAST, KNOWN, STATIC, CATEGORIES = "past", "known", "static", "categories"


@dataclass(frozen=True)
class Layer:
    """One step of the network.

    kind: one of `SIZES`; inputs: names of layers, or of the network's inputs; shape: of the output; weights: name -> shape.
    """

    name: str
    kind: str
    inputs: list[str]
    shape: list[int]
    options: dict = field(default_factory=dict)
    weights: dict[str, list[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Network:
    """Layers in an order in which they can be computed; the last one is the forecast: `(horizon, targets)`, or
    `(horizon, targets, quantiles)`.
    """

    inputs: dict[str, list[int]]  # the shape of `past` and of each other input that there is
    layers: list[Layer]
    version: int = VERSION

    @property
    def lookback(self) -> int:
        """Past steps that the network sees."""
        return self.inputs[PAST][0]

    @property
    def channels(self) -> int:
        """Columns that it sees of each step."""
        return self.inputs[PAST][1]

    @property
    def forecast(self) -> Shape:
        """Shape of its output: `(horizon, targets)`, or `(horizon, targets, quantiles)`."""
        return tuple(self.layers[-1].shape)

    @property
    def quantiles(self) -> list[float]:
        """The quantiles that it forecasts, ascending, or none."""
        return self.layers[-1].options.get("quantiles", [])

    def point(self, forecasts: np.ndarray) -> np.ndarray:
        """The forecast itself, `(windows, horizon, targets)`, among what it makes: the median where it has quantiles."""
        return forecasts[..., self.quantiles.index(0.5)] if self.quantiles else forecasts

    @property
    def horizon(self) -> int:
        """Steps that it forecasts at once."""
        return self.forecast[0]

    @property
    def weights(self) -> dict[str, Shape]:
        """The shape of every weight, by `layer/weight`."""
        return {f"{layer.name}/{name}": tuple(shape) for layer in self.layers for name, shape in layer.weights.items()}

    @property
    def parameters(self) -> int:
        """Number of values in all weights."""
        return sum(math.prod(shape) for shape in self.weights.values())

    def check_weights(self, weights: Mapping[str, np.ndarray], place: str = "") -> None:
        """The arrays are exactly those that the description names.

        Raises:
            RunError: one is missing, unknown, of another shape, or holds something that is no float32 number.
        """
        known = self.weights
        if apart := sorted(known.keys() ^ weights.keys()):
            raise RunError(f"the weights and the description of the network differ in `{apart[0]:.80}`.", DAMAGED, place)
        for name, array in weights.items():
            if array.shape != known[name] or array.dtype != np.float32 or not np.isfinite(array).all():
                raise RunError(f"weight `{name}` is not {known[name]} finite float32 numbers.", DAMAGED, place)

    def to_json(self) -> dict:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: object, place: str = "") -> Network:
        """The network that `to_json` described, by this version of the program or an earlier one.

        Its layers are taken as they are: whoever reads them from a file compares them with `describe_network`.

        Raises:
            RunError: `data` is something else, or of a version that is not known here.
        """
        version = data.get("version") if isinstance(data, dict) else None
        if type(version) is not int or not 1 <= version <= VERSION:
            found = f"the network has version {version!r:.40}, known here are 1 to {VERSION}."
            raise RunError(found, "Update this program, or train again.", place)
        try:
            for migrate in MIGRATIONS[version - 1 :]:
                data = migrate(data)
            return cls(**{**data, "layers": [Layer(**layer) for layer in data["layers"]]})
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            raise RunError("the description of the network is damaged.", DAMAGED, place) from None


def _statistic(past: Shape, **options: object) -> Sizes:
    _, channels = past
    return (1, channels), {}


def _same(values: Shape, *others: Shape, **options: object) -> Sizes:
    return values, {}


def _per_channel(values: Shape, **options: object) -> Sizes:
    return values, {"gamma": values[-1:], "beta": values[-1:]}


def _cell_weights(cell: str, channels: int, units: int) -> dict[str, Shape]:
    gates = GATES[cell] * units
    bias = (2, gates) if cell == "gru" else (gates,)  # reset_after: one bias for the input, one for the state
    peephole = {"peephole": (3, units)} if cell == "peephole_lstm" else {}  # of the gates i, f and o
    return {"kernel": (channels, gates), "recurrent_kernel": (units, gates), "bias": bias, **peephole}


def _recurrent(values: Shape, *first_state: Shape, cell: str, units: int, bidirectional: bool, sequences: bool) -> Sizes:
    steps, channels = values
    weights = _cell_weights(cell, channels, units)
    if bidirectional:
        weights = {f"{direction}_{name}": size for direction in ("forward", "backward") for name, size in weights.items()}
    width = units * (2 if bidirectional else 1)
    return ((steps, width) if sequences else (width,)), weights


def _recurrent_step(values: Shape, first_state: Shape, cell: str, units: int) -> Sizes:
    steps, channels = values
    return (steps, units), _cell_weights(cell, channels, units)


def _segments(values: Shape, length: int, pad: str) -> Sizes:
    steps, channels = values
    return (-(-steps // length), length * channels), {}


def _join_segments(values: Shape, horizon: int, targets: int) -> Sizes:
    return (horizon, targets), {}


def _positions(state: Shape, rows: int, units: int) -> Sizes:
    return (rows, units), {"embeddings": (rows, units)}


def _channel_embedding(state: Shape, channels: int, units: int) -> Sizes:
    return (units,), {"embeddings": (channels, units)}


def _conv(values: Shape, filters: int, kernel_size: int, strides: int) -> Sizes:
    steps, channels = values
    return (-(-steps // strides), filters), {"kernel": (kernel_size, channels, filters), "bias": (filters,)}


def _batch_norm(values: Shape, **options: object) -> Sizes:
    return values, dict.fromkeys(("gamma", "beta", "moving_mean", "moving_variance"), values[-1:])


def _attend(states: Shape, scores: Shape) -> Sizes:
    return states[-1:], {}


def _head(values: Shape, horizon: int, targets: int, start: str) -> Sizes:
    (width,) = values
    return (horizon, targets), {"kernel": (width, horizon, targets), "bias": (horizon, targets)}


def _dense(values: Shape, units: int, activation: str, start: str) -> Sizes:
    return (*values[:-1], units), {"kernel": (values[-1], units), "bias": (units,)}


def _embedding(codes: Shape, column: int, size: int, units: int) -> Sizes:
    return (units,), {"embeddings": (size, units)}


def _repeat(values: Shape, steps: int) -> Sizes:
    return (steps, *values), {}


def _select(values: Shape, first: int, count: int) -> Sizes:
    steps, _ = values
    return (steps, count), {}


def _concat(*parts: Shape) -> Sizes:
    return (*parts[0][:-1], sum(part[-1] for part in parts)), {}


def _split_channels(values: Shape) -> Sizes:
    steps, _ = values
    return (steps, 1), {}


def _join_channels(values: Shape, count: int) -> Sizes:
    steps, _ = values
    return (steps, count), {}


def _repeat_targets(values: Shape, count: int) -> Sizes:
    return (*values[:-1], count * values[-1]), {}


def _quantiles(values: Shape, quantiles: list[float]) -> Sizes:
    horizon, width = values
    return (horizon, width // len(quantiles), len(quantiles)), {}


def _linear_skip(past: Shape, horizon: int, targets: int) -> Sizes:
    steps, _ = past
    return (horizon, targets), {"kernel": (steps, targets, horizon), "bias": (horizon, targets)}


# Every kind of layer there is. A kind that a reader lacks fails its tests.
SIZES: dict[str, Callable[..., Sizes]] = {
    "centre": _statistic,
    "scale": _statistic,
    "normalize": _same,
    "denormalize": _same,
    "affine": _per_channel,
    "affine_inverse": _same,
    "recurrent": _recurrent,
    "recurrent_step": _recurrent_step,
    "segments": _segments,
    "join_segments": _join_segments,
    "positions": _positions,
    "channel_embedding": _channel_embedding,
    "conv": _conv,
    "batch_norm": _batch_norm,
    "attend": _attend,
    "layer_norm": _per_channel,
    "dropout": _same,
    "head": _head,
    "dense": _dense,
    "embedding": _embedding,
    "repeat": _repeat,
    "linear_skip": _linear_skip,
    "sum": _same,
    "select": _select,
    "concat": _concat,
    "split_channels": _split_channels,
    "for_each": _same,
    "join_channels": _join_channels,
    "repeat_targets": _repeat_targets,
    "quantiles": _quantiles,
}


def _from_version_1(data: dict) -> dict:
    """Version 1 had one input, knew the size of a head by its shape, and gave `affine_inverse` its partner as an input."""
    layers = []
    for layer in data["layers"]:
        options, inputs = dict(layer["options"]), layer["inputs"]
        if layer["kind"] in {"head", "linear_skip"}:
            options |= dict(zip(("horizon", "targets"), layer["shape"], strict=True))
        if layer["kind"] == "affine_inverse":
            inputs, options = inputs[:1], {"of": inputs[1]}
        layers.append({**layer, "inputs": inputs, "options": options})
    return {"inputs": {PAST: data["past"]}, "layers": layers, "version": 2}


def _from_version_2(data: dict) -> dict:
    """Version 2 knew no quantiles; its layers are as they were."""
    return {**data, "version": 3}


MIGRATIONS = [_from_version_1, _from_version_2]  # from version i + 1 to the next
