"""What a network looks at, told of networks of which it is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from forecast.config.load import load_config
from forecast.evaluation.importance import measure_importance
from forecast.forecasters.preparation import Prepared, prepare
from tests.conftest import seasonal_rows


@pytest.fixture
def prepared(project) -> Prepared:
    """Sales, visits up to the cutoff, and prices over the horizon; the network is never built."""
    rng = np.random.default_rng(0)
    columns = {"sales": seasonal_rows(), "visits": rng.normal(size=120), "price": rng.normal(size=120)}
    table = pd.DataFrame({"month": pd.date_range("2010-01-01", periods=120, freq="MS")} | columns)
    return prepare(load_config(project(table, data={"past_covariates": ["visits"], "known_covariates": ["price"]})))


def repeats_the_last(inputs: dict[str, np.ndarray]) -> np.ndarray:
    return np.repeat(inputs["past"][:, -1:, :1], 3, axis=1)


def test_only_what_is_looked_at_counts(prepared):
    found = measure_importance(prepared, repeats_the_last)
    assert found.windows == len(prepared.windows["validation"])
    assert found.columns["sales"] > 0.1
    assert found.columns["visits"] == found.columns["price"] == 0
    rises = [region.rise for region in found.regions]
    assert rises[:-1] == [0] * 11
    assert rises[-1] != 0
    assert (found.regions[0].begin, found.regions[-1].end) == (12, 1)
    first = measure_importance(prepared, lambda inputs: np.repeat(inputs["past"][:, :1, :1], 3, axis=1))
    assert [region.rise != 0 for region in first.regions] == [True] + [False] * 11


def test_what_is_known_ahead_is_looked_at_there(prepared):
    found = measure_importance(prepared, lambda inputs: repeats_the_last(inputs) + inputs["known"])
    assert found.columns["price"] != 0
    assert found.columns["visits"] == 0
    assert [region.rise for region in found.regions][:-1] == [0] * 11, "what is known ahead is not hidden"


def test_large_networks_are_tried_on_fewer_windows_or_not_at_all(prepared, monkeypatch):
    per_window = (1 + 3 * 3 + 13) * prepared.network.parameters * 12
    monkeypatch.setattr("forecast.evaluation.importance.BUDGET", 10 * per_window)
    assert measure_importance(prepared, repeats_the_last).windows == 10
    monkeypatch.setattr("forecast.evaluation.importance.BUDGET", 7 * per_window)
    assert measure_importance(prepared, repeats_the_last) is None


@pytest.mark.parametrize("kind", ["static_covariates", "static_categories"])
def test_what_is_static_counts_too(project, kind):
    rows = pd.concat(
        pd.DataFrame(
            {"month": pd.date_range("2010-01-01", periods=60, freq="MS"), "sales": seasonal_rows(60), "shop": s, "size": n}
        )
        for n, s in enumerate("abc")
    )
    static = ["size"] if kind == "static_covariates" else ["shop"]
    prepared = prepare(
        load_config(project(rows, data={"series_id": ["shop"], kind: static}, splits={"validation": 12, "test": 12}))
    )
    name = "static" if kind == "static_covariates" else "categories"
    found = measure_importance(prepared, lambda inputs: repeats_the_last(inputs) + inputs[name][:, None] - inputs[name].mean())
    assert found.columns[static[0]] != 0
