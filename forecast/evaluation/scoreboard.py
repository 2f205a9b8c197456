"""The scores of the network and of every baseline on the same windows."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from forecast.evaluation import metrics
from forecast.evaluation.forecasts import Forecasts
from forecast.evaluation.intervals import bounds_of, column_of, quantiles_of
from forecast.evaluation.metrics import ErrorPool, Values
from forecast.evaluation.scores import (
    MODEL,
    Bias,
    Errors,
    ForecasterScores,
    IntervalScores,
    LevelScores,
    LevelStepScores,
    Scores,
    StepErrors,
)
from forecast.evaluation.significance import diebold_mariano, ratio_interval
from forecast.forecasters.preparation import Prepared

MAX_CHUNKS = 50  # Chunks to score before adding up their cutoffs.
INTERVAL_METRICS = ("coverage", "width", "winkler", "below")  # below: the share of actual values under the interval.


class IntervalPool:
    """Sums of the scores of intervals and quantiles over windows that come in chunks."""

    def __init__(self, quantiles: Sequence[float], levels: Sequence[float]):
        self.quantiles, self.levels = list(quantiles), list(levels)
        self.windows = 0
        self.sums: dict[float, Values] = {}  # By level: `INTERVAL_METRICS`, `(4, horizon, targets)`.
        self.pinballs, self.crps = np.zeros(len(self.quantiles)), 0.0

    def add(self, actual: Values, quantiles: Values) -> dict[float, Values]:
        """Add actuals `(windows, horizon, targets)` and the quantiles of each. Return the coverage of each window by level."""
        self.windows += len(actual)
        self.crps += len(actual) * metrics.crps(actual, self.quantiles, quantiles)
        losses = [metrics.pinball(actual, quantiles[..., number], quantile) for number, quantile in enumerate(self.quantiles)]
        self.pinballs += len(actual) * np.array(losses)
        covered = {}
        for level in self.levels:
            low, high = (quantiles[..., self.quantiles.index(bound)] for bound in bounds_of(level))
            inside = (low <= actual) & (actual <= high)
            values = inside, high - low, metrics.winkler(actual, low, high, level), actual < low
            self.sums[level] = self.sums.get(level, 0.0) + np.stack([value.sum(axis=0) for value in values])
            covered[level] = inside.mean(axis=(1, 2))
        return covered

    def scores(self, coverage_intervals: Mapping[float, tuple[float, float]]) -> IntervalScores:
        """Return the scores. coverage_intervals: confidence intervals by level, none with few cutoffs."""
        levels = {}
        for level, sums in self.sums.items():
            total, per_step = (
                dict(zip(INTERVAL_METRICS, (sums / self.windows).mean(axis=axis).tolist(), strict=True)) for axis in ((1, 2), 2)
            )
            low, high = coverage_intervals.get(level, (None, None))
            step_scores = LevelStepScores(**per_step)
            levels[f"{level:g}"] = LevelScores(**total, per_step=step_scores, coverage_low=low, coverage_high=high)
        pinball = dict(zip(map(column_of, self.quantiles), (self.pinballs / self.windows).tolist(), strict=True))
        return IntervalScores(levels=levels, pinball=pinball, crps=self.crps / self.windows)


def measure_scales(prepared: Prepared, scaled: bool = False) -> Values:
    """Return the mean absolute and squared seasonal naive error of each series on its training rows: `(series, 2, targets)`.

    scaled: in the units that the scaler makes.
    """
    panel = prepared.panel
    values = prepared.windows["train"].future.astype(np.float64) if scaled else panel.target_values
    measured = np.where(panel.filled[:, : len(panel.targets)], np.nan, values)
    rows = [measured[span] for span in prepared.splits.scaler_rows(prepared.config.windows.lookback)]
    return np.stack([metrics.seasonal_scales(values, prepared.season_length) for values in rows])


class Scoreboard:
    """Metrics of every forecaster over windows that come in chunks: in total, per horizon step, target, series and cutoff."""

    def __init__(self, prepared: Prepared):
        panel, config = prepared.panel, prepared.config
        self.panel, self.scaler, self.config, self.season_length = panel, prepared.scaler, config, prepared.season_length
        self.quantiles, self.levels = quantiles_of(config), config.intervals.level if config.intervals else []
        self.scales = measure_scales(prepared)
        self.pools: dict[str, ErrorPool] = {}
        self.members: list[ErrorPool] = []
        self.intervals: dict[str, IntervalPool] = {}  # By method.
        self.windows = np.zeros(len(panel.series_ids), dtype=np.int64)  # Of each series.
        self.series_sums: dict[str, Values] = {}  # Absolute errors by forecaster, `(series,)`.
        self.chunks: list[pd.DataFrame] = []  # Sums over windows by fold and cutoff. Columns that begin with "_" stay internal.

    def add(self, forecasts: Forecasts, members: Sequence[Values] = (), folds: npt.NDArray[np.integer] | None = None) -> None:
        """Add the forecasts of some windows. members: scaled forecasts of each, if the forecast is the median of several.

        folds: the number of each window's fold, in a backtest.
        """
        series, actual = forecasts.windows.series, forecasts.actual
        count, scales = len(series), self.scales[series]
        columns: dict[str, Values] = {"windows": np.ones(count), **self._relative_errors(forecasts, scales[:, 0])}
        actual_scaled = self.scaler.apply(actual, series).astype(np.float64)
        for name, points in forecasts.points.items():
            self.pools.setdefault(name, ErrorPool()).add(actual, points, scales)
            with np.errstate(invalid="ignore"):  # A forecast below -1 has no logarithm, so its scaled error is undefined.
                scaled = self.scaler.apply(points, series) - actual_scaled
            absolute = np.abs(points - actual)
            columns |= {
                f"mae_{name}": absolute.mean(axis=(1, 2)),  # (windows,)
                f"mase_{name}": (absolute / scales[:, :1]).mean(axis=(1, 2)),
                f"_mae_scaled_{name}": np.abs(scaled).mean(axis=(1, 2)),
                f"_mse_scaled_{name}": np.square(scaled).mean(axis=(1, 2)),
            }
            sums = np.bincount(series, columns[f"mae_{name}"], minlength=len(self.windows))
            self.series_sums[name] = self.series_sums.get(name, 0.0) + sums
        for method, quantiles in forecasts.quantiles.items():
            intervals = self.intervals.setdefault(method, IntervalPool(self.quantiles, self.levels))
            columns |= {f"{method}_{level:g}": covered for level, covered in intervals.add(actual, quantiles).items()}
        cutoffs = self.panel.timestamps[forecasts.windows.first - 1]
        keys = [np.zeros(count, dtype=int) if folds is None else folds, cutoffs]
        # An undefined MASE makes that of its cutoff undefined: infinity survives the sum, which NaN does not.
        self.chunks.append(pd.DataFrame(columns).fillna(np.inf).groupby(keys).sum().rename_axis(["fold", "cutoff"]))
        if len(self.chunks) > MAX_CHUNKS:
            self._sums()
        self.windows += np.bincount(series, minlength=len(self.windows))
        self.members = self.members or [ErrorPool() for _ in members]
        for pool, member in zip(self.members, members, strict=True):
            pool.add(actual, self.scaler.undo(member, series), scales)

    def _relative_errors(self, forecasts: Forecasts, scales: Values) -> dict[str, Values]:
        """Return, for each window, errors and moves relative to the seasonal MAE `scales`, `(windows, targets)`.

        A window does not count for a target whose scale is NaN.
        """
        network, last, usual = forecasts.points[MODEL], forecasts.points["naive"], np.nan_to_num(scales, nan=np.inf)[:, None]
        columns = {
            f"_{name}": (np.abs(values - last) / usual).sum(axis=(1, 2))
            for name, values in (("forecast_move", network), ("actual_move", forecasts.actual))
        }
        errors = (network - forecasts.actual) / usual  # (windows, horizon, targets)
        for target in range(errors.shape[2]):
            columns |= {
                f"_bias_{target}": errors[..., target].mean(axis=1),
                f"_square_{target}": np.square(errors[..., target]).mean(axis=1),
            }
        return columns

    def _sums(self) -> pd.DataFrame:
        """Add up the sums of all chunks, and return them by fold and cutoff."""
        if len(self.chunks) > 1:
            self.chunks = [pd.concat(self.chunks).groupby(["fold", "cutoff"]).sum()]
        return self.chunks[0]

    def scores(self) -> Scores:
        """Return all scores as a document."""
        forecasters: dict[str, Any] = {name: self._forecaster_scores(name, pool) for name, pool in self.pools.items()}
        bias = {target: self._bias(number) for number, target in enumerate(self.panel.targets)}
        scores = Scores(windows=int(self.windows.sum()), scored_on=self._digest(), bias=bias, **forecasters)
        if self.members:
            scores.members = [Errors(**_plain(pool.compute())) for pool in self.members]
        if self.intervals:
            scores.intervals = {method: self._interval_scores(method, pool) for method, pool in self.intervals.items()}
        return scores

    def _forecaster_scores(self, name: str, pool: ErrorPool) -> ForecasterScores:
        means, per_target = self._sums().sum() / self.windows.sum(), _plain(pool.compute(0))
        scaled = {metric: means[f"_{metric}_{name}"] for metric in ("mae_scaled", "mse_scaled")}
        return ForecasterScores(
            total=Errors(**_plain(pool.compute() | scaled)),
            per_step=StepErrors(**_plain(pool.compute(1))),
            per_target={
                target: Errors(**{metric: values[number] for metric, values in per_target.items()})
                for number, target in enumerate(self.panel.targets)
            },
        )

    def _bias(self, target: int) -> Bias:
        sums = self._sums().groupby("cutoff").sum()
        errors, squares = sums[f"_bias_{target}"].to_numpy(), float(sums[f"_square_{target}"].sum())
        share = float(errors.sum()) / math.sqrt(squares * self.windows.sum()) if squares > 0 else 0.0
        return Bias(share=share, p_value=diebold_mariano(errors, self.config.windows.horizon))

    def _interval_scores(self, method: str, pool: IntervalPool) -> IntervalScores:
        """Return the scores of a method's intervals, with confidence intervals of their coverage if there are enough cutoffs."""
        sums, coverage_intervals = self._sums().groupby("cutoff").sum(), {}
        for level in pool.sums:
            samples = sums[[f"{method}_{level:g}", "windows"]].to_numpy()
            if interval := ratio_interval(samples, self.config.windows.horizon):
                coverage_intervals[level] = max(interval[0], 0.0), min(interval[1], 1.0)
        return pool.scores(coverage_intervals)

    def _digest(self) -> str:
        """Return a digest of the errors of naive: equal if the same was forecast at the same cutoffs, in whatever order."""
        table = self.losses()[["cutoff", "windows", "mae_naive"]]
        return hashlib.sha256(table.to_csv(index=False, float_format="%.9g").encode()).hexdigest()

    def losses(self) -> pd.DataFrame:
        """Return a row per cutoff, in time order: the number of windows, and their mean MAE and MASE by forecaster."""
        means = _means(self._sums().groupby("cutoff").sum())
        return means.filter(regex="^(windows|mae_|mase_)").reset_index()

    def per_fold(self) -> pd.DataFrame:
        """Return a row per fold: first and last cutoff, the number of windows, mean errors and coverage of each interval."""
        sums = self._sums()
        cutoffs = sums.index.to_frame(index=False).groupby("fold").cutoff.agg(first_cutoff="min", last_cutoff="max")
        return pd.concat([cutoffs, _means(sums.groupby("fold").sum())], axis=1)

    def persistence(self) -> float:
        """Return the distance of the forecasts from the last value, as a fraction of that of the actual values."""
        moves = self._sums().sum()
        return float(moves["_forecast_move"] / moves["_actual_move"]) if moves["_actual_move"] > 0 else 1.0

    def per_series(self) -> pd.DataFrame:
        """Return a row per series with windows: series_id, windows, and the MAE of every forecaster over all targets."""
        scored = np.flatnonzero(self.windows)
        errors = {f"mae_{name}": sums[scored] / self.windows[scored] for name, sums in self.series_sums.items()}
        return pd.DataFrame({"series_id": np.array(self.panel.series_ids)[scored], "windows": self.windows[scored], **errors})


def _means(sums: pd.DataFrame) -> pd.DataFrame:
    """Return the number of windows and the means over them, NaN where one is undefined."""
    means = sums.filter(regex="^[^_]").div(sums.windows, axis=0).replace(np.inf, np.nan)
    return means.assign(windows=sums.windows.astype(int))


def _plain(values: dict[str, Values]) -> dict[str, Any]:
    """Convert NumPy numbers to plain ones, None where a metric is undefined."""
    return {
        name: np.where(np.isfinite(value), np.asarray(value, object), np.array(None)).tolist() for name, value in values.items()
    }
