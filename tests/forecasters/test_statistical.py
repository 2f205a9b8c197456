"""Statistical baselines are those of statsforecast, see nothing after a cutoff, and give way to seasonal naive."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from statsforecast.models import AutoETS, DynamicOptimizedTheta

from forecast.forecasters import statistical
from forecast.forecasters.naive import forecast_seasonal_naive
from forecast.forecasters.statistical import count_fits, forecast_statistical, limit_history
from tests.conftest import seasonal_rows

VALUES = np.concatenate([seasonal_rows(60, seed) for seed in (1, 2)])[:, None]  # Two series.
BEGIN, FIRST = np.array([0, 0, 60]), np.array([48, 54, 108])


@pytest.mark.parametrize(("name", "model"), [("theta", DynamicOptimizedTheta), ("ets", AutoETS)])
def test_forecasts_are_those_of_statsforecast(name, model):
    forecasts = forecast_statistical(name, VALUES, BEGIN, FIRST, 6, 12, fits=2)
    for forecast, begin, first in zip(forecasts, BEGIN, FIRST, strict=True):
        expected = model(season_length=12).forecast(VALUES[begin:first, 0], 6)["mean"]
        assert forecast[:, 0] == pytest.approx(expected)


def test_between_fits_the_state_follows_the_values():
    forecasts = forecast_statistical("ets", VALUES, BEGIN, FIRST, 6, 12, fits=1)
    fitted = AutoETS(season_length=12).fit(VALUES[:48, 0])
    assert forecasts[1, :, 0] == pytest.approx(fitted.forward(VALUES[:54, 0], h=6)["mean"])


@pytest.mark.parametrize("name", ["theta", "ets", "arima"])
def test_values_after_a_cutoff_change_nothing(name):
    later = VALUES.copy()
    later[FIRST[0] : 60] += 100
    rows = BEGIN[[0, 2]], FIRST[[0, 2]], 6, 12
    assert np.array_equal(forecast_statistical(name, VALUES, *rows), forecast_statistical(name, later, *rows))


def test_a_series_too_short_for_a_model_gets_seasonal_naive(caplog):
    rows = np.array([0]), np.array([3]), 4, 12
    with caplog.at_level(logging.INFO):
        forecasts = forecast_statistical("theta", VALUES, *rows)
    assert np.array_equal(forecasts, forecast_seasonal_naive(VALUES, *rows))
    assert "theta could not forecast 1 of 1 windows" in caplog.text


def test_a_fit_reads_a_bounded_history(monkeypatch):
    lengths = []
    monkeypatch.setattr(statistical, "_fit", lambda name, values, season: lengths.append(len(values)))
    values = np.arange(1000.0)[:, None]
    forecast_statistical("theta", values, np.zeros(3, int), np.array([200, 600, 900]), 2, 12, fits=3)
    assert lengths == [200, limit_history(12), limit_history(12)]


@pytest.mark.parametrize(("series", "fits"), [(1, 50), (20, 2), (51, 1), (1000, 1)])
def test_many_series_are_fitted_once_each(series, fits):
    assert count_fits(series) == fits
