"""The network and its honest opponents on the same windows: forecasts, metrics, and the sentence that says who won."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from forecast.config import ResolvedConfig
from forecast.data import Panel
from forecast.errors import RunError
from forecast.evaluation import metrics
from forecast.evaluation.intervals import bounds, column_of, columns_of, few_windows, quantiles_of
from forecast.evaluation.scores import (
    BASELINES,
    LABELS,
    MODEL,
    Bias,
    Errors,
    ForecasterScores,
    IntervalScores,
    LevelScores,
    LevelStepScores,
    Metrics,
    Scores,
    StepErrors,
)
from forecast.evaluation.significance import Comparison, compare_losses, p_value_of_mean, ratio_interval
from forecast.forecasters import naive
from forecast.windows import Scaler, Splits, Windows, gather

EQUAL = 0.005  # skills smaller than this are no difference worth a word
MOST_PIECES = 50  # whose cutoffs are kept apart before they are added up
INTERVAL_METRICS = ("coverage", "width", "winkler", "below")  # below: the share of actual values under the interval
STILL = 0.1  # of what moves, a forecast that moves less from the last value is that value


@dataclass(frozen=True)
class Forecasts:
    """What each forecaster said about the same windows, and what happened; all `(windows, horizon, targets)` in file units."""

    windows: Windows
    actual: np.ndarray
    by: dict[str, np.ndarray]  # MODEL first, then BASELINES
    quantiles: Mapping[str, np.ndarray] = field(default_factory=dict)  # of MODEL by method, each `(..., targets, quantiles)`

    def every(self, first: int, stride: int) -> Forecasts:
        """Those of each `stride`-th window, from the window `first` on."""
        kept = slice(first, None, stride)
        by, made = ({name: values[kept] for name, values in table.items()} for table in (self.by, self.quantiles))
        return Forecasts(self.windows.select(kept), self.actual[kept], by, made)


def forecast_all(
    panel: Panel,
    scaler: Scaler,
    windows: Windows,
    network: np.ndarray,
    linear: np.ndarray,
    season_length: int,
    quantiles: Mapping[str, np.ndarray],
) -> Forecasts:
    """Put the scaled forecasts of the network, its quantiles and the linear baseline beside those that need no training.

    Raises:
        RunError: the network's forecasts are not finite.
    """
    seen = (panel.target_values, panel.offsets[windows.series], windows.first, windows.horizon)
    by = {
        MODEL: scaler.undo(network, windows.series),
        "naive": naive.forecast_naive(*seen),
        "seasonal_naive": naive.forecast_seasonal_naive(*seen, season_length),
        "drift": naive.forecast_drift(*seen),
        "mean": naive.forecast_mean(*seen),
        "linear": scaler.undo(linear, windows.series),
    }
    if not np.isfinite(by[MODEL]).all():
        raise RunError(
            "the network forecasts values too large to be numbers.",
            "Lower training.learning_rate, or set scaling.transform: none.",
            "training",
        )
    made = {method: scaler.undo_quantiles(values, windows.series) for method, values in quantiles.items()}
    return Forecasts(windows, gather(panel.target_values, windows.first, windows.horizon), by, made)


class IntervalPool:
    """Sums of the scores of intervals and quantiles, over windows that come in pieces."""

    def __init__(self, quantiles: Sequence[float], levels: Sequence[float]):
        self.quantiles, self.levels = list(quantiles), list(levels)
        self.windows = 0
        self.sums: dict[float, np.ndarray] = {}  # by level: `INTERVAL_METRICS`, `(4, horizon, targets)`
        self.pinballs, self.crps = np.zeros(len(self.quantiles)), 0.0

    def add(self, actual: np.ndarray, made: np.ndarray) -> dict[float, np.ndarray]:
        """Take in actuals `(windows, horizon, targets)` and quantiles of each; returns the coverage of each window by level."""
        self.windows += len(actual)
        self.crps += len(actual) * metrics.crps(actual, self.quantiles, made)
        for number, quantile in enumerate(self.quantiles):
            self.pinballs[number] += len(actual) * metrics.pinball(actual, made[..., number], quantile)
        covered = {}
        for level in self.levels:
            low, high = (made[..., self.quantiles.index(bound)] for bound in bounds(level))
            score = (
                metrics.coverage(actual, low, high, 0),
                (high - low).mean(axis=0),
                metrics.winkler(actual, low, high, level, 0),
                (actual < low).mean(axis=0),
            )
            self.sums[level] = self.sums.get(level, 0.0) + len(actual) * np.stack(score)
            covered[level] = metrics.coverage(actual, low, high, (1, 2))
        return covered

    def scores(self, coverage_intervals: Mapping[float, tuple[float, float]]) -> IntervalScores:
        """Return what was measured. coverage_intervals: by level, empty with few cutoffs."""
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
    """Metrics of every forecaster over windows that come in pieces: in total, per horizon step, target, series and cutoff."""

    def __init__(self, panel: Panel, splits: Splits, scaler: Scaler, season_length: int, config: ResolvedConfig):
        self.panel, self.scaler, self.config, self.season_length = panel, scaler, config, season_length
        self.quantiles, self.levels = quantiles_of(config), config.intervals.level if config.intervals else []
        self.intervals: dict[str, IntervalPool] = {}  # by method
        self.of_cutoff: list[pd.DataFrame] = []  # sums over the windows of each fold and cutoff
        # Distances of the forecasts, and of the actual values, from the last value, in units of each series' seasonal MAE.
        self.moves = np.zeros(2)
        measured = np.where(panel.filled[:, : len(panel.targets)], np.nan, panel.target_values)
        seen = [measured[span] for span in splits.scaler_rows(config.windows.lookback)]
        self.scales = np.stack([metrics.seasonal_scales(rows, season_length) for rows in seen])  # (series, 2, targets)
        self.squares = np.zeros(len(panel.targets))  # sums over windows of the network's squared errors, each over its scale
        self.pools: dict[str, metrics.Pool] = {}
        self.scaled: dict[str, np.ndarray] = {}  # sums over windows of absolute and squared errors after scaling
        self.of_series: dict[str, np.ndarray] = {}  # sums over windows of absolute errors, `(series,)`
        self.members: list[metrics.Pool] = []
        self.windows = np.zeros(len(panel.series_ids), dtype=np.int64)

    def add(self, forecasts: Forecasts, members: Sequence[np.ndarray] = (), folds: np.ndarray | None = None) -> None:
        """Take in the forecasts of some windows; and of each member, scaled, where the forecast is the median of several.

        folds: the number of each window's fold, in a backtest.
        """
        series, actual = forecasts.windows.series, forecasts.actual
        count, every = len(series), len(self.windows)
        actual_scaled = self.scaler.apply(actual, series).astype(np.float64)
        cutoffs = self.panel.timestamps[forecasts.windows.first - 1]
        mine = {"windows": np.ones(count)}  # sums by cutoff
        for name, forecast in forecasts.by.items():
            self.pools.setdefault(name, metrics.Pool()).add(actual, forecast, self.scales[series])
            pair = actual_scaled, self.scaler.apply(forecast, series).astype(np.float64)
            sums = count * np.array([metrics.mae(*pair), metrics.mse(*pair)])
            self.scaled[name] = self.scaled.get(name, 0.0) + sums
            absolute = metrics.mae(actual, forecast, (1, 2))  # (windows,)
            self.of_series[name] = self.of_series.get(name, 0.0) + np.bincount(series, absolute, minlength=every)
            mine |= {f"mae_{name}": absolute, f"mase_{name}": metrics.mase(actual, forecast, self.scales[series, :1], (1, 2))}
        biases, squares = self._relative_errors(forecasts.by[MODEL] - actual, self.scales[series, 0])
        mine |= {f"bias_{target}": biases[:, target] for target in range(biases.shape[1])}
        self.squares += squares
        for method, made in forecasts.quantiles.items():
            board = self.intervals.setdefault(method, IntervalPool(self.quantiles, self.levels))
            mine |= {f"{method}_{level:g}": covered for level, covered in board.add(actual, made).items()}
        keys = [np.zeros(count, dtype=int) if folds is None else folds, cutoffs]
        # A MASE that is undefined makes that of its cutoff so: infinity survives the sum, which NaN does not.
        self.of_cutoff.append(pd.DataFrame(mine).fillna(np.inf).groupby(keys).sum())
        if len(self.of_cutoff) > MOST_PIECES:
            self._cutoffs()
        last, usual = forecasts.by["naive"], np.where(self.scales[series, :1] > 0, self.scales[series, :1], np.inf)
        self.moves += [(np.abs(values - last) / usual).sum() for values in (forecasts.by[MODEL], actual)]
        self.windows += np.bincount(series, minlength=every)
        self.members = self.members or [metrics.Pool() for _ in members]
        for pool, member in zip(self.members, members, strict=True):
            pool.add(actual, self.scaler.undo(member, series), self.scales[series])

    @staticmethod
    def _relative_errors(errors: np.ndarray, scales: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean errors `(windows, targets)` and the sums of mean squared errors `(targets,)`, over the scales.

        errors: `(windows, horizon, targets)`; scales: `(windows, targets)`, of each window's series. Where one is 0 or NaN, the
        window does not count.
        """
        relative = errors * np.where(scales > 0, 1 / np.where(scales > 0, scales, 1.0), 0.0)[:, None]
        return relative.mean(axis=1), np.square(relative).mean(axis=1).sum(axis=0)

    def _bias(self) -> dict[str, Bias]:
        """Return the bias of the forecasts of each target."""
        sums, biases = self._cutoffs().groupby(level=1).sum(), {}
        for number, target in enumerate(self.panel.targets):
            errors = sums[f"bias_{number}"].to_numpy()
            size = float(np.sqrt(self.squares[number] * self.windows.sum()))
            share = float(errors.sum()) / size if size > 0 else 0.0
            biases[target] = Bias(share=share, p_value=p_value_of_mean(errors, self.config.windows.horizon))
        return biases

    def scores(self) -> Scores:
        """Return everything that was measured."""
        forecasters = {name: self._scores_of(name, pool) for name, pool in self.pools.items()}
        scores = Scores(windows=int(self.windows.sum()), scored_on=self._digest(), bias=self._bias(), **forecasters)
        if self.members:
            scores.members = [Errors(**_plain(pool.score())) for pool in self.members]
        if self.intervals:
            scores.intervals = {method: self._interval_scores(method, pool) for method, pool in self.intervals.items()}
        return scores

    def _scores_of(self, name: str, pool: metrics.Pool) -> ForecasterScores:
        mae_scaled, mse_scaled = self.scaled[name] / self.windows.sum()
        per_target = _plain(pool.score(0))
        return ForecasterScores(
            total=Errors(**_plain(pool.score() | {"mae_scaled": mae_scaled, "mse_scaled": mse_scaled})),
            per_step=StepErrors(**_plain(pool.score(1))),
            per_target={
                target: Errors(**{metric: values[i] for metric, values in per_target.items()})
                for i, target in enumerate(self.panel.targets)
            },
        )

    def _interval_scores(self, method: str, pool: IntervalPool) -> IntervalScores:
        """Return the measures of a method's intervals, and confidence intervals of their coverage if there are enough cutoffs."""
        sums, coverage_intervals = self._cutoffs().groupby(level=1).sum(), {}
        for level in pool.sums:
            samples = sums[[f"{method}_{level:g}", "windows"]].to_numpy()
            if interval := ratio_interval(samples, self.config.windows.horizon):
                coverage_intervals[level] = max(interval[0], 0.0), min(interval[1], 1.0)
        return pool.scores(coverage_intervals)

    def _digest(self) -> str:
        """Equal where the same was forecast at the same cutoffs, in whatever order: told by the errors of naive."""
        table = self.losses()[["cutoff", "windows", "mae_naive"]]
        return hashlib.sha256(table.to_csv(index=False, float_format="%.9g").encode()).hexdigest()

    def losses(self) -> pd.DataFrame:
        """A row per cutoff, in time order: the number of windows, and their mean MAE and MASE of every forecaster."""
        sums = self._cutoffs().groupby(level=1).sum()
        named = [name for name in sums.columns if name.startswith(("mae_", "mase_"))]
        return _means(sums, named).rename_axis("cutoff").reset_index()

    def per_fold(self) -> pd.DataFrame:
        """A row per fold: its first and last cutoff, the number of windows, mean errors and the share within each interval."""
        table = self._cutoffs()
        cutoffs = table.index.to_frame(index=False, name=["fold", "cutoff"]).groupby("fold").cutoff.agg(["min", "max"])
        cutoffs.columns = ["first_cutoff", "last_cutoff"]
        sums = table.groupby(level=0).sum()
        named = [name for name in sums.columns if name != "windows" and not name.startswith("bias_")]
        return pd.concat([cutoffs, _means(sums, named)], axis=1)

    def _cutoffs(self) -> pd.DataFrame:
        """Sums over the windows of each fold and cutoff."""
        if len(self.of_cutoff) > 1:
            self.of_cutoff = [pd.concat(self.of_cutoff).groupby(level=[0, 1]).sum()]
        return self.of_cutoff[0]

    def persistence(self) -> float:
        """How far the forecasts move away from the last value, as a fraction of how far the actual values do."""
        return float(self.moves[0] / self.moves[1]) if self.moves[1] > 0 else 1.0

    def per_series(self) -> pd.DataFrame:
        """A row per series that was scored: series_id, windows, and the MAE of every forecaster over all targets."""
        scored = np.flatnonzero(self.windows)
        errors = {f"mae_{name}": sums[scored] / self.windows[scored] for name, sums in self.of_series.items()}
        return pd.DataFrame({"series_id": np.array(self.panel.series_ids)[scored], "windows": self.windows[scored], **errors})


