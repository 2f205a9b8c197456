"""Find out how a covariate reveals later target values: as a copy of them, or as a linear function."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd

from forecast.evaluation.metrics import Values

Pairs = list[tuple[Values, Values]]  # The rows of a covariate and of a target, of each series.
MAX_SHIFT = 100  # Steps by which a covariate is shifted against the target.
MIN_MOVES = 10  # Changes of a target that a comparison needs.
MIN_EQUAL = 0.95  # Share of rows in which a copy equals the later target. Repairs change the rest.
MAX_ROWS = 5_000  # Rows in which a covariate is compared with later target values.
ROWS_PER_WEIGHT = 4  # Rows for each weight of the regressions that look for later target values in a covariate.
PROOF = 0.999  # Share that later target values explain of what earlier ones leave open. No real covariate leads so exactly.
EXACT = 1 - 1e-6  # The same for the target of the same step, which may determine a known covariate, except for noise.
DOUBT = 0.95  # Share from which a past covariate is doubtful. An honest one may lead the target, but seldom so closely.
OPEN = 1e-6  # Variance that the past leaves open, relative to that of the changes, below which rounding decides.
RIDGE = 1e-13  # Relative penalty, so that regressions on a target without noise have a solution.


def find_leak(pairs_by_target: Mapping[str, Pairs], horizon: int, is_known: bool) -> tuple[str, bool]:
    """Return how a covariate reveals targets up to `horizon` steps later, "" if it does not, and whether that is certain."""
    if copy := _find_copy(pairs_by_target, horizon, is_known):
        return f"is {copy}", True
    functions = [_find_function(name, pairs, is_known) for name, pairs in pairs_by_target.items()]
    if certain := [text for text, is_certain in functions if is_certain]:
        return f"is computed from {certain[0]}", True
    doubtful = [f"may be computed from {text}. Check that it is known at its timestamp." for text, _ in functions if text]
    return (doubtful or [""])[0], False


def _find_copy(pairs_by_target: Mapping[str, Pairs], horizon: int, is_known: bool) -> str:
    """Return which target up to `horizon` steps later a covariate equals, up to a factor and an offset; "" for none.

    A covariate that also equals earlier target values is no leak: it is a straight line or a repeated season.
    """
    first = 0 if is_known else 1
    for name, pairs in pairs_by_target.items():
        shift = next((shift for shift in range(first, min(horizon, MAX_SHIFT) + 1) if _is_copy(pairs, shift)), None)
        if shift is not None and not any(_is_copy(pairs, earlier) for earlier in range(-MAX_SHIFT, first)):
            return f"a copy of `{name}` {_steps_later(shift)}"
    return ""


def _is_copy(pairs: Pairs, shift: int) -> bool:
    """Return whether a covariate is the target of `shift` steps later, up to a factor and an offset, in every series.

    A negative shift means earlier.
    """
    compared = False
    for covariate, target in pairs:
        later = pd.Series(target).shift(-shift).to_numpy()
        measured = np.isfinite(covariate) & np.isfinite(later)
        x, y = covariate[measured], later[measured]
        moves = np.diff(y) != 0
        if moves.sum() < MIN_MOVES:
            continue
        slope = np.median(np.diff(x)[moves] / np.diff(y)[moves])
        if slope == 0 or np.mean(np.abs(x - slope * y - np.median(x - slope * y)) <= 1e-6 * np.ptp(x)) < MIN_EQUAL:
            return False
        compared = True
    return compared


def _find_function(name: str, pairs: Pairs, is_known: bool) -> tuple[str, bool]:
    """Return which later values of a target a covariate is a linear function of, "" for none, and whether that is certain.

    A known covariate may be a function of the target of the same step, too.
    """
    if (regressors := _regressors(pairs)) is None:
        return "", False
    share, steps = _explained_share(*regressors, first=1)
    certain = share >= PROOF
    if is_known and not certain:
        share, steps = _explained_share(*regressors, first=0)
        certain = share >= EXACT
    if not certain and (is_known or share < DOUBT):
        return "", False
    when = f"up to {_steps_later(steps)}" if steps else _steps_later(0)
    return f"values of `{name}` {when}. They explain {share:.1%} of the variance that the past leaves unexplained", certain


def _steps_later(steps: int) -> str:
    return f"{steps} {'step' if steps == 1 else 'steps'} later" if steps else "of the same step"


def _regressors(pairs: Pairs) -> tuple[Values, Values] | None:
    """Return the rows of a covariate `(rows,)` and what may explain them `(rows, 2 * reach + 3)`; None with too few rows.

    The columns are the two values of the covariate before, and the target from `reach` steps before to `reach` steps after. The
    mean of each series is subtracted, and its size divided by, so that a common linear function of all series remains one.
    """
    reach = MAX_SHIFT
    while reach:
        tables: list[Values] = []
        for covariate, target in pairs:
            if (np.isfinite(covariate) & np.isfinite(target)).sum() <= 2 * reach + 2 or not (size := np.nanstd(target)) > 0:
                continue
            lags = np.lib.stride_tricks.sliding_window_view(target, 2 * reach + 1)[2:]
            x = [covariate[reach + 2 - lag : len(covariate) - reach - lag] for lag in range(3)]  # Lags 0 to 2.
            table = np.column_stack([*x, lags]) / size
            table = table[np.isfinite(table).all(axis=1)]
            tables.append(table - table.mean(axis=0) if len(table) else table)
            if sum(map(len, tables)) >= MAX_ROWS:
                break
        if sum(map(len, tables)) >= ROWS_PER_WEIGHT * (2 * reach + 3):
            table = np.concatenate(tables)
            return table[:, 0], table[:, 1:]
        reach //= 2
    return None


def _explained_share(x: Values, columns: Values, first: int) -> tuple[float, int]:
    """Return the share of a covariate that target values from `first` steps later on explain of what all before leaves open.

    The second value is how many steps later the last of them is. Two linear regressions are compared, on the rows that they were
    fitted to and on the last third, which they were not. The smaller share counts.
    """
    reach, cut = (columns.shape[1] - 3) // 2, 2 * len(x) // 3
    gram, moments = columns[:cut].T @ columns[:cut], columns[:cut].T @ x[:cut]
    gram += RIDGE * np.trace(gram) * np.eye(len(gram))

    def unexplained(steps: int) -> Values:
        """Return the variances that the target until `steps` later leaves open, in the rows of the fit and in the rest."""
        count = 2 + reach + steps + 1
        squares = (x - columns[:, :count] @ np.linalg.solve(gram[:count, :count], moments[:count])) ** 2
        return np.array([squares[:cut].sum() / (cut - count), squares[cut:].mean()])

    before = unexplained(first - 1)
    if before.min() <= OPEN * np.diff(x).var():
        return 0.0, 0
    shares = (1 - float(max(unexplained(steps) / before)) for steps in range(reach, first - 1, -1))
    share = next(shares)
    enough = min(PROOF, 2 * share - 1)  # As much as all of them, except for what twice the noise would leave.
    fewer = sum(1 for _ in itertools.takewhile(lambda shorter: shorter >= enough, shares)) if share >= DOUBT else 0
    return share, reach - fewer
