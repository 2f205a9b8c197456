"""How much memory a training takes, and what is said when it runs out."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

import numpy as np

from forecast.errors import ResourceError
from forecast.evaluation import MAX_VALUES
from forecast.forecasters.network.description import Network
from forecast.forecasters.preparation import Prepared

FORECASTERS = 2 * 9  # numbers kept per forecast value: actual, network, baselines, two scaled; as arrays and as a table
TENSORFLOW = 650e6  # bytes of its import
WEIGHT = 20 * 4  # bytes for each of the network, measured with 16 and 64 million


def memory_estimate(prepared: Prepared, network: Network) -> float:
    """Bytes of memory that training takes, roughly: the libraries, the data, the weights, and the larger of batch and results.

    Weights count twenty times: values, gradients, clipped ones, two of Adam, the first and the best ones, and all that
    is kept of them twice more while a checkpoint is written. A batch counts twelve times the width of every layer at each step.
    Results are the forecasts of the network and all baselines for a piece of a part, once as numbers and once as a table.
    """
    panel, batch = prepared.panel, prepared.config.training.batch_size
    cells = panel.values.size
    data = cells * (panel.values.itemsize + 4 + 1) + 8 * len(panel.timestamps)
    widths = sum(int(np.prod(layer.shape)) for layer in network.layers)
    shapes = network.inputs | {layer.name: layer.shape for layer in network.layers}
    steps = sum(shapes[layer.inputs[0]][0] * layer.options["units"] for layer in network.layers if layer.kind == "recurrent")
    scored = max(len(windows) for part, windows in prepared.windows.items() if part != "train")
    forecasts = 8 * min(scored * prepared.config.windows.horizon * network.forecast[1], MAX_VALUES) * FORECASTERS
    return TENSORFLOW + data + WEIGHT * network.parameters + max(4 * batch * (widths + 12 * steps), forecasts)


def machine_memory() -> float | None:
    """Bytes of memory that this machine has, None where it does not say."""
    if sys.platform == "win32":
        return None
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def needs(prepared: Prepared) -> tuple[str, bool]:
    """What training takes, in words, and whether it is more than this machine has."""
    expected, machine = memory_estimate(prepared, prepared.network), machine_memory()
    told = f"about {expected / 1e6:.0f} MB in training, {TENSORFLOW / 1e6:.0f} of them TensorFlow"
    return f"{told}; this machine has {machine / 1e6:.0f} MB" if machine else told, bool(machine) and expected > machine


def remedy(prepared: Prepared) -> str:
    """What makes it less."""
    batch, network = prepared.config.training.batch_size, prepared.network
    if WEIGHT * network.parameters > memory_estimate(prepared, network) / 2:
        return f"Lower model.units from {prepared.config.model.units}."
    return f"Lower training.batch_size from {batch}, such as to {max(1, batch // 4)}, or windows.lookback, or model.units."


@contextlib.contextmanager
def advised(prepared: Prepared) -> Iterator[None]:
    """Where memory runs out, say how much was expected to be needed and what makes it less.

    Raises:
        ResourceError: memory ran out.
    """
    try:
        yield
    except Exception as error:  # each backend has its own; others pass through
        if not _is_of_memory(error):
            raise
        told, _ = needs(prepared)
        raise ResourceError(f"memory ran out; expected was {told}.", remedy(prepared), "training") from error


def _is_of_memory(error: Exception) -> bool:
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "ResourceExhaustedError"  # TensorFlow's
        or str(error).startswith("RESOURCE_EXHAUSTED")  # JAX's
    )
