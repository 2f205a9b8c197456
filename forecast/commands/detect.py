"""`detect`: find points outside the interval in which a run expected them, one step ahead."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from forecast.errors import DataError, RunError, check_installed
from forecast.evaluation import Intervals, TrainingMetrics, bounds_of, column_of, columns_of
from forecast.reports import draw_anomalies
from forecast.runs import Run, Trained, make_continuing_windows, read_predictions, read_rows_to_continue, read_trained

log = logging.getLogger(__name__)
NEEDS_WHOLE_SEGMENTS = "the network needs the known covariates of a whole segment to forecast any of its steps."


@dataclass(frozen=True)
class Detected:
    """The result of `detect`.

    anomalies: a row per point outside its interval: series_id, timestamp, target, actual, forecast, low, high and score, the
        distance from the middle of the interval in units of half its width, so above 1.
    points: number of points that were compared. expected: the share of points outside their interval if nothing is odd.
    file, plot: the files that were written.
    """

    anomalies: pd.DataFrame
    points: int
    expected: float
    file: Path
    plot: Path


def detect(run: Run | str | Path, data: str | Path | None = None, level: float | None = None) -> Detected:
    """Write the anomalies of the test set of a run, or of newer rows, as a table and a picture into the run.

    data: rows with the columns of the training data; all but the first lookback of each series are compared.
    level: level of the interval in percent, which must be in the config. None means the widest interval.

    Raises:
        RunError: the run is damaged, or has no such interval.
        DataError: `data` cannot be read, or is shorter than the lookback.
    """
    check_installed("Detecting anomalies", ["matplotlib"])
    run = run if isinstance(run, Run) else Run.open(run)
    trained = read_trained(run)
    intervals, level = _choose_level(run, trained, level)
    points = _forecast_points(run, trained, intervals, data) if data else _read_points(run)
    low, high = (column_of(bound) for bound in bounds_of(level))
    points = points.rename(columns={low: "low", high: "high"})
    points = points[["series_id", "timestamp", "target", "actual", "forecast", "low", "high"]]
    half = np.maximum((points.high - points.low) / 2, np.finfo(np.float32).tiny)
    points = points.assign(score=(points.actual - (points.low + points.high) / 2).abs() / half)
    anomalies = points[points.score > 1].reset_index(drop=True)
    file, plot = run.locate_anomalies(Path(data) if data else None)
    run.write_table(file, anomalies)
    run.write_figure(plot, draw_anomalies(points, anomalies, level))
    return Detected(anomalies, len(points), 1 - level / 100, file, plot)


def _choose_level(run: Run, trained: Trained, level: float | None) -> tuple[Intervals, float]:
    """Return the intervals of a run, and one of their levels: the widest unless `level` is set."""
    if not trained.intervals or not trained.config.intervals:
        raise RunError("the run has no intervals.", "Train again with intervals.", str(run.directory))
    levels = trained.config.intervals.level
    if level is not None and level not in levels:
        remedy = f"Available levels: {', '.join(f'{level:g}' for level in levels)}."
        raise RunError(f"the run has no {level:g}% interval.", remedy, str(run.directory))
    return trained.intervals, max(levels) if level is None else level


def _read_points(run: Run) -> pd.DataFrame:
    """Read the forecasts of the test set, one step ahead."""
    table = read_predictions(run, lambda table: table.step == 1)
    count = run.read(run.metrics_file, TrainingMetrics).test.windows * table.target.nunique()
    if len(table) < count:
        message = "%s has only %d of %d one-step forecasts. To compare all, pass the data file with --data."
        log.warning(message, run.predictions_file, len(table), count)
    return table


def _forecast_points(run: Run, trained: Trained, intervals: Intervals, data: str | Path) -> pd.DataFrame:
    """Forecast rows that the run has not seen, one step ahead."""
    panel = read_rows_to_continue(run, trained, data)
    forward, trained = trained.forward("numpy"), replace(trained.for_panel(panel), horizon=1)
    before = trained.known_steps  # Rows whose known covariates a forecast of one step needs.
    if before > 1:
        log.warning("%s: the last %d rows of each series are not compared: %s", data, before - 1, NEEDS_WHOLE_SEGMENTS)
    windows = make_continuing_windows(panel, trained, max_windows=len(panel.values), before=before)
    if not len(windows):
        problem = f"the file has no rows after the first {trained.network.lookback}, which the network needs as its lookback."
        raise DataError(problem, "Provide more rows.", str(data))
    # A filled row before the point may have been filled with the help of this point.
    filled = np.asarray(panel.filled[:, : len(panel.targets)].any(axis=1))
    windows = windows.select(~(filled[windows.first] | filled[windows.first - 1]))
    if not len(windows):
        raise DataError(
            "every row to compare was filled, or follows a filled row.", "Provide rows with measured values.", str(data)
        )
    forecasts, quantiles = trained.forecast(windows, forward, panel)
    assert quantiles is not None  # The run has intervals.
    targets = len(panel.targets)
    return pd.DataFrame(
        {
            "series_id": np.array(panel.series_ids)[windows.series].repeat(targets),
            "timestamp": panel.timestamps[windows.first].repeat(targets),
            "target": np.tile(panel.targets, len(windows)),
            "actual": panel.target_values[windows.first].ravel(),
            "forecast": forecasts.ravel(),
            **columns_of(intervals.quantiles, quantiles),
        }
    )
