"""Learning curves show a problem where there is one."""

from __future__ import annotations

import numpy as np
import pytest

from forecast.config.schema import Config
from forecast.evaluation.curves import Curve, check_curve

CONFIG = {
    "data": {"path": "a.csv", "timestamp": "t", "target": ["y"]},
    "windows": {"lookback": 3, "horizon": 2},
    "model": {"linear_skip": False},
}
NOISE = np.random.default_rng(8).normal(0, 1, 40)
CURVES = {
    "a perfect fit": (np.zeros(13), None),
    "learned, then perfect": (np.r_[1.0, np.zeros(12)], None),
    "falls and stays": (np.r_[1.0, 0.5 + 0.01 * NOISE], None),
    "falls slowly": (1 - 0.01 * np.arange(41) + 0.005 * np.r_[0, NOISE], None),
    "nothing gained": (1 + 0.05 * np.r_[0, np.abs(NOISE)], "validation loss without a trend"),
    "up and down": (np.r_[3.0, 1 + 0.2 * NOISE.clip(-1, 1)], "validation loss without a trend"),
}


@pytest.mark.parametrize(("errors", "name"), CURVES.values(), ids=CURVES)
def test_curves(errors, name):
    curve = Curve(errors, errors, gradient_norm=1.0, saved_epoch=int(np.argmin(errors)) or 1)
    problem = check_curve(curve, Config.model_validate(CONFIG))
    assert (problem and problem.name) == name
