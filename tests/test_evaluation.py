"""The verdict and the advice say what the numbers say; scores of pieces are those of the whole."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from forecast.evaluation import BASELINES, MODEL, IntervalScores, advice, compare_all, verdict
from forecast.significance import Comparison


def losses(model: float, cutoffs: int = 3, **baselines: float) -> pd.DataFrame:
    errors = {name: 10.0 for name in BASELINES} | baselines | {MODEL: model}
    columns = {f"{metric}_{name}": [error] * cutoffs for name, error in errors.items() for metric in ("mae", "mase")}
    return pd.DataFrame({"windows": 1, **columns})


@pytest.mark.parametrize("mase", [True, False])
def test_skill(mase):
    table = losses(5.0, linear=4.0, drift=0.0)
    if not mase:
        table[[name for name in table if name.startswith("mase")]] = np.nan
    compared = compare_all(table, horizon=1)
    skills = {name: found.skill for name, found in compared.items()}
    assert skills == {"naive": 0.5, "seasonal_naive": 0.5, "drift": None, "mean": 0.5, "linear": -0.25}
    assert verdict(compared).endswith("; loses to drift (which is exact), linear by 25%.")


def test_two_exact_forecasts_are_equal():
    assert compare_all(losses(0.0, drift=0.0), horizon=1)["drift"].skill == 0.0


ADVICE = {
    "wins": ({}, True, True, ""),
    "naive is better": ({"naive": -0.1}, True, True, "Do not trust this network yet: naive costs nothing and may be as good."),
    "naive is exact": ({"naive": None}, True, True, "Do not trust this network yet: naive costs nothing"),
    "the skip alone": ({"linear": 0.0}, False, True, "The recurrent part added nothing"),
    "linear is better": ({"linear": -0.1}, True, False, "A ridge regression does better: set model.linear_skip: true"),
    "linear is better beside a skip": ({"linear": -0.1}, True, True, "A ridge regression does better."),
}


@pytest.mark.parametrize(("changed", "trained", "skip", "told"), ADVICE.values(), ids=ADVICE.keys())
def test_advice(changed, trained, skip, told):
    compared = {name: Comparison(skill) for name, skill in (dict.fromkeys(BASELINES, 0.5) | changed).items()}
    assert advice(compared, 1.0, trained, skip).startswith(told)
    assert bool(advice(compared, 1.0, trained, skip)) == bool(told)
    assert advice(compared, 1.0, False, True).endswith("this forecast is the ridge regression that it began with.")


def test_a_difference_that_may_be_luck_is_no_victory():
    compared = dict.fromkeys(BASELINES, Comparison(0.5, 0.4, 0.6, 0.001)) | {"naive": Comparison(0.3, -0.1, 0.6, 0.2)}
    assert "is not distinguishable from naive (30%, 95% CI -10..60, p 0.2)" in verdict(compared)
    assert advice(compared, 1.0, True, True).startswith("Do not trust this network yet: naive")
    compared |= {"naive": Comparison(0.5, 0.4, 0.6, 0.001), "linear": Comparison(0.01, -0.1, 0.2, 0.3)}
    assert advice(compared, 1.0, True, True).startswith(
        "Nothing shows that the recurrent part adds anything to a ridge regression"
    )


def test_the_last_value_shifted_is_called_so():
    compared = dict.fromkeys(BASELINES, Comparison(0.5))
    assert advice(compared, 0.03, True, True).startswith(
        "The forecast is almost the last value, shifted: it moves away from it by 3%"
    )


def test_interval_scores_of_pieces_are_those_of_the_whole():
    rng = np.random.default_rng(0)
    actual = rng.normal(size=(40, 3, 2))
    made = np.sort(rng.normal(size=(40, 3, 2, 4)), axis=-1)
    whole, pieces = (IntervalScores([0.025, 0.1, 0.9, 0.975], [80, 95]) for _ in range(2))
    whole.add(actual, made)
    for chosen in (slice(0, 7), slice(7, 40)):
        pieces.add(actual[chosen], made[chosen])
    low, high = made[..., 1], made[..., 2]
    found = pieces.scores()["levels"]["80"]
    assert found["coverage"] == pytest.approx(np.mean((low <= actual) & (actual <= high)))
    assert found["width"] == pytest.approx((high - low).mean())
    assert found["below"] == pytest.approx(np.mean(actual < low))
    assert found["per_step"]["width"] == pytest.approx((high - low).mean(axis=(0, 2)).tolist())
    assert whole.scores()["crps"] == pytest.approx(pieces.scores()["crps"])
