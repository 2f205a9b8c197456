"""The verdict and the advice say what the numbers say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from forecast.evaluation.scores import BASELINES, MODEL
from forecast.evaluation.significance import Comparison
from forecast.evaluation.verdict import compare_with_baselines, write_advice, write_verdict


def losses(model: float, cutoffs: int = 3, **baselines: float) -> pd.DataFrame:
    errors = {name: 10.0 for name in BASELINES} | baselines | {MODEL: model}
    columns = {f"{metric}_{name}": [error] * cutoffs for name, error in errors.items() for metric in ("mae", "mase")}
    return pd.DataFrame({"windows": 1, **columns})


@pytest.mark.parametrize("mase", [True, False])
def test_skill(mase):
    table = losses(5.0, linear=4.0, drift=0.0)
    if not mase:
        table[[name for name in table if name.startswith("mase")]] = np.nan
    compared = compare_with_baselines(table, horizon=1)
    skills = {name: comparison.skill for name, comparison in compared.items()}
    assert skills == {"naive": 0.5, "seasonal_naive": 0.5, "drift": None, "mean": 0.5, "linear": -0.25}
    assert write_verdict(compared).endswith("; loses to drift (which is exact), linear by 25%.")


def test_two_exact_forecasts_are_equal():
    assert compare_with_baselines(losses(0.0, drift=0.0), horizon=1)["drift"].skill == 0.0


ADVICE = {
    "wins": ({}, True, True, ""),
    "naive is better": ({"naive": -0.1}, True, True, "Do not trust this network yet: naive costs nothing and may be as good."),
    "naive is exact": ({"naive": None}, True, True, "Do not trust this network yet: naive costs nothing"),
    "the skip alone": ({"linear": 0.0}, False, True, "The recurrent layers added nothing"),
    "linear is better": ({"linear": -0.1}, True, False, "A ridge regression is better. Set model.linear_skip: true"),
    "linear is better beside a skip": ({"linear": -0.1}, True, True, "A ridge regression is better."),
}


@pytest.mark.parametrize(("changed", "trained", "skip", "start"), ADVICE.values(), ids=ADVICE.keys())
def test_advice(changed, trained, skip, start):
    compared = {name: Comparison(skill) for name, skill in (dict.fromkeys(BASELINES, 0.5) | changed).items()}
    assert write_advice(compared, 1.0, trained, skip).startswith(start)
    assert bool(write_advice(compared, 1.0, trained, skip)) == bool(start)
    assert write_advice(compared, 1.0, False, True).endswith("this forecast is the ridge regression they started from.")


def test_a_difference_that_may_be_luck_is_no_victory():
    compared = dict.fromkeys(BASELINES, Comparison(0.5, 0.4, 0.6, 0.001)) | {"naive": Comparison(0.3, -0.1, 0.6, 0.2)}
    assert "is not distinguishable from naive (30%, 95% CI -10..60, p 0.2)" in write_verdict(compared)
    assert write_advice(compared, 1.0, True, True).startswith("Do not trust this network yet: naive")
    compared |= {"naive": Comparison(0.5, 0.4, 0.6, 0.001), "linear": Comparison(0.01, -0.1, 0.2, 0.3)}
    assert write_advice(compared, 1.0, True, True).startswith("The recurrent layers do not measurably improve")


def test_the_last_value_shifted_is_called_so():
    compared = dict.fromkeys(BASELINES, Comparison(0.5))
    start = "The forecast almost repeats the last value: it moves away from that value only 3%"
    assert write_advice(compared, 0.03, True, True).startswith(start)
