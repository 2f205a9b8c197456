"""The scores of the network and of every baseline on the same windows."""

from __future__ import annotations

import hashlib
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
from forecast.evaluation.significance import p_value_of_mean, ratio_interval
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
        for number, quantile in enumerate(self.quantiles):
            self.pinballs[number] += len(actual) * metrics.pinball(actual, quantiles[..., number], quantile)
        covered = {}
        for level in self.levels:
            low, high = (quantiles[..., self.quantiles.index(bound)] for bound in bounds_of(level))
            scores = (
                metrics.coverage(actual, low, high, 0),
                (high - low).mean(axis=0),
                metrics.winkler(actual, low, high, level, 0),
                (actual < low).mean(axis=0),
            )
            self.sums[level] = self.sums.get(level, 0.0) + len(actual) * np.stack(scores)
            covered[level] = metrics.coverage(actual, low, high, (1, 2))
        return covered

    def scores(self, coverage_intervals: Mapping[float, tuple[float, float]]) -> IntervalScores:
        """Return the scores. coverage_intervals: confidence intervals by level, none with few cutoffs."""
        levels = {}
        for level, sums in self.sums.items():
            means = sums / self.windows
            low, high = coverage_intervals.get(level, (None, None))
            levels[f"{level:g}"] = LevelScores(
                **dict(zip(INTERVAL_METRICS, means.mean(axis=(1, 2)).tolist(), strict=True)),
                per_step=LevelStepScores(**dict(zip(INTERVAL_METRICS, means.mean(axis=2).tolist(), strict=True))),
                coverage_low=low,
                coverage_high=high,
            )
        losses = (self.pinballs / self.windows).tolist()
        pinball = {column_of(quantile): loss for quantile, loss in zip(self.quantiles, losses, strict=True)}
        return IntervalScores(levels=levels, pinball=pinball, crps=float(self.crps / self.windows))


