"""The verdict and the advice say what the numbers say."""

from __future__ import annotations

import pytest

from forecast.evaluation import BASELINES, MODEL, advice, skill, verdict


def scores(model: float, mase: bool = True, **baselines: float) -> dict:
    errors = {name: 10.0 for name in BASELINES} | baselines | {MODEL: model}
    return {name: {"total": {"mase": error if mase else None, "mae": error}} for name, error in errors.items()}


@pytest.mark.parametrize("mase", [True, False])
def test_skill(mase):
    skills = skill(scores(5.0, mase, linear=4.0, drift=0.0))
    assert skills == {"naive": 0.5, "seasonal_naive": 0.5, "drift": None, "mean": 0.5, "linear": -0.25}
    assert verdict(skills).endswith("; loses to drift (which is exact), linear by 25%.")


def test_two_exact_forecasts_are_equal():
    assert skill(scores(0.0, drift=0.0))["drift"] == 0.0


ADVICE = {
    "wins": ({}, 5, True, ""),
    "naive is better": ({"naive": -0.1}, 5, True, "Do not trust this network yet: naive costs nothing and is at least as good."),
    "naive is exact": ({"naive": None}, 5, True, "Do not trust this network yet: naive costs nothing"),
    "the skip alone": ({"linear": 0.0}, 0, True, "The recurrent part added nothing"),
    "linear is better": ({"linear": -0.1}, 5, False, "A ridge regression does better: set model.linear_skip: true"),
    "linear is better beside a skip": ({"linear": -0.1}, 5, True, "A ridge regression does better."),
}


@pytest.mark.parametrize(("changed", "kept", "skip", "told"), ADVICE.values(), ids=ADVICE.keys())
def test_advice(changed, kept, skip, told):
    skills = dict.fromkeys(BASELINES, 0.5) | changed
    assert advice(skills, kept, skip).startswith(told)
    assert bool(advice(skills, kept, skip)) == bool(told)
