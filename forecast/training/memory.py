"""Estimate the memory that training needs, and explain out-of-memory errors."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

import numpy as np

from forecast.errors import ResourceError
from forecast.evaluation import DRAWN, MAX_ROWS, MAX_VALUES, quantiles_of
from forecast.forecasters.preparation import Prepared
from forecast.windows import SUBSETS

FORECASTERS = 2 * 9  # Numbers per forecast value: actual, network, baselines, two scaled; as arrays and as a table.
TENSORFLOW = 650e6  # Bytes of its import.
WEIGHT = 20 * 4  # Bytes for each weight, measured with 16 and 64 million.


def estimate_memory(prepared: Prepared) -> float:
    """Estimate the bytes of memory of a training: the libraries, the data, the weights, and the larger of batch and results.

    Weights count twenty times: values, gradients, clipped gradients, two of Adam, the first and the best ones, and all of them
    twice more while a checkpoint is written. A batch counts twelve times the width of every layer at each step. Results are
    the forecasts of the network and all baselines for a chunk of windows, as arrays and as a table, and those to draw.
    """
    panel, network, config = prepared.panel, prepared.network, prepared.config
    data = panel.values.size * (panel.values.itemsize + 4 + 1) + 8 * len(panel.timestamps)
    widths = sum(int(np.prod(layer.shape)) for layer in network.layers)
    shapes = network.inputs | {layer.name: layer.shape for layer in network.layers}
    steps: int = sum(shapes[layer.inputs[0]][0] * layer.options["units"] for layer in network.layers if layer.kind == "recurrent")
    batch = 4 * config.training.batch_size * (widths + 12 * steps)
    validation, test = (len(prepared.windows[subset]) * config.windows.horizon * network.forecast[1] for subset in SUBSETS[1:])
    drawn = min(test, MAX_ROWS) * (1 + len(DRAWN) + len(quantiles_of(config)))
    results = 8 * (min(max(validation, test), MAX_VALUES) * FORECASTERS + drawn)
    return TENSORFLOW + data + WEIGHT * network.parameters + max(batch, results)


def get_machine_memory() -> float:
    """Return the bytes of memory of this machine, infinity where it does not say."""
    if sys.platform == "win32":
        return np.inf
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def check_memory(prepared: Prepared) -> tuple[bool, str]:
    """Return whether this machine has the memory that a training needs, and both in words, without a full stop."""
    expected, machine = estimate_memory(prepared), get_machine_memory()
    sentence = f"about {expected / 1e6:.0f} MB, including {TENSORFLOW / 1e6:.0f} MB for TensorFlow"
    if machine < np.inf:
        sentence += f". This machine has {machine / 1e6:.0f} MB"
    return expected <= machine, sentence


def suggest_less_memory(prepared: Prepared) -> str:
    """Return the settings that reduce the memory of a training."""
    batch = prepared.config.training.batch_size
    if WEIGHT * prepared.network.parameters > estimate_memory(prepared) / 2:
        return f"Lower model.units from {[layer.units for layer in prepared.config.model.stack]}."
    return (
        f"Lower training.batch_size (now {batch}), for example to {max(1, batch // 4)}."
        " You can also reduce windows.lookback or model.units."
    )


@contextlib.contextmanager
def explain_memory_error(prepared: Prepared) -> Iterator[None]:
    """Add the expected memory, and the settings that reduce it, to an error of too little memory.

    Raises:
        ResourceError: memory ran out.
    """
    try:
        yield
    except Exception as error:  # Each backend has a class of its own.
        is_tensorflow, is_jax = type(error).__name__ == "ResourceExhaustedError", str(error).startswith("RESOURCE_EXHAUSTED")
        if not (isinstance(error, MemoryError) or is_tensorflow or is_jax):
            raise
        _, sentence = check_memory(prepared)
        raise ResourceError(
            f"memory ran out. Training was expected to need {sentence}.", suggest_less_memory(prepared), "training"
        ) from error