class Scoreboard:
    """Metrics of every forecaster over windows that come in chunks: in total, per horizon step, target, series and cutoff."""

    def __init__(self, prepared: Prepared):
        panel, config = prepared.panel, prepared.config
        self.panel, self.scaler, self.config, self.season_length = panel, prepared.scaler, config, prepared.season_length
        self.quantiles, self.levels = quantiles_of(config), config.intervals.level if config.intervals else []
        measured = np.where(panel.filled[:, : len(panel.targets)], np.nan, panel.target_values)
        rows = [measured[span] for span in prepared.splits.scaler_rows(config.windows.lookback)]
        self.scales = np.stack([metrics.seasonal_scales(values, self.season_length) for values in rows])  # (series, 2, targets)
        self.pools: dict[str, ErrorPool] = {}
        self.members: list[ErrorPool] = []
        self.intervals: dict[str, IntervalPool] = {}  # By method.
        # Sums over windows:
        self.windows = np.zeros(len(panel.series_ids), dtype=np.int64)
        self.cutoff_sums: list[pd.DataFrame] = []  # By fold and cutoff.
        self.series_sums: dict[str, Values] = {}  # Absolute errors by forecaster, `(series,)`.
        self.scaled: dict[str, Values] = {}  # Absolute and squared errors after scaling, by forecaster.
        self.squares = np.zeros(len(panel.targets))  # Squared errors of the network, relative to each series' seasonal MAE.
        self.moves = np.zeros(2)  # Distances of forecasts, and of actual values, from the last value, relative to the same.

    def add(self, forecasts: Forecasts, members: Sequence[Values] = (), folds: npt.NDArray[np.integer] | None = None) -> None:
        """Add the forecasts of some windows. members: scaled forecasts of each, if the forecast is the median of several.

        folds: the number of each window's fold, in a backtest.
        """
        series, actual = forecasts.windows.series, forecasts.actual
        count, scales = len(series), self.scales[series]
        columns: dict[str, Values] = {"windows": np.ones(count)}  # Their sums by cutoff are stored.
        actual_scaled = self.scaler.apply(actual, series).astype(np.float64)
        for name, points in forecasts.points.items():
            self.pools.setdefault(name, ErrorPool()).add(actual, points, scales)
            pair = actual_scaled, self.scaler.apply(points, series).astype(np.float64)
            sums = count * np.array([metrics.mae(*pair), metrics.mse(*pair)])
            self.scaled[name] = self.scaled.get(name, 0.0) + sums
            absolute = metrics.mae(actual, points, (1, 2))  # (windows,)
            sums = np.bincount(series, absolute, minlength=len(self.windows))
            self.series_sums[name] = self.series_sums.get(name, 0.0) + sums
            columns |= {f"mae_{name}": absolute, f"mase_{name}": metrics.mase(actual, points, scales[:, :1], (1, 2))}
        columns |= self._add_relative_errors(forecasts, scales[:, 0])
        for method, quantiles in forecasts.quantiles.items():
            intervals = self.intervals.setdefault(method, IntervalPool(self.quantiles, self.levels))
            columns |= {f"{method}_{level:g}": covered for level, covered in intervals.add(actual, quantiles).items()}
        cutoffs = self.panel.timestamps[forecasts.windows.first - 1]
        keys = [np.zeros(count, dtype=int) if folds is None else folds, cutoffs]
        # An undefined MASE makes that of its cutoff undefined: infinity survives the sum, which NaN does not.
        self.cutoff_sums.append(pd.DataFrame(columns).fillna(np.inf).groupby(keys).sum())
        if len(self.cutoff_sums) > MAX_CHUNKS:
            self._sums_by_cutoff()
        self.windows += np.bincount(series, minlength=len(self.windows))
        self.members = self.members or [ErrorPool() for _ in members]
        for pool, member in zip(self.members, members, strict=True):
            pool.add(actual, self.scaler.undo(member, series), scales)

    def _add_relative_errors(self, forecasts: Forecasts, scales: Values) -> dict[str, Values]:
        """Add errors and moves relative to `scales`, `(windows, targets)`. Return the mean error of each window by target.

        A window does not count for a target whose scale is 0 or NaN.
        """
        relative = np.where(scales > 0, 1 / np.where(scales > 0, scales, 1.0), 0.0)[:, None]
        errors = (forecasts.points[MODEL] - forecasts.actual) * relative  # (windows, horizon, targets)
        self.squares += np.square(errors).mean(axis=1).sum(axis=0)
        last, usual = forecasts.points["naive"], np.where(scales > 0, scales, np.inf)[:, None]
        self.moves += [(np.abs(values - last) / usual).sum() for values in (forecasts.points[MODEL], forecasts.actual)]
        return {f"bias_{target}": errors[..., target].mean(axis=1) for target in range(errors.shape[2])}

    def scores(self) -> Scores:
        """Return all scores as a document."""
        forecasters: dict[str, Any] = {name: self._scores_of(name, pool) for name, pool in self.pools.items()}
        scores = Scores(windows=int(self.windows.sum()), scored_on=self._digest(), bias=self._bias(), **forecasters)
        if self.members:
            scores.members = [Errors(**_plain(pool.compute())) for pool in self.members]
        if self.intervals:
            scores.intervals = {method: self._interval_scores(method, pool) for method, pool in self.intervals.items()}
        return scores

    def _scores_of(self, name: str, pool: ErrorPool) -> ForecasterScores:
        mae_scaled, mse_scaled = self.scaled[name] / self.windows.sum()
        per_target = _plain(pool.compute(0))
        return ForecasterScores(
            total=Errors(**_plain(pool.compute() | {"mae_scaled": mae_scaled, "mse_scaled": mse_scaled})),
            per_step=StepErrors(**_plain(pool.compute(1))),
            per_target={
                target: Errors(**{metric: values[number] for metric, values in per_target.items()})
                for number, target in enumerate(self.panel.targets)
            },
        )

    def _bias(self) -> dict[str, Bias]:
        """Return the bias of the forecasts of each target."""
        sums, biases = self._sums_by_cutoff().groupby(level=1).sum(), {}
        for number, target in enumerate(self.panel.targets):
            errors = sums[f"bias_{number}"].to_numpy()
            size = float(np.sqrt(self.squares[number] * self.windows.sum()))
            share = float(errors.sum()) / size if size > 0 else 0.0
            biases[target] = Bias(share=share, p_value=p_value_of_mean(errors, self.config.windows.horizon))
        return biases

    def _interval_scores(self, method: str, pool: IntervalPool) -> IntervalScores:
        """Return the scores of a method's intervals, with confidence intervals of their coverage if there are enough cutoffs."""
        sums, coverage_intervals = self._sums_by_cutoff().groupby(level=1).sum(), {}
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
        sums = self._sums_by_cutoff().groupby(level=1).sum()
        columns = [name for name in sums.columns if name.startswith(("mae_", "mase_"))]
        return _means(sums, columns).rename_axis("cutoff").reset_index()

    def per_fold(self) -> pd.DataFrame:
        """Return a row per fold: first and last cutoff, the number of windows, mean errors and coverage of each interval."""
        table = self._sums_by_cutoff()
        folds, cutoffs = table.index.get_level_values(0), table.index.get_level_values(1)
        spans = pd.Series(cutoffs).groupby(folds.to_numpy()).agg(first_cutoff="min", last_cutoff="max")
        sums = table.groupby(level=0).sum()
        columns = [name for name in sums.columns if name != "windows" and not name.startswith("bias_")]
        return pd.concat([spans, _means(sums, columns)], axis=1)

    def _sums_by_cutoff(self) -> pd.DataFrame:
        """Add up the sums of all chunks, and return them by fold and cutoff."""
        if len(self.cutoff_sums) > 1:
            self.cutoff_sums = [pd.concat(self.cutoff_sums).groupby(level=[0, 1]).sum()]
        return self.cutoff_sums[0]

    def persistence(self) -> float:
        """Return the distance of the forecasts from the last value, as a fraction of that of the actual values."""
        return float(self.moves[0] / self.moves[1]) if self.moves[1] > 0 else 1.0

    def per_series(self) -> pd.DataFrame:
        """Return a row per series with windows: series_id, windows, and the MAE of every forecaster over all targets."""
        scored = np.flatnonzero(self.windows)
        errors = {f"mae_{name}": sums[scored] / self.windows[scored] for name, sums in self.series_sums.items()}
        return pd.DataFrame({"series_id": np.array(self.panel.series_ids)[scored], "windows": self.windows[scored], **errors})


def _means(sums: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Return the number of windows and the means over them, NaN where one is undefined."""
    means = sums[columns].div(sums.windows, axis=0).replace(np.inf, np.nan)
    return pd.concat([sums.windows.astype(int), means], axis=1)


def _plain(values: dict[str, Values]) -> dict[str, Any]:
    """Convert NumPy numbers to plain ones, None where a metric is undefined."""
    return {
        name: np.where(np.isfinite(value), np.asarray(value, object), np.array(None)).tolist() for name, value in values.items()
    }
