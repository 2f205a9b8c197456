"""Pictures of a run, drawn from its files."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from forecast.evaluation import BASELINES, LABELS, MODEL
from forecast.intervals import column_of
from forecast.runs import Run

if TYPE_CHECKING:
    import optuna
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PANELS = 4  # series and targets drawn in one picture
MIN_WINDOWS = 12  # Horizons drawn in one picture, or more of short ones,
MIN_STEPS = 120  # to show so many steps.
MAX_TITLE, MAX_SMALL = 85, 120  # Characters that fit into a line of a picture, as a title and in small letters.
ACTUAL, FORECAST, OTHER = "#222222", "#d1495b", "#8d99ae"


def write_plots(run: Run) -> None:
    """Draw every plot of a trained run into its `plots` folder."""
    shown = shown_series(read_per_series(run))
    predictions = read_series(run, run.predictions, shown)
    future = predictions[:0]  # known covariates may yet have to be given
    if run.forecast.exists():
        future = read_series(run, run.forecast, shown)
    metrics = run.read_json(run.metrics)
    figures = {
        "forecast.png": _forecast(predictions, future, metrics["verdict"]),
        "error_per_step.png": _error_per_step(metrics["test"]),
        "residuals.png": _residuals(predictions),
    }
    if run.history.exists():  # where nothing but intervals was made anew, there is none
        figures["learning_curve.png"] = _learning_curve(pd.read_csv(run.history), metrics["kept_epochs"])
    for name, figure in figures.items():
        run.write_figure(name, figure)


def write_backtest_plots(run: Run) -> None:
    """Draw the plots of a backtest into its `plots` folder."""
    shown = shown_series(read_per_series(run))
    predictions, metrics = read_series(run, run.predictions, shown), run.read_json(run.metrics)
    figures = {
        "forecast.png": _forecast(predictions, predictions[:0], metrics["verdict"]),
        "error_per_fold.png": _error_per_fold(pd.read_csv(run.folds)),
        "error_per_step.png": _error_per_step(metrics["test"]),
        "residuals.png": _residuals(predictions),
    }
    for name, figure in figures.items():
        run.write_figure(name, figure)


def anomalies_figure(points: pd.DataFrame, anomalies: pd.DataFrame, level: float) -> Figure:
    """The actual values, the interval in which each was expected one step ahead, and those outside."""
    panels = panels_of(anomalies if len(anomalies) else points)
    figure, axes = _figure(len(panels))
    for axis, (series_id, target) in zip(axes, panels, strict=True):
        own, odd = (table[(table.series_id == series_id) & (table.target == target)] for table in (points, anomalies))
        axis.fill_between(own.timestamp, own.low, own.high, color=OTHER, alpha=0.3, linewidth=0, label=f"{level:g}% interval")
        axis.plot(own.timestamp, own.actual, color=ACTUAL, linewidth=1, label="actual")
        axis.scatter(odd.timestamp, odd.actual, color=FORECAST, s=18, zorder=3, label="anomaly")
        _set_title(axis, series_id, target)
    axes[0].legend(ncols=3, frameon=False, fontsize="small", loc="upper left")
    return figure


def study_figures(study: optuna.Study) -> dict[str, Figure]:
    """Of a search: the error of each trial, which parameters matter, and the errors over the values of each."""
    import matplotlib as mpl
    from optuna.visualization import matplotlib as drawn

    ended = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    pictures = {"history": drawn.plot_optimization_history, "slice": drawn.plot_slice}
    if len(ended) > 1 and len({trial.value for trial in ended}) > 1:
        pictures["importance"] = drawn.plot_param_importances
    figures = {}
    with warnings.catch_warnings(), mpl.rc_context({"backend": "agg"}):
        warnings.simplefilter("ignore")  # experimental pictures; axes without an extent
        for name, draw in pictures.items():
            axes = np.ravel(draw(study))
            figures[name] = axes[0].figure
            mpl.pyplot.close(figures[name])
    return figures


def _error_per_fold(folds: pd.DataFrame) -> Figure:
    figure, (axis,) = _figure(1)
    for name in reversed((MODEL, *BASELINES)):
        axis.plot(folds.fold, folds[f"mae_{name}"], marker="o", markersize=3, **_style(name))
    axis.set(xlabel="fold", ylabel="MAE", ylim=(0, None), xticks=folds.fold)
    axis.legend(frameon=False, ncols=3, fontsize="small")
    return figure


def _style(name: str) -> dict:
    """How the line of a forecaster is drawn."""
    return {"label": LABELS[name]} | ({"color": FORECAST, "linewidth": 2.2} if name == MODEL else {"linewidth": 1, "alpha": 0.7})


def read_per_series(run: Run) -> pd.DataFrame:
    """The errors of each series on the test part: a row per series."""
    return pd.read_csv(run.per_series, dtype={"series_id": str}, keep_default_na=False)


def shown_series(per_series: pd.DataFrame) -> list[str]:
    """The series to draw: all of a few; of many, those with the smallest, the median and the largest error beside naive."""
    if len(per_series) <= MOST_PANELS:
        return per_series.series_id.tolist()
    ranked = per_series.iloc[np.argsort(per_series[f"mae_{MODEL}"] / per_series.mae_naive, kind="stable")].series_id
    return [ranked.iloc[0], ranked.iloc[len(ranked) // 2], ranked.iloc[-1]]


def read_table(run: Run, path: Path, chosen: Callable[[pd.DataFrame], pd.Series]) -> pd.DataFrame:
    """The chosen rows of a table of the run, which may be large, with its timestamps in local time."""
    table = run.read_pieces(path, chosen)
    zone = run.read_json(run.contract)["timezone"]
    moments = {"timestamp"} if path == run.recent else {"cutoff", "timestamp"}  # there, a target may be called cutoff
    for column in moments & set(table.columns):
        stamps = pd.to_datetime(table[column], format="ISO8601", utc=True)
        table[column] = (stamps.dt.tz_convert(zone) if zone else stamps).dt.tz_localize(None)
    return table


def read_series(run: Run, path: Path, shown: list[str]) -> pd.DataFrame:
    """The rows of some series of a table of the run, with its timestamps in local time."""
    return read_table(run, path, lambda piece: piece.series_id.isin(shown))


def _figure(rows: int, height: float = 3.4) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, height * rows), layout="constrained")
    axes = list(figure.subplots(rows, 1, squeeze=False)[:, 0])
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    return figure, axes


def panels_of(table: pd.DataFrame) -> list[tuple[str, str]]:
    """The first pairs of series and target, of each series in turn."""
    return list(table[["series_id", "target"]].drop_duplicates().itertuples(index=False, name=None))[:MOST_PANELS]


def _forecast(predictions: pd.DataFrame, future: pd.DataFrame, verdict: str) -> Figure:
    """Draw test windows whose cutoffs lie one horizon apart, so that each timestamp has one forecast, and the real future.

    Each window is a line of its own. With a horizon of 1 it would be a point, so one line goes through the whole test set.
    """
    panels = panels_of(predictions)
    figure, axes = _figure(len(panels))
    for axis, (series_id, target) in zip(axes, panels, strict=True):
        chosen = predictions[(predictions.series_id == series_id) & (predictions.target == target)]
        horizon = int(chosen.step.max())
        cutoffs = chosen.cutoff.drop_duplicates().sort_values(ascending=False).iloc[::horizon]
        if horizon > 1:
            cutoffs = cutoffs.iloc[: max(MIN_WINDOWS, MIN_STEPS // horizon)]
        chosen = chosen[chosen.cutoff.isin(cutoffs)].sort_values("timestamp")
        windows = [window for _, window in chosen.groupby("cutoff")] if horizon > 1 else [chosen]
        axis.plot(chosen.timestamp, chosen.actual, color=ACTUAL, linewidth=1.2, label="actual")
        for place, window in enumerate(windows):
            _fan(axis, window, "intervals" if place == 0 else None)
            _line(axis, window, MODEL, "forecast" if place == 0 else None, color=FORECAST, linewidth=1.2)
            baseline = "seasonal naive" if place == 0 else None
            _line(axis, window, "seasonal_naive", baseline, color=OTHER, linewidth=0.8, linestyle="--")
        ahead = future[(future.series_id == series_id) & (future.target == target)]
        _fan(axis, ahead)
        _line(axis, ahead, MODEL, "future", color=FORECAST, linewidth=2, linestyle=":")
        _set_title(axis, series_id, target)
    axes[0].legend(ncols=5, frameon=False, fontsize="small", loc="upper left")
    figure.suptitle(textwrap.fill(verdict, MAX_SMALL), fontsize="small", color="#555555")
    return figure


def _line(axis: Axes, table: pd.DataFrame, column: str, label: str | None, **style: object) -> None:
    """Draw a column over time; a single point gets a marker, since no line leads to it."""
    axis.plot(table.timestamp, table[column], marker="o" if len(table) == 1 else None, markersize=5, label=label, **style)


def _set_title(axis: Axes, series_id: str, target: str) -> None:
    axis.set_title(textwrap.fill(f"{series_id}: {target}", MAX_TITLE), loc="left", parse_math=False)


def _fan(axis: Axes, table: pd.DataFrame, label: str | None = None) -> None:
    """Shade between the quantiles of one line, darker where more of them agree; at a single point, draw bars."""
    for low, high in pairs_of_quantiles(table):
        bounds = [table[column_of(quantile)].to_numpy(float) for quantile in (low, high)]
        if len(table) == 1:
            axis.vlines(table.timestamp, *bounds, color=FORECAST, alpha=0.3, linewidth=4, label=label)
        else:
            axis.fill_between(table.timestamp, *bounds, color=FORECAST, alpha=0.15, linewidth=0, label=label)
        label = None


def pairs_of_quantiles(table: pd.DataFrame) -> list[tuple[float, float]]:
    """Those that are the ends of an interval, the widest first.

    >>> pairs_of_quantiles(pd.DataFrame(columns=["q0.1", "q0.9", "q0.25", "q0.5"]))
    [(0.1, 0.9)]
    """
    quantiles = sorted(float(name[1:]) for name in table.columns if name.startswith("q") and name[1:].replace(".", "").isdigit())
    pairs = [(low, high) for low in quantiles for high in quantiles if low < 0.5 and abs(low + high - 1) < 1e-6]
    return sorted(pairs)


def _learning_curve(history: pd.DataFrame, kept: dict[str, int]) -> Figure:
    figure, (axis,) = _figure(1)
    labels = {
        "loss": "loss (training)",
        "val_loss": "val_loss (validation)",
        "kept": f"kept: epoch {', '.join(map(str, kept.values()))}",
    }
    for seed, own in history.groupby("seed"):
        axis.plot(own.epoch, own.loss, color=OTHER, label=labels.pop("loss", None))
        axis.plot(own.epoch, own.val_loss, color=FORECAST, label=labels.pop("val_loss", None))
        axis.axvline(kept[str(seed)], color=ACTUAL, linewidth=0.8, linestyle="--", label=labels.pop("kept", None))
    axis.set(xlabel="epoch", ylabel="loss, scaled units")
    axis.legend(frameon=False)
    return figure


def _error_per_step(scores: dict) -> Figure:
    figure, (axis,) = _figure(1)
    for name in reversed((MODEL, *BASELINES)):
        steps = scores[name]["per_step"]["mae"]
        axis.plot(np.arange(1, len(steps) + 1), steps, marker="o", markersize=3, **_style(name))
    axis.set(xlabel="step after the cutoff", ylabel="MAE on the test part", ylim=(0, None))
    axis.legend(frameon=False, ncols=3, fontsize="small")
    return figure


def histogram_edges(values: np.ndarray | pd.Series) -> np.ndarray:
    """Return the ascending edges of 8 to 40 equal bins that hold all values, also where these differ by no more than rounding.

    >>> histogram_edges(np.array([0.0, 16.0]))
    array([ 0.,  2.,  4.,  6.,  8., 10., 12., 14., 16.])
    """
    low, high = float(np.min(values)), float(np.max(values))
    lacking = max(1e-9 * max(abs(low), abs(high)) - (high - low), 0.0)  # Narrower bins would have equal edges in floats.
    if low == high == 0:
        lacking = 1.0
    return np.linspace(low - lacking / 2, high + lacking / 2, 1 + min(40, max(8, len(values) // 10)))


def _residuals(predictions: pd.DataFrame) -> Figure:
    """Residuals of the first series and target over time, and how they are distributed."""
    series_id, target = panels_of(predictions)[0]
    chosen = predictions[(predictions.series_id == series_id) & (predictions.target == target)]
    residuals = chosen[MODEL] - chosen.actual
    figure, (over_time, histogram) = _figure(2, height=2.6)
    over_time.scatter(chosen.timestamp, residuals, s=6, alpha=0.4, color=FORECAST, linewidths=0)
    over_time.axhline(0, color=ACTUAL, linewidth=0.8)
    over_time.set(ylabel="forecast - actual")
    title = f"residuals of {series_id}: {target}, every test window"
    over_time.set_title(textwrap.fill(title, MAX_TITLE), parse_math=False)
    histogram.hist(residuals, bins=histogram_edges(residuals), color=OTHER)
    histogram.axvline(residuals.mean(), color=FORECAST, label=f"bias {residuals.mean():.3g}")
    histogram.set(xlabel="forecast - actual", ylabel="count")
    histogram.legend(frameon=False)
    return figure
