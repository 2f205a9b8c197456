"""A kind of layer: what each of its three methods takes and returns.

A kind is a class whose fields are the options that a network's description stores, or a function where it has no weights. Shapes
leave out the leading axis of windows. No kind imports Keras when it is loaded: a builder brings it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from forecast.config import ModelConfig
from forecast.forecasters.network.description import Array, Shape

Weights = Mapping[str, Array]
Shapes = tuple[Shape, dict[str, Shape]]  # The output's, and that of each weight in the order in which Keras keeps them.
Tensor = Any  # A Keras tensor.


@dataclass(frozen=True)
class Builder:
    """The settings that all Keras layers of a network share, and the name of the layer to build.

    keras_layers: the module of layers that Keras lacks; layers: Keras layers that another layer uses too, by name.
    weights: the layer's weights, if it becomes part of a portable model, in which they may be constants.
    """

    keras: ModuleType
    keras_layers: ModuleType
    model: ModelConfig
    rng: np.random.Generator
    precision: str
    layers: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    weights: Weights | None = None

    def seed(self) -> int:
        """Draw the next seed."""
        return int(self.rng.integers(2**31))

    def penalty(self) -> Any:
        """Return the penalty on a kernel, or None."""
        model = self.model
        return self.keras.regularizers.L1L2(model.l1, model.l2) if model.l1 or model.l2 else None

    def kernel_options(self, start: str) -> dict[str, Any]:
        """Return the penalty and the initializer of a kernel, which draws the next seed unless it starts at zeros."""
        initializer = "zeros" if start == "zeros" else make_initializer(self.keras, start, self.seed())
        return {"kernel_initializer": initializer, "kernel_regularizer": self.penalty()}


def make_initializer(keras: ModuleType, name: str, seed: int) -> Any:
    """Return the initializer of Keras with a name such as `he_uniform`."""
    return getattr(keras.initializers, name.title().replace("_", ""))(seed=seed)


class Kind(ABC):
    """A kind of layer."""

    def infer_shapes(self, *args: Any, **kwargs: Any) -> Shapes:
        """Return the shapes of output and weights from the shape of each input; here, those of a kind without weights."""
        return self.compute({}, *(np.empty((0, *shape)) for shape in args)).shape[1:], {}

    @abstractmethod
    def build(self, builder: Builder, *args: Any, **kwargs: Any) -> Tensor:
        """Build the Keras layer and return its output from the tensor of each input."""

    @abstractmethod
    def compute(self, weights: Weights, *args: Any, **kwargs: Any) -> Array:
        """Compute the output in NumPy from the array of each input."""


class Operation(Kind):
    """A kind without weights: a function that takes `numpy` or `keras.ops`, then the inputs, and the options by name."""

    def __init__(self, function: Callable[..., Tensor], **options: object) -> None:
        self.function = partial(function, **options)

    def build(self, builder: Builder, *inputs: Tensor) -> Tensor:
        return self.function(builder.keras.ops, *inputs)

    def compute(self, weights: Weights, *inputs: Array) -> Array:
        return self.function(np, *inputs)


def add(x: Tensor, y: Tensor) -> Tensor:
    """Return `x + y`, broadcast as NumPy does. Every addition of two tensors in a network or an export uses this function.

    `keras.ops.add` on TensorFlow (Keras 3.15, "Special case of `tf.add`") takes `y` for a bias where a single axis of `y` is
    longer than 1, and as long as the second or the last axis of `x`. With as many windows as steps in the horizon it adds the
    centre of window `i`, `(batch, 1, 1)`, to step `i` of all windows. LiteRT's converter cannot read such a bias either. A
    subtraction has no special case and gives the same bits.
    """
    return x - (-y)
