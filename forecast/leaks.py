"""The leak certificate: what lies after a cutoff is changed, and nothing that was known at the cutoff may move by a bit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from forecast.config import Config
from forecast.data import Panel, repaired
from forecast.loading import load_config
from forecast.models.numpy_runtime import forward as numpy_forward
from forecast.preparation import Prepared, prepare, prepare_parts
from forecast.splits import PARTS
from forecast.tables import Rows, read_rows
from forecast.windows import Forward, Windows

MOST_WINDOWS = 256  # that are compared of each part; all are cut by the same code
FEWEST_MOVES = 10  # of a target, from which something can be said
MOST_ROWS = 5_000  # of each series in which a covariate is compared with the targets to come
SAME = 0.95  # fraction of rows in which a covariate that equals a target to come does so; repairs change others


@dataclass(frozen=True)
class Check:
    """One thing that may not depend on the future."""

    what: str
    cutoff: str  # the last timestamp before what was changed
    passed: bool
    found: str

    @classmethod
    def of(cls, what: str, cutoff: object, same: bool) -> Check:
        """Whether something stayed the same when everything after the cutoff was changed."""
        found = "did not move" if same else "moved with what came after the cutoff"
        return cls(what, str(cutoff), same, found)


def to_json(checks: list[Check]) -> dict:
    """The certificate as plain JSON values."""
    return {"passed": all(check.passed for check in checks), "checks": [asdict(check) for check in checks]}


def certify(prepared: Prepared, forward: Forward) -> list[Check]:
    """The quick certificate of a network that was trained: scaler, training windows, forecasts and covariates."""
    panel, splits = prepared.panel, prepared.splits
    end_of_training, start_of_test = splits.part("train")[1], splits.part("test")[0]
    after = prepare_parts(prepared.config, _changed(panel, end_of_training, len(panel.columns)), splits)
    cutoff = panel.timestamps[end_of_training - 1].max()
    checks = [
        Check.of("scaler", cutoff, after.scaler.to_json() == prepared.scaler.to_json()),
        Check.of("training windows", cutoff, _same_windows(prepared.windows["train"], after.windows["train"])),
    ]
    after = prepare_parts(prepared.config, _changed(panel, start_of_test, len(panel.columns) - panel.known), splits)
    own, other = (_at(each, start_of_test) for each in (prepared, after))
    cutoff = panel.timestamps[start_of_test - 1].max()
    same = _same_windows(prepared.windows["validation"], after.windows["validation"])
    checks.append(Check.of("validation windows", cutoff, same))
    if len(own):
        same = np.array_equal(
            own.forecast_by(forward, prepared.network.horizon), other.forecast_by(forward, prepared.network.horizon)
        )
        checks.append(Check.of("forecasts", cutoff, same))
    return [*checks, *_twins(prepared)]


def check_leaks(config: Config | str | Path) -> list[Check]:
    """The full certificate: the file itself is changed after each of several cutoffs, before it is repaired, scaled and cut.

    Forecasts are those of the network as it is before training; training sees nothing but the windows that are compared.

    Raises:
        ConfigError, DataError
    """
    config = config if isinstance(config, Config) else load_config(config)
    prepared = prepare(config)
    rows, static = read_rows(config.data, Path(config.data.path))
    forward = _untrained(prepared)
    checks = []
    for cutoff in _cutoffs(prepared):
        for unknown_only in (False, True):
            changed = _changed_rows(rows, prepared, cutoff, unknown_only)
            panel = repaired(changed, static, config.data, config.data.path)
            if panel.series_ids != prepared.panel.series_ids:  # some were too short, and left out
                panel = panel.only(np.array([panel.series_ids.index(name) for name in prepared.panel.series_ids]))
            after = prepare_parts(prepared.config, panel, prepared.splits)
            checks += _compared(prepared, after, cutoff, forward if unknown_only else None)
    return [*checks, *_twins(prepared)]


def _cutoffs(prepared: Prepared) -> list[object]:
    """The last timestamps of the training part, of half the validation part, of all of it, and of half the test part."""
    begin, validation, test, end = prepared.splits.borders[int(np.argmax(np.diff(prepared.splits.borders).min(axis=1)))]
    rows = [validation - 1, (validation + test) // 2 - 1, test - 1, (test + end) // 2 - 1]
    return [prepared.panel.timestamps[row] for row in rows]


def _compared(prepared: Prepared, after: Prepared, cutoff: object, forward: Forward | None) -> Iterator[Check]:
    """What was known at the cutoff, before and after the change; forecasts where only what is unknown by then was changed."""
    if forward:
        own, other = (_until(each, each.windows["test"], cutoff, whole=False) for each in (prepared, after))
        if len(own):
            same = len(own) == len(other) and np.array_equal(own.forecast_by(forward), other.forecast_by(forward))
            yield Check.of("forecasts", cutoff, same)
        return
    yield Check.of("scaler", cutoff, after.scaler.to_json() == prepared.scaler.to_json())
    for part in PARTS:
        own, other = (_until(each, each.windows[part], cutoff, whole=True) for each in (prepared, after))
        if len(own):
            yield Check.of(f"{part} windows", cutoff, _same_windows(own, other))


def _until(prepared: Prepared, windows: Windows, cutoff: object, whole: bool) -> Windows:
    """The windows whose cutoffs, or with `whole` whose targets too, lie before what was changed."""
    last = windows.first + (windows.horizon if whole else 0) - 1
    return windows.only(prepared.panel.timestamps[last] <= cutoff)


def _untrained(prepared: Prepared) -> Forward:
    """The network as it is before training, with noise in what starts at zero."""
    rng, network = np.random.default_rng(prepared.config.seed), prepared.network
    weights = {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in network.weights.items()}
    weights = {name: np.abs(values) if name.endswith("variance") else values for name, values in weights.items()}
    return partial(numpy_forward, network, weights)


def _changed(panel: Panel, first: np.ndarray, channels: int) -> Panel:
    """The panel with other values in its first `channels` from the row `first` of each series on."""
    values = panel.values.copy()
    for (begin, end), row in zip(pairwise(panel.offsets), first, strict=True):
        values[row:end, :channels] = _other(values[begin:end, :channels], row - begin)
    return replace(panel, values=values)


def _changed_rows(rows: Rows, prepared: Prepared, cutoff: object, unknown_only: bool) -> Rows:
    """Rows of a file with other values after a cutoff, in all columns or in those that nobody knows by then."""
    panel = prepared.panel
    columns = len(panel.file_columns)
    if unknown_only:
        columns = len(panel.columns) - panel.known
    first_after = panel.timestamps[panel.timestamps > cutoff].min()  # the end of the cutoff's step, where rows lie within steps
    late, values = rows.timestamps >= first_after, rows.values.copy()
    values[late, :columns] = _other(values[:, :columns], 0)[late]
    return replace(rows, values=values)


def _other(values: np.ndarray, first: int) -> np.ndarray:
    """Other values from row `first` on: larger ones, which every transform takes, by one to two deviations of each column."""
    rng = np.random.default_rng(0)
    later = values[first:]
    size = np.nan_to_num(np.nanstd(values, axis=0)) + 1.0
    return later + size * rng.uniform(1, 2, later.shape)


def _same_windows(one: Windows, other: Windows) -> bool:
    """The same windows, with the same inputs and targets to the bit."""
    if not (np.array_equal(one.first, other.first) and np.array_equal(one.series, other.series)):
        return False
    one, other = one.spread(MOST_WINDOWS), other.spread(MOST_WINDOWS)
    inputs, others = one.inputs(), other.inputs()
    same = all(np.array_equal(inputs[name], others[name], equal_nan=True) for name in inputs)
    return same and np.array_equal(one.targets(), other.targets(), equal_nan=True)


def _at(prepared: Prepared, first: np.ndarray) -> Windows:
    """The test windows whose targets begin with the test part, and so whose lookback is all before it."""
    windows = prepared.windows["test"]
    return windows.only(windows.first == first[windows.series]).spread(MOST_WINDOWS)


def _twins(prepared: Prepared) -> Iterator[Check]:
    """Covariates that are a target to come, which no change of the target alone would show."""
    panel, horizon = prepared.panel, prepared.config.windows.horizon
    spans = [slice(begin, min(end, begin + MOST_ROWS)) for begin, end in pairwise(panel.offsets)]
    for column in range(len(panel.targets), len(panel.file_columns)):
        known = column >= len(panel.columns) - panel.known
        shifts = range(0 if known else 1, horizon + 1)
        copied = [
            (target, shift)
            for number, target in enumerate(panel.targets)
            for shift in shifts
            if _copies(*(np.where(panel.filled[:, c], np.nan, panel.values[:, c]) for c in (column, number)), shift, spans)
        ]
        name = panel.columns[column]
        found = f"is `{copied[0][0]}` {copied[0][1]} steps later" if copied else "is no target to come"
        yield Check(f"covariate `{name}`", str(panel.timestamps.max()), not copied, found)


def _copies(covariate: np.ndarray, target: np.ndarray, shift: int, spans: list[slice]) -> bool:
    """Whether a covariate says, up to a factor and an offset, what the target will be `shift` steps later, in every series."""
    told = 0
    for span in spans:
        x, y = covariate[span][: len(covariate[span]) - shift], target[span][shift:]
        known = np.isfinite(x) & np.isfinite(y)
        x, y = x[known], y[known]
        moves = np.diff(y) != 0
        if moves.sum() < FEWEST_MOVES:
            continue
        slope = np.median(np.diff(x)[moves] / np.diff(y)[moves])
        if slope == 0 or np.mean(np.abs(x - slope * y - np.median(x - slope * y)) <= 1e-6 * np.ptp(x)) < SAME:
            return False
        told += 1
    return told > 0
