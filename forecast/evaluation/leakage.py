"""The leak certificate: change all values after a cutoff, and check that nothing known at the cutoff changes by a bit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from forecast.config import Config, load_config
from forecast.data import Panel, Rows, build_panel, read_rows
from forecast.documents import Document
from forecast.evaluation.covariates import MAX_ROWS, MAX_SHIFT, find_copy, find_function
from forecast.evaluation.intervals import Indices
from forecast.evaluation.metrics import Values
from forecast.forecasters.network.numpy_runtime import forward as numpy_forward
from forecast.forecasters.preparation import Prepared, prepare, prepare_splits
from forecast.windows import SUBSETS, Forward, Subset, Windows

MAX_WINDOWS = 256  # Windows of each set that are compared, and series. The same code cuts all of them.
UNSEEN = (
    f"Covariates are compared with the target up to {MAX_SHIFT} steps later. A file does not show when its values "
    "became known.\nCheck that each value was available at its timestamp."
)


class Check(Document, frozen=True, validate_by_name=True, serialize_by_alias=True):
    """A value that must not depend on the future.

    cutoff: the last timestamp before the change. doubtful: the check passed, but a person should look at the value.
    """

    subject: str = Field(alias="what")
    cutoff: str
    passed: bool
    result: str = Field(alias="found")
    doubtful: bool

    @classmethod
    def of(cls, subject: str, cutoff: pd.Timestamp, same: bool) -> Check:
        """Return the check that a value is the same after everything after the cutoff has changed."""
        result = "did not change" if same else "changed with values after the cutoff"
        return cls(subject=subject, cutoff=str(cutoff), passed=same, result=result, doubtful=False)


class Certificate(Document):
    """The leak certificate of a run (leakage.json)."""

    passed: bool
    checks: list[Check]

    @classmethod
    def of(cls, checks: list[Check]) -> Certificate:
        """Return the certificate of some checks."""
        return cls(passed=all(check.passed for check in checks), checks=checks)


def certify(prepared: Prepared, forward: Forward) -> list[Check]:
    """Return the quick certificate of a trained network: scaler, training windows, forecasts and covariates."""
    panel, splits, config = prepared.panel, prepared.splits, prepared.config
    ends = _scaler_ends(prepared)
    changed = prepare_splits(config, _change_panel(panel, ends, len(panel.columns)), splits, prepared.inherited)
    cutoff = panel.timestamps[ends - 1].max()
    checks = [
        Check.of("scaler", cutoff, changed.scaler.to_json() == prepared.scaler.to_json()),
        Check.of("training windows", cutoff, _are_same(prepared.windows["train"], changed.windows["train"])),
    ]
    test = prepared.windows["test"]
    series, indices = np.unique(test.series, return_index=True)  # The first test window of each series.
    first = np.diff(panel.offsets).cumsum()  # Past the end: nothing changes in a series without a test window.
    first[series] = test.first[indices]
    changed_panel = _change_panel(panel, first, len(panel.columns) - panel.known_channels)
    changed = prepare_splits(config, changed_panel, splits, prepared.inherited)
    cutoff = panel.timestamps[test.first[indices] - 1].max()
    same = _are_same(prepared.windows["validation"], changed.windows["validation"])
    sample = indices[np.linspace(0, len(indices) - 1, min(len(indices), MAX_WINDOWS)).astype(int)]
    before, after = (version.windows["test"].select(sample) for version in (prepared, changed))
    checks.append(Check.of("validation windows", cutoff, same))
    checks.append(Check.of("forecasts", cutoff, _have_same_forecasts(prepared, before, after, forward)))
    return [*checks, *check_covariates(prepared)]


def check_leaks(config: Config | str | Path) -> list[Check]:
    """Return the full certificate: change the file after each of several cutoffs, then repair, scale and cut it again.

    A network with random weights makes the forecasts. Training sees nothing but the windows that are compared.

    Raises:
        ConfigError, DataError
    """
    config = config if isinstance(config, Config) else load_config(config)
    prepared = prepare(config)
    rows, static = read_rows(config.data, Path(config.data.path))
    forward = _randomize_network(prepared)
    checks: list[Check] = []
    for cutoff in _cutoffs(prepared):
        for unknown_only in (False, True):
            changed_rows = _change_rows(rows, prepared, cutoff, unknown_only)
            panel = build_panel(changed_rows, static, config.data, config.data.path)
            if panel.series_ids != prepared.panel.series_ids:  # Short series were left out.
                panel = panel.select(np.array([panel.series_ids.index(name) for name in prepared.panel.series_ids]))
            changed = prepare_splits(prepared.config, panel, prepared.splits)
            checks += _compare(prepared, changed, cutoff, forward if unknown_only else None)
    return [*checks, *check_covariates(prepared)]


def _cutoffs(prepared: Prepared) -> list[pd.Timestamp]:
    """Return the ends of the training set, of half the validation set, of all of it, and of half the test set."""
    panel, (begin, validation, test, end) = prepared.panel, prepared.splits.borders.T
    ends = [validation, (validation + test) // 2, test, (test + end) // 2]
    return [panel.timestamps[rows[rows > begin] - 1].max() for rows in ends if (rows > begin).any()]


def _scaler_ends(prepared: Prepared) -> Indices:
    """Return the end of the rows of each series that a scaler may see. Not from `Splits.scaler_rows`, which is checked."""
    begin, train_end, _, end = prepared.splits.borders.T
    ends: Indices = np.maximum(train_end, np.minimum(begin + prepared.config.windows.lookback, end))
    return ends


def _compare(prepared: Prepared, changed: Prepared, cutoff: pd.Timestamp, forward: Forward | None) -> Iterator[Check]:
    """Compare what is known at the cutoff before and after a change: forecasts with `forward`, else scaler and windows.

    Only series whose scaler is fitted by then count. A series without training rows is scaled by its first lookback.
    """
    panel = prepared.panel
    fitted = panel.timestamps[_scaler_ends(prepared) - 1] <= cutoff
    if prepared.config.scaling.per == "all":
        fitted = fitted | (np.diff(prepared.splits.rows_of("train"), axis=0)[0] == 0)  # The common scaler does not see these.
    if forward:
        before, after = (_windows_until(version, "test", cutoff, fitted, targets=False) for version in (prepared, changed))
        if len(before):
            yield Check.of("forecasts", cutoff, _have_same_forecasts(prepared, before, after, forward))
        return
    same = all(
        np.array_equal(getattr(prepared.scaler, name)[fitted], getattr(changed.scaler, name)[fitted])
        for name in ("offset", "scale")
    )
    yield Check.of("scaler", cutoff, same)
    for subset in SUBSETS:
        before, after = (_windows_until(version, subset, cutoff, fitted, targets=True) for version in (prepared, changed))
        if len(before):
            yield Check.of(f"{subset} windows", cutoff, _are_same(before, after))


def _windows_until(
    prepared: Prepared, subset: Subset, cutoff: pd.Timestamp, series: npt.NDArray[np.bool_], targets: bool
) -> Windows:
    """Return the windows of some series whose cutoffs, or also their `targets`, are not after a cutoff."""
    windows = prepared.windows[subset]
    last = windows.first + (windows.horizon if targets else 0) - 1
    return windows.select((prepared.panel.timestamps[last] <= cutoff) & series[windows.series])


def _have_same_forecasts(prepared: Prepared, before: Windows, after: Windows, forward: Forward) -> bool:
    """Return whether the forecasts are the same to the bit."""
    if len(before) != len(after):
        return False
    samples = [windows.sample_evenly(MAX_WINDOWS) for windows in (before, after)]
    forecast, changed = (sample.forecast_with(forward, prepared.network.horizon) for sample in samples)
    return np.array_equal(forecast, changed)


def _are_same(before: Windows, after: Windows) -> bool:
    """Return whether the windows are the same, with inputs and targets that are the same to the bit."""
    if not (np.array_equal(before.first, after.first) and np.array_equal(before.series, after.series)):
        return False
    before, after = before.sample_evenly(MAX_WINDOWS), after.sample_evenly(MAX_WINDOWS)
    inputs, changed_inputs = before.inputs(), after.inputs()
    same = all(np.array_equal(inputs[name], changed_inputs[name], equal_nan=True) for name in inputs)
    return same and np.array_equal(before.targets(), after.targets(), equal_nan=True)


def _randomize_network(prepared: Prepared) -> Forward:
    """Return the network with random weights. Weights that start at zero would hide a leak."""
    rng, network = np.random.default_rng(prepared.config.seed), prepared.network
    weights = {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in network.weights.items()}
    weights = {name: np.abs(values) if name.endswith("variance") else values for name, values in weights.items()}
    return partial(numpy_forward, network, weights)


def _change_panel(panel: Panel, first: Indices, channels: int) -> Panel:
    """Change the first `channels` of a panel from the row `first` of each series on."""
    values = panel.values.copy()
    for (begin, end), row in zip(pairwise(panel.offsets), first, strict=True):
        values[row:end, :channels] = _increase(values[begin:end, :channels], row - begin)
    return replace(panel, values=values)


def _change_rows(rows: Rows, prepared: Prepared, cutoff: pd.Timestamp, unknown_only: bool) -> Rows:
    """Change the rows of a file after a cutoff, in all columns or only in those that are unknown over the horizon."""
    panel = prepared.panel
    columns = len(panel.columns) - panel.known_channels if unknown_only else len(panel.file_columns)
    first_after = panel.timestamps[panel.timestamps > cutoff].min()  # The end of the cutoff's step, which may hold many rows.
    late, values = rows.timestamps >= first_after, rows.values.copy()
    values[late, :columns] = _increase(values[:, :columns], 0)[late]
    return replace(rows, values=values)


def _increase(values: Values, first: int) -> Values:
    """Return the values from row `first` on, increased by one to two deviations of their column: every transform takes them."""
    rng = np.random.default_rng(0)
    later = values[first:]
    size: Values = np.nan_to_num(np.nanstd(values, axis=0)) + 1.0
    return later + size * rng.uniform(1, 2, later.shape)


def check_covariates(prepared: Prepared) -> list[Check]:
    """Check that no covariate reveals later target values. Changing the target does not show that.

    A leak is a covariate that equals the target of a later step, or is a linear function of later ones, such as a moving average
    that looks ahead. Nobody can see in a file when a value became known.
    """
    panel, begin, end = prepared.panel, *prepared.splits.borders.T[:2]
    rows = _measured_rows(panel, [slice(begin, min(end, begin + MAX_ROWS)) for begin, end in pairwise(panel.offsets)])
    training = _measured_rows(panel, [slice(max(first, last - MAX_ROWS), last) for first, last in zip(begin, end, strict=True)])
    checks = []
    for column in range(len(panel.targets), len(panel.file_columns)):
        is_known = column >= len(panel.columns) - panel.known_channels
        pairs, training_pairs = (
            {name: [(series[:, column], series[:, target]) for series in part] for target, name in enumerate(panel.targets)}
            for part in (rows, training)
        )
        functions = [find_function(name, series, is_known) for name, series in training_pairs.items()]
        certain = [text for text, is_certain in functions if is_certain]
        doubtful = [text for text, _ in functions if text]
        passed, result = True, "reveals no later target value"
        if copy := find_copy(pairs, prepared.config.windows.horizon, is_known):
            passed, result = False, f"is {copy}"
        elif certain:
            passed, result = False, f"is computed from {certain[0]}"
        elif doubtful:
            result = f"may be computed from {doubtful[0]}. Check that it is known at its timestamp."
        subject, cutoff = f"covariate `{panel.columns[column]}`", str(panel.timestamps.max())
        checks.append(Check(subject=subject, cutoff=cutoff, passed=passed, result=result, doubtful=passed and bool(doubtful)))
    return checks


def _measured_rows(panel: Panel, spans: list[slice]) -> list[Values]:
    """Return the rows of the file, series by series, with NaN where a value was filled."""
    columns = len(panel.file_columns)
    return [np.where(panel.filled[span, :columns], np.nan, panel.values[span, :columns]) for span in spans[:MAX_WINDOWS]]
