"""`predict`: forecast the steps after the last row of a run's data or of newer rows."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from forecast.data import compare_with_contract
from forecast.errors import log_and_continue
from forecast.evaluation import columns_of, explain_few_windows
from forecast.runs import Run, make_continuing_windows, read_rows_to_continue, read_trained

if TYPE_CHECKING:
    import pandas as pd

    from forecast.data import Data, Panel
    from forecast.forecasters.network.description import Array

log = logging.getLogger(__name__)


def predict(
    run: Run | str | Path,
    data: Data | None = None,
    runtime: str = "numpy",
    new_series: bool = False,
    future: Data | None = None,
    steps: int | None = None,
) -> pd.DataFrame:
    """Forecast the steps after the last row of every series, all series in one pass.

    run: a finished run or its directory; it needs neither its config file nor its data any more.
    data: a file or a DataFrame of newer rows, with the columns of the training data; None continues the training data.
    runtime: the library that computes the network, numpy or keras.
    future: a file or a DataFrame with the known covariates of the steps to forecast, if the run has any; `plan` names the rows.
    new_series: allow series in `data` that the run does not know; each is scaled by its rows in `data`.
    steps: number of steps to forecast. None means the horizon. Steps beyond the horizon are forecast from earlier forecasts.

    Returns a row per series, step and target: series_id, timestamp, step, target, forecast (in the units of the file), and the
    quantiles of the config, empty beyond the horizon. Nine actual values in ten should exceed `q0.1`.

    Raises:
        RunError: the run is unfinished or damaged.
        DataError: `data` cannot be read, is shorter than the lookback, or holds a series that the run does not know; or a cell of
            `future` is missing.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    trained = read_trained(run).with_horizon(steps)
    forward = trained.forward(runtime)
    from forecast.commands.plan import read_future  # These two load pandas, which a damaged run need not wait for.
    from forecast.data import as_file, describe_repairs

    with as_file(data, trained.config.data) as path:
        panel = read_rows_to_continue(run, trained, path)
    source = run.name if data is None else data if isinstance(data, (str, Path)) else "the DataFrame"
    if data is not None:
        for sentence in describe_repairs(panel.record) + compare_with_contract(panel, trained.contract):
            log.warning("%s: %s", source, sentence)
    ends = panel.filled[panel.offsets[1:] - 1].any(axis=1)
    if ends.any():
        log.warning("%s: the forecast starts from filled values in %d series.", source, int(ends.sum()))
    # While a run trains, `train` says so itself.
    if run.finished and trained.intervals and (sentence := explain_few_windows(trained.contract.calibration_windows)):
        log.warning("%s: %s", run.name, sentence)
    horizon = trained.config.windows.horizon
    if trained.horizon > horizon:
        message = (
            "steps %d to %d are forecast from earlier forecasts, so errors accumulate."
            " The metrics of the run do not cover these steps."
        )
        log.warning(message, horizon + 1, steps)
    trained = trained.for_panel(panel, new_series)
    with as_file(future, trained.config.data) as path:
        windows = make_continuing_windows(panel, trained, read_future(panel, trained, path))
    forecasts, quantiles = trained.forecast(windows, forward, panel)
    columns = columns_of(trained.intervals.quantiles, quantiles) if trained.intervals and quantiles is not None else {}
    return _tabulate(panel, forecasts, columns)


def store_forecast(run: Run, path: Path, table: pd.DataFrame) -> None:
    """Write a forecast to a file. If it is the forecast of the run itself and has changed, add it to the report."""
    before = path.read_bytes() if path.exists() else b""
    run.write_table(path, table)
    if path == run.forecast_file and run.report.exists() and path.read_bytes() != before:
        from forecast.reports import report  # It is slow to load.

        with log_and_continue("adding the forecast to the report", "Please report it."):
            report(run)


def _tabulate(panel: Panel, forecasts: Array, columns: Mapping[str, Array]) -> pd.DataFrame:
    """Return a table of the forecasts `(series, horizon, targets)`, and of columns that follow."""
    import pandas as pd

    series, horizon, targets = forecasts.shape
    return pd.DataFrame(
        {
            "series_id": np.repeat(panel.series_ids, horizon * targets),
            "timestamp": panel.future_timestamps(horizon).repeat(targets),
            "step": np.tile(np.repeat(np.arange(1, horizon + 1), targets), series),
            "target": np.tile(panel.targets, series * horizon),
            "forecast": forecasts.ravel(),
            **columns,
        }
    )
