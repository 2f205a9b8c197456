"""How a network that was trained is scored: calibrated on one part, measured on another, beside its opponents."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecast.evaluation.intervals import MAX_TRACKED_VALUES, Calibration, HeldOutErrors, method_of, naive_growth, quantiles_of
from forecast.evaluation.metrics import mae
from forecast.evaluation.scoreboard import Scoreboard, forecast_all, predictions_table
from forecast.evaluation.scores import MissingCost
from forecast.forecasters.combination import combine_by_median
from forecast.forecasters.linear import Linear
from forecast.forecasters.preparation import Prepared
from forecast.windows import Forward, Windows, gather, make_imputations

MOST_VALUES = 10**6  # that each forecaster has in memory at once while it is scored
MOST_ROWS = 2 * 10**6  # of predictions.csv, which would else grow with windows x horizon x targets


@dataclass(frozen=True)
class Fitted:
    """A network that was trained on what was prepared, and the linear baseline of the same windows."""

    prepared: Prepared
    members: list[Forward]  # the network of each seed
    linear: Linear

    @property
    def forward(self) -> Forward:
        """The network's forecast: the median of its members'."""
        return combine_by_median(self.members)


def scoreboard(prepared: Prepared) -> Scoreboard:
    """An empty one, with the scales of what was prepared."""
    return Scoreboard(prepared.panel, prepared.splits, prepared.scaler, prepared.season_length, prepared.config)


def calibrated(fitted: Fitted, board: Scoreboard) -> Calibration | None:
    """Score the validation part, and learn from its errors how wide intervals should be; None where none are asked for."""
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
    append: Callable[[pd.DataFrame], None] = lambda table: None,
    folds: np.ndarray | None = None,
) -> HeldOutErrors:
    """Take every forecaster's forecasts of these windows into the board, and their table to `append`, piece by piece.

    A table of more than about `MOST_ROWS` rows is thinned: it holds windows that are evenly spaced. folds: the number of each
    window's fold, in a backtest.
    """
    prepared, config = fitted.prepared, fitted.prepared.config
    network, quantiles = prepared.network, quantiles_of(config)
    values = windows.horizon * windows.future.shape[1]
    errors = HeldOutErrors(windows, network.quantiles, quantiles)
    stride, skip, done = -(-len(windows) * values // MOST_ROWS), 0, 0
    for piece in pieces(windows, len(quantiles)):
        made = piece.forecast_with(fitted.forward, network.horizon)
        found = errors.add(piece.targets(), made)
        forecasts = forecast_all(
            prepared.panel,
            prepared.scaler,
            piece,
            network.point(made),
            fitted.linear.forecast(piece),
            prepared.season_length,
            calibration.apply(piece, made, found) if calibration else {},
        )
        apart = fitted.members if len(fitted.members) > 1 else []
        members = [network.point(piece.forecast_with(member, network.horizon)) for member in apart]
        board.add(forecasts, members, None if folds is None else folds[done : done + len(piece)])
        done += len(piece)
        append(predictions_table(forecasts.every(skip, stride), prepared.panel, quantiles, method_of(config)))
        skip = (skip - len(piece)) % stride
    return errors


def pieces(windows: Windows, quantiles: int = 0) -> Iterator[Windows]:
    """The windows, so many at a time that a forecaster has `MOST_VALUES` in memory, or fewer where each has many quantiles."""
    return windows.chunks(MOST_VALUES // (windows.horizon * windows.future.shape[1] * max(1, quantiles // 4)))


def costs_of_missing(fitted: Fitted) -> dict[str, MissingCost]:
    """The MAE on the test part where a known covariate, each by itself, is missing over the horizon and its policy stands in."""
    prepared, config = fitted.prepared, fitted.prepared.config
    data, panel, windows, costs = config.data, prepared.panel, prepared.windows["test"], {}
    for name, assumed in zip(data.missing_known, make_imputations(data, panel.freq), strict=True):
        absolute = 0.0
        for piece in pieces(windows.impute(assumed)):
            made = prepared.network.point(piece.forecast_with(fitted.forward, prepared.network.horizon))
            actual = gather(panel.target_values, piece.first, piece.horizon)
            absolute += len(piece) * mae(actual, prepared.scaler.undo(made, piece.series))
        costs[name] = MissingCost(policy=assumed.policy, mae=float(absolute / len(windows)))
    return costs
