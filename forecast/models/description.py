"""The network as plain data: a list of named layers with their sizes, from which any reader can rebuild it.

The layers form a graph; each names the earlier layers whose outputs it takes. With every part switched on:

    past -- targets --+-- centre, scale                        (statistics of each window)
       |              |      |
       |              +-- normalized --+-- affine -- seen -- recurrent_1 ... -+-- head --- sum -- affine_inverse -+
       |                               |              |                       |             |                     |
       +-- covariates -----------------|--------------+                       +-- context   |                     |
                                       |                                              |     |                     |
    known -----------------------------|----------------------------------------------+-- hidden, ahead           |
                                       +-- linear_skip --------------------------------------------------------- sum -- forecast

`targets` and `covariates` are only there where there are covariates, `context` to `ahead` where some are known over the horizon.
What is static is repeated beside `covariates`. With `decoder: seq2seq` a recurrent layer over the horizon stands in the place of
`head` to `ahead`.

All shapes leave out the leading axis of windows. `SIZES` says which kinds of layers there are and how large each is; every
reader (`numpy_runtime`, `keras_builder`) has a function for each of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from forecast.config import ModelConfig
from forecast.errors import RunError
from forecast.runs import DAMAGED
from forecast.windows import EPSILON, STATISTICS

VERSION = 2
GATES = {"lstm": 4, "peephole_lstm": 4, "gru": 3, "simple_rnn": 1}
STATES = {"lstm": 2, "peephole_lstm": 2, "gru": 1, "simple_rnn": 1}  # arrays of `units` numbers that a cell remembers
Shape = tuple[int, ...]
Sizes = tuple[Shape, dict[str, Shape]]  # of a layer's output, and of each of its weights in the order in which Keras keeps them
# The network's inputs, scaled: (lookback, channels), (horizon, known channels), (static covariates,); and codes of categories.
PAST, KNOWN, STATIC, CATEGORIES = "past", "known", "static", "categories"
WIDEST = 16  # values that stand for a category, at most


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
    """Layers in an order in which they can be computed; the last one is the forecast, `(horizon, targets)`."""

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
        """Shape of its output: `(horizon, targets)`."""
        return tuple(self.layers[-1].shape)

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


def describe_network(
    model: ModelConfig,
    past: tuple[int, int],
    forecast: tuple[int, int],
    known: int = 0,
    static: int = 0,
    categories: Sequence[int] = (),
) -> Network:
    """The network that a config asks for, with `past` `(lookback, channels)` and `forecast` `(horizon, targets)`.

    The first channels are the targets, the last `known` ones the covariates that are known over the horizon, too.
    static: number of static covariates; categories: how many codes each static category has, 0 for an unknown one included.
    """
    (lookback, channels), (horizon, targets) = past, forecast
    shapes = {KNOWN: (horizon, known), STATIC: (static,), CATEGORIES: (len(categories),)}
    drawing = _Drawing({PAST: past} | {name: shape for name, shape in shapes.items() if shape[-1]})
    add = drawing.add
    size = {"horizon": horizon, "targets": targets}  # of the heads
    centre, divided = STATISTICS[model.normalization]
    seen = own = add("targets", "select", [PAST], first=0, count=targets) if channels > targets else PAST
    statistics = []
    if centre:
        statistics.append(add("centre", "centre", [own], method=centre))
        if divided:
            statistics.append(add("scale", "scale", [own], epsilon=EPSILON))
        seen = add("normalized", "normalize", [own, *statistics])
    linear_input = seen
    if divided:
        seen = add("affine", "affine", [seen])
    beside = [add("covariates", "select", [PAST], first=targets, count=channels - targets)] if channels > targets else []
    if static or categories:
        beside.append(add("static_of_each_step", "repeat", [_add_static(drawing, static, categories)], steps=lookback))
    ahead, each = ([KNOWN] if known else []), model.channel_independent and targets > 1
    if each:  # from here on, every target is a window of its own
        size = {"horizon": horizon, "targets": 1}
        seen = add("channel", "split_channels", [seen])
        beside = [add(f"{name}_of_each", "for_each", [name], count=targets) for name in beside]
        ahead = [add("known_of_each", "for_each", ahead, count=targets)] if ahead else []
    if beside:
        seen = add("seen", "concat", [seen, *beside])
    state = _add_recurrent_stack(drawing, model, _add_front(drawing, model, seen))
    # With a skip beside it the head starts at zero, so that the untrained network is the linear baseline.
    start = "zeros" if model.linear_skip else "glorot_uniform"
    if model.decoder == "seq2seq":
        seen = _add_recurrent_decoder(drawing, model, state, ahead, size, start)
    elif model.decoder == "parallel":
        seen = _add_parallel_decoder(drawing, model, state, ahead, size, start, targets if each else 1)
    else:
        seen = add("head", "head", [state], start=start, **size)
        if ahead:
            seen = add("head_and_ahead", "sum", [seen, _add_direct_decoder(drawing, model, [state, *ahead], size, start)])
    if each:
        seen = add("joined", "join_channels", [seen], count=targets)
    if divided:
        seen = add("affine_inverse", "affine_inverse", [seen], of="affine")
    if model.linear_skip:
        skip = add("linear_skip", "linear_skip", [linear_input], horizon=horizon, targets=targets)
        seen = add("sum", "sum", [seen, skip])
    if statistics:
        add("forecast", "denormalize", [seen, *statistics])
    return drawing.network


def _add_static(drawing: _Drawing, static: int, categories: Sequence[int]) -> str:
    """The static covariates and the vector of each category, side by side; returns the last layer's name."""
    parts = [STATIC] if static else []
    for column, size in enumerate(categories):
        name, width = f"embedding_{column + 1}", min(WIDEST, -(-size // 2))
        parts.append(drawing.add(name, "embedding", [CATEGORIES], column=column, size=size, units=width))
    return drawing.add("static_of_series", "concat", parts)


def _add_recurrent_decoder(
    drawing: _Drawing, model: ModelConfig, state: str, ahead: list[str], size: dict[str, int], start: str
) -> str:
    """A recurrent layer over the horizon, which starts from the encoder's state and sees it, and the known covariates of each
    step (Sutskever et al. 2014, with the context of Cho et al. 2014); returns the last layer's name.
    """
    first, units = _add_first_state(drawing, model, state), model.units[-1]
    context = drawing.add("context", "repeat", [state], steps=size["horizon"])
    seen = drawing.add("context_and_known", "concat", [context, *ahead]) if ahead else context
    decoder = drawing.add(
        "decoder", "recurrent", [seen, first], cell=model.cell, units=units, bidirectional=False, sequences=True
    )
    return drawing.add("head", "dense", [decoder], units=size["targets"], activation="linear", start=start)


def _add_first_state(drawing: _Drawing, model: ModelConfig, state: str) -> str:
    """All that the decoder's cell remembers before its first step, made of the encoder's state."""
    units = model.units[-1] * STATES[model.cell]
    return drawing.add("first_state", "dense", [state], units=units, activation="tanh", start="glorot_uniform")


def _add_parallel_decoder(
    drawing: _Drawing, model: ModelConfig, state: str, ahead: list[str], size: dict[str, int], start: str, channels: int
) -> str:
    """A recurrent step from the encoder's state to each segment of the horizon, told by its position, its channel and what is
    known ahead (SegRNN, Lin et al. 2023); returns the last layer's name.
    """
    add, units, length = drawing.add, model.units[-1], model.segment or 1
    segments = -(-size["horizon"] // length)
    told = [add("positions", "positions", [state], rows=segments, units=units)]
    if channels > 1:
        channel = add("channel_embedding", "channel_embedding", [state], channels=channels, units=units)
        told.append(add("channel_of_each_segment", "repeat", [channel], steps=segments))
    told += [add("known_segments", "segments", ahead, length=length, pad="right")] if ahead else []
    seen = add("context", "concat", told) if len(told) > 1 else told[0]
    first = _add_first_state(drawing, model, state)
    seen = add("decoder", "recurrent_step", [seen, first], cell=model.cell, units=units)
    if model.dropout:
        seen = add("decoder_dropout", "dropout", [seen], rate=model.dropout)
    seen = add("head", "dense", [seen], units=length * size["targets"], activation="linear", start=start)
    return add("joined_segments", "join_segments", [seen], **size)


def _add_front(drawing: _Drawing, model: ModelConfig, seen: str) -> str:
    """Convolutions, then segments, where the config asks for them; returns the last layer's name."""
    if model.front:
        conv = model.front.conv
        for number in range(1, conv.layers + 1):
            options = {"filters": conv.filters, "kernel_size": conv.kernel_size, "strides": conv.strides}
            seen = drawing.add(f"conv_{number}", "conv", [seen], **options)
            if model.front.batch_norm:
                seen = drawing.add(f"batch_norm_{number}", "batch_norm", [seen], epsilon=1e-3)
    if model.segment:
        cut = drawing.add("segments", "segments", [seen], length=model.segment, pad="left")
        start = {"activation": "relu", "start": "glorot_uniform"}
        seen = drawing.add("segment_embedding", "dense", [cut], units=model.units[0], **start)
    return seen


def _add_direct_decoder(drawing: _Drawing, model: ModelConfig, inputs: list[str], size: dict[str, int], start: str) -> str:
    """What the known covariates of each step add to its forecast, in the light of the state; returns the last layer's name."""
    (state, known), width = inputs, model.units[-1]
    context = drawing.add("context", "head", [state], horizon=size["horizon"], targets=width, start="glorot_uniform")
    both = drawing.add("context_and_known", "concat", [context, known])
    hidden = drawing.add("hidden", "dense", [both], units=width, activation="tanh", start="glorot_uniform")
    return drawing.add("ahead", "dense", [hidden], units=size["targets"], activation="linear", start=start)


def _add_recurrent_stack(drawing: _Drawing, model: ModelConfig, seen: str) -> str:
    """Add `model.units` layers on top of `seen`; returns the last one's name."""
    for number, units in enumerate(model.units, 1):
        last = number == len(model.units) and not model.attention
        seen = drawing.add(
            f"recurrent_{number}", "recurrent", [seen],
            cell=model.cell, units=units, bidirectional=model.bidirectional, sequences=not last,
        )  # fmt: skip
        if model.layer_norm:
            seen = drawing.add(f"layer_norm_{number}", "layer_norm", [seen], epsilon=1e-3)
        if model.dropout:
            seen = drawing.add(f"dropout_{number}", "dropout", [seen], rate=model.dropout)
    if not model.attention:
        return seen
    # Additive attention (Bahdanau et al. 2015) with one query for all windows.
    start = {"start": "glorot_uniform"}
    hidden = drawing.add("attention_hidden", "dense", [seen], units=model.units[-1], activation="tanh", **start)
    scores = drawing.add("attention_scores", "dense", [hidden], units=1, activation="linear", **start)
    return drawing.add("attended", "attend", [seen, scores])


class _Drawing:
    """A network in the making; `add` returns the new layer's name, for the layers that take its output."""

    def __init__(self, inputs: dict[str, Shape]) -> None:
        self.inputs = {name: list(shape) for name, shape in inputs.items()}
        self.shapes: dict[str, Shape] = dict(inputs)
        self.layers: list[Layer] = []

    def add(self, name: str, kind: str, inputs: list[str], **options: object) -> str:
        shape, weights = SIZES[kind](*(self.shapes[layer] for layer in inputs), **options)
        sizes = {weight: list(size) for weight, size in weights.items()}
        self.shapes[name] = shape
        self.layers.append(Layer(name, kind, inputs, list(shape), options, sizes))
        return name

    @property
    def network(self) -> Network:
        return Network(self.inputs, self.layers)


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


MIGRATIONS = [_from_version_1]  # from version i + 1 to the next
