"""All baseline forecasts for a set of windows at once, in the units of the data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from forecast.data import Panel
from forecast.forecasters import boosting, naive, statistical
from forecast.forecasters.naive import Values
from forecast.forecasters.regressions import REGRESSIONS, Regressions
from forecast.windows import Scaler, Windows

SIMPLE = ("naive", "seasonal_naive", "drift", "mean", "linear")
MAX_FORECAST = 1e100  # The squares of larger errors are not numbers. The logarithms of `scaling.transform` can grow beyond it.


def forecast_baselines(
    names: Sequence[str],
    panel: Panel,
    scaler: Scaler,
    windows: Windows,
    regressions: Regressions | None,
    season_length: int,
    fits: int = 1,
) -> dict[str, Values]:
    """Return the forecasts of baselines by name, `(windows, horizon, targets)`.

    Each reads rows of the panel before a window's first target, also those before the lookback; regressions read the lookback.
    regressions: required for `linear` and `boosting`. fits: how often to fit a statistical baseline to each series.
    """
    rows = (panel.target_values, panel.begins[windows.series], windows.panel_rows, windows.horizon)
    functions = {
        "naive": lambda: naive.forecast_naive(*rows),
        "seasonal_naive": lambda: naive.forecast_seasonal_naive(*rows, season_length),
        "drift": lambda: naive.forecast_drift(*rows),
        "mean": lambda: naive.forecast_mean(*rows),
    }
    forecasts = {}
    for name in names:
        if name in REGRESSIONS:
            assert regressions is not None
            forecasts[name] = scaler.undo(regressions.forecast(name, windows), windows.series)
        elif name in statistical.MODELS:
            forecasts[name] = statistical.forecast_statistical(name, *rows, season_length, fits)
        else:
            forecasts[name] = functions[name]()
    return {name: np.clip(values, -MAX_FORECAST, MAX_FORECAST) for name, values in forecasts.items()}


def estimate_seconds(name: str, rows: int, series: int, season_length: int, windows: int, horizon: int) -> float:
    """Estimate the seconds that one of `config.Baseline` takes in a training. windows: those of both sets, over all series."""
    if name == "boosting":
        return boosting.estimate_seconds(rows * series, horizon, windows)
    return statistical.estimate_seconds(name, rows, series, season_length, windows)