def _means(sums: pd.DataFrame, named: list[str]) -> pd.DataFrame:
    """The number of windows and the means over them, NaN where one is undefined."""
    means = sums[named].div(sums.windows, axis=0).replace(np.inf, np.nan)
    return pd.concat([sums.windows.astype(int), means], axis=1)


def _plain(values: dict[str, np.ndarray]) -> dict[str, Any]:
    """NumPy numbers as JSON knows them, with None for what is undefined."""
    return {name: np.where(np.isfinite(value), np.asarray(value, object), None).tolist() for name, value in values.items()}


def summarize(board: Scoreboard, trained: bool, calibration_windows: int) -> Metrics:
    """Return the metrics of the test set. trained: whether some network differs from its untrained state.

    calibration_windows: independent windows of the validation set, on which intervals rest.
    """
    compared, moves = compare_all(board.losses(), board.config.windows.horizon), board.persistence()
    return Metrics(
        verdict=verdict(compared),
        advice=advice(compared, moves, trained, board.config.model.linear_skip),
        skill={name: comparison.skill for name, comparison in compared.items()},
        compared=compared,
        persistence=moves,
        season_length=board.season_length,
        test=board.scores(),
        calibration_windows=calibration_windows,
    )


def compare_all(losses: pd.DataFrame, horizon: int) -> dict[str, Comparison]:
    """The network against each baseline, from `Scoreboard.losses`: by which fraction its error is below the baseline's, 1 being
    perfect, 0 no better and negative worse, and whether that is more than luck.

    The error is MASE, which weighs series and targets of any size alike, or MAE where MASE is undefined; for one series and
    target both give the same.
    """
    metric = loss_metric(losses)
    own, counts = losses[f"{metric}_{MODEL}"].to_numpy(), losses.windows.to_numpy()
    return {name: compare_losses(own, losses[f"{metric}_{name}"].to_numpy(), counts, horizon) for name in BASELINES}


