"""Metrics equal those of utilsforecast, per series and in total."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from utilsforecast import losses

from forecast import metrics

RNG = np.random.default_rng(3)
TRAIN = RNG.gamma(3, 10, (60, 1))
TRUE, PRED = RNG.gamma(3, 10, (5, 4, 1)), RNG.gamma(3, 10, (5, 4, 1))
SEASON = 7


def peer(name: str, **more: object) -> float:
    table = pd.DataFrame({"unique_id": 1, "ds": range(20), "y": TRUE.ravel(), "model": PRED.ravel()})
    return getattr(losses, name)(table, models=["model"], **more)["model"].item()


def test_equals_utilsforecast():
    train = pd.DataFrame({"unique_id": 1, "ds": range(60), "y": TRAIN.ravel()})
    scales = metrics.seasonal_scales(TRAIN, SEASON)[None].repeat(5, axis=0)  # (windows, 2, targets)
    ours = metrics.score(TRUE, PRED, scales)
    seasonal = {"seasonality": SEASON, "train_df": train}
    expected = {name: peer(name) for name in ("mae", "rmse", "mape", "smape", "bias")}
    expected |= {"mase": peer("mase", **seasonal), "rmsse": peer("rmsse", **seasonal)}
    expected["wape"] = np.abs(PRED - TRUE).sum() / TRUE.sum()
    assert ours == pytest.approx(expected, abs=1e-10)


def test_positive_bias_is_over_forecasting():
    assert metrics.bias(np.zeros(3), np.ones(3)) == 1.0


def test_undefined_metrics_are_none():
    zeros = np.zeros((1, 2, 1))
    scores = metrics.score(zeros, zeros + 1, np.zeros((1, 2, 1)))
    assert [scores[name] for name in ("mape", "wape", "mase", "rmsse")] == [None] * 4
    assert scores["smape"] == 1.0
    assert metrics.smape(zeros, zeros) == 0.0


@pytest.mark.parametrize(("rows", "expected"), [(3, 1.0), (2, 1.0), (1, 0.0)])
def test_seasonal_scales_of_short_series_fall_back_to_steps(rows, expected):
    assert metrics.seasonal_scales(np.arange(rows, dtype=float)[:, None], 12)[0, 0] == expected
