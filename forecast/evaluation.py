"""The network and its honest opponents on the same windows: forecasts, metrics, and the sentence that says who won."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecast import baselines, metrics
from forecast.data import Panel
from forecast.errors import RunError
from forecast.scaling import Scaler
from forecast.splits import Splits
from forecast.windows import Windows, gather

MODEL = "forecast"  # the network's name among the forecasters, and its column in predictions.csv
BASELINES = ("naive", "seasonal_naive", "drift", "mean", "linear")


@dataclass(frozen=True)
class Forecasts:
    """What each forecaster said about the same windows, and what happened; all `(windows, horizon, targets)` in file units."""

    windows: Windows
    actual: np.ndarray
    by: dict[str, np.ndarray]  # MODEL first, then BASELINES


def forecast_all(
    panel: Panel, scaler: Scaler, windows: Windows, network: np.ndarray, linear: np.ndarray, season_length: int
) -> Forecasts:
    """Put the scaled forecasts of the network and of the linear baseline beside those that need no training.

    Raises:
        RunError: the network's forecasts are not finite.
    """
    seen = (panel.values, panel.offsets[windows.series], windows.first, windows.horizon)
    by = {
        MODEL: scaler.undo(network, windows.series),
        "naive": baselines.naive(*seen),
        "seasonal_naive": baselines.seasonal_naive(*seen, season_length),
        "drift": baselines.drift(*seen),
        "mean": baselines.mean(*seen),
        "linear": scaler.undo(linear, windows.series),
    }
    if not np.isfinite(by[MODEL]).all():
        raise RunError(
            "the network forecasts values too large to be numbers.",
            "Lower training.learning_rate, or set scaling.transform: none.",
            "training",
        )
    return Forecasts(windows, gather(panel.values, windows.first, windows.horizon), by)


def score_all(forecasts: Forecasts, panel: Panel, splits: Splits, scaler: Scaler, season_length: int) -> dict:
    """Metrics of every forecaster as plain JSON values: in total, per horizon step and per target."""
    first, end = splits.part("train")
    rows = [panel.values[a:b] for a, b in zip(first, end, strict=True)]
    scales = np.stack([metrics.seasonal_scales(part, season_length) for part in rows])[
        forecasts.windows.series
    ]  # (windows, 2, targets)
    actual = forecasts.actual
    actual_scaled = scaler.apply(actual, forecasts.windows.series)
    scores = {"windows": len(forecasts.windows)}
    for name, forecast in forecasts.by.items():
        forecast_scaled = scaler.apply(forecast, forecasts.windows.series)
        scaled = {
            "mae_scaled": metrics.mae(actual_scaled, forecast_scaled),
            "mse_scaled": metrics.mse(actual_scaled, forecast_scaled),
        }
        steps = [metrics.score(actual[:, [step]], forecast[:, [step]], scales) for step in range(actual.shape[1])]
        scores[name] = {
            "total": metrics.score(actual, forecast, scales) | scaled,
            "per_step": {metric: [step[metric] for step in steps] for metric in steps[0]},
            "per_target": {
                target: metrics.score(actual[..., [i]], forecast[..., [i]], scales[..., [i]])
                for i, target in enumerate(panel.targets)
            },
        }
    return scores


def skill(scores: dict) -> dict[str, float]:
    """By which fraction the network's error is below each baseline's: 1 is perfect, 0 no better, negative worse.

    The error is MASE, which weighs series and targets of any size alike; for one series it is the same as MAE.
    """
    errors = {name: scores[name]["total"]["mase"] or scores[name]["total"]["mae"] for name in (MODEL, *BASELINES)}
    return {name: 1 - errors[MODEL] / errors[name] if errors[name] > 0 else 0.0 for name in BASELINES}


def verdict(skills: dict[str, float]) -> str:
    """Whether the network beats each baseline, and by how much, in one line.

    >>> verdict({"naive": 0.5, "seasonal_naive": 0.25, "linear": -0.1})
    'Beats naive by 50%, seasonal naive by 25%; loses to linear by 10%.'
    """

    def told(verb: str, chosen: dict[str, float]) -> list[str]:
        amounts = [f"{name.replace('_', ' ')} by {abs(value):.0%}" for name, value in chosen.items()]
        return [f"{verb} {', '.join(amounts)}"] if amounts else []

    equal = [name.replace("_", " ") for name, value in skills.items() if abs(value) < 0.005]
    sentences = told("beats", {name: value for name, value in skills.items() if value >= 0.005})
    sentences += [f"equals {', '.join(equal)}"] if equal else []
    sentences += told("loses to", {name: value for name, value in skills.items() if value <= -0.005})
    text = "; ".join(sentences)
    return text[0].upper() + text[1:] + "."


def predictions_table(forecasts: Forecasts, panel: Panel) -> pd.DataFrame:
    """A row per window, step and target: series_id, cutoff, timestamp, step, target, actual, forecast, each baseline."""
    windows, (count, horizon, targets) = forecasts.windows, forecasts.actual.shape
    each = horizon * targets
    return pd.DataFrame(
        {
            "series_id": np.array(panel.series_ids)[windows.series].repeat(each),
            "cutoff": panel.timestamps[windows.first - 1].repeat(each),
            "timestamp": panel.timestamps[(windows.first[:, None] + np.arange(horizon)).ravel()].repeat(targets),
            "step": np.tile(np.repeat(np.arange(1, horizon + 1), targets), count),
            "target": np.tile(panel.targets, count * horizon),
            "actual": forecasts.actual.ravel(),
            **{name: values.ravel() for name, values in forecasts.by.items()},
        }
    )
