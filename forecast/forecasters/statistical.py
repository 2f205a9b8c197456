"""Statistical baselines, fitted to each series: Theta, exponential smoothing (ETS) and ARIMA, all computed by statsforecast.

Parameters are fitted at some cutoffs, evenly spaced over the windows of each series. At the cutoffs in between, the last fitted
model only updates its state with the newer values, which takes milliseconds. No fit sees a value after its cutoff.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from forecast.errors import check_installed
from forecast.forecasters.naive import Rows, Values, forecast_seasonal_naive

MODELS = {"theta": "DynamicOptimizedTheta", "ets": "AutoETS", "arima": "AutoARIMA"}  # Classes of statsforecast.
MAX_FITS = 50  # Fits of a baseline to the windows of a set. A panel with more series has one fit for each.
MIN_HISTORY, HISTORY_SEASONS = 300, 20  # Rows that a fit reads at most: so many, or so many seasons if these are longer.
MIN_ROWS = 4  # Fewer values fit no model.
# The time of a fit grows with its rows. A forecast from a fitted model takes less. Measured on series of 100 to 500 rows.
SECONDS_PER_ROW = {"theta": 0.0003, "ets": 0.002, "arima": 0.02}
SECONDS_PER_WINDOW = {"theta": 0.003, "ets": 0.0005, "arima": 0.001}
log = logging.getLogger(__name__)


def limit_history(season_length: int) -> int:
    """Return the largest number of rows before a cutoff that a statistical baseline reads."""
    return max(MIN_HISTORY, HISTORY_SEASONS * season_length)


def count_fits(series: int) -> int:
    """Return how often a baseline is fitted to each of so many series over the windows of a set."""
    return max(1, MAX_FITS // series)


def estimate_seconds(name: str, rows: int, series: int, season_length: int, windows: int) -> float:
    """Estimate the seconds that a baseline takes in a training: fits and forecasts of both sets of windows, and the forecast.

    windows: those of both sets, over all series.
    """
    fits = series * (2 * count_fits(series) + 1)
    return fits * min(rows, limit_history(season_length)) * SECONDS_PER_ROW[name] + windows * SECONDS_PER_WINDOW[name]


def forecast_statistical(
    name: str, values: Values, begin: Rows, first: Rows, horizon: int, season_length: int, fits: int = 1
) -> Values:
    """Return forecasts `(windows, horizon, targets)` of one of `MODELS`.

    A window that the model cannot forecast gets seasonal naive. fits: how often to fit each series. The other arguments are
    those of the baselines in `naive.py`.
    """
    forecasts = forecast_seasonal_naive(values, begin, first, horizon, season_length).astype(np.float64)
    fallen_back = np.zeros(len(first), dtype=bool)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # statsforecast warns of series that it fits with fewer parameters.
        for start in np.unique(begin):
            windows = np.flatnonzero(begin == start)
            for target in range(values.shape[1]):
                steps = _forecast_series(name, values[:, target], int(start), first[windows], horizon, season_length, fits)
                for window, forecast in zip(windows, steps, strict=True):
                    if forecast is None or not np.isfinite(forecast).all():
                        fallen_back[window] = True
                    else:
                        forecasts[window, :, target] = forecast
    if count := int(fallen_back.sum()):
        level = logging.WARNING if 2 * count > len(first) else logging.INFO
        log.log(level, "%s could not forecast %d of %d windows. Seasonal naive is used instead.", name, count, len(first))
    return forecasts


def _forecast_series(
    name: str, values: npt.NDArray[np.floating], begin: int, first: Rows, horizon: int, season_length: int, fits: int
) -> Iterator[npt.NDArray[np.floating] | None]:
    """Yield the forecast of one target of a series at each of its windows, in order; None where there is none."""
    windows_per_fit = -(-len(first) // fits)
    model, start = None, begin
    for number, row in enumerate(first):
        if number % windows_per_fit == 0 or model is None:
            start = max(begin, int(row) - limit_history(season_length))
            model = _fit(name, values[start:row], season_length)
        try:
            yield None if model is None else model.forward(values[start:row], h=horizon)["mean"]
        except Exception as error:  # statsforecast raises errors of any class for values that a model does not suit.
            log.debug("%s cannot forecast %d rows: %s", name, row - start, error)
            yield None


def _fit(name: str, values: npt.NDArray[np.floating], season_length: int) -> Any:
    """Return a fitted model of statsforecast, or None if it cannot be fitted to these values."""
    check_installed(f"The baseline {name}", ["statsforecast"])
    import statsforecast.models

    if len(values) < MIN_ROWS:
        return None
    season = season_length if len(values) > 2 * season_length else 1
    try:
        return getattr(statsforecast.models, MODELS[name])(season_length=season).fit(values)
    except Exception as error:  # As above.
        log.debug("%s cannot be fitted to %d rows: %s", name, len(values), error)
        return None
