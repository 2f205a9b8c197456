"""The boosting baseline: gradient-boosted trees, one model per target. scikit-learn fits it, and NumPy computes it.

An example is one step of a window. Trees correct the value of the last known season at this step. They read the past of their
target, relative to the mean of its last values, in several ways: in order, by season at the same step, and as means of seasons.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from forecast.windows import MAX_BATCH, Windows

MIN_LAGS, MAX_LAGS = 12, 96  # Limits on the number of last values, otherwise a season.
MAX_SEASONS = 7
MAX_EXAMPLES = 40_000  # More take long and hardly lower errors.
TREES, DEPTH = 100, 6
SPLITS = 2**DEPTH - 1  # Of a complete tree.
FITS = 3  # One for each stage of a training.
SECONDS_PER_EXAMPLE, SECONDS_PER_STEP = 0.0001, 0.00002  # Of a fit, and of the forecasts.
Floats = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Boosting:
    """Fitted trees, each stored as a complete binary tree. A split that a tree lacks sends every example to the left.

    features, thresholds: of each split, `(targets, TREES, SPLITS)`; larger inputs go to the right.
    values: of each leaf, `(targets, TREES, SPLITS + 1)`. horizon: steps that the trees have learned; more are rolled out.
    """

    features: Indices
    thresholds: Floats
    values: Floats
    season_length: int
    horizon: int

    def forecast(self, windows: Windows) -> Floats:
        """Return scaled forecasts `(windows, horizon, targets)`."""
        return windows.forecast_with(self._forward, self.horizon)

    def _forward(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        steps, forecasts = np.tile(np.arange(self.horizon), (len(inputs["past"]), 1)), []
        for target in range(len(self.values)):
            examples, start = _make_examples(inputs, steps, target, self.season_length)
            forecasts.append(start + self._apply_trees(examples, target).reshape(start.shape))
        return np.stack(forecasts, axis=2)

    def _apply_trees(self, examples: Floats, target: int) -> Floats:
        """Return the sum of all trees of a target for each example."""
        total, flat = np.zeros(len(examples)), examples.ravel()
        begins = np.arange(len(examples)) * examples.shape[1]
        for features, thresholds, values in zip(self.features[target], self.thresholds[target], self.values[target], strict=True):
            node = np.zeros(len(examples), dtype=np.intp)
            for _ in range(DEPTH):
                node = 2 * node + 1 + (flat[begins + features[node]] > thresholds[node])
            total += values[node - SPLITS]
        return total


def fit_boosting(train: Windows, season_length: int) -> Boosting:
    """Fit the trees of each target to the absolute errors of windows, on at most `MAX_EXAMPLES` examples."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    windows, rng, trees = train.sample_evenly(MAX_EXAMPLES), np.random.default_rng(0), []
    per_window = min(train.horizon, MAX_EXAMPLES // len(windows))
    chunks = [(chunk, rng.integers(0, train.horizon, (len(chunk), per_window))) for chunk in windows.chunks(MAX_BATCH)]
    for target in range(train.future.shape[1]):
        examples, corrections = [], []
        for chunk, steps in chunks:
            single = chunk.select_target(target)
            inputs, start = _make_examples(single.inputs(), steps, 0, season_length)
            examples.append(inputs)
            corrections.append((np.take_along_axis(single.targets()[..., 0], steps, 1) - start).ravel())
        model = HistGradientBoostingRegressor(
            loss="absolute_error", max_iter=TREES, max_depth=DEPTH, early_stopping=False, random_state=0
        )
        trees.append(_complete_trees(model.fit(np.concatenate(examples), np.concatenate(corrections))))
    features, thresholds, values = (np.stack(arrays) for arrays in zip(*trees, strict=True))
    return Boosting(features, thresholds, values, season_length, train.horizon)


def estimate_seconds(rows: int, horizon: int, windows: int) -> float:
    """Estimate the seconds that a target takes in a training: fits, and forecasts of both sets of windows.

    rows: total over all series. windows: those of both sets.
    """
    return FITS * min(rows * horizon, MAX_EXAMPLES) * SECONDS_PER_EXAMPLE + windows * horizon * SECONDS_PER_STEP


def count_inputs(lookback: int, known_covariates: int, season_length: int) -> int:
    """Return the number of inputs of an example."""
    inputs = {"past": np.zeros((1, lookback, 1)), "known": np.zeros((1, 1, known_covariates))}
    examples, _ = _make_examples(inputs, np.zeros((1, 1), dtype=np.int64), 0, season_length)
    return int(examples.shape[1])


def _make_examples(inputs: Mapping[str, Floats], steps: Indices, target: int, season_length: int) -> tuple[Floats, Floats]:
    """Return the inputs of examples, `(windows * steps, inputs)`, and the values that the trees correct, `(windows, steps)`.

    inputs: of a network. steps: of each window, `(windows, steps)`, counted from 0.
    """
    past = inputs["past"][..., target].astype(np.float64)
    lookback = past.shape[1]
    season = season_length if season_length <= lookback else 1
    last = past[:, -min(lookback, max(season, MIN_LAGS), MAX_LAGS) :]
    centre = last.mean(axis=1, keepdims=True)
    count = min(lookback // season, MAX_SEASONS)
    seasons = (past[:, lookback - count * season :] - centre).reshape(-1, count, season)
    same_step = np.take_along_axis(seasons, (steps % season)[:, None], 2).transpose(0, 2, 1)  # (windows, steps, seasons)
    growth = past[:, -1:] - past[:, -min(lookback, season + 1), None]
    level = past.mean(axis=1, keepdims=True) - centre
    window_inputs = np.hstack([last - centre, seasons.mean(axis=2), growth, level, past.std(axis=1, keepdims=True)])
    columns = [
        np.broadcast_to(window_inputs[:, None], (*steps.shape, window_inputs.shape[1])),
        same_step,
        same_step.mean(axis=2, keepdims=True),
        same_step.std(axis=2, keepdims=True),
        np.stack([steps, steps % season], axis=2),
    ]
    if "known" in inputs:
        columns.append(np.take_along_axis(inputs["known"], steps[..., None], 1))
    examples = np.concatenate(columns, axis=2, dtype=np.float32)
    return examples.reshape(-1, examples.shape[2]), same_step[..., -1] + centre


def _complete_trees(model: Any) -> tuple[Indices, Floats, Floats]:
    """Return the arrays of `Boosting` for one target. The first tree adds what all forecasts begin with."""
    shape = TREES, SPLITS
    features, thresholds, values = np.zeros(shape, np.int64), np.full(shape, np.inf), np.zeros((TREES, SPLITS + 1))
    for tree, (predictor,) in enumerate(model._predictors):  # scikit-learn has no public access to them. A test compares results.
        nodes, pairs = predictor.nodes, [(0, 0)]  # Numbers of a node in scikit-learn's tree and in the complete one.
        while pairs:
            number, position = pairs.pop()
            node = nodes[number]
            if position >= SPLITS:
                values[tree, position - SPLITS] = node["value"]
            elif node["is_leaf"]:
                pairs.append((number, 2 * position + 1))
            else:
                features[tree, position], thresholds[tree, position] = node["feature_idx"], node["num_threshold"]
                pairs += [(node["left"], 2 * position + 1), (node["right"], 2 * position + 2)]
    values[0] += model._baseline_prediction.item()
    return features, thresholds, values
