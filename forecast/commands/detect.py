"""`detect`: points that lie outside the interval in which a run expected them, one step ahead."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from forecast.errors import DataError, RunError, check_installed
from forecast.evaluation import TrainingMetrics, bounds_of, column_of, columns_of
from forecast.reports import draw_anomalies
from forecast.runs import Run, Trained, make_continuing_windows, read_predictions, read_rows_to_continue, read_trained

log = logging.getLogger(__name__)
NEEDS_WHOLE_SEGMENTS = "the network needs the known covariates of a whole segment to forecast any of its steps."


@dataclass(frozen=True)
class Detected:
    """What `detect` found.

    anomalies: a row per point: series_id, timestamp, target, actual, forecast, low, high and score, which is its distance from
        the middle of the interval in units of half its width, so above 1.
    points: how many were looked at; expected: which fraction lies outside when nothing is odd.
    file, plot: what was written.
    """

    anomalies: pd.DataFrame
    points: int
    expected: float
    file: Path
    plot: Path


def detect(run: Run | str | Path, data: str | Path | None = None, level: float | None = None) -> Detected:
    """Write the anomalies of a run's test part, or of newer rows, as a table and a picture into the run.

    data: rows with the columns of the training data; all but the first lookback of each series are looked at.
    level: of the interval, in percent, one of the config's; None takes the widest.

    Raises:
        RunError: the run is damaged, or has no such interval.
        DataError: `data` cannot be read, or is shorter than the lookback.
    """
    check_installed("Detecting", ["matplotlib"])
    run = run if isinstance(run, Run) else Run.open(run)
    trained = read_trained(run)
    levels = trained.config.intervals.level if trained.intervals and trained.config.intervals else []
    if not levels or (level is not None and level not in levels):
        known = f"It has {', '.join(f'{known:g}' for known in levels)}." if levels else "Train again with intervals."
        asked = "no intervals" if level is None else f"no {level:g}% interval"
        raise RunError(f"the run has {asked}.", known, str(run.directory))
    level = level if level is not None else max(levels)
    low, high = (column_of(bound) for bound in bounds_of(level))
    points = _of_data(run, trained, data) if data else _of_test_part(run)
    points = points.rename(columns={low: "low", high: "high"})
    points = points[["series_id", "timestamp", "target", "actual", "forecast", "low", "high"]]
    half = np.maximum((points.high - points.low) / 2, np.finfo(np.float32).tiny)
    points = points.assign(score=(points.actual - (points.low + points.high) / 2).abs() / half)
    anomalies = points[points.score > 1].reset_index(drop=True)
    file, plot = run.locate_anomalies(Path(data) if data else None)
    run.write_table(file, anomalies)
    run.write_figure(plot, draw_anomalies(points, anomalies, level))
    return Detected(anomalies, len(points), 1 - level / 100, file, plot)


def _of_test_part(run: Run) -> pd.DataFrame:
    """What the run said of the test part, one step ahead."""
    table = read_predictions(run, lambda table: table.step == 1)
    known = run.read(run.metrics, TrainingMetrics).test.windows * table.target.nunique()
    if len(table) < known:
        log.warning(
            "%s holds %d of %d forecasts one step ahead; name the data to look at all.", run.predictions, len(table), known
        )
    return table


def _of_data(run: Run, trained: Trained, data: str | Path) -> pd.DataFrame:
    """What the run says of rows that it has not seen, one step ahead."""
    panel = read_rows_to_continue(run, trained, data)
    forward, trained = trained.forward("numpy"), replace(trained.for_panel(panel), horizon=1)
    before = trained.known_steps  # Rows whose known covariates a forecast of one step needs.
    if before > 1:
        log.warning("%s: the last %d rows of each series are not judged: %s", data, before - 1, NEEDS_WHOLE_SEGMENTS)
    windows = make_continuing_windows(panel, trained, max_windows=len(panel.values), before=before)
    if not len(windows):
        lookback = trained.network.lookback
        raise DataError(f"there is no row after the first {lookback}, which are looked back on.", "Give more rows.", str(data))
    # A filled row before the point may have been filled with the help of what is judged here.
    filled = panel.filled[:, : len(panel.targets)].any(axis=1)
    windows = windows.select(~(filled[windows.first] | filled[windows.first - 1]))
    if not len(windows):
        raise DataError("every row to look at was filled, or follows one that was.", "Give measured rows.", str(data))
    forecasts, made = trained.forecast(windows, forward)
    targets = len(panel.targets)
    return pd.DataFrame(
        {
            "series_id": np.array(panel.series_ids)[windows.series].repeat(targets),
            "timestamp": panel.timestamps[windows.first].repeat(targets),
            "target": np.tile(panel.targets, len(windows)),
            "actual": panel.target_values[windows.first].ravel(),
            "forecast": forecasts.ravel(),
            **columns_of(trained.intervals.quantiles, made),
        }
    )
