"""Scores of chunks are those of the whole, and those that a plain loop computes."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from forecast.config.load import load_config
from forecast.errors import RunError
from forecast.evaluation import scoring
from forecast.evaluation.forecasts import PredictionTable, join_forecasts
from forecast.evaluation.scoreboard import IntervalPool, Scoreboard
from forecast.evaluation.scores import BASELINES, MODEL
from forecast.forecasters.baselines import SIMPLE, forecast_baselines
from forecast.forecasters.linear import fit_linear
from forecast.forecasters.preparation import prepare
from forecast.forecasters.regressions import Regressions
from forecast.windows.normalization import compute_window_statistics
from tests.conftest import seasonal_rows


class Fixed:
    """A linear baseline with given scaled forecasts."""

    def __init__(self, forecasts):
        self.forecasts = forecasts

    def forecast(self, windows):
        return self.forecasts


def join(prepared, windows, network, linear, quantiles):
    rows = prepared.panel, prepared.scaler, windows, Regressions(Fixed(linear)), prepared.season_length
    return join_forecasts(prepared, windows, network, forecast_baselines(SIMPLE, *rows), quantiles)


def test_interval_scores_of_pieces_are_those_of_the_whole():
    rng = np.random.default_rng(0)
    actual = rng.normal(size=(40, 3, 2))
    made = np.sort(rng.normal(size=(40, 3, 2, 4)), axis=-1)
    whole, pieces = (IntervalPool([0.025, 0.1, 0.9, 0.975], [80, 95]) for _ in range(2))
    whole.add(actual, made)
    for chosen in (slice(0, 7), slice(7, 40)):
        pieces.add(actual[chosen], made[chosen])
    low, high = made[..., 1], made[..., 2]
    found = pieces.scores({}).levels["80"]
    assert found.coverage == pytest.approx(np.mean((low <= actual) & (actual <= high)))
    assert found.width == pytest.approx((high - low).mean())
    assert found.below == pytest.approx(np.mean(actual < low))
    assert found.per_step.width == pytest.approx((high - low).mean(axis=(0, 2)).tolist())
    assert whole.scores({}).crps == pytest.approx(pieces.scores({}).crps)


def test_a_large_table_of_predictions_is_thinned_evenly(project, monkeypatch):
    prepared = prepare(load_config(project(panel_of_all_sizes(), data={"series_id": "shop"})))
    windows, parts = prepared.windows["test"], []
    monkeypatch.setattr("forecast.evaluation.forecasts.MAX_ROWS", len(windows))  # A third, since the horizon is 3.
    table, zeros = PredictionTable(prepared, parts.append), np.zeros((len(windows), 3, 1))
    forecasts = join(prepared, windows, zeros, zeros, {})
    for chosen in (slice(0, 50), slice(50, 70), slice(70, None)):
        table.add(forecasts.select(chosen))
    rows = pd.concat(parts)[::3]  # The first step of each window.
    assert rows.timestamp.tolist() == prepared.panel.timestamps[windows.first[::3]].tolist()
    assert len(table.select_series(["none"])) == 0


def test_forecasts_beyond_all_numbers_have_errors_that_are_numbers_or_are_refused(project):
    prepared = prepare(load_config(project(scaling={"transform": "log1p", "method": "none"})))
    windows = prepared.windows["test"]
    huge, small = np.full((len(windows), 3, 1), 1e4), np.ones((len(windows), 3, 1))  # exp(1e4) is infinite.
    board = Scoreboard(prepared)
    board.add(join(prepared, windows, small, huge, {}))
    assert board.scores().linear.total.rmse == pytest.approx(1e100)
    with pytest.raises(RunError, match="the forecasts of the network are too large to represent"):
        join(prepared, windows, np.full_like(small, 300), small, {})  # The square of exp(300) overflows in sums.


SIZES = [2.5e13, 0.02, 1e14, 1e-9, 1.0, 3e6]  # of the series of one panel: large ones before and after small ones


def panel_of_all_sizes() -> pd.DataFrame:
    frames = []
    for number, size in enumerate(SIZES):
        rows = 90 + 10 * number
        months = pd.date_range(end="2019-12-01", periods=rows, freq="MS")
        frames.append(pd.DataFrame({"month": months, "shop": f"s{number}", "sales": size * seasonal_rows(rows, seed=number)}))
    return pd.concat(frames)


def simple_forecast(name: str, seen: np.ndarray, horizon: int) -> np.ndarray:
    """A baseline of one window, from the rows of its own series."""
    steps = np.arange(1, horizon + 1)
    if name == "seasonal_naive":
        return np.resize(seen[-12:], horizon)
    slope = (seen[-1] - seen[0]) / (len(seen) - 1) if name == "drift" else 0.0
    return (math.fsum(seen) / len(seen) if name == "mean" else seen[-1]) + steps * slope


def simple_metrics(actual: np.ndarray, forecast: np.ndarray, scales: np.ndarray) -> dict[str, float]:
    """Metrics of values `(values,)`; scales: the seasonal MAE and RMSE of the series of each, `(values, 2)`."""
    error, count = forecast - actual, len(actual)
    return {
        "mae": math.fsum(abs(error)) / count,
        "rmse": math.sqrt(math.fsum(error**2) / count),
        "mape": math.fsum(abs(error / actual)) / count,
        "smape": math.fsum(abs(error) / (abs(actual) + abs(forecast))) / count,
        "wape": math.fsum(abs(error)) / math.fsum(abs(actual)),
        "bias": math.fsum(error) / count,
        "mase": math.fsum(abs(error) / scales[:, 0]) / count,
        "rmsse": math.sqrt(math.fsum((error / scales[:, 1]) ** 2) / count),
    }


@pytest.mark.parametrize("per", ["series", "all"])
def test_baselines_and_metrics_of_series_of_any_size(project, monkeypatch, per):
    monkeypatch.setattr(scoring, "MAX_VALUES", 50)  # so that pieces begin and end within series
    table = panel_of_all_sizes()
    sections = {"data": {"series_id": "shop"}, "scaling": {"method": "standard", "per": per}, "model": {"normalization": "mean"}}
    prepared = prepare(load_config(project(table, **sections)))
    linear = fit_linear(prepared.windows["train"], prepared.windows["validation"], "mean")

    def forward(inputs):
        return np.repeat(inputs["past"][:, -1:] * np.float32(1.01), 3, axis=1)

    board, pieces = Scoreboard(prepared), []
    written = PredictionTable(prepared, pieces.append)
    scoring.score(scoring.Fitted(prepared, [forward], Regressions(linear)), prepared.windows["test"], board, table=written)
    found, scores = pd.concat(pieces, ignore_index=True), board.scores()
    drawn = written.select_series(prepared.panel.series_ids[1:3])
    rows = found[found.series_id.isin(prepared.panel.series_ids[1:3])].reset_index(drop=True)
    pd.testing.assert_frame_equal(drawn, rows[drawn.columns])
    scales = {}
    for name, rows in table.groupby("shop"):
        values, test = rows.sales.to_numpy(), found[found.series_id == name]
        training = values[:-36]
        differences = training[12:] - training[:-12]
        scales[name] = np.mean(np.abs(differences)), np.sqrt(np.mean(differences**2))
        first = np.searchsorted(rows.month, test.cutoff.unique(), side="right")
        np.testing.assert_allclose(test.actual, np.concatenate([values[row : row + 3] for row in first]), rtol=1e-15)
        for baseline in ("naive", "seasonal_naive", "drift", "mean"):
            expected = np.concatenate([simple_forecast(baseline, values[:row], 3) for row in first])
            np.testing.assert_allclose(test[baseline], expected, rtol=1e-12, err_msg=f"{baseline} of {name}")
        if per == "series":
            scaled = (values - training.mean()) / training.std()
            past = np.stack([scaled[row - 12 : row] for row in first])[..., None]
            centre, _ = compute_window_statistics(past, "mean")
            expected = ((past - centre)[..., 0] @ linear.kernel[:, 0] + linear.bias[:, 0] + centre[..., 0]).ravel()
            size = np.abs(values).mean()
            np.testing.assert_allclose(test.linear, expected * training.std() + training.mean(), rtol=0, atol=1e-6 * size)
    of_row = np.array([scales[name] for name in found.series_id])
    scale_of = dict(zip(prepared.panel.series_ids, prepared.scaler.scale[:, 0], strict=True))
    for forecaster in (MODEL, *BASELINES):
        total = scores.of(forecaster).total
        expected = simple_metrics(found.actual.to_numpy(), found[forecaster].to_numpy(), of_row)
        assert {metric: getattr(total, metric) for metric in expected} == pytest.approx(expected, rel=1e-9), forecaster
        errors = (found[forecaster] - found.actual) / [scale_of[name] for name in found.series_id]
        assert (total.mae_scaled, total.mse_scaled) == pytest.approx((abs(errors).mean(), (errors**2).mean()), rel=1e-5)
        mean_errors = (found[forecaster] - found.actual).abs().groupby(found.series_id).mean()
        np.testing.assert_allclose(board.per_series()[f"mae_{forecaster}"], mean_errors, rtol=1e-12)


def test_persistence_weighs_series_of_any_size_alike(project):
    """The large series is forecast by its last value; the small ones move, and count as much."""
    prepared = prepare(load_config(project(panel_of_all_sizes(), data={"series_id": "shop"})))
    windows = prepared.windows["test"]
    linear = fit_linear(prepared.windows["train"], prepared.windows["validation"], "none")
    largest = int(np.argmax(SIZES))
    still = (windows.series == largest)[:, None, None]
    moving, held = windows.targets(), np.repeat(windows.past_values()[:, -1:], 3, axis=1)
    board = Scoreboard(prepared)
    board.add(join(prepared, windows, np.where(still, held, moving), linear.forecast(windows), {}))
    assert board.persistence() == pytest.approx(5 / 6, abs=0.05)
