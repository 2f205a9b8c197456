"""The importance of each column, and of each region of the lookback: how much worse a network forecasts without it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from forecast.documents import Document
from forecast.forecasters.network.description import CATEGORIES, KNOWN, PAST, STATIC
from forecast.forecasters.preparation import Prepared
from forecast.windows import Forward, roll_out

Inputs = dict[str, npt.NDArray[Any]]  # From `Windows.inputs`.
MAX_WINDOWS = 256  # Windows of the validation set.
MIN_WINDOWS = 8
MAX_REGIONS = 12
BUDGET = 5e10  # Multiply-adds, which take some seconds. Larger networks, and several, are measured on fewer windows.
PERMUTATIONS = 3  # The mean counts.


class Region(Document, validate_by_name=True, serialize_by_alias=True):
    """The steps of the lookback from `begin` to `end`, counted from the cutoff, and how much the error rises without them."""

    begin: int = Field(alias="from")
    end: int = Field(alias="to")
    rise: float


class Importance(Document):
    """By which share the scaled MAE rises without a column or a region of the lookback (importance.json)."""

    windows: int
    mae_scaled: float
    columns: dict[str, float]
    regions: list[Region]


def measure_importance(prepared: Prepared, forward: Forward) -> Importance | None:
    """Measure by which share the scaled MAE on windows of the validation set rises without a column or a region.

    columns: the values of a column come from other windows (permutation importance, Breiman 2001), over the horizon too.
    regions: the values of all columns in a region of the lookback are each window's mean (occlusion). None if the network is so
    large, or the windows so few, that it would take long or mean little.
    """
    network, windows, config = prepared.network, prepared.windows["validation"], prepared.config
    columns = _columns(prepared)
    borders = np.linspace(0, network.lookback, min(MAX_REGIONS, network.lookback) + 1).astype(int)
    forecasts = (1 + PERMUTATIONS * len(columns) + len(borders)) * -(-windows.horizon // network.horizon) * len(config.seeds)
    windows = windows.sample_evenly(min(MAX_WINDOWS, int(BUDGET / (forecasts * network.parameters * network.lookback))))
    if len(windows) < MIN_WINDOWS:
        return None
    inputs, actual = windows.inputs(), windows.targets()

    def measure_error(changed: Inputs) -> float:
        return float(np.abs(network.point(roll_out(forward, changed, windows.horizon, network.horizon)) - actual).mean())

    error, rng = measure_error(inputs), np.random.default_rng(0)
    if not error:
        return None
    orders = [rng.permutation(len(windows)) for _ in range(PERMUTATIONS)]
    rises = {
        name: float(np.mean([measure_error(_permute(inputs, column, order)) for order in orders])) / error - 1
        for name, column in columns.items()
    }
    regions = []
    for begin, end in pairwise(borders.tolist()):
        rise = measure_error(_occlude(inputs, begin, end)) / error - 1
        regions.append(Region(begin=network.lookback - begin, end=network.lookback - end + 1, rise=rise))
    return Importance(windows=len(windows), mae_scaled=error, columns=rises, regions=regions)


def _columns(prepared: Prepared) -> dict[str, dict[str, int]]:
    """Return the number of each column along the last axis of the inputs that have it, by the name of the input."""
    panel, data = prepared.panel, prepared.config.data
    first_known = len(panel.columns) - panel.known_channels
    columns = {name: {PAST: number} for number, name in enumerate(panel.columns)}
    for number, name in enumerate(panel.columns[first_known:]):
        columns[name][KNOWN] = number
    columns |= {name: {STATIC: number} for number, name in enumerate(data.static_covariates)}
    return columns | {name: {CATEGORIES: number} for number, name in enumerate(data.static_categories)}


def _permute(inputs: Inputs, column: dict[str, int], order: npt.NDArray[np.integer]) -> Inputs:
    """Return the inputs with the values of one column from other windows, in this order."""
    changed = {name: inputs[name].copy() for name in column}
    for name, number in column.items():
        changed[name][..., number] = inputs[name][order][..., number]
    return inputs | changed


def _occlude(inputs: Inputs, begin: int, end: int) -> Inputs:
    """Return the inputs with the mean of each column over the lookback in the steps from `begin` to `end`."""
    past = inputs[PAST].copy()
    past[:, begin:end] = past.mean(axis=1, keepdims=True)
    return inputs | {PAST: past}
