"""The leak certificate: change all values after a cutoff, and check that everything known at the cutoff stays identical."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field

from forecast.config import Config, load_config
from forecast.data import Panel, Rows, build_panel, read_rows
from forecast.documents import Document
from forecast.evaluation.covariates import MAX_ROWS, MAX_SHIFT, find_leak
from forecast.evaluation.intervals import Indices
from forecast.evaluation.metrics import Values
from forecast.evaluation.scoring import Fitted
from forecast.forecasters.network.numpy_runtime import forward as numpy_forward
from forecast.forecasters.preparation import Prepared, prepare, prepare_splits
from forecast.windows import SUBSETS, Forward, Windows

MAX_FITTED_WINDOWS = 16  # Windows for which statistical baselines are fitted twice.
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


def certify(fitted: Fitted) -> list[Check]:
    """Return the quick certificate of a trained network: scaler, training windows, forecasts and covariates."""
    prepared = fitted.prepared
    panel, test = prepared.panel, prepared.windows["test"]

    def change(first: Indices, channels: int) -> Prepared:
        changed = _change_panel(panel, first, channels)
        return prepare_splits(prepared.config, changed, prepared.splits, prepared.inherited)

    ends = _scaler_ends(prepared)
    changed, cutoff = change(ends, len(panel.columns)), panel.timestamps[ends - 1].max()
    scaler = Check.of("scaler", cutoff, changed.scaler.to_json() == prepared.scaler.to_json())
    training = Check.of(
        "training windows", cutoff, _are_same(prepared.network_windows["train"], changed.network_windows["train"])
    )
    series, numbers = np.unique(test.series, return_index=True)  # The first test window of each series.
    first = panel.offsets[1:].copy()  # Nothing changes in a series without a test window.
    first[series] = test.first[numbers]
    changed, cutoff = change(first, len(panel.columns) - panel.known_channels), panel.timestamps[first[series] - 1].max()
    before, after = (version.windows["test"].select(numbers) for version in (prepared, changed))
    validation = _are_same(prepared.network_windows["validation"], changed.network_windows["validation"])
    count = MAX_FITTED_WINDOWS if fitted.combination and prepared.config.baselines else MAX_WINDOWS
    versions = ((prepared, before), (changed, after))
    outputs = [
        replace(fitted, prepared=version, computed={}).forecast(windows.sample_evenly(count)) for version, windows in versions
    ]
    checks = [
        Check.of("validation windows", cutoff, validation),
        Check.of("forecasts", cutoff, np.array_equal(outputs[0], outputs[1])),
    ]
    if prepared.config.training.refit:
        refit = _are_same(prepared.extend_training("validation", True), changed.extend_training("validation", True))
        checks.append(Check.of("refit windows", cutoff, refit))
    return [scaler, training, *checks, *check_covariates(prepared)]


def check_leaks(config: Config | str | Path) -> list[Check]:
    """Return all leak checks: change the values after several cutoffs in a copy of the data, then repair, scale and cut it.

    A network with random weights makes the forecasts. The checks compare everything that training uses.

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
            panel = panel.pad(prepared.panel.padding)
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
    fitted = prepared.panel.timestamps[_scaler_ends(prepared) - 1] <= cutoff
    if prepared.config.scaling.per == "all":
        fitted = fitted | (np.diff(prepared.splits.rows_of("train"), axis=0)[0] == 0)  # The common scaler does not see these.
    if not forward:
        offset, scale, scaler = prepared.scaler.offset[fitted], prepared.scaler.scale[fitted], changed.scaler
        same = np.array_equal(offset, scaler.offset[fitted]) and np.array_equal(scale, scaler.scale[fitted])
        yield Check.of("scaler", cutoff, same)
    for subject, before, after in _pair_windows(prepared, changed, forward):
        # Windows whose cutoffs, or without `forward` also their targets, are not after the cutoff.
        steps = 0 if forward else before.horizon
        pair = [
            windows.select((prepared.panel.timestamps[windows.first + steps - 1] <= cutoff) & fitted[windows.series])
            for windows in (before, after)
        ]
        if len(pair[0]):
            yield Check.of(subject, cutoff, _are_same(pair[0], pair[1], forward, prepared.network.horizon))


def _pair_windows(prepared: Prepared, changed: Prepared, forward: Forward | None) -> Iterator[tuple[str, Windows, Windows]]:
    """Yield the windows of both versions with their name: those to forecast with `forward`, else all that are used."""
    if forward:
        yield "forecasts", prepared.windows["test"], changed.windows["test"]
        return
    for subset in SUBSETS:
        yield f"{subset} windows", prepared.windows[subset], changed.windows[subset]
    yield "network windows", prepared.network_windows["train"], changed.network_windows["train"]
    yield "refit windows", prepared.extend_training("validation", True), changed.extend_training("validation", True)


def _are_same(before: Windows, after: Windows, forward: Forward | None = None, block: int | None = None) -> bool:
    """Return whether windows are the same to the bit: their forecasts with `forward`, else their inputs and targets."""
    if not (np.array_equal(before.first, after.first) and np.array_equal(before.series, after.series)):
        return False
    samples = [windows.sample_evenly(MAX_WINDOWS) for windows in (before, after)]
    values, changed = (
        [sample.forecast_with(forward, block)] if forward else [*sample.inputs().values(), sample.targets()] for sample in samples
    )
    return all(np.array_equal(*pair, equal_nan=True) for pair in zip(values, changed, strict=True))


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
    panel = prepared.panel
    newest = [slice(max(begin, end - MAX_ROWS), end) for begin, end in pairwise(panel.offsets)][:MAX_WINDOWS]
    measured = [np.where(panel.filled[span], np.nan, panel.values[span]) for span in newest]
    cutoff, checks = str(panel.timestamps.max()), []
    pairs_of = {
        column: {name: [(rows[:, column], rows[:, target]) for rows in measured] for target, name in enumerate(panel.targets)}
        for column in range(len(panel.targets), len(panel.file_columns))
    }
    for column, pairs in pairs_of.items():
        is_known = column >= len(panel.columns) - panel.known_channels
        leak, certain = find_leak(pairs, prepared.config.windows.horizon, is_known)
        subject, result = f"covariate `{panel.columns[column]}`", leak or "reveals no later target value"
        passed, doubtful = not (leak and certain), bool(leak) and not certain
        checks.append(Check(subject=subject, cutoff=cutoff, passed=passed, result=result, doubtful=doubtful))
    return checks
