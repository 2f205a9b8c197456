"""Draw PNG images of a training run or a backtest, and of anomalies."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from forecast.errors import RunError
from forecast.evaluation import MODEL, Scores, column_of, split_by_seed
from forecast.reports.palette import COLOURS
from forecast.reports.result import TrainingResult, read_result
from forecast.reports.selection import histogram_edges, limit_errors, pairs_of_quantiles, panels_of, select_cutoffs, select_panel
from forecast.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MIN_WINDOWS = 12  # Horizons in one picture, or more of short ones,
MIN_STEPS = 120  # to show so many steps.
MAX_TITLE, MAX_SMALL = 85, 120  # Characters that fit into a line of a picture, as a title and in small letters.
ACTUAL, FORECAST, BASELINE, QUIET = (COLOURS[name][0] for name in ("actual", "forecast", "seasonal_naive", "quiet"))


def write_plots(result: TrainingResult) -> None:
    """Draw every plot of a training or a backtest into the `plots` folder of its run."""
    evidence = result.evidence
    figures = {"error_per_step.png": _draw_error_per_step(result.metrics.test)}
    if len(result.predictions):  # A thinned table of many series may have no window of those that are drawn.
        figures["forecast.png"] = _draw_forecast(result)
        figures["residuals.png"] = _draw_residuals(result.predictions)
        if result.fitted is not None and result.actual is not None and len(result.fitted):
            figures["fit.png"] = _draw_fit(result, result.fitted, result.actual)
    if result.folds is not None:
        figures["error_per_fold.png"] = _draw_error_per_fold(result.folds, result.metrics.test.labels)
    if evidence and evidence.history is not None:  # An update of the intervals alone has no history.
        figures["learning_curve.png"] = _draw_learning_curve(evidence.history, evidence.metrics.kept_epochs)
    for name, figure in figures.items():
        result.run.write_figure(result.run.plots / name, figure)


def plot(run: Run | str | Path, series: str | None = None) -> Figure:
    """Return a picture of the last actual values, the forecasts of the test set and the forecast after the last row.

    run: a finished training or backtest. series: the id of a series; by default those that the report shows.

    Raises:
        RunError: the run did not finish or is damaged, or it has no forecasts of this series.
    """
    import matplotlib as mpl
    from matplotlib import pyplot

    pyplot.switch_backend(mpl.get_backend())  # Once pyplot has loaded its backend, notebooks show figures.
    result = read_result(run if isinstance(run, Run) else Run.open_scored(run), series)
    if result.predictions.empty:
        raise RunError("predictions.csv has no rows to draw.", "Specify another series.", str(result.run.predictions_file))
    return _draw_forecast(result)


def draw_anomalies(points: pd.DataFrame, anomalies: pd.DataFrame, level: float) -> Figure:
    """Draw the actual values, the interval in which each was expected one step ahead, and the values outside."""
    panels = panels_of(anomalies if len(anomalies) else points)
    figure, axes = _make_figure(len(panels))
    for axis, (series_id, target) in zip(axes, panels, strict=True):
        rows, outside = (select_panel(table, series_id, target) for table in (points, anomalies))
        axis.fill_between(rows.timestamp, rows.low, rows.high, color=QUIET, alpha=0.3, linewidth=0, label=f"{level:g}% interval")
        axis.plot(rows.timestamp, rows.actual, color=ACTUAL, linewidth=1, label="actual")
        axis.scatter(outside.timestamp, outside.actual, color=FORECAST, s=18, zorder=3, label="anomaly")
        _set_title(axis, series_id, target)
    axes[0].legend(ncols=3, frameon=False, fontsize="small", loc="upper left")
    return figure


def _make_figure(rows: int, height: float = 3.4) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, height * rows), layout="constrained")
    axes = list(figure.subplots(rows, 1, squeeze=False)[:, 0])
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    return figure, axes


def _set_title(axis: Axes, series_id: str, target: str) -> None:
    axis.set_title(textwrap.fill(f"{series_id}: {target}", MAX_TITLE), loc="left", parse_math=False)


def _draw_forecast(result: TrainingResult) -> Figure:
    """Draw the steps before the test set, windows whose cutoffs lie one horizon apart, and the forecast after the last row.

    Each timestamp has one forecast, and each window is a line. With a horizon of 1, one line goes through the whole test set.
    """
    predictions, actual = result.predictions, result.actual
    future = predictions[:0] if result.forecast is None else result.forecast  # Known covariates may be missing.
    panels = panels_of(predictions)
    figure, axes = _make_figure(len(panels))
    for axis, (series_id, target) in zip(axes, panels, strict=True):
        rows = select_panel(predictions, series_id, target)
        horizon = int(rows.step.max())
        cutoffs = select_cutoffs(rows)
        if horizon > 1:
            cutoffs = cutoffs.iloc[: max(MIN_WINDOWS, MIN_STEPS // horizon)]
        rows = rows[rows.cutoff.isin(cutoffs)].sort_values("timestamp")
        windows = [window for _, window in rows.groupby("cutoff")] if horizon > 1 else [rows]
        begin, measured = rows.timestamp.min(), rows.rename(columns={"actual": target})
        stored = predictions[:0] if actual is None else actual[actual.series_id == series_id]
        if (stored.timestamp >= begin).any():  # They include rows without a scored window, and those before.
            measured = stored[stored.timestamp <= rows.timestamp.max()]
            measured = measured.tail(len(rows) + int((measured.timestamp >= begin).sum()))
            axis.axvline(begin, color=QUIET, linewidth=0.8, linestyle=":")
        axis.plot(measured.timestamp, measured[target], color=ACTUAL, linewidth=1.2, label="actual")
        for window in windows:
            is_first = window is windows[0]  # Only the first has labels, for the legend.
            _draw_intervals(axis, window, with_labels=is_first)
            _draw_line(axis, window, MODEL, "forecast" if is_first else None, color=FORECAST, linewidth=1.2)
            baseline = "seasonal naive" if is_first else None
            _draw_line(axis, window, "seasonal_naive", baseline, color=BASELINE, linewidth=0.8, linestyle="--")
        ahead = select_panel(future, series_id, target)
        _draw_intervals(axis, ahead)
        _draw_line(axis, ahead, MODEL, "future", color=FORECAST, linewidth=2, linestyle=":")
        _set_title(axis, series_id, target)
    axes[0].legend(ncols=6, frameon=False, fontsize="small", loc="lower left", bbox_to_anchor=(0, 1.06))
    figure.suptitle(textwrap.fill(result.metrics.verdict, MAX_SMALL), fontsize="small", color="#555555")
    return figure


def _draw_fit(result: TrainingResult, fitted: pd.DataFrame, actual: pd.DataFrame) -> Figure:
    """Draw all actual values, what the network alone forecasts for its training set, and the forecasts of the test set."""
    panels = panels_of(result.predictions)
    figure, axes = _make_figure(len(panels))
    for axis, (series_id, target) in zip(axes, panels, strict=True):
        rows, trained = (select_panel(table, series_id, target) for table in (result.predictions, fitted))
        measured = actual[actual.series_id == series_id]
        tested = rows[rows.cutoff.isin(select_cutoffs(rows))].sort_values("timestamp")
        axis.plot(measured.timestamp, measured[target], color=ACTUAL, linewidth=1.2, label="actual")
        axis.plot(trained.timestamp, trained.fitted, color=COLOURS["network"][0], linewidth=1.2, label="network, training set")
        _draw_line(axis, tested, MODEL, "forecast, test set", color=FORECAST, linewidth=1.2)
        _set_title(axis, series_id, target)
    axes[0].legend(ncols=3, frameon=False, fontsize="small", loc="lower left", bbox_to_anchor=(0, 1.06))
    return figure


def _draw_line(axis: Axes, table: pd.DataFrame, column: str, label: str | None, **style: Any) -> None:
    """Draw a column over time; a single point gets a marker, since no line leads to it."""
    axis.plot(table.timestamp, table[column], marker="o" if len(table) == 1 else None, markersize=5, label=label, **style)


def _draw_intervals(axis: Axes, table: pd.DataFrame, with_labels: bool = False) -> None:
    """Shade between the quantiles of one line, darker where more intervals overlap; at a single point, draw bars."""
    for number, (begin, end) in enumerate(pairs_of_quantiles(table)):
        low, high = (table[column_of(quantile)].to_numpy(float) for quantile in (begin, end))
        label = f"{100 * (end - begin):.4g}% interval" if with_labels else None
        if len(table) == 1:
            axis.vlines(table.timestamp, low, high, color=FORECAST, alpha=0.3, linewidth=4, label=label or "")
        else:
            axis.fill_between(table.timestamp, low, high, color=FORECAST, alpha=0.15 + 0.1 * number, linewidth=0, label=label)


def _draw_forecasters(columns: dict[str, Any], labels: Mapping[str, str], x: Any, **axis_settings: Any) -> Figure:
    """Draw the errors of every forecaster over x, those of the network on top. columns: errors by forecaster."""
    from matplotlib.ticker import MaxNLocator

    figure, (axis,) = _make_figure(1)
    for name in reversed(list(labels)):
        width = 2.2 if name == MODEL else 1.2
        axis.plot(x, columns[name], marker="o", markersize=3, label=labels[name], color=COLOURS[name][0], linewidth=width)
    axis.set(ylim=(0, limit_errors(columns.values(), columns[MODEL])), **axis_settings)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    lines = sorted(axis.lines, key=lambda line: -float(np.asarray(line.get_ydata())[-1]))  # As they end, from top to bottom.
    axis.legend(handles=lines, frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _draw_error_per_fold(folds: pd.DataFrame, labels: Mapping[str, str]) -> Figure:
    columns = {name: folds[f"mae_{name}"] for name in labels}
    return _draw_forecasters(columns, labels, folds.fold, xlabel="fold", ylabel="MAE")


def _draw_error_per_step(scores: Scores) -> Figure:
    columns = {name: scores.of(name).per_step.mae for name in scores.labels}
    steps = np.arange(1, len(columns[MODEL]) + 1)
    return _draw_forecasters(columns, scores.labels, steps, xlabel="step after the cutoff", ylabel="MAE on the test set")


def _draw_learning_curve(history: pd.DataFrame, kept_epochs: dict[int, int]) -> Figure:
    figure, (axis,) = _make_figure(1)
    labels = {
        "loss": "loss (training)",
        "val_loss": "val_loss (validation)",
        "saved": f"saved: epoch {', '.join(map(str, kept_epochs.values()))}",
    }
    for seed, curve in split_by_seed(history):
        axis.plot(curve.epoch, curve.loss, color=QUIET, label=labels.pop("loss", None))
        axis.plot(curve.epoch, curve.val_loss, color=FORECAST, label=labels.pop("val_loss", None))
        axis.axvline(kept_epochs[seed], color=ACTUAL, linewidth=0.8, linestyle="--", label=labels.pop("saved", None))
    axis.set(xlabel="epoch", ylabel="loss, scaled units")
    axis.legend(frameon=False)
    return figure


def _draw_residuals(predictions: pd.DataFrame) -> Figure:
    """Draw the residuals of the first series and target over time, and their distribution."""
    series_id, target = panels_of(predictions)[0]
    rows = select_panel(predictions, series_id, target)
    residuals = rows[MODEL] - rows.actual
    figure, (over_time, histogram) = _make_figure(2, height=2.6)
    over_time.scatter(rows.timestamp, residuals, s=6, alpha=0.4, color=FORECAST, linewidths=0)
    over_time.axhline(0, color=ACTUAL, linewidth=0.8)
    over_time.set(ylabel="forecast - actual")
    title = f"residuals of {series_id}: {target}, every test window"
    over_time.set_title(textwrap.fill(title, MAX_TITLE), parse_math=False)
    histogram.hist(residuals, bins=list(histogram_edges(residuals)), color=QUIET)
    histogram.axvline(residuals.mean(), color=FORECAST, label=f"bias {residuals.mean():.3g}")
    histogram.set(xlabel="forecast - actual", ylabel="count")
    histogram.legend(frameon=False)
    return figure
