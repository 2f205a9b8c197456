"""The forecasts of the network and of every baseline for the same windows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from forecast.data import Panel
from forecast.errors import RunError
from forecast.evaluation.intervals import columns_of, method_of, quantiles_of
from forecast.evaluation.metrics import Values
from forecast.evaluation.scores import MODEL
from forecast.forecasters.baselines import MAX_FORECAST
from forecast.forecasters.preparation import Prepared
from forecast.windows import Windows, gather

MAX_ROWS = 2 * 10**6  # Rows of predictions.csv, which grows with windows x horizon x targets.
DRAWN = (MODEL, "seasonal_naive")  # Forecasters in the pictures.


@dataclass(frozen=True)
class Forecasts:
    """Forecasts and actual values of the same windows; all `(windows, horizon, targets)` in units of the data.

    points: by forecaster, MODEL first. quantiles: of MODEL by method, each `(..., targets, quantiles)`.
    """

    windows: Windows
    actual: Values
    points: dict[str, Values]
    quantiles: Mapping[str, Values] = field(default_factory=dict)

    def select(self, chosen: npt.NDArray[np.bool_] | slice) -> Forecasts:
        """Return the forecasts of some windows."""
        points, quantiles = ({name: values[chosen] for name, values in table.items()} for table in (self.points, self.quantiles))
        return Forecasts(self.windows.select(chosen), self.actual[chosen], points, quantiles)


def join_forecasts(
    prepared: Prepared, windows: Windows, forecast: Values, baselines: Mapping[str, Values], quantiles: Mapping[str, Values]
) -> Forecasts:
    """Join the scaled forecasts and quantiles of MODEL with the forecasts of the baselines.

    Raises:
        RunError: the forecasts are not numbers or beyond `MAX_FORECAST`.
    """
    scaler, series = prepared.scaler, windows.series
    points = {MODEL: scaler.undo(forecast, series), **baselines}
    if not (np.abs(points[MODEL]) <= MAX_FORECAST).all():
        raise RunError(
            "the forecasts of the network are too large to represent.",
            "Lower training.learning_rate, or set scaling.transform: none.",
            "training",
        )
    unscaled = {method: scaler.undo_quantiles(values, series) for method, values in quantiles.items()}
    return Forecasts(windows, gather(prepared.panel.target_values, windows.first, windows.horizon), points, unscaled)


def tabulate_forecasts(forecasts: Forecasts, panel: Panel, quantiles: Sequence[float] = (), method: str = "") -> pd.DataFrame:
    """Return a row per window, step and target: series_id, cutoff, timestamp, step, target, actual, forecast, each baseline.

    The columns of the `quantiles` of `method` follow.
    """
    windows, (count, horizon, targets) = forecasts.windows, forecasts.actual.shape
    values = horizon * targets  # Of each window.
    return pd.DataFrame(
        {
            "series_id": np.array(panel.series_ids)[windows.series].repeat(values),
            "cutoff": panel.timestamps[windows.first - 1].repeat(values),
            "timestamp": panel.timestamps[(windows.first[:, None] + np.arange(horizon)).ravel()].repeat(targets),
            "step": np.tile(np.repeat(np.arange(1, horizon + 1), targets), count),
            "target": np.tile(panel.targets, count * horizon),
            "actual": forecasts.actual.ravel(),
            **{name: points.ravel() for name, points in forecasts.points.items()},
            **(columns_of(quantiles, forecasts.quantiles[method]) if method in forecasts.quantiles else {}),
        }
    )


class PredictionTable:
    """The table of predictions.csv, passed on in parts. What pictures show of it stays in memory.

    A table of more than about `MAX_ROWS` rows is thinned: it holds windows that are evenly spaced.
    """

    def __init__(self, prepared: Prepared, append: Callable[[pd.DataFrame], None]):
        """Begin the table of the test set. append: receives the parts."""
        windows, self.panel, self.append = prepared.windows["test"], prepared.panel, append
        self.quantiles, self.method = quantiles_of(prepared.config), method_of(prepared.config)
        rows = len(windows) * windows.horizon * len(self.panel.targets)
        self.stride, self.skip = -(-rows // MAX_ROWS), 0
        self.chunks: list[Forecasts] = []

    def add(self, forecasts: Forecasts) -> None:
        """Add the forecasts of the next windows."""
        chunk = forecasts.select(slice(self.skip, None, self.stride))
        self.skip = (self.skip - len(forecasts.windows)) % self.stride
        self.append(self._tabulate(chunk))
        points = {name: chunk.points[name].copy() for name in DRAWN}  # Copies, so that the whole chunk can be freed.
        quantiles = {name: values.copy() for name, values in chunk.quantiles.items() if name == self.method}
        self.chunks.append(Forecasts(chunk.windows, chunk.actual.copy(), points, quantiles))

    def select_series(self, series_ids: Collection[str]) -> pd.DataFrame:
        """Return the rows of some series, with the columns that pictures show."""
        chosen = np.isin(self.panel.series_ids, list(series_ids))
        chunks = [chunk.select(chosen[chunk.windows.series]) for chunk in self.chunks]
        chunks = [chunk for chunk in chunks if len(chunk.windows)] or chunks[:1]
        return pd.concat([self._tabulate(chunk) for chunk in chunks], ignore_index=True)

    def _tabulate(self, forecasts: Forecasts) -> pd.DataFrame:
        return tabulate_forecasts(forecasts, self.panel, self.quantiles, self.method)
