"""The boosting baseline: gradient-boosted trees (scikit-learn), one model for all series, fitted to the rows before a cutoff.

Each example is a step after a cutoff. Its inputs are the last values and the value of the last season at that step, both less the
mean of the last values, the number of the step, and the covariates that are known there.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from forecast.errors import check_installed
from forecast.forecasters.naive import Rows, Values
from forecast.windows import Windows

FITS = 5  # Fits to the windows of a set, at evenly spaced cutoffs, for a single series. From 3 series on, there is one.
MIN_LAGS, MAX_LAGS = 12, 96  # Limits of the last values that are inputs, which are otherwise those of two seasons.
MAX_EXAMPLES = 40_000  # More lower the errors less than they cost.
MIN_EXAMPLES = 40  # A tree does not split fewer.
TREES = 100
SECONDS_PER_EXAMPLE = 0.00015  # Of a fit.


def forecast_boosting(windows: Windows, begins: Rows, measured: npt.NDArray[np.bool_], season_length: int) -> Values:
    """Return scaled forecasts `(windows, horizon, targets)`.

    begins: the first row of the series of each window. measured: whether a value was, `(rows, targets)`. Rows are those of the
    matrices of the windows.
    """
    check_installed("The baseline boosting", ["sklearn"])
    forecasts = np.empty((len(windows), windows.horizon, windows.future.shape[1]))
    for chosen in _group(windows):
        group, begin = windows.select(chosen), begins[chosen]
        series, numbers = np.unique(group.series, return_index=True)
        ends = np.minimum.reduceat(group.first, numbers)  # Rows after the first cutoff of a group are not used.
        rows = np.concatenate([np.arange(start + 1, end) for start, end in zip(begin[numbers], ends, strict=True)])
        starts = np.repeat(begin[numbers], np.maximum(ends - begin[numbers] - 1, 0))
        for target in range(forecasts.shape[2]):
            known = measured[rows, target]
            examples = rows[known], starts[known]
            forecasts[chosen, :, target] = _forecast_target(group, begin, examples, target, season_length)
    return forecasts


def estimate_seconds(rows: int, series: int) -> float:
    """Estimate the seconds that fits to so many rows of all series take in a training."""
    fits = 2 * max(1, FITS // series) + 1
    return fits * (1 + min(rows, MAX_EXAMPLES) * SECONDS_PER_EXAMPLE)


def _group(windows: Windows) -> Iterator[npt.NDArray[np.intp]]:
    """Yield the numbers of the windows that share a fit: in every series, those of an equal part of its cutoffs."""
    series, numbers, counts = np.unique(windows.series, return_index=True, return_counts=True)
    fits = max(1, FITS // len(series))
    positions = np.arange(len(windows)) - np.repeat(numbers, counts)
    turns = positions * fits // np.repeat(counts, counts)
    return (np.flatnonzero(turns == turn) for turn in np.unique(turns))


def _forecast_target(windows: Windows, begin: Rows, examples: tuple[Rows, Rows], target: int, season_length: int) -> Values:
    """Fit a model to one target, and return its forecasts `(windows, horizon)`.

    begin: as `begins` above. examples: the rows to learn from, and the first row of the series of each.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    values, horizon, rng = windows.past[:, target], windows.horizon, np.random.default_rng(0)
    rows, starts = examples
    if len(rows) > MAX_EXAMPLES:
        sample = np.sort(rng.choice(len(rows), MAX_EXAMPLES, replace=False))
        rows, starts = rows[sample], starts[sample]
    steps = rng.integers(0, np.minimum(horizon, rows - starts))
    every_step = np.tile(np.arange(horizon), len(windows))
    inputs, base = _make_inputs(
        windows, target, np.repeat(begin, horizon), np.repeat(windows.first, horizon), every_step, season_length
    )
    if len(rows) >= MIN_EXAMPLES:
        seen, seen_base = _make_inputs(windows, target, starts, rows - steps, steps, season_length)
        known = ~np.isnan(seen).all(axis=0)  # Lags before the beginning of every series are not.
        model = HistGradientBoostingRegressor(loss="absolute_error", max_iter=TREES, random_state=0)
        base = base + model.fit(seen[:, known], values[rows] - seen_base).predict(inputs[:, known])
    return base.reshape(len(windows), horizon)


def _make_inputs(
    windows: Windows, target: int, begin: Rows, first: Rows, steps: Rows, season_length: int
) -> tuple[Values, Values]:
    """Return the inputs of examples `(examples, inputs)`, and their last season or mean, to which the trees add.

    begin, first, steps: of each example, the first row of its series, the row after its cutoff, and the steps from there.
    """
    values = windows.past[:, target].astype(np.float64)
    lags = min(max(2 * season_length, MIN_LAGS), MAX_LAGS)
    before = first[:, None] - np.arange(lags, 0, -1)
    past = np.where(before < begin[:, None], np.nan, values[np.maximum(before, 0)])
    mean = np.nanmean(past, axis=1)
    season = first - season_length + steps % season_length
    last_season = np.where(season < begin, mean, values[np.maximum(season, 0)])
    covariates = windows.known_covariates[first + steps]
    inputs = [past - mean[:, None], last_season - mean, steps, steps % season_length, covariates]
    return np.column_stack(inputs), last_season
