"""The boosting baseline forecasts what scikit-learn's trees forecast, learns from all series, and reads covariates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor

from forecast.forecasters import boosting
from forecast.forecasters.boosting import Boosting, fit_boosting
from forecast.forecasters.linear import fit_linear
from forecast.windows import Windows

ROWS, LOOKBACK, HORIZON, SEASON = 200, 24, 6, 12


def make_windows(values: np.ndarray, steps: range, known: np.ndarray | None = None) -> Windows:
    """Windows of series of `ROWS` rows one after another, whose first target rows are `steps` of each series.

    values: `(rows, targets)`. known: a covariate, `(rows, 1)`, which is the last channel of the past.
    """
    rows = np.concatenate([start + np.array(steps) for start in range(0, len(values), ROWS)])
    past = values if known is None else np.column_stack([values, known])
    return Windows(past, past[:, values.shape[1] :], values, rows, rows // ROWS, LOOKBACK, HORIZON)


def make_series(count: int = 4, seed: int = 0) -> np.ndarray:
    """Series with a season, half as high in every second one."""
    rng, time = np.random.default_rng(seed), np.tile(np.arange(ROWS), count)
    height = np.where(time // SEASON % 2, 0.5, 1.0)
    return (height * 10 * np.sin(2 * np.pi * time / SEASON) + rng.normal(0, 0.2, len(time)))[:, None].astype(np.float32)


def error(forecasts: np.ndarray, windows: Windows) -> float:
    return float(np.abs(forecasts - windows.targets()).mean())


@pytest.mark.parametrize("examples", [1, 30, 2000])
def test_trees_are_those_of_scikit_learn(examples):
    rng = np.random.default_rng(examples)
    inputs = rng.normal(size=(examples, 7)).astype(np.float32)
    model = HistGradientBoostingRegressor(max_iter=boosting.TREES, max_depth=boosting.DEPTH, early_stopping=False)
    model.fit(inputs, 3 + inputs[:, 0] * inputs[:, 1] + rng.normal(size=examples))
    fitted = Boosting(*(array[None] for array in boosting._complete_trees(model)), SEASON, HORIZON)
    unseen = rng.normal(size=(500, 7)).astype(np.float32)
    np.testing.assert_allclose(fitted._apply_trees(unseen, 0), model.predict(unseen), rtol=1e-9, atol=1e-9)


def test_trees_find_what_a_ridge_regression_cannot():
    steps = [0.3]
    for _ in range(4 * ROWS - 1):
        steps.append(1 - 1.99 * abs(steps[-1]))  # A step is a function of the last one, and uncorrelated with it.
    values = np.array(steps, dtype=np.float32)[:, None]
    windows = [make_windows(values, steps) for steps in (range(LOOKBACK, 150), range(160, ROWS - HORIZON))]
    train, test = (replace(part, horizon=1) for part in windows)
    linear = fit_linear(train, train, "none")
    assert error(fit_boosting(train, 1).forecast(test), test) < 0.6 * error(linear.forecast(test), test)


def test_each_target_has_its_own_trees():
    values = np.column_stack([make_series(seed=1), 100 - 3 * make_series(seed=2)])
    train, test = make_windows(values, range(LOOKBACK, 150)), make_windows(values, range(160, ROWS - HORIZON))
    forecasts = fit_boosting(train, SEASON).forecast(test)
    for target in range(2):
        alone = fit_boosting(train.select_target(target), SEASON).forecast(test.select_target(target))
        np.testing.assert_array_equal(forecasts[..., target], alone[..., 0])


def test_known_covariates_are_read_at_their_steps():
    rng = np.random.default_rng(0)
    known = rng.integers(0, 2, (4 * ROWS, 1)).astype(np.float32)
    values = (5 * known + rng.normal(0, 0.1, known.shape)).astype(np.float32)
    train, test = (make_windows(values, steps, known) for steps in (range(LOOKBACK, 150), range(160, ROWS - HORIZON)))
    fitted = fit_boosting(train, SEASON)
    assert error(fitted.forecast(test), test) < 0.3
    assert fitted.features.max() == boosting.count_inputs(LOOKBACK, 1, SEASON) - 1


def test_a_season_longer_than_the_lookback_is_replaced_by_the_mean():
    values = make_series()
    train, test = make_windows(values, range(LOOKBACK, 150)), make_windows(values, range(160, ROWS - HORIZON))
    assert error(fit_boosting(train, 10 * LOOKBACK).forecast(test), test) < error(np.zeros(1), test)


def test_many_windows_are_sampled(monkeypatch):
    values = make_series()
    train, test = make_windows(values, range(LOOKBACK, 150)), make_windows(values, range(160, ROWS - HORIZON))
    all_windows = error(fit_boosting(train, SEASON).forecast(test), test)
    monkeypatch.setattr(boosting, "MAX_EXAMPLES", 300)
    sampled = error(fit_boosting(train, SEASON).forecast(test), test)
    assert all_windows < sampled < 2 * all_windows


def test_steps_beyond_the_horizon_are_rolled_out():
    time = np.arange(4 * ROWS)
    values = (time % ROWS + 10 * np.sin(2 * np.pi * time / SEASON))[:, None]
    fitted = fit_boosting(make_windows(values, range(LOOKBACK, 100)), SEASON)
    long = replace(make_windows(values, range(100, 110)), horizon=3 * SEASON)
    assert error(fitted.forecast(long), long) < 2  # Without growth, the error in the last season alone would be 24.
