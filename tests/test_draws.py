"""Whatever is drawn is refused before training, or trains to a run whose numbers hold.

FORECAST_DRAWS sets how many draws are tried (60 unless set, of which 2 are not exhaustive), FORECAST_FIRST_DRAW the first seed.
"""

from __future__ import annotations

import json
import os
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from forecast import Run, detect, diagnose, plan, predict, report, train
from forecast.commands.export import EXPORT_TOLERANCE, build_graph, make_examples
from forecast.errors import ForecastError
from forecast.evaluation.scores import BASELINES, MODEL
from forecast.forecasters.network.numpy_runtime import READER_TOLERANCE, relative_difference
from forecast.forecasters.preparation import prepare
from forecast.runs.loaded import read_trained
from forecast.training.results import ROUNDING_MARGIN
from tests.draws import draw, write

pytestmark = [pytest.mark.slow, pytest.mark.explained]
FIRST = int(os.environ.get("FORECAST_FIRST_DRAW", "0"))
DIVERGED = (  # At learning rates up to 10, without scaling.
    "the gradients exploded",
    "the forecasts of the network are too large to represent",
    "the forecasts are too large to represent",
)
SEEDS = range(FIRST, FIRST + int(os.environ.get("FORECAST_DRAWS", "60")))
DRAWS = [*SEEDS[:2], *(pytest.param(seed, marks=pytest.mark.exhaustive) for seed in SEEDS[2:])]


@pytest.mark.parametrize("seed", DRAWS)
def test_a_draw(seed, tmp_path):
    from forecast.forecasters.network.backend import keras

    keras.utils.clear_session()
    config = write(draw(seed), tmp_path)
    try:
        train(config, tmp_path / "run")
    except ForecastError as error:
        diverged = any(sentence in str(error) for sentence in DIVERGED)
        assert diverged or not (tmp_path / "run").exists(), "a refusal comes before training"
        print(f"refused: {error}")
        return
    run = Run.open(tmp_path / "run")
    assert not [line for line in run.log.read_text(encoding="utf-8").splitlines() if "failed (" in line or "LEAK" in line]
    future = filled_plan(run, tmp_path) if run.read_config().data.known_covariates else None
    forecasts = predict(run, future=future)
    check_forecasts(run, forecasts, future)
    check_export(run)
    predictions = pd.read_csv(run.predictions_file, parse_dates=["cutoff", "timestamp"], **AS_TEXT)
    for table in (forecasts, predictions):
        check_quantiles(table)
    check_baselines(predictions, run)
    check_metrics(predictions, run)
    if run.read_config().intervals:
        detect(run)
    report(run)
    diagnose(run)


AS_TEXT = {"dtype": {"series_id": str, "target": str}, "keep_default_na": False, "na_values": {"q0.5": [""]}}
AS_TEXT |= {"float_precision": "round_trip"}  # Otherwise pandas 2 reads the last digits of a number inexactly.


def filled_plan(run, folder):
    """The rows of the future that `plan` writes, with a price in every cell."""
    plan(run, output=folder / "future.csv")
    rows = pd.read_csv(folder / "future.csv", dtype=str, keep_default_na=False)
    rows.assign(price=rows.price.replace("", "1.0")).to_csv(folder / "future.csv", index=False)
    return folder / "future.csv"


def check_readers(scaler, found, expected, series, tolerance):
    """Compare forecasts `(windows, horizon, targets)` after scaling: float32 rounds what a network computes, not file units."""
    difference = relative_difference(*(scaler.apply(np.asarray(values, float), series) for values in (found, expected)))
    assert difference <= tolerance


def check_forecasts(run, forecasts, future):
    """Equal by NumPy and by Keras, and in forecast.csv."""
    assert np.isfinite(forecasts.forecast).all()
    trained = read_trained(run)
    shape = -1, trained.horizon, len(trained.config.data.target)
    by_numpy, by_keras = (
        table.forecast.to_numpy().reshape(shape) for table in (forecasts, predict(run, runtime="keras", future=future))
    )
    measured = run.metrics.runtime_difference  # Above READER_TOLERANCE where the network amplifies rounding.
    tolerance = max(READER_TOLERANCE, ROUNDING_MARGIN * measured)
    check_readers(trained.scaler, by_keras, by_numpy, np.arange(len(by_numpy)), tolerance)
    if run.forecast_file.exists() and not future:
        written = pd.read_csv(run.forecast_file, **AS_TEXT)
        assert written.series_id.tolist() == forecasts.series_id.tolist()
        np.testing.assert_allclose(written.forecast, forecasts.forecast, rtol=1e-12)


