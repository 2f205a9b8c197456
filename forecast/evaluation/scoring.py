"""Score a trained network and its baselines: calibrate on the validation set, measure on the test set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from forecast.evaluation.forecasts import PredictionTable, forecast_all
from forecast.evaluation.intervals import (
    MAX_TRACKED_VALUES,
    Calibration,
    HeldOutErrors,
    Indices,
    method_of,
    naive_growth,
    quantiles_of,
)
from forecast.evaluation.scoreboard import Scoreboard
from forecast.evaluation.scores import MissingCost
from forecast.forecasters.combination import combine_by_median
from forecast.forecasters.linear import Linear
from forecast.forecasters.preparation import Prepared
from forecast.windows import Forward, Windows, gather, make_imputations

MAX_VALUES = 10**6  # Values of each forecaster in memory at once.


@dataclass(frozen=True)
class Fitted:
    """A trained network, with one member per seed, and the linear baseline of the same windows."""

    prepared: Prepared
    members: list[Forward]
    linear: Linear

    @property
    def forward(self) -> Forward:
        """Return the network's forecast: the median of its members'."""
        return combine_by_median(self.members)


def score_validation(fitted: Fitted, board: Scoreboard) -> Calibration | None:
    """Score the validation set, and calibrate intervals on its errors; None if the config asks for none."""
    prepared, config = fitted.prepared, fitted.prepared.config
    errors = score(fitted, prepared.windows["validation"], board)
    if not errors.quantiles:
        return None
    values = len(prepared.windows["test"]) * config.windows.horizon * len(prepared.panel.targets) * len(errors.quantiles)
    tracked = method_of(config) == "adaptive" or values <= MAX_TRACKED_VALUES
    return Calibration(errors, naive_growth(prepared.windows["train"]), len(prepared.panel.series_ids), tracked)


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
        output = chunk.forecast_with(fitted.forward, network.horizon)
        chunk_errors = errors.add(chunk.targets(), output)
        chunk_quantiles = calibration.apply(chunk, output, chunk_errors) if calibration else {}
        forecasts = forecast_all(prepared, chunk, network.point(output), fitted.linear.forecast(chunk), chunk_quantiles)
        points = [network.point(chunk.forecast_with(member, network.horizon)) for member in members]
        board.add(forecasts, points, None if folds is None else folds[done : done + len(chunk)])
        done += len(chunk)
        if table:
            table.add(forecasts)
    return errors


def split_into_chunks(windows: Windows, quantiles: int = 0) -> Iterator[Windows]:
    """Split windows so that a forecaster has `MAX_VALUES` in memory. With many quantiles of each value, chunks are smaller."""
    return windows.chunks(MAX_VALUES // (windows.horizon * windows.future.shape[1] * max(1, quantiles // 4)))


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
