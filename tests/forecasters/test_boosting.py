"""The boosting baseline learns from all series, sees nothing after a cutoff, and forecasts series of any length."""

from __future__ import annotations

import numpy as np
import pytest

from forecast.forecasters import boosting
from forecast.forecasters.boosting import forecast_boosting
from forecast.windows import Windows

ROWS, HORIZON, SEASON = 120, 6, 12


def make_windows(values: np.ndarray, first: list[int], known: np.ndarray | None = None) -> Windows:
    """Windows of series of `ROWS` rows one after another. known: a covariate over all rows."""
    rows = np.array(first)
    known = np.zeros((len(values), 0)) if known is None else known
    return Windows(values, known, values[:, :1], rows, rows // ROWS, SEASON, HORIZON)


def forecast(windows: Windows) -> np.ndarray:
    measured = np.ones((len(windows.past), 1), dtype=bool)
    return forecast_boosting(windows, windows.series * ROWS, measured, SEASON)


def make_panel(series: int = 8, seed: int = 0) -> np.ndarray:
    """Series with one season, which is half as high in the next year and as high again in the year after it."""
    rng, time = np.random.default_rng(seed), np.tile(np.arange(ROWS), series)
    height = np.where(time // SEASON % 2, 0.5, 1.0)
    return (height * 10 * np.sin(2 * np.pi * time / SEASON) + rng.normal(0, 0.2, len(time)))[:, None]


def test_it_learns_from_all_series_what_one_does_not_show():
    values = make_panel()
    windows = make_windows(values, [ROWS * series + 109 for series in range(8)])
    errors = np.abs(forecast(windows)[..., 0] - windows.targets()[..., 0]).mean()
    seasonal_naive = np.abs(values[windows.first - SEASON + np.arange(HORIZON)[:, None], 0].T - windows.targets()[..., 0]).mean()
    assert errors < 0.5 * seasonal_naive


def test_values_after_the_first_cutoff_of_a_fit_change_nothing(monkeypatch):
    monkeypatch.setattr(boosting, "FITS", 2)
    values = make_panel(1)
    windows = make_windows(values, [80, 90, 100, 110])
    later = values.copy()
    later[80:] += np.random.default_rng(1).normal(50, 1, (40, 1))
    before, after = forecast(windows), forecast(make_windows(later, [80, 90, 100, 110]))
    np.testing.assert_array_equal(before[0], after[0])
    assert not np.array_equal(before[1], after[1]), "the second window of a fit sees newer values"
    later[:80] = values[:80]
    later[80:100] = values[80:100]
    again = forecast(make_windows(later, [80, 90, 100, 110]))
    np.testing.assert_array_equal(before[:3], again[:3])


def test_known_covariates_are_inputs():
    known = np.random.default_rng(0).integers(0, 2, (8 * ROWS, 1)).astype(float)
    values = 5.0 * known + np.random.default_rng(1).normal(0, 0.1, known.shape)
    windows = make_windows(values, [ROWS * series + 110 for series in range(8)], known)
    errors = np.abs(forecast(windows) - windows.targets()).mean()
    assert errors < 0.5, "the covariate decides"
    assert np.abs(forecast(make_windows(values, windows.first.tolist())) - windows.targets()).mean() > 1.5


@pytest.mark.parametrize("first", [1, 2, 5, 13])
def test_series_of_any_length_are_forecast(first):
    made = forecast(make_windows(make_panel(1), [first]))
    assert np.isfinite(made).all()
    assert np.abs(made).max() < 20


def test_values_that_were_not_measured_teach_nothing():
    values = make_panel(1)
    windows, measured = make_windows(values, [100]), np.ones((ROWS, 1), dtype=bool)
    measured[40:60] = False
    made = forecast_boosting(windows, np.zeros(1, int), measured, SEASON)
    assert not np.array_equal(made, forecast(windows))
    measured[:] = False
    season = values[100 - SEASON : 100 - SEASON + HORIZON]
    np.testing.assert_array_equal(forecast_boosting(windows, np.zeros(1, int), measured, SEASON)[0], season)
