"""Pictures are tested by what they draw."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PolyCollection

from forecast.reports.plots import _draw_forecast

QUANTILES = ["q0.025", "q0.1", "q0.9", "q0.975"]
VERDICT = (
    "Beats naive by 49% (95% CI 38..61), seasonal naive by 46% (95% CI 32..60), drift by 49% (95% CI 38..60); loses to linear."
)


def forecasts(horizon: int, cutoffs: int, series: str = "a", target: str = "y") -> pd.DataFrame:
    """A row per window and step; the forecast is the number of its day, its intervals reach 1 and 2 to each side."""
    cutoff, step = (grid.ravel() for grid in np.meshgrid(np.arange(cutoffs), np.arange(1, horizon + 1), indexing="ij"))
    days = (cutoff + step).astype(float)
    table = pd.DataFrame({"series_id": series, "cutoff": cutoff, "timestamp": cutoff + step, "step": step, "target": target})
    for column in ("cutoff", "timestamp"):
        table[column] = pd.Timestamp("2024-01-01") + pd.to_timedelta(table[column], "D")
    table = table.assign(actual=days + 0.5, forecast=days, seasonal_naive=days - 7)
    return table.assign(**{name: days + offset for name, offset in zip(QUANTILES, (-2, -1, 1, 2), strict=True)})


def future(predictions: pd.DataFrame) -> pd.DataFrame:
    """The forecast that follows them."""
    last = predictions[predictions.cutoff == predictions.cutoff.max()].drop(columns=["cutoff", "actual", "seasonal_naive"])
    return last.assign(timestamp=last.timestamp + pd.Timedelta(len(last), "D"))


def draw(predictions: pd.DataFrame, ahead: pd.DataFrame):
    """The picture of these forecasts."""
    metrics = SimpleNamespace(verdict=VERDICT)
    return _draw_forecast(SimpleNamespace(predictions=predictions, forecast=ahead, actual=None, metrics=metrics))


def lines(axis, label: str) -> list:
    """Every line that is drawn like the one with this label."""
    (named,) = [line for line in axis.lines if line.get_label() == label]
    return [line for line in axis.lines if (line.get_color(), line.get_linestyle()) == (named.get_color(), named.get_linestyle())]


def test_a_horizon_of_1_is_one_line_through_the_whole_test_set():
    predictions = forecasts(1, 500)
    figure = draw(predictions, future(predictions))
    (axis,) = figure.axes
    for label, offset in (("forecast", 0), ("actual", 0.5), ("seasonal naive", -7)):
        (line,) = lines(axis, label)
        assert line.get_ydata().tolist() == (np.arange(1, 501) + offset).tolist()
    shades = [shade.get_datalim(axis.transData) for shade in axis.collections if isinstance(shade, PolyCollection)]
    assert [(shade.y0, shade.y1) for shade in shades] == [(-1, 502), (0, 501)], "both intervals, over all windows"
    (ahead,) = lines(axis, "future")
    assert ahead.get_marker() == "o"
    assert pd.DatetimeIndex(ahead.get_xdata()).tolist() == [pd.Timestamp("2024-01-01") + pd.Timedelta(501, "D")]
    bars = [bar.get_segments()[0][:, 1].tolist() for bar in axis.collections if isinstance(bar, LineCollection)]
    assert bars == [[498, 502], [499, 501]], "the intervals of a single step are bars"


@pytest.mark.parametrize(("horizon", "windows"), [(2, 60), (3, 40), (12, 12), (48, 12)])
def test_longer_horizons_are_lines_that_do_not_overlap(horizon, windows):
    predictions = forecasts(horizon, 800)
    (axis,) = draw(predictions, future(predictions)).axes
    drawn = lines(axis, "forecast")
    assert [len(line.get_ydata()) for line in drawn] == [horizon] * windows
    values = np.concatenate([line.get_ydata() for line in drawn])
    last = 799 + horizon
    assert values.tolist() == list(range(last - len(values) + 1, last + 1)), "each step once, up to the last"
    assert len([shade for shade in axis.collections if isinstance(shade, PolyCollection)]) == 2 * (windows + 1)
    assert len(lines(axis, "future")[0].get_ydata()) == horizon


def test_every_series_and_target_has_a_panel():
    predictions = pd.concat([forecasts(1, 30, series, target) for series in "ab" for target in "yz"])
    axes = draw(predictions, predictions[:0]).axes
    assert [axis.get_title("left") for axis in axes] == ["a: y", "a: z", "b: y", "b: z"]


def test_titles_are_not_clipped():
    predictions = forecasts(1, 30, series="a name that goes on " * 8)
    figure = draw(predictions, predictions[:0])
    figure.savefig(io.BytesIO())
    (axis,) = figure.axes
    for text in (figure._suptitle, axis._left_title):
        box = text.get_window_extent()
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
