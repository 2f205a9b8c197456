"""Score a trained network and its baselines: calibrate on the validation set, measure on the test set."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from forecast.evaluation.forecasts import PredictionTable, join_forecasts
from forecast.evaluation.intervals import (
    MAX_NAIVE_WINDOWS,
    MAX_TRACKED_VALUES,
    MIN_SIZED_SERIES,
    Calibration,
    HeldOutErrors,
    Indices,
    count_independent,
    method_of,
    naive_growth,
    quantiles_of,
)
from forecast.evaluation.metrics import Values
from forecast.evaluation.scoreboard import Scoreboard, measure_scales
from forecast.evaluation.scores import MissingCost, TrainingErrors
from forecast.forecasters.baselines import MAX_FORECAST, SIMPLE, forecast_baselines
from forecast.forecasters.combination import NETWORK, Combination, choose_weights, combine_by_median, name_members
from forecast.forecasters.naive import forecast_seasonal_naive
from forecast.forecasters.preparation import Prepared
from forecast.forecasters.regressions import Regressions
from forecast.forecasters.statistical import count_fits
from forecast.windows import Forward, Windows, gather, make_imputations

MAX_VALUES = 10**6  # Values of each forecaster in memory at once.
EARLIER_HORIZONS, MAX_EASE = 6, 2.0  # See `measure_ease`.
MAX_FITTED_WINDOWS = 2_000  # Windows of the training set whose errors are measured.
MAX_FITTED_ROWS = 3_000  # Timestamps of a series whose fitted values the report shows.
MAX_WEIGHED_WINDOWS = 2_000  # Windows of the validation set on which the weights of a combination are chosen.


@dataclass(frozen=True)
class Fitted:
    """A trained network, with one member per seed, the regressions of the same windows, and how they are combined.

    computed: forecasts of all baselines for some windows, which need not be computed again, by the rows of these windows.
    """

    prepared: Prepared
    members: list[Forward]
    regressions: Regressions
    combination: Combination | None = None
    computed: dict[bytes, dict[str, Values]] = field(default_factory=dict)

    @property
    def forward(self) -> Forward:
        """Return the network's forecast: the median of its members'."""
        return combine_by_median(self.members)

    def forecast(self, windows: Windows) -> Values:
        """Return the scaled output for some windows."""
        if self.combination:
            return self.forecast_all(windows)[0]
        return windows.forecast_with(self.forward, self.prepared.network.horizon)

    def forecast_network(self, windows: Windows) -> Values:
        """Return the forecasts of the network alone for some windows, in units of the data."""
        return self._undo(windows.forecast_with(self.forward, self.prepared.network.horizon), windows)

    def forecast_all(self, windows: Windows, share: float = 1.0) -> tuple[Values, dict[str, Values]]:
        """Return the scaled output for some windows, and the forecasts in units of the data of everything else that is scored.

        The output is that of the network, shifted to the combination if there is one; the network alone is then scored, too.
        share: of the windows of a set.
        """
        prepared, network = self.prepared, self.prepared.network
        output = windows.forecast_with(self.forward, network.horizon)
        baselines = self._forecast_baselines(windows, share)
        if not self.combination:
            return output, baselines
        baselines = {NETWORK: self._undo(output, windows), **baselines}
        return self.combination.shift(output, network.point(output), baselines, prepared.scaler, windows.series), baselines

    def _undo(self, output: Values, windows: Windows) -> Values:
        """Return the forecasts of the network alone in units of the data, from its scaled output."""
        forecasts = self.prepared.scaler.undo(self.prepared.network.point(output), windows.series)
        return np.asarray(np.clip(forecasts, -MAX_FORECAST, MAX_FORECAST))

    def _forecast_baselines(self, windows: Windows, share: float) -> dict[str, Values]:
        prepared, key = self.prepared, windows.first.tobytes()
        if key not in self.computed:
            names = [*SIMPLE, *prepared.config.baselines]
            rows = prepared.panel, prepared.scaler, windows, self.regressions, prepared.season_length
            fits = max(1, round(share * count_fits(len(prepared.panel.series_ids))))
            return forecast_baselines(names, *rows, fits)
        return self.computed[key]

    def choose_combination(self) -> Fitted:
        """Return the same with the combination that the config asks for, whose weights are chosen on the validation set."""
        prepared, method = self.prepared, self.prepared.config.combine
        if method == "none":
            return self
        names = name_members(prepared.config, prepared.season_length)
        weights = dict.fromkeys(names, 1 / len(names))
        computed = {}
        if method == "weighted":
            validation = prepared.windows["validation"]
            values = validation.horizon * validation.future.shape[1]
            windows = validation.sample_evenly(max(1, min(MAX_WEIGHED_WINDOWS, MAX_VALUES // values)))
            output, baselines = self.forecast_all(windows)
            computed[windows.first.tobytes()] = baselines
            points = {NETWORK: self._undo(output, windows), **baselines}
            actual = gather(prepared.panel.target_values, windows.first, windows.horizon)
            scales = measure_scales(prepared)[windows.series, 0]
            # Series have surprises in common at the same cutoffs, so a hundred of them count as ten.
            independent = count_independent(validation) / np.sqrt(len(np.unique(validation.series)))
            weights = choose_weights({name: points[name] for name in names}, actual, scales, independent)
        combination = Combination(method=method, weights=weights, season_length=prepared.season_length)
        return replace(self, combination=combination, computed=computed)


def score_validation(fitted: Fitted, board: Scoreboard) -> Calibration | None:
    """Score the validation set, and calibrate intervals on its errors; None if the config asks for none."""
    prepared, config = fitted.prepared, fitted.prepared.config
    errors = score(fitted, prepared.windows["validation"], board)
    if not errors.quantiles:
        return None
    values = len(prepared.windows["test"]) * config.windows.horizon * len(prepared.panel.targets) * len(errors.quantiles)
    tracked = method_of(config) == "adaptive" or values <= MAX_TRACKED_VALUES
    naive = measure_scales(prepared, scaled=True)[:, 0]
    return Calibration(errors, naive_growth(prepared.windows["train"]), naive, measure_ease(prepared, naive), tracked)


def measure_ease(prepared: Prepared, naive: Values) -> Values:
    """Return how many times larger errors usually are than on the validation set, 1 to `MAX_EASE`: `(targets,)`.

    A validation set of few cutoffs may be easy to forecast. The errors of seasonal naive on it are compared with their mean over
    the validation set and the `EARLIER_HORIZONS` before it. With few series, they say little, and the result is 1.

    naive: mean absolute errors of seasonal naive on the training set, scaled, `(series, targets)`.
    """
    train, validation, horizon = prepared.windows["train"], prepared.windows["validation"], prepared.config.windows.horizon
    newest = train.select(prepared.splits.borders[train.series, 1] - train.first < EARLIER_HORIZONS * horizon)
    scales = np.where(naive > 0, naive, np.nan)
    comparable = np.isfinite(scales[validation.series]).any(axis=0).all() and np.isfinite(scales[newest.series]).any(axis=0).all()
    if len(np.unique(validation.series)) < MIN_SIZED_SERIES or not comparable:
        return np.ones(naive.shape[1])

    def measure_error(windows: Windows) -> Values:
        chosen = windows.sample_evenly(MAX_NAIVE_WINDOWS)
        rows = prepared.panel.begins[chosen.series], chosen.first, horizon, prepared.season_length
        errors = np.abs(forecast_seasonal_naive(windows.future, *rows) - chosen.targets()).mean(axis=1)
        return np.asarray(np.nanmean(errors / scales[chosen.series], axis=0))

    begin, end = prepared.splits.rows_of("validation")
    horizons, error = float(np.median(end - begin)) / horizon, measure_error(validation)
    usual = (EARLIER_HORIZONS * measure_error(newest) + horizons * error) / (EARLIER_HORIZONS + horizons)
    ratio = np.divide(usual, error, out=np.ones_like(usual), where=error > 0)
    return np.nan_to_num(ratio, nan=1.0).clip(1, MAX_EASE)


def score(
    fitted: Fitted,
    windows: Windows,
    board: Scoreboard,
    calibration: Calibration | None = None,
    table: PredictionTable | None = None,
    folds: Indices | None = None,
) -> HeldOutErrors:
    """Add every forecaster's forecasts of some windows to the board and to the table, chunk by chunk.

    folds: the number of each window's fold, in a backtest.
    """
    prepared, network, quantiles = fitted.prepared, fitted.prepared.network, quantiles_of(fitted.prepared.config)
    errors = HeldOutErrors(windows, network.quantiles, quantiles)
    members = fitted.members if len(fitted.members) > 1 else []
    done = 0
    for chunk in split_into_chunks(windows, len(quantiles)):
        output, baselines = fitted.forecast_all(chunk, len(chunk) / len(windows))
        chunk_errors = errors.add(chunk.targets(), output, chunk.series)
        chunk_quantiles = calibration.apply(chunk, output, chunk_errors) if calibration else {}
        forecasts = join_forecasts(prepared, chunk, network.point(output), baselines, chunk_quantiles)
        points = [network.point(chunk.forecast_with(member, network.horizon)) for member in members]
        board.add(forecasts, points, None if folds is None else folds[done : done + len(chunk)])
        done += len(chunk)
        if table:
            table.add(forecasts)
    return errors


def split_into_chunks(windows: Windows, quantiles: int = 0) -> Iterator[Windows]:
    """Split windows so that a forecaster has `MAX_VALUES` in memory. With many quantiles of each value, chunks are smaller."""
    return windows.chunks(MAX_VALUES // (windows.horizon * windows.future.shape[1] * max(1, quantiles // 4)))


def measure_training_errors(fitted: Fitted) -> TrainingErrors:
    """Return the errors of the network alone on at most `MAX_FITTED_WINDOWS` windows of the training set."""
    windows = fitted.prepared.windows["train"].sample_evenly(MAX_FITTED_WINDOWS)
    actual = gather(fitted.prepared.panel.target_values, windows.first, windows.horizon)
    errors = fitted.forecast_network(windows) - actual
    return TrainingErrors(windows=len(windows), mae=float(np.abs(errors).mean()), rmse=float(np.sqrt(np.square(errors).mean())))


def make_fitted_rows(fitted: Fitted, series_ids: Collection[str]) -> pd.DataFrame:
    """Return the forecasts of the network alone for windows of the training set that lie one horizon apart, of some series.

    Columns: series_id, timestamp, target, fitted. The newest `MAX_FITTED_ROWS` timestamps of each series.
    """
    prepared, tables = fitted.prepared, []
    panel, train = prepared.panel, prepared.windows["train"]
    for number in [number for number, name in enumerate(panel.series_ids) if name in series_ids]:
        chosen: list[int] = []
        for window in np.flatnonzero(train.series == number)[::-1]:
            if len(chosen) * train.horizon >= MAX_FITTED_ROWS:
                break
            if not chosen or train.first[window] + train.horizon <= train.first[chosen[-1]]:
                chosen.append(int(window))
        windows = train.select(np.array(chosen[::-1], dtype=np.int64))
        if not len(windows):
            continue
        rows = (windows.first[:, None] + np.arange(windows.horizon)).ravel()
        values = fitted.forecast_network(windows).reshape(len(rows), -1)
        columns = {"series_id": panel.series_ids[number], "timestamp": panel.timestamps[rows]}
        tables += [
            pd.DataFrame(columns | {"target": target, "fitted": values[:, column]}) for column, target in enumerate(panel.targets)
        ]
    empty = pd.DataFrame({"series_id": [], "timestamp": [], "target": [], "fitted": []})
    return pd.concat(tables, ignore_index=True) if tables else empty


def measure_missing_costs(fitted: Fitted) -> dict[str, MissingCost]:
    """Return the MAE on the test set if a known covariate is missing over the horizon, by covariate."""
    prepared, network = fitted.prepared, fitted.prepared.network
    data, panel, windows, costs = prepared.config.data, prepared.panel, prepared.windows["test"], {}
    for name, imputation in zip(data.missing_known, make_imputations(data, panel.freq), strict=True):
        absolute = 0.0
        for chunk in split_into_chunks(windows.impute(imputation)):
            points = network.point(chunk.forecast_with(fitted.forward, network.horizon))
            actual = gather(panel.target_values, chunk.first, chunk.horizon)
            absolute += len(chunk) * float(np.abs(prepared.scaler.undo(points, chunk.series) - actual).mean())
        costs[name] = MissingCost(policy=imputation.policy, mae=absolute / len(windows))
    return costs