def check_export(run):
    """The graph of every export forecasts the same at every batch size, that of the horizon included.

    It scales in float32, so that large values with small changes are off; `export` compares them with the run and refuses.
    """
    trained = read_trained(run)
    windows, example, expected = make_examples(run, trained)
    model = build_graph(trained, windows.static)
    whole = model.predict_on_batch(example)
    assert whole.shape == expected.shape
    for batch in {min(len(expected), size) for size in (1, trained.horizon)}:
        made = model.predict_on_batch({name: values[:batch] for name, values in example.items()})
        same = np.abs(made - whole[:batch]) <= EXPORT_TOLERANCE * np.abs(whole[:batch])  # also of series that never move
        if np.isfinite(whole).all() and not same.all():
            check_readers(trained.scaler, made, whole[:batch], windows.series[:batch], EXPORT_TOLERANCE)


def check_quantiles(table):
    """Quantiles ascend, and every interval contains its forecast."""
    levels = sorted((float(name[1:]), name) for name in table.columns if name.startswith("q0"))
    values = table[[name for _, name in levels]].to_numpy(float)
    assert np.isfinite(values).all()
    assert (np.diff(values, axis=1) >= 0).all()
    for (level, _), column in zip(levels, values.T, strict=True):
        slack = 1e-6 * table.forecast.abs()  # of undoing a scaler in floats
        assert (column <= table.forecast + slack).all() if level < 0.5 else (column >= table.forecast - slack).all()


def check_baselines(predictions, run):
    """By their definitions, one window after the other, in float64."""
    panel, season = prepare(run.read_config()).panel, run.read_json(run.metrics_file)["season_length"]
    spans = dict(zip(panel.series_ids, pairwise(panel.offsets), strict=True))
    for (series_id, cutoff, target), rows in predictions.groupby(["series_id", "cutoff", "target"], sort=False):
        begin, end = spans[series_id]
        values, stamps = panel.target_values[begin:end, panel.targets.index(target)], panel.timestamps[begin:end]
        seen = values[: stamps.get_loc(cutoff) + 1].astype(np.float64)
        steps = rows.step.to_numpy()
        slope = (seen[-1] - seen[0]) / max(len(seen) - 1, 1)
        whole = season if len(seen) >= season else 1
        expected = {
            "actual": values[len(seen) - 1 + steps],
            "naive": np.repeat(seen[-1], len(steps)),
            "seasonal_naive": seen[len(seen) - whole + (steps - 1) % whole],
            "drift": seen[-1] + steps * slope,
            "mean": np.repeat(seen.mean(), len(steps)),
        }
        for name, numbers in expected.items():
            np.testing.assert_allclose(rows[name], numbers, rtol=1e-9, atol=1e-9 * np.abs(seen).max(), err_msg=name)


def check_metrics(predictions, run):
    """Each metric of each forecaster, from the rows of predictions.csv."""
    scores = run.read_json(run.metrics_file)["test"]
    json.dumps(scores, allow_nan=False)
    for name in (MODEL, *BASELINES):
        found, actual, error = scores[name]["total"], predictions.actual, predictions[name] - predictions.actual
        size, sizes = error.abs().max(), actual.abs() + predictions[name].abs()
        np.testing.assert_allclose(found["mae"], error.abs().mean(), rtol=1e-6, atol=1e-12 * size)
        np.testing.assert_allclose(found["rmse"], np.sqrt(np.square(error).mean()), rtol=1e-6, atol=1e-12 * size)
        np.testing.assert_allclose(found["bias"], error.mean(), rtol=1e-6, atol=1e-9 * size)
        np.testing.assert_allclose(found["smape"], (error.abs() / sizes.where(sizes > 0, 1)).mean(), rtol=1e-6, atol=1e-12)
        if found["wape"] is not None:
            np.testing.assert_allclose(found["wape"], error.abs().sum() / actual.abs().sum(), rtol=1e-6)
