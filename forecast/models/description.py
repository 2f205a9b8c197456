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

from dataclasses import asdict, dataclass, field

from forecast.config import ModelConfig
from forecast.errors import RunError

VERSION = 1
GATES = {"lstm": 4, "gru": 3, "simple_rnn": 1}
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
    def parameters(self) -> int:
        """Number of trainable values."""
        return sum(_product(shape) for layer in self.layers for shape in layer.weights.values())

    def to_json(self) -> dict:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict) -> Network:
        """The network that `to_json` described.

        Raises:
            RunError: it was written by a version of this program that is not known here.
        """
        if data.get("version") != VERSION:
            raise RunError(f"the network has version {data.get('version')!r}, known here is {VERSION}.", "Update this program.")
        return cls(**{**data, "layers": [Layer(**layer) for layer in data["layers"]]})


def describe_network(model: ModelConfig, past: tuple[int, int], forecast: tuple[int, int]) -> Network:
    """The network that a config asks for, with `past` `(lookback, channels)` and `forecast` `(horizon, targets)`."""
    layers: list[Layer] = []

    def add(name: str, kind: str, inputs: list[str], shape: tuple[int, ...], weights: dict | None = None, **options: object) -> str:
        layers.append(Layer(name, kind, inputs, list(shape), options, {key: list(size) for key, size in (weights or {}).items()}))
        return name

    (lookback, channels), targets = past, forecast[1]
    normalizes, revin = model.normalization != "none", model.normalization == "revin"
    seen = PAST
    if normalizes:
        centre = add("centre", "centre", [seen], (1, channels), method="last" if model.normalization == "last" else "mean")
        scale = [add("scale", "scale", [seen], (1, channels))] if revin else []
        seen = add("normalized", "normalize", [seen, centre, *scale], past)
    linear_input = seen
    if revin:
        seen = add("affine", "affine", [seen], past, {"gamma": (channels,), "beta": (channels,)})
    width = channels
    for number, units in enumerate(model.units, 1):
        last = number == len(model.units)
        width, inputs = units * (2 if model.bidirectional else 1), width
        shape = (width,) if last else (lookback, width)
        seen = add(
            f"recurrent_{number}", "recurrent", [seen], shape, _recurrent_weights(model, inputs, units),
            cell=model.cell, units=units, bidirectional=model.bidirectional, sequences=not last,
        )  # fmt: skip
        if model.layer_norm:
            seen = add(f"layer_norm_{number}", "layer_norm", [seen], shape, {"gamma": (width,), "beta": (width,)}, epsilon=1e-3)
        if model.dropout:
            seen = add(f"dropout_{number}", "dropout", [seen], shape, rate=model.dropout)
    # With a skip beside it the head starts at zero, so that the untrained network is the linear baseline.
    start = "zeros" if model.linear_skip else "glorot_uniform"
    seen = add("head", "head", [seen], forecast, {"kernel": (width, *forecast), "bias": forecast}, start=start)
    if revin:
        seen = add("affine_inverse", "affine_inverse", [seen, "affine"], forecast)
    if model.linear_skip:
        weights = {"kernel": (lookback, targets, forecast[0]), "bias": forecast}
        skip = add("linear_skip", "linear_skip", [linear_input], forecast, weights)
        seen = add("sum", "sum", [seen, skip], forecast)
    if normalizes:
        add("forecast", "denormalize", [seen, centre, *scale], forecast)
    return Network(list(past), layers)


def _recurrent_weights(model: ModelConfig, inputs: int, units: int) -> dict[str, tuple[int, ...]]:
    gates = GATES[model.cell] * units
    bias = (2, gates) if model.cell == "gru" else (gates,)  # reset_after: one bias for the input, one for the state
    one = {"kernel": (inputs, gates), "recurrent_kernel": (units, gates), "bias": bias}
    if not model.bidirectional:
        return one
    return {f"{direction}_{name}": shape for direction in ("forward", "backward") for name, shape in one.items()}


def _product(shape: list[int]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product
