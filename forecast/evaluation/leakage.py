"""The leak certificate: what lies after a cutoff is changed, and nothing that was known at the cutoff may move by a bit."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from forecast.config import Config, load_config
from forecast.data import Panel, Rows, build_panel, read_rows
from forecast.documents import Document
from forecast.forecasters.network.numpy_runtime import forward as numpy_forward
from forecast.forecasters.preparation import Prepared, prepare, prepare_parts
from forecast.windows import SUBSETS, Forward, Subset, Windows

MOST_WINDOWS = 256  # that are compared of each part; all are cut by the same code
MOST_SHIFTS = 100  # by which a covariate is compared with them
FEWEST_MOVES = 10  # of a target, from which something can be said
MOST_ROWS = 5_000  # of each series in which a covariate is compared with the targets to come
ROWS_PER_WEIGHT = 4  # Rows for each weight of the regressions that look for later target values in a covariate.
PROOF = 0.999  # Share that later target values explain of what earlier ones leave open; nothing real leads a target so exactly.
EXACT = 1 - 1e-6  # The same for the target of the same step, which a known covariate may well decide, but for noise.
DOUBT = 0.95  # Share from which a past covariate is doubtful: an honest one may lead the target, seldom so closely.
OPEN = 1e-6  # What the past leaves open of a covariate, relative to its changes, below which rounding decides.
RIDGE = 1e-13  # relative, so that regressions on a target without noise have a solution
SAME = 0.95  # fraction of rows in which a covariate that equals a target to come does so; repairs change others
UNSEEN = (
    f"Covariates are compared with the target up to {MOST_SHIFTS} steps later. A file does not show when its values "
    "became known.\nCheck that each value was available at its timestamp."
)


@dataclass(frozen=True)
class Check:
    """One thing that may not depend on the future."""

    what: str
    cutoff: str  # the last timestamp before what was changed
    passed: bool
    found: str
    doubtful: bool = False  # It passed, but a person should look at it.

    @classmethod
    def of(cls, what: str, cutoff: object, same: bool) -> Check:
        """Whether something stayed the same when everything after the cutoff was changed."""
        found = "did not move" if same else "moved with what came after the cutoff"
        return cls(what, str(cutoff), same, found)


class Certificate(Document):
    """The leak certificate of a run (leakage.json)."""

    passed: bool
    checks: list[Check]

    @classmethod
    def of(cls, checks: list[Check]) -> Certificate:
        """Return the certificate of some checks."""
        return cls(passed=all(check.passed for check in checks), checks=checks)


def certify(prepared: Prepared, forward: Forward) -> list[Check]:
    """The quick certificate of a network that was trained: scaler, training windows, forecasts and covariates."""
    panel, splits, config = prepared.panel, prepared.splits, prepared.config
    fitted = _end_of_fitting(prepared)
    after = prepare_parts(config, _changed(panel, fitted, len(panel.columns)), splits, prepared.inherited)
    cutoff = panel.timestamps[fitted - 1].max()
    checks = [
        Check.of("scaler", cutoff, after.scaler.to_json() == prepared.scaler.to_json()),
        Check.of("training windows", cutoff, _same_windows(prepared.windows["train"], after.windows["train"])),
    ]
    tests = prepared.windows["test"]
    series, places = np.unique(tests.series, return_index=True)  # the first test window of each series
    first = np.diff(panel.offsets).cumsum()  # nothing is changed in a series that has none
    first[series] = tests.first[places]
    changed = _changed(panel, first, len(panel.columns) - panel.known_channels)
    after = prepare_parts(config, changed, splits, prepared.inherited)
    cutoff = panel.timestamps[tests.first[places] - 1].max()
    same = _same_windows(prepared.windows["validation"], after.windows["validation"])
    chosen = places[np.linspace(0, len(places) - 1, min(len(places), MOST_WINDOWS)).astype(int)]
    own, other = (each.windows["test"].select(chosen) for each in (prepared, after))
    checks.append(Check.of("validation windows", cutoff, same))
    checks.append(Check.of("forecasts", cutoff, _same_forecasts(prepared, own, other, forward)))
    return [*checks, *check_covariates(prepared)]


def check_leaks(config: Config | str | Path) -> list[Check]:
    """The full certificate: the file itself is changed after each of several cutoffs, before it is repaired, scaled and cut.

    Forecasts are those of a network with random weights; training sees nothing but the windows that are compared.

    Raises:
        ConfigError, DataError
    """
    config = config if isinstance(config, Config) else load_config(config)
    prepared = prepare(config)
    rows, static = read_rows(config.data, Path(config.data.path))
    forward = _random(prepared)
    checks = []
    for cutoff in _cutoffs(prepared):
        for unknown_only in (False, True):
            changed = _changed_rows(rows, prepared, cutoff, unknown_only)
            panel = build_panel(changed, static, config.data, config.data.path)
            if panel.series_ids != prepared.panel.series_ids:  # some were too short, and left out
                panel = panel.select(np.array([panel.series_ids.index(name) for name in prepared.panel.series_ids]))
            after = prepare_parts(prepared.config, panel, prepared.splits)
            checks += _compared(prepared, after, cutoff, forward if unknown_only else None)
    return [*checks, *check_covariates(prepared)]


def _cutoffs(prepared: Prepared) -> list[pd.Timestamp]:
    """The last timestamps of all training parts, of half the validation parts, of all of them, and of half the test parts."""
    panel, (begin, validation, test, end) = prepared.panel, prepared.splits.borders.T
    ends = [validation, (validation + test) // 2, test, (test + end) // 2]
    return [panel.timestamps[rows[rows > begin] - 1].max() for rows in ends if (rows > begin).any()]


def _end_of_fitting(prepared: Prepared) -> np.ndarray:
    """The end of the rows of each series that a scaler may see; said again, since `Splits.scaler_rows` is tested."""
    begin, train_end, _, end = prepared.splits.borders.T
    return np.maximum(train_end, np.minimum(begin + prepared.config.windows.lookback, end))


def _compared(prepared: Prepared, after: Prepared, cutoff: pd.Timestamp, forward: Forward | None) -> Iterator[Check]:
    """What was known at the cutoff, before and after the change; forecasts where only what is unknown by then was changed.

    Only of series whose scaler is fitted by then: one without training rows is scaled by its first lookback, whenever that is.
    """
    panel = prepared.panel
    fitted = panel.timestamps[_end_of_fitting(prepared) - 1] <= cutoff
    if prepared.config.scaling.per == "all":
        fitted = fitted | (np.diff(prepared.splits.rows_of("train"), axis=0)[0] == 0)  # which the common scaler does not see
    if forward:
        own, other = (_until(each, "test", cutoff, fitted, whole=False) for each in (prepared, after))
        if len(own):
            yield Check.of("forecasts", cutoff, _same_forecasts(prepared, own, other, forward))
        return
    same = all(
        np.array_equal(getattr(prepared.scaler, name)[fitted], getattr(after.scaler, name)[fitted])
        for name in ("offset", "scale")
    )
    yield Check.of("scaler", cutoff, same)
    for part in SUBSETS:
        own, other = (_until(each, part, cutoff, fitted, whole=True) for each in (prepared, after))
        if len(own):
            yield Check.of(f"{part} windows", cutoff, _same_windows(own, other))


def _until(prepared: Prepared, part: Subset, cutoff: pd.Timestamp, fitted: np.ndarray, whole: bool) -> Windows:
    """The windows of some series whose cutoffs, or with `whole` whose targets too, lie before what was changed."""
    windows = prepared.windows[part]
    last = windows.first + (windows.horizon if whole else 0) - 1
    return windows.select((prepared.panel.timestamps[last] <= cutoff) & fitted[windows.series])


def _same_forecasts(prepared: Prepared, own: Windows, other: Windows, forward: Forward) -> bool:
    """The same forecasts, to the bit."""
    if len(own) != len(other):
        return False
    one, another = (each.sample_evenly(MOST_WINDOWS).forecast_with(forward, prepared.network.horizon) for each in (own, other))
    return np.array_equal(one, another)


def _random(prepared: Prepared) -> Forward:
    """The network with random weights, which hide nothing: what starts at zero would."""
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


def _changed_rows(rows: Rows, prepared: Prepared, cutoff: pd.Timestamp, unknown_only: bool) -> Rows:
    """Rows of a file with other values after a cutoff, in all columns or in those that nobody knows by then."""
    panel = prepared.panel
    columns = len(panel.file_columns)
    if unknown_only:
        columns = len(panel.columns) - panel.known_channels
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
    one, other = one.sample_evenly(MOST_WINDOWS), other.sample_evenly(MOST_WINDOWS)
    inputs, others = one.inputs(), other.inputs()
    same = all(np.array_equal(inputs[name], others[name], equal_nan=True) for name in inputs)
    return same and np.array_equal(one.targets(), other.targets(), equal_nan=True)


def check_covariates(prepared: Prepared) -> list[Check]:
    """Return a check of each covariate: whether target values to come can be read off it, which no change of the target shows.

    A leak is a covariate that equals the target of a later step, or is a linear function of later ones, such as a moving average
    that looks ahead. Nobody can see in a file when a value became known.
    """
    panel, begin, end = prepared.panel, *prepared.splits.borders.T[:2]
    rows = _measured(panel, [slice(begin, min(end, begin + MOST_ROWS)) for begin, end in pairwise(panel.offsets)])
    training = _measured(panel, [slice(max(first, last - MOST_ROWS), last) for first, last in zip(begin, end, strict=True)])
    checks = []
    for column in range(len(panel.targets), len(panel.file_columns)):
        check = partial(Check, f"covariate `{panel.columns[column]}`", str(panel.timestamps.max()))
        known = column >= len(panel.columns) - panel.known_channels
        pairs = {name: [(part[:, column], part[:, target]) for part in training] for target, name in enumerate(panel.targets)}
        if copied := _copied(prepared, rows, column, known):
            checks.append(check(False, f"is {copied}"))
        elif made_of := next(filter(None, (_made_of(name, series, known, sure=True) for name, series in pairs.items())), None):
            checks.append(check(False, f"is computed from {made_of}"))
        elif doubt := next(filter(None, (_made_of(name, series, known, sure=False) for name, series in pairs.items())), None):
            checks.append(check(True, f"may be computed from {doubt}. Check that it is known at its timestamp.", doubtful=True))
        else:
            checks.append(check(True, "reveals no later target value"))
    return checks


def _measured(panel: Panel, spans: list[slice]) -> list[np.ndarray]:
    """Return the rows of the file, series by series, with NaN where a value was filled."""
    columns = len(panel.file_columns)
    return [np.where(panel.filled[span, :columns], np.nan, panel.values[span, :columns]) for span in spans[:MOST_WINDOWS]]


def _copied(prepared: Prepared, rows: list[np.ndarray], column: int, known: bool) -> str:
    """Return which target to come a covariate is, up to a factor and an offset; empty where it is none.

    A covariate that equals earlier target values as well proves nothing: a straight line or a repeated season has no news.
    """
    panel, most = prepared.panel, min(prepared.config.windows.horizon, MOST_SHIFTS)
    first = 0 if known else 1
    for target, name in enumerate(panel.targets):
        pairs = [(part[:, column], part[:, target]) for part in rows]
        shift = next((shift for shift in range(first, most + 1) if _copies(pairs, shift)), None)
        if shift is not None and not any(_copies(pairs, earlier) for earlier in range(-MOST_SHIFTS, first)):
            return f"`{name}` {shift} steps later"
    return ""


def _made_of(name: str, series: list[tuple[np.ndarray, np.ndarray]], known: bool, sure: bool) -> str:
    """Return which values to come of a target a covariate is a linear function of, for sure or perhaps; empty where of none."""
    if (regressors := _regressors(series)) is None:
        return ""
    share, steps = _explained_ahead(*regressors, first=1)
    found = share >= (PROOF if sure else DOUBT) and (sure or not known)
    if known and sure and not found:
        share, steps = _explained_ahead(*regressors, first=0)
        found = share >= EXACT
    when = f"up to {steps} steps later" if steps else "of the same step"
    return f"`{name}` {when}, which explains {share:.1%} of what the past does not" if found else ""


def _regressors(series: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the rows of a covariate `(rows,)` and what may explain them `(rows, 2 * reach + 3)`; None where rows are too few.

    That is the two values of the covariate before, and the target from `reach` steps before to `reach` steps after. The mean of
    each series is subtracted, and its size divided by, so that a common linear function of series of different sizes stays one.
    """
    reach = MOST_SHIFTS
    while reach:
        rows = []
        for covariate, target in series:
            if (np.isfinite(covariate) & np.isfinite(target)).sum() <= 2 * reach + 2 or not (size := np.nanstd(target)) > 0:
                continue
            lags = np.lib.stride_tricks.sliding_window_view(target, 2 * reach + 1)[2:]
            x = [covariate[reach + 2 - lag : len(covariate) - reach - lag] for lag in range(3)]  # Lags 0 to 2.
            whole = np.column_stack([*x, lags]) / size
            whole = whole[np.isfinite(whole).all(axis=1)]
            rows.append(whole - whole.mean(axis=0) if len(whole) else whole)
            if sum(map(len, rows)) >= MOST_ROWS:
                break
        if sum(map(len, rows)) >= ROWS_PER_WEIGHT * (2 * reach + 3):
            whole = np.concatenate(rows)
            return whole[:, 0], whole[:, 1:]
        reach //= 2
    return None