def is_worse_than(metrics: Metrics, baseline: str) -> bool:
    """Return whether the network loses to a baseline by more than chance can explain."""
    return outcomes({baseline: metrics.compared[baseline]})["loses to"] == [baseline]


def loss_metric(losses: pd.DataFrame) -> str:
    """The error by which forecasters are compared, mase or mae."""
    return "mae" if losses[f"mase_{MODEL}"].isna().any() else "mase"


def outcomes(compared: Mapping[str, Comparison]) -> dict[str, list[str]]:
    """The baselines that the network beats, equals (within half a percent), cannot be told from, and loses to."""
    ended: dict[str, list[str]] = {"beats": [], "equals": [], "is not distinguishable from": [], "loses to": []}
    for name, found in compared.items():
        if found.skill is not None and abs(found.skill) < EQUAL:
            ended["equals"].append(name)
        elif not found.distinguishable:
            ended["is not distinguishable from"].append(name)
        else:
            ended["beats" if found.skill is not None and found.skill > 0 else "loses to"].append(name)
    return ended


def verdict(compared: Mapping[str, Comparison]) -> str:
    """Whether the network beats each baseline, and by how much, in one line.

    >>> verdict({"naive": Comparison(0.5, 0.44, 0.55, 0.001), "linear": Comparison(-0.1, -0.2, 0.1, 0.4)})
    'Beats naive by 50% (95% CI 44..55); is not distinguishable from linear (-10%, 95% CI -20..10, p 0.4).'
    >>> verdict({"seasonal_naive": Comparison(-0.25), "mean": Comparison(None)})
    'Loses to seasonal naive by 25%, mean (which is exact).'
    """

    def told(verb: str, name: str) -> str:
        found, text = compared[name], LABELS[name]
        if found.skill is None:
            return f"{text} (which is exact)"
        if verb == "equals":
            return text
        ends = "" if found.low is None else f"95% CI {round(100 * found.low)}..{round(100 * found.high)}"
        if verb == "is not distinguishable from":
            return f"{text} ({found.skill:.0%}, {ends}, p {found.p_value:.2g})"
        if verb == "loses to" and ends:
            ends = f"95% CI {round(-100 * found.high)}..{round(-100 * found.low)}"
        return f"{text} by {abs(found.skill):.0%}" + (f" ({ends})" if ends else "")

    ended = {verb: [told(verb, name) for name in names] for verb, names in outcomes(compared).items()}
    text = "; ".join(f"{verb} {', '.join(names)}" for verb, names in ended.items() if names)
    return text[0].upper() + text[1:] + "."


