"""The tables of a finished run, read with the columns and types that they must have, and timestamps in local time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from forecast.data import Contract
from forecast.evaluation import BASELINES, LABELS, MODEL, column_of, quantiles_of
from forecast.runs.layout import RunDirectory, explain_damage

if TYPE_CHECKING:
    import pandas as pd

FORECASTERS = (MODEL, *BASELINES)
OPTIONAL = [name for name in LABELS if name not in FORECASTERS]  # Forecasters that only some runs have.
STEP_COLUMNS: dict[str, type] = {"series_id": str, "timestamp": str, "step": int, "target": str, MODEL: float}
HISTORY_COLUMNS: dict[str, type] = {"seed": int, "epoch": int, "loss": float, "val_loss": float, "learning_rate": float}
HISTORY_OPTIONAL: dict[str, type] = {"fold": int, "gradient_norm": float, "clipped": float}
ERROR_COLUMNS: dict[str, type] = {"windows": int, **{f"mae_{name}": float for name in FORECASTERS}}
OPTIONAL_ERRORS: dict[str, type] = {f"{metric}_{name}": float for metric in ("mae", "mase") for name in OPTIONAL}
SUBSET = "(set)"  # A column of actual.csv that is named like no target.
STAMPS = ["timestamp", "cutoff", "trained_until", "first_cutoff", "last_cutoff"]  # The last three are in folds.csv.
Types = Mapping[str, type]
Mask = Callable[["pd.DataFrame"], "pd.Series[bool]"]


def read_predictions(run: RunDirectory, select: Mask | None = None) -> pd.DataFrame:
    """Read the selected rows, or all, of predictions.csv: forecasts of the windows of the test set, with the actual values.

    Raises:
        RunError: the run is damaged. So do all functions of this module.
    """
    columns = {**STEP_COLUMNS, "cutoff": str, "actual": float, **dict.fromkeys(BASELINES, float)}
    return _read_local(run, run.predictions_file, columns, _quantile_columns(run) | dict.fromkeys(OPTIONAL, float), select)


def read_forecast(run: RunDirectory, select: Mask | None = None) -> pd.DataFrame:
    """Read the selected rows, or all, of forecast.csv: the steps after the last row of the data."""
    return _read_local(run, run.forecast_file, STEP_COLUMNS, _quantile_columns(run), select)


def read_recent(run: RunDirectory, select: Mask) -> pd.DataFrame:
    """Read the selected rows of recent.csv: the last rows of the data."""
    targets = dict.fromkeys(run.read_config().data.target, float)
    return _read_local(run, run.recent, {"series_id": str, "timestamp": str, **targets}, select=select)


def read_actual(run: RunDirectory, select: Mask) -> pd.DataFrame:
    """Read the selected rows of actual.csv: actual values with their sets. Runs of earlier versions have only recent.csv."""
    targets = dict.fromkeys(run.read_config().data.target, float)
    if run.actual.exists():
        return _read_local(run, run.actual, {"series_id": str, "timestamp": str, SUBSET: str, **targets}, select=select)
    return read_recent(run, select).assign(**{SUBSET: "unknown"})


def read_fitted(run: RunDirectory, select: Mask) -> pd.DataFrame:
    """Read the selected rows of fitted.csv: forecasts of windows of the training set by the network alone."""
    columns = {"series_id": str, "timestamp": str, "target": str, "fitted": float}
    return _read_local(run, run.fitted, columns, select=select)


def read_cutoffs(run: RunDirectory) -> pd.DataFrame:
    """Read the mean errors of every forecaster after each cutoff of the test set."""
    scaled = {f"mase_{name}": float for name in FORECASTERS}
    return _read_local(run, run.cutoffs, {"cutoff": str, **ERROR_COLUMNS, **scaled}, OPTIONAL_ERRORS)


def read_per_series(run: RunDirectory) -> pd.DataFrame:
    """Read the mean errors of every forecaster on the test set, a row per series."""
    return run.read_table(run.per_series, {"series_id": str, **ERROR_COLUMNS}, OPTIONAL_ERRORS)


def read_folds(run: RunDirectory) -> pd.DataFrame:
    """Read the mean errors of every forecaster in each fold of a backtest."""
    stamps: dict[str, type] = dict.fromkeys(STAMPS[2:], str)
    return _read_local(run, run.folds, {"fold": int, **stamps, **ERROR_COLUMNS}, OPTIONAL_ERRORS)


def read_history(run: RunDirectory) -> pd.DataFrame:
    """Read the losses, norms of gradients and seconds of each seed and epoch."""
    return run.read_table(run.history_file, HISTORY_COLUMNS, HISTORY_OPTIONAL)


def make_series_mask(series_ids: Collection[str]) -> Mask:
    """Return the mask of the rows of some series."""
    return lambda table: table.series_id.isin(series_ids)


def _quantile_columns(run: RunDirectory) -> dict[str, type]:
    return {column_of(quantile): float for quantile in quantiles_of(run.read_config())}


def _read_local(
    run: RunDirectory, path: Path, columns: Types, optional: Types | None = None, select: Mask | None = None
) -> pd.DataFrame:
    """Read a table with its `STAMPS` in the time zone of the data, and without that zone."""
    import pandas as pd

    table = run.read_table(path, columns, optional, select)
    zone = run.read(run.contract, Contract).timezone
    with explain_damage(path, KeyError):  # An unknown zone is a KeyError.
        for column in [name for name in STAMPS if columns.get(name) is str]:  # A target may have such a name.
            stamps = pd.to_datetime(table[column], format="ISO8601", utc=True)
            table[column] = (stamps.dt.tz_convert(zone) if zone else stamps).dt.tz_localize(None)
    return table