def _explained_ahead(x: np.ndarray, columns: np.ndarray, first: int) -> tuple[float, int]:
    """Return the share of a covariate that target values from `first` steps later on explain of what all before leaves open.

    And how many steps later the last of them is. Two linear regressions are compared, on the rows that they were fitted to and on
    the last third, which they were not. The smaller share counts.
    """
    reach, cut = (columns.shape[1] - 3) // 2, 2 * len(x) // 3
    gram, moments = columns[:cut].T @ columns[:cut], columns[:cut].T @ x[:cut]
    gram += RIDGE * np.trace(gram) * np.eye(len(gram))

    def left(steps: int) -> np.ndarray:
        """Variances that the target until so many steps later leaves open, in the rows of the fit and in the others."""
        count = 2 + reach + steps + 1
        squares = (x - columns[:, :count] @ np.linalg.solve(gram[:count, :count], moments[:count])) ** 2
        return np.array([squares[:cut].sum() / (cut - count), squares[cut:].mean()])

    before = left(first - 1)
    if before.min() <= OPEN * np.diff(x).var():
        return 0.0, 0
    shares = (1 - max(left(steps) / before) for steps in range(reach, first - 1, -1))
    share = next(shares)
    enough = min(PROOF, 2 * share - 1)  # as much as all of them, but for what twice as much noise would leave
    fewer = sum(1 for _ in itertools.takewhile(lambda each: each >= enough, shares)) if share >= DOUBT else 0
    return share, reach - fewer


def _copies(series: list[tuple[np.ndarray, np.ndarray]], shift: int) -> bool:
    """Return whether a covariate is the target of `shift` steps later, up to a factor and an offset, in every series.

    A negative shift means earlier.
    """
    told = 0
    for covariate, target in series:
        if len(covariate) <= abs(shift):
            continue
        x, y = covariate[max(-shift, 0) : len(covariate) - max(shift, 0)], target[max(shift, 0) : len(target) - max(-shift, 0)]
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