def advice(compared: Mapping[str, Comparison], moves: float, trained: bool, linear_skip: bool) -> str:
    """Return what to make of the verdict, in one line; empty where the network beats everything.

    moves: `Scoreboard.persistence`; trained: some network is not as it began.
    """
    ended = outcomes(compared)
    begun = ""
    if linear_skip and not trained:
        begun = (
            "The recurrent layers added nothing on the validation set: this forecast is the ridge regression they started from."
        )
    if moves < STILL:
        return (
            f"The forecast is almost the last value, shifted: it moves away from it by {moves:.0%} of what truly happens."
            " However close the lines look in a plot, naive says as much."
        )
    free = [LABELS[name] for verb, names in ended.items() if verb != "beats" for name in names if name != "linear"]
    if free:
        return f"Do not trust this network yet: {free[0]} costs nothing and may be as good. {begun}".rstrip()
    if begun:
        return begun
    if "linear" in ended["is not distinguishable from"]:
        return "Nothing shows that the recurrent part adds anything to a ridge regression: believe it as much as that."
    if "linear" in ended["loses to"]:
        return "A ridge regression does better" + ("." if linear_skip else ": set model.linear_skip: true to start from it.")
    return ""


def coverage(metrics: Metrics) -> list[str]:
    """Return a sentence for each interval that says which share of the actual values of the test set lay within, and one more
    where the intervals rest on few windows.
    """
    levels: dict[str, list[str]] = {}
    for method, made in metrics.test.intervals.items():
        for level, measured in made.levels.items():
            low, high = measured.coverage_low, measured.coverage_high
            sure = f" (95% CI {100 * low:.0f}..{100 * high:.0f})" if low is not None and high is not None else ""
            levels.setdefault(level, []).append(f"{measured.coverage:.1%}{sure} {method}")
    shares = [f"Within the {level}% interval: {', '.join(told)}." for level, told in levels.items()]
    note = few_windows(metrics.calibration_windows) if shares else ""
    return [*shares, note] if note else shares


def predictions_table(forecasts: Forecasts, panel: Panel, quantiles: Sequence[float] = (), method: str = "") -> pd.DataFrame:
    """A row per window, step and target: series_id, cutoff, timestamp, step, target, actual, forecast, each baseline, and the
    quantiles that `method` made.
    """
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
            **(columns_of(quantiles, forecasts.quantiles[method]) if method in forecasts.quantiles else {}),
        }
    )
