"""The interactive charts of a run's page. page.js draws them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from forecast.evaluation import ALPHA, MODEL, Region, Scores, column_of, format_number, ljung_box
from forecast.reports.page import Band, Chart, Frame, Line, format_timestamp
from forecast.reports.selection import histogram_edges, limit_errors, pairs_of_quantiles, panels_of, select_cutoffs, select_panel
from forecast.runs import Gradients
from forecast.windows import SUBSETS, subset_name

MAX_POINTS = 3000  # Timestamps in one chart, the newest.
MAX_BANDS = 3
VIEW_HORIZONS, MIN_VIEW = 6, 60  # Horizons before the future that a chart shows at first, and steps at least.
MAX_FRAME_VALUES = 6000  # Numbers of the forecasts from single cutoffs.
MAX_RESIDUALS = 2000
MAX_LAGS = 40


def chart_forecast(
    name: str,
    title: str,
    predictions: pd.DataFrame,
    future: pd.DataFrame,
    history: pd.DataFrame,
    freq: str | None,
    fitted: pd.Series[float] | None = None,
) -> Chart:
    """Return test windows one horizon apart, so that each timestamp has one forecast, then the forecast after the last row.

    A slider shows the windows of single cutoffs. At first, the chart shows the last horizons.

    history: actual values and sets of earlier rows, columns `actual` and `subset`, by timestamp. fitted: forecasts of the
    training set by timestamp. freq: None if missing steps cannot be told.
    """
    tested = predictions[predictions.cutoff.isin(select_cutoffs(predictions))].drop_duplicates("timestamp").set_index("timestamp")
    history = history[~history.index.duplicated()]  # In autumn, an hour occurs twice.
    actual = predictions.drop_duplicates("timestamp").set_index("timestamp").actual
    if len(history):
        actual = actual.combine_first(history.actual.astype(float))
    future = future.drop_duplicates("timestamp").set_index("timestamp")
    index = actual.index.union(tested.index).union(future.index).sort_values()[-MAX_POINTS:]
    if freq:  # Missing steps become gaps.
        index = index.union(pd.date_range(index[0], index[-1], freq=freq))[-MAX_POINTS:]
    index, forecasts = pd.DatetimeIndex(index), pd.concat([tested, future])
    lines = [
        Line("actual", actual.reindex(index).to_numpy(float), "actual"),
        Line("forecast", tested[MODEL].reindex(index).to_numpy(float), "forecast", strong=True),
        Line("seasonal naive", tested.seasonal_naive.reindex(index).to_numpy(float), "seasonal_naive", dashed=True),
    ]
    columns = {1: MODEL, 2: "seasonal_naive"}  # The lines that the slider changes.
    if fitted is not None:
        lines.append(Line("network, training set", fitted.reindex(index).to_numpy(float), "network"))
    if len(future):
        lines.append(Line("future", future[MODEL].reindex(index).to_numpy(float), "forecast", strong=True, dashed=True))
    bands = []
    for low, high in pairs_of_quantiles(forecasts)[:MAX_BANDS]:
        label = f"{100 * (high - low):.4g}% interval"
        bands.append(Band(label, len(lines), len(lines) + 1, 0.16))
        for quantile, end in ((low, "low"), (high, "high")):
            columns[len(lines)] = column_of(quantile)
            lines.append(
                Line(f"{label}, {end}", forecasts[column_of(quantile)].reindex(index).to_numpy(float), "forecast", "edge")
            )
    description = f"Actual values and forecasts from {format_timestamp(index[0])}"
    if steps := len(future):
        description += f", and {steps} {'step' if steps == 1 else 'steps'} ahead, to {format_timestamp(future.index[-1])}"
    description += "."
    begin = predictions.timestamp.min()
    view = max(0, len(index) - len(future) - max(MIN_VIEW, VIEW_HORIZONS * int(predictions.step.max())))
    return Chart(
        name, title, description, _seconds(index), lines, "", title.rpartition(": ")[2], bands, _find_unit(index),
        spans=_find_spans(history.subset, begin, future.index), view=float(_seconds(index)[view]),
        frames=_make_frames(predictions, index, columns),
    )  # fmt: skip


def _find_unit(stamps: pd.DatetimeIndex) -> Literal["year", "month", "day", "minute", "second"]:
    """Return the smallest unit in which timestamps differ.

    >>> _find_unit(pd.DatetimeIndex(["2024-01-01", "2024-03-01"])), _find_unit(pd.DatetimeIndex(["2024-01-01 12:00"]))
    ('month', 'minute')
    """
    if (stamps.second != 0).any():
        return "second"
    if (stamps != stamps.normalize()).any():
        return "minute"
    is_month = (stamps.day == 1).all() or stamps.is_month_end.all()
    return "day" if not is_month else "year" if len(set(stamps.month)) == 1 and len(stamps) > 1 else "month"


def _find_spans(subsets: pd.Series, test: pd.Timestamp, future: pd.Index) -> list[tuple[str, float]]:
    """Return the names of the sets and of the future, with the first second of each."""
    names = {subset: subset_name(subset) for subset in SUBSETS} | {"": "not used"}
    starts = {names[subset]: rows.index.min() for subset, rows in subsets.groupby(subsets, sort=False) if subset in names}
    starts |= {"test set": min(test, starts.get("test set", test))} | ({"future": future[0]} if len(future) else {})
    ordered = sorted(starts.items(), key=lambda item: item[1])
    return [(name, float(_seconds(pd.DatetimeIndex([start]))[0])) for name, start in ordered]


def _make_frames(predictions: pd.DataFrame, index: pd.DatetimeIndex, columns: Mapping[int, str]) -> list[Frame]:
    """Return the forecasts from single cutoffs, evenly spaced. columns: those of the predictions, by number of the line."""
    cutoffs = predictions[predictions.timestamp >= index[0]].cutoff.drop_duplicates().sort_values()
    count = min(len(cutoffs), max(2, MAX_FRAME_VALUES // (int(predictions.step.max()) * len(columns))))
    frames = []
    for cutoff in cutoffs.iloc[np.unique(np.linspace(0, len(cutoffs) - 1, count).round().astype(int))]:
        window = predictions[predictions.cutoff == cutoff].drop_duplicates("timestamp").set_index("timestamp")
        start, end = index.searchsorted([window.index.min(), window.index.max()])
        window = window.reindex(index[start : end + 1])
        lines = {number: window[name].to_numpy(float) for number, name in columns.items()}
        frames.append(Frame(format_timestamp(cutoff), int(start), lines))
    return frames


def _seconds(timestamps: pd.Index | pd.Series) -> npt.NDArray[np.int64]:
    """Return seconds since 1970."""
    return timestamps.to_numpy().astype("datetime64[s]").astype(np.int64)


def chart_error_per_step(scores: Scores) -> Chart:
    """Return the MAE of every forecaster by horizon step."""
    steps = {name: np.array(scores.of(name).per_step.mae, float) for name in scores.labels}
    lines = [Line(scores.labels[name], values, name, strong=name == MODEL) for name, values in steps.items()]
    first, last = format_number(steps[MODEL][0]), format_number(steps[MODEL][-1])
    description = f"MAE by step after the cutoff. The MAE of the forecast is {first} at the first step and {last} at the last."
    x = np.arange(1, len(steps[MODEL]) + 1)
    limit = limit_errors(steps.values(), steps[MODEL])
    x_label = "step after the cutoff"
    return Chart("error-per-step", "Error per step", description, x, lines, x_label, "MAE", zero=True, limit=limit)


def chart_learning_curve(history: pd.DataFrame, saved_epoch: int, seed: int) -> Chart:
    """Return the losses of one seed by epoch."""
    losses, errors = history.loss.to_numpy(float), history.val_loss.to_numpy(float)
    lines = [
        Line("loss (training)", losses, "naive"),
        Line("val_loss (validation)", errors, "forecast", strong=True),
        Line("saved", np.where(history.epoch == saved_epoch, errors, np.nan), "actual", kind="dots"),
    ]
    description = f"Seed {seed}: the weights of epoch {saved_epoch} of {history.epoch.max()} were saved."
    values = np.concatenate([errors, losses])
    is_wide = bool(0 < 10 * np.nanmin(values) < np.nanmax(values))  # A logarithmic axis shows whole powers of ten.
    x = history.epoch.to_numpy()
    return Chart(f"learning-{seed}", "Learning curve", description, x, lines, "epoch", "loss, scaled units", log=is_wide)


def chart_regions(regions: list[Region]) -> Chart:
    """Return the importance of each region of the lookback, the oldest steps first."""
    rises = np.array([100 * region.rise for region in regions])
    largest = regions[int(np.argmax(rises))]
    description = (
        f"Increase in the error when a region of the lookback is hidden. It is largest ({max(rises):.0f}%) for the steps"
        f" {largest.begin} to {largest.end} before the first forecast step."
    )
    x = np.array([-(region.begin + region.end) / 2 for region in regions])
    bars = [Line("increase in the error", rises, "naive", kind="bars")]
    return Chart("regions", "Importance of the lookback", description, x, bars, "steps before the first forecast step", "%")


def chart_gradients(gradients: Gradients, linear_skip: bool) -> Chart:
    """Return the norms of the gradient by step of the lookback. linear_skip: whether the network has one."""
    trained, untrained = np.array(gradients.network, float), np.array(gradients.simple_rnn, float)
    lines = [
        Line("this network, trained", np.where(trained > 0, trained, np.nan), "forecast"),
        Line("a simple RNN, untrained", np.where(untrained > 0, untrained, np.nan), "naive"),
    ]
    description = "Gradient of the last state with respect to the input at each step. Where it vanishes, nothing is learned."
    description += (
        " The linear skip connection, which this chart does not include, gives the forecast direct access to old steps."
        * linear_skip
    )
    x, y_label = np.arange(len(trained)) - len(trained) + 1, "norm of the gradient"
    return Chart("gradients", "Gradient per step", description, x, lines, "steps before the last", y_label, log=True)


def chart_residuals(predictions: pd.DataFrame) -> Iterator[Chart]:
    """Yield the residuals of the first series and target, one step ahead: over time, distribution and autocorrelation."""
    if predictions.empty:  # A thinned table of many series may have no window of those that are drawn.
        return
    series_id, target = panels_of(predictions)[0]
    rows = select_panel(predictions[predictions.step == 1], series_id, target).sort_values("timestamp")
    residuals = (rows[MODEL] - rows.actual).to_numpy(float)
    newest = residuals[-MAX_RESIDUALS:]
    title = f"Residuals of {series_id}: {target}, one step ahead"
    description = f"Forecast minus actual, {len(residuals)} windows; bias {format_number(residuals.mean(), digits=3)}."
    dots = [Line("residual", newest, "forecast", kind="dots"), Line("zero", np.zeros(len(newest)), "quiet")]
    x = _seconds(rows.timestamp)[-MAX_RESIDUALS:]
    unit = _find_unit(pd.DatetimeIndex(rows.timestamp))
    yield Chart("residuals-time", title, description, x, dots, "", "forecast - actual", unit=unit)
    if np.ptp(residuals) <= 1e-9 * np.abs(residuals).max():  # They differ only by rounding.
        return
    counts, edges = np.histogram(residuals, bins=histogram_edges(residuals))
    bars = [Line("windows", counts, "naive", kind="bars")]
    quartiles = " and ".join(format_number(end, digits=3) for end in np.quantile(residuals, [0.25, 0.75]))
    description = f"Distribution of the residuals: half of them lie between {quartiles}."
    x = (edges[:-1] + edges[1:]) / 2
    yield Chart("residuals-histogram", "Distribution", description, x, bars, "forecast - actual", "windows")
    lags = min(MAX_LAGS, len(residuals) // 4)
    if lags < 1:
        return
    correlations, p_value = ljung_box(residuals, lags)
    conclusion = "They are correlated, so there is more to learn." if p_value < ALPHA else "They look like noise."
    description = f"Autocorrelation of the residuals. Ljung-Box test over {lags} lags: p = {p_value:.2g}. {conclusion}"
    bound = np.full(lags, 1.96 / np.sqrt(len(residuals)))
    lines = [
        Line("autocorrelation", correlations, "naive", kind="bars"),
        Line("95% bound", bound, "quiet", dashed=True),
        Line("95% bound below", -bound, "quiet", dashed=True),
    ]
    yield Chart("residuals-correlation", "Autocorrelation", description, np.arange(1, lags + 1), lines, "lag", "correlation")
