"""Metrics equal those of scikit-learn and utilsforecast, and average over the axes they are told to."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.metrics import (
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_pinball_loss,
    root_mean_squared_error,
)
from utilsforecast import losses

from forecast.evaluation import metrics
from forecast.evaluation.scoreboard import IntervalPool

RNG = np.random.default_rng(3)
TRAIN = RNG.gamma(3, 10, (60, 1))
TRUE, PRED = RNG.gamma(3, 10, (5, 4, 1)), RNG.gamma(3, 10, (5, 4, 1))
SEASON = 7


def pooled(true: np.ndarray, pred: np.ndarray, scales: np.ndarray, axis: int | None = None) -> dict[str, np.ndarray]:
    pool = metrics.ErrorPool()
    pool.add(true, pred, scales)
    return pool.compute(axis)


def peer(name: str, **more: object) -> float:
    table = pd.DataFrame({"unique_id": 1, "ds": range(20), "y": TRUE.ravel(), "model": PRED.ravel()})
    return getattr(losses, name)(table, models=["model"], **more)["model"].item()


def test_equals_utilsforecast():
    train = pd.DataFrame({"unique_id": 1, "ds": range(60), "y": TRAIN.ravel()})
    scales = metrics.seasonal_scales(TRAIN, SEASON)[None].repeat(5, axis=0)  # (windows, 2, targets)
    ours = {name: value.item() for name, value in pooled(TRUE, PRED, scales).items()}
    seasonal = {"seasonality": SEASON, "train_df": train}
    expected = {name: peer(name) for name in ("mae", "rmse", "mape", "smape", "bias")}
    expected |= {"mase": peer("mase", **seasonal), "rmsse": peer("rmsse", **seasonal)}
    expected["wape"] = np.abs(PRED - TRUE).sum() / TRUE.sum()
    assert ours == pytest.approx(expected, abs=1e-10)


def test_interval_metrics_equal_utilsforecast():
    quantiles = [0.1, 0.5, 0.9]
    made = np.sort(RNG.gamma(3, 10, (20, 3)), axis=1)
    table = pd.DataFrame(
        {"unique_id": 1, "ds": range(20), "y": TRUE.ravel()} | {f"q{q}": made[:, i] for i, q in enumerate(quantiles)}
    )
    table["low"], table["high"] = made[:, 0], made[:, 2]
    y, pinballs = TRUE.ravel(), []
    for number, quantile in enumerate(quantiles):
        theirs = losses.quantile_loss(table, models={"m": f"q{quantile}"}, q=quantile)["m"].item()
        pinballs.append(metrics.pinball(y, made[:, number], quantile))
        assert pinballs[-1] == pytest.approx(theirs, abs=1e-10)
        assert pinballs[-1] == pytest.approx(mean_pinball_loss(y, made[:, number], alpha=quantile), abs=1e-10)
    together = losses.mqloss(table, models={"m": [f"q{q}" for q in quantiles]}, quantiles=np.array(quantiles))["m"].item()
    assert np.mean(pinballs) == pytest.approx(together, abs=1e-10)
    within = pd.DataFrame({"unique_id": 1, "ds": range(20), "y": y, "m-lo-80": made[:, 0], "m-hi-80": made[:, 2]})
    theirs = losses.coverage(within, models=["m"], level=80)["m"].item()
    pool = IntervalPool(quantiles, [80])
    pool.add(TRUE.reshape(20, 1, 1), made[:, None, None])
    assert pool.scores({}).levels["80"].coverage == pytest.approx(theirs, abs=1e-10)


def test_crps_is_that_of_the_distribution():
    y = RNG.normal(size=200_000)
    quantiles = [0.025, 0.1, 0.5, 0.9, 0.975]
    made = np.broadcast_to(norm.ppf(quantiles), (len(y), 5))
    assert metrics.crps(y, quantiles, made) == pytest.approx(1 / np.sqrt(np.pi), rel=0.03), "of a perfect normal forecast"
    assert metrics.crps(y, quantiles, 2 * made) > metrics.crps(y, quantiles, made)
    levels = metrics.CRPS_LEVELS
    made = np.sort(RNG.normal(size=(20, 20)), axis=1)
    together = np.mean([metrics.pinball(TRUE.ravel(), made[:, i], level) for i, level in enumerate(levels)])
    assert metrics.crps(TRUE.ravel(), levels, made) == pytest.approx(2 * together)
    few = [0.01, 0.12, 0.5, 0.61, 0.9]  # straight lines between them, the last one beyond
    between = [np.apply_along_axis(lambda row, level=level: np.interp(level, few, row), 1, made[:, :5]) for level in levels]
    together = np.mean([metrics.pinball(TRUE.ravel(), row, level) for row, level in zip(between, levels, strict=True)])
    assert metrics.crps(TRUE.ravel(), few, made[:, :5]) == pytest.approx(2 * together)


def test_the_winkler_score_adds_what_lies_outside_on_either_side():
    true, low, high = np.array([[0.0, 3.0], [6.0, 4.0]]), np.ones((2, 2)), np.full((2, 2), 5.0)
    assert metrics.winkler(true, low, high, 80).tolist() == [[4 + 10, 4], [4 + 10, 4]]
    assert metrics.winkler(true, low, high, 95).mean() == pytest.approx(4 + 40 * (1 + 0 + 1 + 0) / 4)


def test_the_ends_of_an_interval_are_covered():
    pool = IntervalPool([0.1, 0.9], [80])
    pool.add(np.array([1.0, 2.0, 2.5]).reshape(3, 1, 1), np.tile([1.0, 2.0], (3, 1, 1, 1)))
    assert pool.scores({}).levels["80"].coverage == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [("mae", mean_absolute_error), ("rmse", root_mean_squared_error), ("mape", mean_absolute_percentage_error)],
)
def test_equals_scikit_learn_per_step(name, theirs):
    true, pred = RNG.gamma(3, 10, (2, 6, 4, 3))
    flat = [values.transpose(0, 2, 1).reshape(18, 4) for values in (true, pred)]  # (windows * targets, horizon)
    ours = pooled(true, pred, np.ones((6, 2, 3)), axis=1)[name]
    np.testing.assert_allclose(ours, theirs(*flat, multioutput="raw_values"), rtol=1e-12)


def test_axes():
    true, pred = RNG.gamma(3, 10, (2, 6, 4, 3))
    scales = RNG.gamma(3, 10, (6, 2, 3))
    per_step, per_target = (pooled(true, pred, scales, axis) for axis in (1, 0))
    for step in range(4):
        only = pooled(true[:, [step]], pred[:, [step]], scales)
        assert {name: value[step] for name, value in per_step.items()} == pytest.approx(only)
    for target in range(3):
        only = pooled(true[..., [target]], pred[..., [target]], scales[..., [target]])
        assert {name: value[target] for name, value in per_target.items()} == pytest.approx(only)


def test_a_pool_of_pieces_scores_as_the_whole():
    true, pred = RNG.gamma(3, 10, (2, 7, 4, 3))
    scales = RNG.gamma(3, 10, (7, 2, 3))
    pool = metrics.ErrorPool()
    for piece in (slice(0, 3), slice(3, 6), slice(6, 7)):
        pool.add(true[piece], pred[piece], scales[piece])
    error = pred - true
    for axis, whole in ((None, None), (1, (0, 2)), (0, (0, 1))):
        expected = {
            "mae": np.abs(error).mean(whole),
            "rmse": np.sqrt(np.square(error).mean(whole)),
            "mape": np.abs(error / true).mean(whole),
            "smape": (np.abs(error) / (true + pred)).mean(whole),
            "bias": error.mean(whole),
            "mase": np.abs(error / scales[:, :1]).mean(whole),
            "rmsse": np.sqrt(np.square(error / scales[:, 1:]).mean(whole)),
            "wape": np.abs(error).sum(whole) / true.sum(whole),
        }
        computed = pool.compute(axis)
        assert set(computed) == set(expected)
        for name, values in expected.items():
            np.testing.assert_allclose(computed[name], values, rtol=1e-12, err_msg=name)


def test_undefined_metrics_are_nan():
    zeros = np.zeros((1, 2, 1))
    scores = pooled(zeros, zeros + 1, np.full((1, 2, 1), np.nan))
    assert np.isnan([scores[name] for name in ("mape", "wape", "mase", "rmsse")]).all()
    assert scores["bias"] == 1.0, "positive bias is over-forecasting"
    assert scores["smape"] == 1.0
    assert pooled(zeros, zeros, np.ones((1, 2, 1)))["smape"] == 0.0
    assert pooled(zeros + 0.1, zeros + 0.3, np.ones((1, 2, 1)))["smape"] == pytest.approx(0.5)


def test_filled_rows_do_not_count_in_seasonal_scales():
    rows = np.array([1.0, 2, np.nan, 5, 9])[:, None]
    assert metrics.seasonal_scales(rows, 1).ravel().tolist() == [2.5, np.sqrt(8.5)]


@pytest.mark.parametrize(("rows", "expected"), [(13, 12.0), (12, 1.0), (3, 1.0), (2, 1.0), (1, np.nan)])
def test_seasonal_scales_of_short_series_fall_back_to_steps(rows, expected):
    assert metrics.seasonal_scales(np.arange(rows, dtype=float)[:, None], 12)[0, 0] == pytest.approx(expected, nan_ok=True)
