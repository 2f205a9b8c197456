"""Prediction intervals from the errors of a network on windows that it was not trained on.

Calibration trains nothing and works for every network. The errors on the validation set, separately for each horizon step and
target, are added to its forecast: split conformal prediction (Vovk et al. 2005), or, for a network that forecasts quantiles,
conformalized quantile regression (Romano et al. 2019). All values are in scaled units. Series share their errors, each divided by
the typical error of its series (normalized conformal prediction, Papadopoulos et al. 2002).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import ceil

import numpy as np
import numpy.typing as npt

from forecast.config import Config
from forecast.errors import DAMAGED, RunError
from forecast.evaluation.metrics import Values
from forecast.windows import MAX_BATCH, Windows

Indices = npt.NDArray[np.integer]
MAX_ERRORS = 20_000_000  # Errors in memory at once. Of more, those of evenly spaced windows are used.
MIN_TAIL_ERRORS = 5  # Errors expected beyond a quantile. With fewer, all steps are pooled.
MIN_INDEPENDENT_WINDOWS = 10  # Without a shared target step. With fewer, intervals follow Student's t distribution.
MIN_SIZED_SERIES = 10  # Series that are needed to fit sizes to their errors. With fewer, all sizes are 1.
MIN_RELATIVE_SIZE = 0.01  # Lower limit for nearly constant series. The median series has 1, and the upper limit is 100.
MAX_NAIVE_WINDOWS = 10_000  # Training windows that measure how the errors of the naive forecast grow.
MAX_TRACKED_VALUES = 500_000_000  # Quantiles of the test set up to which conformal intervals are compared with adaptive ones.
DEFAULT_RATE = 0.1  # Move of a `Tracker` per step of the series, in deviations of the errors.


def bounds_of(level: float) -> tuple[float, float]:
    """Return the quantiles that are the ends of an interval of this level in percent.

    >>> bounds_of(80)
    (0.1, 0.9)
    """
    tail = (100 - level) / 200
    return round(tail, 6), round(1 - tail, 6)


def quantiles_of(config: Config) -> list[float]:
    """Return all quantiles that a config asks for, as ends of intervals or of its network, ascending."""
    levels = config.intervals.level if config.intervals else []
    return sorted({*(config.model.quantiles or []), *(quantile for level in levels for quantile in bounds_of(level))})


def column_of(quantile: float) -> str:
    """Return the name of a quantile's column.

    >>> column_of(0.1)
    'q0.1'
    """
    return f"q{quantile:g}"


def columns_of(quantiles: Sequence[float], values: Values) -> dict[str, Values]:
    """Return columns of a table with a row per window, step and target, from `(windows, horizon, targets, quantiles)`."""
    return {column_of(quantile): values[..., number].ravel() for number, quantile in enumerate(quantiles)}


def method_of(config: Config) -> str:
    """Return how a config makes its intervals. The quantiles of a network without intervals stay where they are."""
    return config.intervals.method if config.intervals else "conformal"


@dataclass(frozen=True)
class Intervals:
    """Offsets that turn a scaled forecast into its quantiles.

    quantiles: ascending. network_quantiles: those that the network forecasts itself, the median among them, or none.
    offsets: in scaled units, `(series, horizon, targets, quantiles)`, or `(1, ...)` for all series. sizes: factors of the
    offsets, `(series, targets)` or `(1, ...)`.
    """

    quantiles: list[float]
    network_quantiles: list[float]
    offsets: Values
    sizes: Values = field(default_factory=lambda: np.ones((1, 1)))

    def apply(self, forecast: Values, series: Indices) -> Values:
        """Return the scaled quantiles `(windows, horizon, targets, quantiles)` of a network's output.

        They never cross, and every interval contains its forecast: the quantiles below 0.5 are never above it, those above 0.5
        never below it, and the quantile 0.5 is the forecast itself. Steps beyond the horizon that was calibrated are NaN.
        """
        steps, levels = min(forecast.shape[1], self.offsets.shape[1]), np.array(self.quantiles)
        offsets = _of_series(self.offsets, series)[:, :steps] * _of_series(self.sizes, series)[:, None, :, None]
        values = base_of(forecast[:, :steps], self.network_quantiles, self.quantiles) + offsets
        point = base_of(forecast[:, :steps], self.network_quantiles, [0.5])
        low, high = np.where(levels < 0.5, -np.inf, point), np.where(levels > 0.5, np.inf, point)
        values = np.sort(values.clip(low, high), axis=-1)
        return np.pad(values, [(0, 0), (0, forecast.shape[1] - steps), (0, 0), (0, 0)], constant_values=np.nan)

    def select(self, series: list[int | None]) -> Intervals:
        """Return the intervals of some series by their numbers. None is a new series, which gets the mean of all."""

        def choose(values: Values) -> Values:
            mean = values.mean(axis=0)
            return values if len(values) == 1 else np.stack([mean if number is None else values[number] for number in series])

        return replace(self, offsets=choose(self.offsets), sizes=choose(self.sizes))

    def to_arrays(self) -> dict[str, Values]:
        """Return the arrays to store. The config of the run has the rest."""
        sizes = np.broadcast_to(self.sizes, (len(self.sizes), self.offsets.shape[2]))
        return {"offsets": self.offsets.astype(np.float32), "sizes": sizes.astype(np.float32)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Values], shape: tuple[int, int, int], config: Config, path: str = "") -> Intervals:
        """Return the intervals that `to_arrays` stored, of a run with `(series, horizon, targets)` and this config.

        Raises:
            RunError: the arrays do not fit the run.
        """
        arrays = {"sizes": np.ones((1, shape[2]), np.float32)} | arrays  # Earlier versions stored no sizes.
        quantiles = quantiles_of(config)
        shapes = [
            {"offsets": (offsets, *shape[1:], len(quantiles)), "sizes": (sizes, shape[2])}
            for offsets in (1, shape[0])
            for sizes in (1, shape[0])
        ]
        usable = all(values.dtype == np.float32 and np.isfinite(values).all() for values in arrays.values())
        if not usable or {name: values.shape for name, values in arrays.items()} not in shapes:
            raise RunError("the intervals are damaged or belong to another run.", DAMAGED, path)
        return cls(quantiles, config.model.quantiles or [], arrays["offsets"], arrays["sizes"])


def _of_series(values: Values, series: Indices) -> Values:
    """Return the values of some series. A single entry is shared by all of them."""
    return values if len(values) == 1 else values[series]


def base_of(forecast: Values, network_quantiles: list[float], quantiles: list[float]) -> Values:
    """Return the forecast that each quantile starts from: that of the network for this quantile, else its point forecast.

    forecast: `(windows, horizon, targets)`, or `(..., network_quantiles)`. Returns `(..., targets, quantiles)`, or
    `(..., targets, 1)` for a network without quantiles.
    """
    if not network_quantiles:
        return forecast[..., None]
    return forecast[..., [network_quantiles.index(quantile if quantile in network_quantiles else 0.5) for quantile in quantiles]]


class HeldOutErrors:
    """Scaled errors, actual - forecast, of windows that come in chunks: `(windows, horizon, targets, quantiles or 1)`.

    independent: number of these windows that share no target step.
    """

    def __init__(self, windows: Windows, network_quantiles: list[float], quantiles: list[float]):
        """Expect the errors of `windows`. The other arguments are those of `Intervals`."""
        self.network_quantiles, self.quantiles = network_quantiles, quantiles
        values = len(windows) * windows.horizon * windows.future.shape[1] * (len(quantiles) if network_quantiles else 1)
        self.stride, self.skip = max(1, ceil(values / MAX_ERRORS)), 0
        self.independent = count_independent(windows)
        self.chunks: list[tuple[Values, Indices]] = []

    def add(self, actual: Values, forecast: Values, series: Indices) -> Values:
        """Add scaled actuals `(windows, horizon, targets)` and the network's output for these windows. Return their errors."""
        errors = actual[..., None] - base_of(forecast, self.network_quantiles, self.quantiles)
        chosen = slice(self.skip, None, self.stride)
        self.chunks.append((errors[chosen].copy(), series[chosen]))  # A view would keep all of them.
        self.skip = (self.skip - len(errors)) % self.stride
        return errors

    def all(self) -> tuple[Values, Indices]:
        """Return the errors of all chunks, thinned out to `MAX_ERRORS`, and the series of each window."""
        errors, series = zip(*self.chunks, strict=True)
        return np.concatenate(errors), np.concatenate(series)


