"""The network as plain data: a list of named layers with their sizes, from which any reader can rebuild it.

The layers form a graph; each names the earlier layers whose outputs it takes. With every part switched on:

    past --+-- centre, scale                                       (statistics of each window)
           |      |
           +-- normalized --+-- affine -- recurrent_1 ... -- head -- affine_inverse -- sum -- forecast
                            |                                                           |
                            +-- linear_skip --------------------------------------------+

All shapes leave out the leading axis of windows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import numpy as np

from forecast.config import ModelConfig
from forecast.errors import RunError
from forecast.windows import EPSILON

VERSION = 1
GATES = {"lstm": 4, "gru": 3, "simple_rnn": 1}
Shape = tuple[int, ...]
PAST = "past"  # the name of the network's input: scaled values of the lookback


@dataclass(frozen=True)
class Layer:
    """One step of the network.

    kind: what the readers switch on; inputs: names of layers, or `past`; shape: of the output.
    weights: name -> shape, in the order in which Keras keeps them.
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

    past: list[int]  # (lookback, channels)
    layers: list[Layer]
    version: int = VERSION

    @property
    def weights(self) -> dict[str, Shape]:
        """The shape of every weight, by `layer/weight`."""
        return {f"{layer.name}/{name}": tuple(shape) for layer in self.layers for name, shape in layer.weights.items()}

    @property
    def parameters(self) -> int:
        """Number of trainable values."""
        return sum(math.prod(shape) for shape in self.weights.values())

    def check_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """The arrays are exactly those that the description names.

        Raises:
            RunError: one is missing, unknown, of another shape, or holds something that is no number.
        """
        known = self.weights
        for name in [*known, *weights]:
            if name not in weights or name not in known:
                raise RunError(
                    f"the weights and the description of the network differ in `{name}`.", "The run is damaged; train again."
                )
            array = weights[name]
            if array.shape != known[name] or array.dtype.kind != "f" or not np.isfinite(array).all():
                raise RunError(f"weight `{name}` is not {known[name]} finite numbers.", "The run is damaged; train again.")

    def to_json(self) -> dict:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict) -> Network:
        """The network that `to_json` described.

        Raises:
            RunError: `data` is something else, or of a version that is not known here.
        """
        version = data.get("version") if isinstance(data, dict) else None
        if version != VERSION:
            raise RunError(
                f"the network has version {version!r}, known here is {VERSION}.", "Update this program, or train again."
            )
        try:
            return cls(**{**data, "layers": [Layer(**layer) for layer in data["layers"]]})
        except (KeyError, TypeError):
            raise RunError("the description of the network is damaged.", "Train again.") from None


class _Drawing:
    """Layers in the making; `add` returns the new layer's name, for the layers that take its output."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []

    def add(
        self,
        name: str,
        kind: str,
        inputs: list[str],
        shape: Shape,
        weights: Mapping[str, Shape] | None = None,
        **options: object,
    ) -> str:
        sizes = {key: list(size) for key, size in (weights or {}).items()}
        self.layers.append(Layer(name, kind, inputs, list(shape), options, sizes))
        return name


def describe_network(model: ModelConfig, past: tuple[int, int], forecast: tuple[int, int]) -> Network:
    """The network that a config asks for, with `past` `(lookback, channels)` and `forecast` `(horizon, targets)`."""
    drawing = _Drawing()
    add = drawing.add
    (lookback, channels), (horizon, targets) = past, forecast
    seen, statistics, revin = PAST, [], model.normalization == "revin"
    if model.normalization != "none":
        statistics = [add("centre", "centre", [PAST], (1, channels), method="last" if model.normalization == "last" else "mean")]
        statistics += [add("scale", "scale", [PAST], (1, channels), epsilon=EPSILON)] if revin else []
        seen = add("normalized", "normalize", [PAST, *statistics], past)
    linear_input = seen
    if revin:
        seen = add("affine", "affine", [seen], past, {"gamma": (channels,), "beta": (channels,)})
    seen, width = _add_recurrent_stack(drawing, model, seen, past)
    # With a skip beside it the head starts at zero, so that the untrained network is the linear baseline.
    start = "zeros" if model.linear_skip else "glorot_uniform"
    seen = add("head", "head", [seen], forecast, {"kernel": (width, *forecast), "bias": forecast}, start=start)
    if revin:
        seen = add("affine_inverse", "affine_inverse", [seen, "affine"], forecast)
    if model.linear_skip:
        weights = {"kernel": (lookback, targets, horizon), "bias": forecast}
        skip = add("linear_skip", "linear_skip", [linear_input], forecast, weights)
        seen = add("sum", "sum", [seen, skip], forecast)
    if statistics:
        add("forecast", "denormalize", [seen, *statistics], forecast)
    return Network(list(past), drawing.layers)


def _add_recurrent_stack(drawing: _Drawing, model: ModelConfig, seen: str, past: tuple[int, int]) -> tuple[str, int]:
    """Add `model.units` layers on top of `seen`; returns the last one's name and the width of its output."""
    lookback, width = past
    for number, units in enumerate(model.units, 1):
        last = number == len(model.units)
        weights = _recurrent_weights(model, width, units)
        width = units * (2 if model.bidirectional else 1)
        shape = (width,) if last else (lookback, width)
        seen = drawing.add(
            f"recurrent_{number}", "recurrent", [seen], shape, weights,
            cell=model.cell, units=units, bidirectional=model.bidirectional, sequences=not last,
        )  # fmt: skip
        if model.layer_norm:
            gamma_beta = {"gamma": (width,), "beta": (width,)}
            seen = drawing.add(f"layer_norm_{number}", "layer_norm", [seen], shape, gamma_beta, epsilon=1e-3)
        if model.dropout:
            seen = drawing.add(f"dropout_{number}", "dropout", [seen], shape, rate=model.dropout)
    return seen, width


def _recurrent_weights(model: ModelConfig, inputs: int, units: int) -> dict[str, Shape]:
    gates = GATES[model.cell] * units
    bias = (2, gates) if model.cell == "gru" else (gates,)  # reset_after: one bias for the input, one for the state
    one = {"kernel": (inputs, gates), "recurrent_kernel": (units, gates), "bias": bias}
    if not model.bidirectional:
        return one
    return {f"{direction}_{name}": shape for direction in ("forward", "backward") for name, shape in one.items()}
