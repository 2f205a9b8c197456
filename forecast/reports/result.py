"""The result of a training run or a backtest, in memory: everything that the plots, the page and the diagnosis show."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from forecast.data import Contract
from forecast.errors import RunError, did_you_mean
from forecast.evaluation import Certificate, Evidence, Importance, Metrics
from forecast.reports.selection import select_series
from forecast.runs import (
    Environment,
    Gradients,
    ParentRecord,
    Run,
    make_series_mask,
    read_actual,
    read_contract,
    read_cutoffs,
    read_evidence,
    read_fitted,
    read_folds,
    read_forecast,
    read_per_series,
    read_predictions,
)


@dataclass
class TrainingResult:
    """The result of a training or a backtest. A training that has just ended holds it already; `read_result` reads it from a run.

    predictions, forecast, actual, fitted: rows of the series to draw only. Timestamps are local and have no time zone.
    folds: of a backtest only. The fields from `forecast` on are None if a run lacks them, or if computing them failed.
    """

    run: Run
    contract: Contract
    environment: Environment
    metrics: Metrics
    per_series: pd.DataFrame
    cutoffs: pd.DataFrame
    predictions: pd.DataFrame
    folds: pd.DataFrame | None = None
    forecast: pd.DataFrame | None = None
    actual: pd.DataFrame | None = None
    fitted: pd.DataFrame | None = None
    evidence: Evidence | None = None
    certificate: Certificate | None = None
    importance: Importance | None = None
    gradients: Gradients | None = None
    parent: ParentRecord | None = None

    def select_rows(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of the series to draw, with local timestamps."""
        return remove_time_zones(table[table.series_id.isin(select_series(self.per_series))])


def read_result(run: Run, series: str | None = None) -> TrainingResult:
    """Read the result of a finished training or backtest.

    series: the only one whose rows are read, instead of those that the report shows.

    Raises:
        RunError: the run is damaged, or has no such series.
    """
    metrics, per_series, is_backtest = run.metrics, read_per_series(run), run.folds.exists()
    series = None if series is None else str(series)  # Ids may have been numbers in a DataFrame.
    if series is not None and series not in set(per_series.series_id):
        hint = did_you_mean(series, per_series.series_id)
        raise RunError(f"the test set of this run has no series `{series}`.", hint, str(run.directory))
    drawn = make_series_mask(select_series(per_series) if series is None else [series])
    return TrainingResult(
        run=run,
        contract=read_contract(run),
        environment=run.read(run.environment, Environment),
        metrics=metrics,
        per_series=per_series,
        cutoffs=read_cutoffs(run),
        predictions=read_predictions(run, drawn),
        folds=read_folds(run) if is_backtest else None,
        forecast=read_forecast(run, drawn) if run.forecast_file.exists() else None,
        actual=read_actual(run, drawn) if run.recent.exists() else None,
        fitted=read_fitted(run, drawn) if run.fitted.exists() else None,
        evidence=None if is_backtest else read_evidence(run),
        certificate=run.read(run.leakage, Certificate) if run.leakage.exists() else None,
        importance=run.read(run.importance, Importance) if run.importance.exists() else None,
        gradients=run.read(run.gradients, Gradients) if run.gradients.exists() else None,
        parent=run.read(run.parent, ParentRecord) if run.parent.exists() else None,
    )


def remove_time_zones(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with local timestamps instead of those with a time zone."""
    zoned = table.select_dtypes("datetimetz").columns
    return table.assign(**{name: table[name].dt.tz_localize(None) for name in zoned})
