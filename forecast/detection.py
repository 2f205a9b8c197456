"""`detect`: points that lie outside the interval in which a run expected them, one step ahead."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from forecast.errors import RunError
from forecast.intervals import bounds, column_of, columns_of
from forecast.reports import anomalies_figure
from forecast.runs import Run
from forecast.trained import Trained, continuing_windows, read_rows_of, read_trained


@dataclass(frozen=True)
class Detected:
    """What `detect` found.

    anomalies: a row per point: series_id, timestamp, target, actual, forecast, low, high and score, which is its distance from
        the forecast in units of that of the interval's end, so above 1.
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
    run = run if isinstance(run, Run) else Run.open(run)
    trained = read_trained(run)
    levels = trained.config.intervals.level if trained.intervals and trained.config.intervals else []
    if not levels or (level is not None and level not in levels):
        known = f"It has {', '.join(f'{known:g}' for known in levels)}." if levels else "Train again with intervals."
        asked = "no intervals" if level is None else f"no {level:g}% interval"
        raise RunError(f"the run has {asked}.", known, str(run.directory))
    level = level if level is not None else max(levels)
    low, high = (column_of(bound) for bound in bounds(level))
    points = _of_data(run, trained, data) if data else _of_test_part(run)
    points = points.rename(columns={low: "low", high: "high"})
    points = points[["series_id", "timestamp", "target", "actual", "forecast", "low", "high"]]
    reach = np.where(points.actual > points.forecast, points.high - points.forecast, points.forecast - points.low)
    outside = (points.actual < points.low) | (points.actual > points.high)
    score = (points.actual - points.forecast).abs() / np.maximum(reach, np.finfo(float).tiny)
    anomalies = points.assign(score=score)[outside].reset_index(drop=True)
    file, plot = run.anomalies_of(Path(data) if data else None)
    run.write_table(file, anomalies)
    run.draw(plot, anomalies_figure(points, anomalies, level))
    return Detected(anomalies, len(points), 1 - level / 100, file, plot)


def _of_test_part(run: Run) -> pd.DataFrame:
    """What the run said of the test part, one step ahead."""
    pieces = pd.read_csv(run.predictions, dtype={"series_id": str, "target": str}, keep_default_na=False, chunksize=100_000)
    table = pd.concat([piece[piece.step == 1] for piece in pieces])
    return table.assign(timestamp=pd.to_datetime(table.timestamp, format="ISO8601", utc=True).dt.tz_localize(None))


def _of_data(run: Run, trained: Trained, data: str | Path) -> pd.DataFrame:
    """What the run says of rows that it has not seen, one step ahead."""
    panel = read_rows_of(run, trained, data)
    forward, trained = trained.forward("numpy"), replace(trained.of(panel), horizon=1)
    windows = continuing_windows(panel, trained, most=len(panel.values), before=1)
    measured = ~panel.filled[windows.first, : len(panel.targets)].any(axis=1)
    windows = windows.only(measured)
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
