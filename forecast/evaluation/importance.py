"""What a network looks at: how much worse it forecasts without each column, and without each part of the lookback."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from pydantic import Field

from forecast.documents import Document
from forecast.evaluation.metrics import mae
from forecast.forecasters.network.description import CATEGORIES, KNOWN, PAST, STATIC
from forecast.forecasters.preparation import Prepared
from forecast.windows import Forward, roll_out

Inputs = dict[str, np.ndarray]  # as Windows.inputs makes them
MOST_WINDOWS = 256  # of the validation part
FEWEST_WINDOWS = 8
MOST_REGIONS = 12
BUDGET = 5e10  # multiply-adds, some seconds; larger networks, or several, are tried on fewer windows
TURNS = 3  # permutations, of which the mean counts


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
    """By what share the scaled MAE on some windows of the validation part rises without what a network sees.

    columns: the values of a column, past and known ahead, are those of other windows (permutation importance, Breiman 2001).
    regions: the values of all columns over a part of the lookback are each window's mean (occlusion); from and to in steps before
    the first one that is forecast. None where the network is so large, or the windows so few, that it would take long or tell
    little.
    """
    network, windows, config = prepared.network, prepared.windows["validation"], prepared.config
    places = _places(prepared)
    borders = np.linspace(0, network.lookback, min(MOST_REGIONS, network.lookback) + 1).astype(int)
    tries = (1 + TURNS * len(places) + len(borders)) * -(-windows.horizon // network.horizon) * len(config.seeds)
    windows = windows.sample_evenly(min(MOST_WINDOWS, int(BUDGET / (tries * network.parameters * network.lookback))))
    if len(windows) < FEWEST_WINDOWS:
        return None
    seen, actual = windows.inputs(), windows.targets()

    def error(inputs: Inputs) -> float:
        return float(mae(actual, network.point(roll_out(forward, inputs, windows.horizon, network.horizon))))

    whole, rng = error(seen), np.random.default_rng(0)
    if not whole:
        return None

    def rise(*errors: float) -> float:
        return float(np.mean(errors)) / whole - 1

    orders = [rng.permutation(len(windows)) for _ in range(TURNS)]
    columns = {name: rise(*[error(_permuted(seen, place, order)) for order in orders]) for name, place in places.items()}
    regions = [
        Region(begin=network.lookback - begin, end=network.lookback - end + 1, rise=rise(error(_occluded(seen, begin, end))))
        for begin, end in pairwise(borders.tolist())
    ]
    return Importance(windows=len(windows), mae_scaled=whole, columns=columns, regions=regions)


def _places(prepared: Prepared) -> dict[str, dict[str, int]]:
    """Where each column stands: its place along the last axis of the inputs that have it."""
    panel, data = prepared.panel, prepared.config.data
    ahead = len(panel.columns) - panel.known_channels
    places = {
        name: {PAST: place} | ({KNOWN: place - ahead} if place >= ahead else {}) for place, name in enumerate(panel.columns)
    }
    places |= {name: {STATIC: place} for place, name in enumerate(data.static_covariates)}
    return places | {name: {CATEGORIES: place} for place, name in enumerate(data.static_categories)}


def _permuted(inputs: Inputs, place: dict[str, int], order: np.ndarray) -> Inputs:
    """The same with one column from other windows, in this order."""
    changed = {name: inputs[name].copy() for name in place}
    for name, column in place.items():
        changed[name][..., column] = inputs[name][order][..., column]
    return inputs | changed


def _occluded(inputs: Inputs, begin: int, end: int) -> Inputs:
    """The same, but steps of the lookback hold the mean of it, each column its own."""
    past = inputs[PAST].copy()
    past[:, begin:end] = past.mean(axis=1, keepdims=True)
    return inputs | {PAST: past}
