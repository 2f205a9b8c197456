"""A network as plain data: named layers with their sizes, from which Keras and NumPy rebuild it.

The layers form a graph: each names the earlier layers whose outputs it takes. Shapes leave out the leading axis of windows.
`architectures` chooses the layers for a config, and `layers` has a class for each kind of layer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from forecast.errors import DAMAGED, RunError

VERSION = 4
Shape = tuple[int, ...]
Array = npt.NDArray[Any]
# The network's inputs, scaled: (lookback, channels), (horizon, known covariates), (static covariates,); and codes of categories.
PAST, KNOWN, STATIC, CATEGORIES = "past", "known", "static", "categories"


@dataclass(frozen=True)
class Layer:
    """One step of the network.

    kind: a key of `layers.KINDS`; inputs: names of layers, or of the network's inputs; shape: of the output;
    options: the fields of the kind's class; weights: the shape of each by its name.
    """

    name: str
    kind: str
    inputs: list[str]
    shape: list[int]
    options: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, list[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Network:
    """Layers in an order in which they can be computed; the last one is the forecast.

    inputs: the shape of `past` and of every other input that the network has.
    """

    inputs: dict[str, list[int]]
    layers: list[Layer]
    version: int = VERSION

    @property
    def lookback(self) -> int:
        """Past steps that the network sees."""
        return self.inputs[PAST][0]

    @property
    def channels(self) -> int:
        """Columns that the network sees of each past step."""
        return self.inputs[PAST][1]

    @property
    def forecast(self) -> Shape:
        """Shape of the output: `(horizon, targets)`, or `(horizon, targets, quantiles)`."""
        return tuple(self.layers[-1].shape)

    @property
    def horizon(self) -> int:
        """Steps that the network forecasts at once."""
        return self.forecast[0]

    @property
    def quantiles(self) -> list[float]:
        """The quantiles that the network forecasts, ascending; empty for a point forecast."""
        quantiles: list[float] = self.layers[-1].options.get("quantiles", [])
        return quantiles

    def point(self, forecasts: Array) -> Array:
        """Return the point forecast, `(windows, horizon, targets)`: the median where the output has quantiles."""
        return forecasts[..., self.quantiles.index(0.5)] if self.quantiles else forecasts

    @property
    def weights(self) -> dict[str, Shape]:
        """The shape of every weight, by `layer/weight`."""
        return {f"{layer.name}/{name}": tuple(shape) for layer in self.layers for name, shape in layer.weights.items()}

    @property
    def parameters(self) -> int:
        """Number of values in all weights."""
        return sum(math.prod(shape) for shape in self.weights.values())

    def check_weights(self, weights: Mapping[str, Array], path: str = "") -> None:
        """Check that the arrays are exactly those that the description names. path: the file that holds them.

        Raises:
            RunError: an array is missing, unknown, of another shape, or holds anything but finite float32 numbers.
        """
        expected = self.weights
        if differing := sorted(expected.keys() ^ weights.keys()):
            raise RunError(f"the weights and the description of the network differ in `{differing[0]:.80}`.", DAMAGED, path)
        for name, array in weights.items():
            if array.shape != expected[name] or array.dtype != np.float32 or not np.isfinite(array).all():
                raise RunError(
                    f"weight `{name}` is not a float32 array of shape {expected[name]} with finite values.", DAMAGED, path
                )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any, path: str = "") -> Network:
        """Return the network that `to_json` of this or an earlier version described. path: the file that holds it.

        The layers are not checked: whoever reads them from a file compares them with `describe_network`.

        Raises:
            RunError: `data` is something else, or of an unknown version.
        """
        version = data.get("version") if isinstance(data, dict) else None
        if type(version) is not int or not 1 <= version <= VERSION:
            message = f"the network has version {version!r:.40}, but this program reads versions 1 to {VERSION}."
            raise RunError(message, "Update this program, or train again.", path)
        try:
            data = _migrate(data) if version < VERSION else data
            return cls(**{**data, "layers": [Layer(**layer) for layer in data["layers"]]})
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            raise RunError("the description of the network is damaged.", DAMAGED, path) from None


def select_weights(layer: Layer, weights: Mapping[str, Array]) -> dict[str, Array]:
    """Return the weights that a layer computes with by their names: its own, or those of the layer that its option `of` names."""
    prefix = f"{layer.options.get('of', layer.name)}/"
    return {name.removeprefix(prefix): array for name, array in weights.items() if name.startswith(prefix)}


def _migrate(data: dict[str, Any]) -> dict[str, Any]:
    """Return the current description of a network that an earlier version described.

    Version 1 had a single input, the size of a head only in its shape, and the partner of `affine_inverse` as an input. Version 2
    had no quantiles. Version 3 counted the values of each target in an option of `affine_inverse`.
    """
    layers = []
    for layer in data["layers"]:
        options, inputs = dict(layer["options"]), layer["inputs"]
        if data["version"] == 1 and layer["kind"] in {"head", "linear_skip"}:
            options |= dict(zip(("horizon", "targets"), layer["shape"], strict=True))
        if layer["kind"] == "affine_inverse":
            inputs, options = inputs[:1], {"of": inputs[1] if data["version"] == 1 else options["of"]}
        layers.append({**layer, "inputs": inputs, "options": options})
    inputs = {PAST: data["past"]} if data["version"] == 1 else data["inputs"]
    return {"inputs": inputs, "layers": layers, "version": VERSION}
