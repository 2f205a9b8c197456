"""The network and its honest opponents on the same windows: forecasts, metrics, and the sentence that says who won."""

from __future__ import annotations

from collections.abc import Sequence
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
EQUAL = 0.005  # skills smaller than this are no difference worth a word
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
    seen = (panel.target_values, panel.offsets[windows.series], windows.first, windows.horizon)
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
    return Forecasts(windows, gather(panel.target_values, windows.first, windows.horizon), by)


class Scoreboard:
    """Metrics of every forecaster over windows that come in pieces: in total, per horizon step, per target and per series."""

    def __init__(self, panel: Panel, splits: Splits, scaler: Scaler, season_length: int, lookback: int):
        self.panel, self.scaler = panel, scaler
        measured = np.where(panel.filled[:, : len(panel.targets)], np.nan, panel.target_values)
        seen = [measured[span] for span in splits.fitted(lookback)]
        self.scales = np.stack([metrics.seasonal_scales(rows, season_length) for rows in seen])  # (series, 2, targets)
        self.pools: dict[str, metrics.Pool] = {}
        self.scaled: dict[str, np.ndarray] = {}  # sums over windows of absolute and squared errors after scaling
        self.of_series: dict[str, np.ndarray] = {}  # sums over windows of absolute errors, `(series,)`
        self.members: list[metrics.Pool] = []
        self.windows = np.zeros(len(panel.series_ids), dtype=np.int64)

    def add(self, forecasts: Forecasts, members: Sequence[np.ndarray] = ()) -> None:
        """Take in the forecasts of some windows; and of each member, scaled, where the forecast is the median of several."""
        series, actual = forecasts.windows.series, forecasts.actual
        count, every = len(series), len(self.windows)
        actual_scaled = self.scaler.apply(actual, series)
        for name, forecast in forecasts.by.items():
            self.pools.setdefault(name, metrics.Pool()).add(actual, forecast, self.scales[series])
            pair = actual_scaled, self.scaler.apply(forecast, series)
            sums = count * np.array([metrics.mae(*pair), metrics.mse(*pair)], dtype=np.float64)
            self.scaled[name] = self.scaled.get(name, 0.0) + sums
            absolute = metrics.mae(actual, forecast, (1, 2))  # (windows,)
            self.of_series[name] = self.of_series.get(name, 0.0) + np.bincount(series, absolute, minlength=every)
        self.windows += np.bincount(series, minlength=every)
        self.members = self.members or [metrics.Pool() for _ in members]
        for pool, member in zip(self.members, members, strict=True):
            pool.add(actual, self.scaler.undo(member, series), self.scales[series])

    def scores(self) -> dict:
        """Plain JSON values, None where undefined."""
        count = int(self.windows.sum())
        members = {"members": [_plain(pool.score()) for pool in self.members]} if self.members else {}
        return {"windows": count, **members} | {name: self._of(name, pool, count) for name, pool in self.pools.items()}

    def _of(self, name: str, pool: metrics.Pool, count: int) -> dict:
        mae_scaled, mse_scaled = self.scaled[name] / count
        per_target = _plain(pool.score(0))
        return {
            "total": _plain(pool.score() | {"mae_scaled": mae_scaled, "mse_scaled": mse_scaled}),
            "per_step": _plain(pool.score(1)),
            "per_target": {
                target: {metric: values[i] for metric, values in per_target.items()}
                for i, target in enumerate(self.panel.targets)
            },
        }

    def per_series(self) -> pd.DataFrame:
        """A row per series that was scored: series_id, windows, and the MAE of every forecaster over all targets."""
        scored = np.flatnonzero(self.windows)
        errors = {f"mae_{name}": sums[scored] / self.windows[scored] for name, sums in self.of_series.items()}
        return pd.DataFrame({"series_id": np.array(self.panel.series_ids)[scored], "windows": self.windows[scored], **errors})


def _plain(values: dict[str, np.ndarray]) -> dict:
    """NumPy numbers as JSON knows them, with None for what is undefined."""
    return {name: np.where(np.isfinite(value), np.asarray(value, object), None).tolist() for name, value in values.items()}


def skill(scores: dict) -> dict[str, float | None]:
    """By which fraction the network's error is below each baseline's: 1 is perfect, 0 no better, negative worse.

    The error is MASE, which weighs series and targets of any size alike, or MAE where MASE is undefined; for one series and
    target both give the same. None means that the baseline is exact and the network is not.
    """
    metric = "mae" if scores[MODEL]["total"]["mase"] is None else "mase"
    errors = {name: scores[name]["total"][metric] for name in (MODEL, *BASELINES)}
    exact = 0.0 if errors[MODEL] == 0 else None
    return {name: 1 - errors[MODEL] / errors[name] if errors[name] > 0 else exact for name in BASELINES}


def outcomes(skills: dict[str, float | None]) -> dict[str, list[str]]:
    """The baselines that the network beats, equals (within half a percent) and loses to."""
    beaten = [name for name, value in skills.items() if value is not None and value >= EQUAL]
    equal = [name for name, value in skills.items() if value is not None and abs(value) < EQUAL]
    return {"beats": beaten, "equals": equal, "loses to": [name for name in skills if name not in beaten + equal]}


def verdict(skills: dict[str, float | None]) -> str:
    """Whether the network beats each baseline, and by how much, in one line.

    >>> verdict({"naive": 0.5, "seasonal_naive": 0.25, "drift": 0.001, "mean": None, "linear": -0.1})
    'Beats naive by 50%, seasonal naive by 25%; equals drift; loses to mean (which is exact), linear by 10%.'
    """

    def told(verb: str, name: str) -> str:
        value = skills[name]
        amount = " (which is exact)" if value is None else "" if verb == "equals" else f" by {abs(value):.0%}"
        return name.replace("_", " ") + amount

    ended = {verb: [told(verb, name) for name in names] for verb, names in outcomes(skills).items()}
    text = "; ".join(f"{verb} {', '.join(names)}" for verb, names in ended.items() if names)
    return text[0].upper() + text[1:] + "."


def advice(skills: dict[str, float | None], kept_epoch: int, linear_skip: bool) -> str:
    """What to make of the verdict, in one line; empty where the network beats everything."""
    ended = outcomes(skills)
    free = [name.replace("_", " ") for name in ended["loses to"] + ended["equals"] if name != "linear"]
    if free:
        return f"Do not trust this network yet: {free[0]} costs nothing and is at least as good."
    if kept_epoch == 0 and linear_skip:
        return (
            "The recurrent part added nothing on the validation part: this forecast is the ridge regression that it began with."
        )
    if "linear" in ended["loses to"]:
        return "A ridge regression does better" + ("." if linear_skip else ": set model.linear_skip: true to start from it.")
    return ""


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