def count_independent(windows: Windows) -> int:
    """Return how many of some windows, `stride: 1` in each series, share no target step.

    With 13 cutoffs and a horizon of 12 steps, two do: the first and the last.
    """
    _, counts = np.unique(windows.series, return_counts=True)
    return int((-(-counts // windows.horizon)).sum())


def explain_few_windows(independent: int | None) -> str:
    """Return a sentence that says that intervals are based on few windows, or "" if they are not or the number is unknown."""
    if independent is None or independent >= MIN_INDEPENDENT_WINDOWS:
        return ""
    return (
        f"The intervals are based on {independent} non-overlapping held-out {'window' if independent == 1 else 'windows'} (fewer"
        f" than {MIN_INDEPENDENT_WINDOWS}). They therefore use Student's t distribution, which makes them wider."
    )


def naive_growth(train: Windows) -> Values:
    """Return the root mean squared error of the naive forecast at each step, scaled, `(horizon, targets)`."""
    squares, chosen = np.zeros((train.horizon, train.future.shape[1])), train.sample_evenly(MAX_NAIVE_WINDOWS)
    for chunk in chosen.chunks(MAX_BATCH):
        targets = chunk.targets().astype(np.float64)
        squares += np.square(targets - chunk.past_values()[:, -1:, : targets.shape[2]]).sum(axis=0)
    growth: Values = np.sqrt(squares / len(chosen))
    return growth.clip(1e-3 * growth.max(axis=0) + np.finfo(np.float32).tiny)  # Repeated values must not divide by 0.


def fit_sizes(errors: Values, series: Indices, naive: Values) -> Values:
    """Return the typical relative error of each series, a power of its naive error: `(series, targets)`.

    The exponent, from 0 to 1, is fitted to held-out errors `(windows, horizon, targets, quantiles or 1)`. It is near 0 if the
    network's errors are similar in all series. naive: mean absolute errors of the seasonal naive forecast on the training
    set, scaled, `(series, targets)`, NaN where they are unknown.
    """
    positive = np.where(naive > 0, naive, np.nan)
    typical = [np.median(column[column > 0]) if (column > 0).any() else 1.0 for column in positive.T]
    relative = np.log(np.nan_to_num(positive / typical, nan=1.0).clip(MIN_RELATIVE_SIZE, 1 / MIN_RELATIVE_SIZE))
    scored, numbers = np.unique(series, return_inverse=True)
    if len(scored) < MIN_SIZED_SERIES:
        return np.ones((1, naive.shape[1]))
    sizes: Values = np.empty_like(relative)
    for target in range(naive.shape[1]):
        measured = np.bincount(numbers, np.abs(errors[:, :, target]).mean(axis=(1, 2))) / np.bincount(numbers)
        mask = measured > 0
        x, y = relative[scored[mask], target], np.log(measured[mask])
        slope = float(np.cov(x, y)[0, 1] / np.var(x, ddof=1)) if mask.sum() > 1 and np.var(x) > 0 else 0.0
        sizes[:, target] = np.exp(min(max(slope, 0.0), 1.0) * relative[:, target])
    return sizes


def calibrate(errors: Values, quantiles: list[float], network_quantiles: list[float]) -> Intervals:
    """Return intervals from errors on windows that were not trained on, `(windows, horizon, targets, quantiles or 1)`.

    Each step has the quantiles of its own errors, ranked among one more than there are, as conformal prediction asks. If fewer
    than `MIN_TAIL_ERRORS` errors are expected beyond a quantile, the errors of all steps are pooled, each divided by the root
    mean squared error of its step.
    """
    offsets = np.zeros((*errors.shape[1:3], len(quantiles)))  # 0 for the quantile 0.5, which is the forecast itself.
    for number, quantile in enumerate(quantiles):
        if quantile == 0.5:
            continue
        step_errors = errors[..., number if network_quantiles else 0]  # (windows, horizon, targets)
        if len(errors) * min(quantile, 1 - quantile) >= MIN_TAIL_ERRORS:
            offsets[..., number] = np.quantile(step_errors, quantile, axis=0, method="weibull")
        else:
            size = np.sqrt(np.square(step_errors, dtype=np.float64).mean(axis=0)).clip(np.finfo(np.float32).tiny)
            pooled = (step_errors / size).reshape(-1, errors.shape[2])  # (windows * horizon, targets)
            offsets[..., number] = size * np.quantile(pooled, quantile, axis=0, method="weibull")
    return Intervals(quantiles, network_quantiles, offsets[None])


def calibrate_few(
    errors: Values, quantiles: list[float], network_quantiles: list[float], growth: Values, degrees: int
) -> Intervals:
    """Return intervals from the errors of too few windows to rank, `(windows, horizon, targets, quantiles or 1)`.

    The errors give one size for each target: their root mean square. It grows with the step as the errors of the naive forecast
    do in the training set (`growth`, `(horizon, targets)`), and is multiplied by the quantile of Student's t distribution with
    so many `degrees` of freedom: fewer make wider intervals.
    """
    from scipy.special import stdtrit  # Quantiles of Student's distribution, without the import of all of scipy.stats.

    median_errors = errors[..., [quantiles.index(0.5)]] if network_quantiles else errors
    offsets = _size_of_few(median_errors, growth) * stdtrit(degrees, np.array(quantiles))
    if network_quantiles:  # The mean distance of each quantile of the network from its median is part of the width.
        offsets -= (median_errors - errors).mean(axis=0)
    return Intervals(quantiles, network_quantiles, offsets[None])


def _size_of_few(errors: Values, growth: Values) -> Values:
    """Return the root mean square of the errors, shaped as `growth`, or that of a step if larger: `(horizon, targets, 1)`."""
    squares = np.square(errors, dtype=np.float64).mean(axis=(0, 3))  # (horizon, targets)
    shaped = growth * np.sqrt(squares.mean(axis=0) / np.square(growth).mean(axis=0))
    size: Values = np.maximum(shaped, np.sqrt(squares))[..., None]
    return size


class Tracker:
    """Adaptive intervals, which move after every step (Gibbs & Candès 2021; Angelopoulos et al. 2023).

    Each quantile of each step, target and series goes up by `rate * quantile` where the actual value was above it, and down by
    `rate * (1 - quantile)` where it was not, so that the share of values below it comes to equal it, however the series changes.
    A forecast `h` steps ahead is judged `h` steps later.

    Of the rates 0.01, 0.02, 0.05, 0.1 and 0.2, 0.1 covers best, at little cost in pinball loss, on the second half of validation
    sets whose first half it started from: see `intervals.py` in the benchmarks.
    """

    def __init__(self, start: Intervals, size: Values, series: int, rate: float = DEFAULT_RATE):
        """Begin with the intervals `start` in each of so many series.

        size: of the errors at each step, to which a move is proportional, `(horizon, targets, quantiles or 1)`.
        """
        self.start, self.levels = start, np.array(start.quantiles)
        self.move = rate * size * (self.levels != 0.5)  # (horizon, targets, quantiles)
        self.offsets = np.repeat(start.offsets, series, axis=0)  # The current ones of each series.
        self.series, self.row, self.steps = -1, 0, np.arange(len(self.move))
        # By cutoff modulo horizon: actual <= quantile, and whether there is a forecast that is not judged yet.
        self.below = np.zeros((len(self.move), *self.move.shape), dtype=bool)
        self.issued = np.zeros(len(self.move), dtype=bool)

    def follow(self, first: Indices, series: Indices, errors: Values) -> Values:
        """Return the offsets `(windows, horizon, targets, quantiles)` at each cutoff, and move by the errors that followed.

        first, series, errors: those of the next windows, in the order of `Windows`; errors `(windows, horizon, targets,
        quantiles or 1)`.
        """
        offsets = np.empty((*errors.shape[:-1], len(self.levels)))
        for window, (row, number) in enumerate(zip(first, series, strict=True)):
            if number != self.series:
                self._move_until(self.row + len(self.steps))
                self.series, self.row = number, row - 1
            self._move_until(row - 1)
            offsets[window] = self.offsets[number]
            slot = (row - 1) % len(self.steps)
            self.below[slot], self.issued[slot] = errors[window] <= offsets[window], True
        return offsets

    def _move_until(self, cutoff: int) -> None:
        """Move by the errors in the rows after the last cutoff, up to and including `cutoff`."""
        for row in range(self.row + 1, cutoff + 1):
            slots = (row - 1 - self.steps) % len(self.steps)  # The forecast of this row at step h + 1 was made h + 1 rows before.
            moves = (self.levels - self.below[slots, self.steps]) * self.issued[slots, None, None]
            self.offsets[self.series] += self.move * moves
            self.issued[row % len(self.steps)] = False
        self.row = cutoff

    def finish(self) -> Intervals:
        """Return the intervals of every series after the last error of every forecast."""
        self._move_until(self.row + len(self.steps))
        return replace(self.start, offsets=self.offsets)


class Calibration:
    """Intervals around one network's forecasts, from its errors on the validation set: conformal, and adaptive if `tracked`."""

    def __init__(self, errors: HeldOutErrors, growth: Values, naive: Values, ease: Values | float = 1.0, tracked: bool = True):
        """Calibrate on the errors of the validation set, which are multiplied by `ease`, `(targets,)`.

        growth: from `naive_growth`. naive: as for `fit_sizes`.
        """
        self.validation, self.growth, self.ease = errors, growth, np.reshape(ease, (-1, 1))
        values, series = self._validation_errors()
        self.sizes = fit_sizes(values, series, naive)
        self.conformal, size = self._calibrate(values, series, errors.independent)
        self.tracker = Tracker(self.conformal, size, len(naive)) if tracked else None

    def _validation_errors(self) -> tuple[Values, Indices]:
        errors, series = self.validation.all()
        return np.asarray(errors * self.ease), series

    def _divide(self, errors: Values, series: Indices) -> Values:
        """Return errors as multiples of the usual size in their series."""
        return np.asarray(errors / _of_series(self.sizes, series)[:, None, :, None])

    def _calibrate(self, errors: Values, series: Indices, independent: int) -> tuple[Intervals, Values]:
        """Return intervals, and the size of the errors at each step before `sizes`, `(horizon, targets, quantiles or 1)`."""
        network_quantiles, quantiles = self.validation.network_quantiles, self.validation.quantiles
        errors = self._divide(errors, series)
        if independent >= MIN_INDEPENDENT_WINDOWS:
            intervals, size = calibrate(errors, quantiles, network_quantiles), errors.std(axis=0)
        else:
            # 2n + 1 degrees covered best on the training rows of four panels, see benchmarks/few_windows.py.
            intervals = calibrate_few(errors, quantiles, network_quantiles, self.growth, degrees=2 * independent + 1)
            size = _size_of_few(errors, self.growth)
        return replace(intervals, sizes=self.sizes), size

    def apply(self, windows: Windows, forecast: Values, errors: Values) -> dict[str, Values]:
        """Return scaled quantiles by method, each `(windows, horizon, targets, quantiles)`, as they were at the cutoffs.

        windows: the next ones, in order. forecast: the network's output for them. errors: those that followed.
        """
        quantiles = {"conformal": self.conformal.apply(forecast, windows.series)}
        if self.tracker:
            offsets = self.tracker.follow(windows.first, windows.series, self._divide(errors, windows.series))
            sizes = _of_series(self.sizes, windows.series)
            tracked = replace(self.conformal, offsets=offsets, sizes=sizes)
            quantiles["adaptive"] = tracked.apply(forecast, np.arange(len(windows)))
        return quantiles

    def make_final_intervals(self, method: str, test: HeldOutErrors) -> Intervals:
        """Return intervals for the steps after the test set, whose errors are known by then, too."""
        if method == "adaptive":
            assert self.tracker, "adaptive intervals are tracked"
            return self.tracker.finish()
        (errors, series), (test_errors, test_series) = self._validation_errors(), test.all()
        independent = self.validation.independent + test.independent
        return self._calibrate(np.concatenate([errors, test_errors]), np.concatenate([series, test_series]), independent)[0]
