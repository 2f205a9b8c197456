"""Intervals: how far a network was off where it could not have learned says how far off it may be next.

Calibration needs no training and works for every network: the errors on held-out windows, each horizon step and target by itself,
are what is added to its forecast (split conformal prediction, Vovk et al. 2005; of a network with quantiles, to each of its own,
Romano et al. 2019). All is in scaled units, so that series of any size share their errors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from forecast.config import Config
from forecast.errors import DAMAGED, RunError
from forecast.windows import MAX_BATCH, Windows

MOST_ERRORS = 20_000_000  # that are held at once; windows beyond are left out, evenly
FEWEST_IN_TAIL = 5  # errors expected beyond a quantile, with fewer of which steps are pooled
MIN_INDEPENDENT_WINDOWS = 10  # Without a shared target step; with fewer, intervals follow Student's t distribution.
MAX_NAIVE_WINDOWS = 10_000  # Training windows from which the growth of the naive forecast's errors is taken.
MOST_TRACKED = 500_000_000  # quantiles of a part, beyond which conformal intervals are not compared with adaptive ones
RATE = 0.1  # of `Tracker`, in deviations of the errors for each step of the series; see there


def bounds(level: float) -> tuple[float, float]:
    """The quantiles between which an interval of this level in percent lies.

    >>> bounds(80)
    (0.1, 0.9)
    """
    tail = (100 - level) / 200
    return round(tail, 6), round(1 - tail, 6)


def quantiles_of(config: Config) -> list[float]:
    """All quantiles that a config asks for, by its intervals and of its network, ascending."""
    levels = config.intervals.level if config.intervals else []
    return sorted({*(config.model.quantiles or []), *(quantile for level in levels for quantile in bounds(level))})


def column_of(quantile: float) -> str:
    """The name of a quantile's column.

    >>> column_of(0.1)
    'q0.1'
    """
    return f"q{quantile:g}"


def columns_of(quantiles: list[float], made: np.ndarray) -> dict[str, np.ndarray]:
    """The columns of a table with a row per window, step and target, from `(windows, horizon, targets, quantiles)`."""
    return {column_of(quantile): made[..., number].ravel() for number, quantile in enumerate(quantiles)}


def method_of(config: Config) -> str:
    """How a config's intervals are made; those of a network's own quantiles alone are not moved."""
    return config.intervals.method if config.intervals else "conformal"


@dataclass(frozen=True)
class Intervals:
    """What is added to a scaled forecast to make its quantiles.

    quantiles: ascending; own: those that the network forecasts itself, the median among them, or none.
    offsets: `(series, horizon, targets, quantiles)` in scaled units, or a single one for all series.
    """

    quantiles: list[float]
    own: list[float]
    offsets: np.ndarray

    def apply(self, forecast: np.ndarray, series: np.ndarray) -> np.ndarray:
        """Return the scaled quantiles `(windows, horizon, targets, quantiles)` of a network's output.

        They never cross, and every interval contains its forecast: the quantiles below 0.5 are never above it, those above 0.5
        never below it, and the quantile 0.5 is the forecast itself. Steps beyond the horizon that was calibrated are NaN.
        """
        steps = min(forecast.shape[1], self.offsets.shape[1])
        offsets = (self.offsets if len(self.offsets) == 1 else self.offsets[series])[:, :steps]
        made = base_of(forecast[:, :steps], self.own, self.quantiles) + offsets
        point = base_of(forecast[:, :steps], self.own, [0.5])
        levels = np.array(self.quantiles)
        made = np.where(levels < 0.5, np.minimum(made, point), np.where(levels > 0.5, np.maximum(made, point), point))
        made = np.sort(made, axis=-1)
        return np.pad(made, [(0, 0), (0, forecast.shape[1] - steps), (0, 0), (0, 0)], constant_values=np.nan)

    def only(self, series: list[int | None]) -> Intervals:
        """For series that stand at other places: their numbers here, None for new ones, which get the mean of all."""
        if len(self.offsets) == 1:
            return self
        mean = self.offsets.mean(axis=0)
        return replace(self, offsets=np.stack([mean if number is None else self.offsets[number] for number in series]))

    def to_arrays(self) -> dict[str, np.ndarray]:
        """What a run keeps; its config has the rest."""
        return {"offsets": self.offsets.astype(np.float32)}

    @classmethod
    def from_arrays(
        cls, arrays: dict[str, np.ndarray], shape: tuple[int, int, int], config: Config, place: str = ""
    ) -> Intervals:
        """The intervals that `to_arrays` kept, of a run with `(series, horizon, targets)` and this config.

        Raises:
            RunError: these are not theirs.
        """
        quantiles, offsets = quantiles_of(config), arrays.get("offsets", np.empty(0))
        sizes = [(series, *shape[1:], len(quantiles)) for series in (1, shape[0])]
        if len(arrays) != 1 or offsets.shape not in sizes or offsets.dtype != np.float32 or not np.isfinite(offsets).all():
            raise RunError("the intervals are damaged, or of another run.", DAMAGED, place)
        return cls(quantiles, config.model.quantiles or [], offsets)


def base_of(forecast: np.ndarray, own: list[float], quantiles: list[float]) -> np.ndarray:
    """What each quantile starts from: the network's own where it has it, else its point forecast.

    forecast: `(windows, horizon, targets)`, or `(..., own)` of a network with quantiles. Returns `(..., targets, quantiles)`, or
    `(..., targets, 1)` where all start from the same.
    """
    if not own:
        return forecast[..., None]
    return forecast[..., [own.index(quantile if quantile in own else 0.5) for quantile in quantiles]]


class Errors:
    """Scaled errors, actual - forecast, of windows that come in pieces: `(windows, horizon, targets, quantiles or 1)`.

    independent: number of these windows that share no target step.
    """

    def __init__(self, windows: Windows, own: list[float], quantiles: list[float]):
        """Expect the errors of `windows`. own: the quantiles that the network forecasts itself."""
        self.own, self.quantiles = own, quantiles
        values = len(windows) * windows.horizon * windows.future.shape[1] * (len(quantiles) if own else 1)
        self.stride, self.skip = max(1, ceil(values / MOST_ERRORS)), 0
        self.independent = count_independent(windows)
        self.pieces: list[np.ndarray] = []

    def add(self, actual: np.ndarray, forecast: np.ndarray) -> np.ndarray:
        """Take in scaled actuals `(windows, horizon, targets)` and what the network made of these windows; returns all errors."""
        errors = actual[..., None] - base_of(forecast, self.own, self.quantiles)
        self.pieces.append(errors[self.skip :: self.stride].copy())  # a view would keep all of them
        self.skip = (self.skip - len(errors)) % self.stride
        return errors

    def all(self) -> np.ndarray:
        """Everything that was kept."""
        return np.concatenate(self.pieces)


def count_independent(windows: Windows) -> int:
    """Return how many of some windows, `stride: 1` in each series, share no target step.

    With 13 cutoffs and a horizon of 12 steps, two do: the first and the last.
    """
    _, counts = np.unique(windows.series, return_counts=True)
    return int((-(-counts // windows.horizon)).sum())


def naive_growth(train: Windows) -> np.ndarray:
    """Return the root mean squared error of the naive forecast at each step, scaled, `(horizon, targets)`."""
    squares, chosen = 0.0, train.sample_evenly(MAX_NAIVE_WINDOWS)
    for piece in chosen.chunks(MAX_BATCH):
        targets = piece.targets().astype(np.float64)
        squares = squares + np.square(targets - piece.past_values()[:, -1:, : targets.shape[2]]).sum(axis=0)
    growth = np.sqrt(squares / len(chosen))
    return np.maximum(growth, 1e-3 * growth.max(axis=0) + np.finfo(np.float32).tiny)  # A repeated value must not divide by 0.


def calibrate(errors: np.ndarray, quantiles: list[float], own: list[float]) -> Intervals:
    """Return intervals from errors on windows that were not trained on, `(windows, horizon, targets, quantiles or 1)`.

    Each step has the quantiles of its own errors, ranked among one more than there are, as conformal prediction asks. Where fewer
    than `FEWEST_IN_TAIL` errors are expected beyond a quantile, the errors of all steps are pooled, each divided by the root mean
    squared error of its step.
    """
    count = len(errors)
    offsets = np.empty((*errors.shape[1:3], len(quantiles)))
    size = np.sqrt(np.mean(np.square(errors, dtype=np.float64), axis=0))  # (horizon, targets, quantiles or 1)
    size = np.maximum(size, np.finfo(np.float32).tiny)
    for number, quantile in enumerate(quantiles):
        if quantile == 0.5:  # the forecast itself
            offsets[..., number] = 0
            continue
        column = number if len(own) else 0
        mine = errors[..., column]
        if count * min(quantile, 1 - quantile) >= FEWEST_IN_TAIL:
            offsets[..., number] = np.quantile(mine, quantile, axis=0, method="weibull")
        else:
            relative = (mine / size[..., column]).reshape(-1, mine.shape[2])  # (windows * horizon, targets)
            offsets[..., number] = size[..., column] * np.quantile(relative, quantile, axis=0, method="weibull")
    return Intervals(quantiles, own, offsets[None])


def calibrate_few(errors: np.ndarray, quantiles: list[float], own: list[float], growth: np.ndarray, degrees: int) -> Intervals:
    """Return intervals from the errors of too few windows to rank, `(windows, horizon, targets, quantiles or 1)`.

    The errors give one size for each target: their root mean square. It grows with the step as the errors of the naive forecast
    do in the training set (`growth`, `(horizon, targets)`), and is multiplied by the quantile of Student's t distribution with
    so many `degrees` of freedom: fewer make wider intervals.
    """
    from scipy.special import stdtrit  # Student's quantiles, without the import of all of scipy.stats

    middle = errors[..., [quantiles.index(0.5)]] if own else errors
    size = _size_of_few(middle, growth)
    offsets = size * stdtrit(degrees, np.array(quantiles))
    if own:  # The mean distance of each quantile of the network from its median is part of the width.
        offsets -= (middle - errors).mean(axis=0)
    return Intervals(quantiles, own, offsets[None])


def _size_of_few(errors: np.ndarray, growth: np.ndarray) -> np.ndarray:
    """Return the size of the errors at each step, `(horizon, targets, 1)`: their root mean square, shaped as `growth`, or that
    of the step itself where it is larger.
    """
    of_steps = np.square(errors, dtype=np.float64).mean(axis=(0, 3))  # (horizon, targets)
    shaped = growth * np.sqrt(of_steps.mean(axis=0) / np.square(growth).mean(axis=0))
    return np.maximum(shaped, np.sqrt(of_steps))[..., None]  # A step may be worse than the naive forecast's growth says.


def few_windows(independent: int | None) -> str:
    """Return a sentence that says that intervals are based on few windows; "" if there are enough or the number is unknown."""
    if independent is None or independent >= MIN_INDEPENDENT_WINDOWS:
        return ""
    return (
        f"The intervals rest on {independent} non-overlapping held-out {'window' if independent == 1 else 'windows'} (fewer than"
        f" {MIN_INDEPENDENT_WINDOWS}), so they follow Student's t distribution and are wider."
    )


class Tracker:
    """Intervals that are moved after every step by what came true (Gibbs & Candès 2021; Angelopoulos et al. 2023).

    Each quantile of each step, target and series goes up by `rate * quantile` where the actual value was above it, and down by
    `rate * (1 - quantile)` where it was not, so that the share of values below it comes to equal it, however the series changes.
    A forecast `h` steps ahead is judged `h` steps later.

    Of the rates 0.01, 0.02, 0.05, 0.1 and 0.2, 0.1 covers best, at little cost in pinball loss, on the second half of validation
    parts whose first half it started from: see `intervals.py` in the benchmarks.
    """

    def __init__(self, start: Intervals, size: np.ndarray, series: int, rate: float = RATE):
        """Begin with the intervals `start` in each of so many series.

        size: of the errors at each step, to which a move is proportional, `(horizon, targets, quantiles or 1)`.
        """
        self.levels = np.array(start.quantiles)
        self.step = rate * size * (self.levels != 0.5)  # (horizon, targets, quantiles)
        self.first = start
        self.offsets = np.repeat(start.offsets, series, axis=0)  # where each series stands
        self.series, self.row = -1, 0
        horizon = start.offsets.shape[1]
        shape = horizon, *start.offsets.shape[1:]
        self.below = np.zeros(shape, dtype=bool)  # whether each value was below its quantile, by cutoff modulo the horizon
        self.issued = np.zeros(horizon, dtype=bool)  # whether a forecast was made at these cutoffs
        self.steps = np.arange(horizon)

    def follow(self, first: np.ndarray, series: np.ndarray, errors: np.ndarray) -> np.ndarray:
        """The offsets `(windows, horizon, targets, quantiles)` that hold at each cutoff; then moves for what came of them.

        first, series: of the next windows, in the order of `Windows`; errors: theirs, `(windows, horizon, targets, each or 1)`.
        """
        issued = np.empty((*errors.shape[:-1], len(self.levels)))
        for window, (row, own) in enumerate(zip(first, series, strict=True)):
            if own != self.series:
                self._finish()
                self.series, self.row = own, row - 1
            self._pass_until(row - 1)
            issued[window] = self.offsets[own]
            slot = (row - 1) % len(self.steps)
            self.below[slot], self.issued[slot] = errors[window] <= issued[window], True
        return issued

    def _finish(self) -> None:
        """All that was forecast of a series has happened."""
        if self.issued.any():
            self._pass_until(self.row + len(self.steps))
        self.issued[:] = False

    def _pass_until(self, cutoff: int) -> None:
        """Rows after the last cutoff, up to this one, have happened."""
        for row in range(self.row + 1, cutoff + 1):
            slots = (row - 1 - self.steps) % len(self.steps)  # the forecast for this row at step h + 1 was made h + 1 rows before
            moves = (self.levels - self.below[slots, self.steps]) * self.issued[slots, None, None]
            self.offsets[self.series] += self.step * moves
            self.issued[row % len(self.steps)] = False
        self.row = cutoff

    def intervals(self) -> Intervals:
        """Where every series stands when all that was forecast has happened."""
        self._finish()
        return Intervals(self.first.quantiles, self.first.own, self.offsets)


class Calibration:
    """Intervals around one network's forecasts, from its errors on the validation set: conformal, and adaptive if `tracked`."""

    def __init__(self, errors: Errors, growth: np.ndarray, series: int, tracked: bool = True):
        """errors: of the validation set; growth: as `naive_growth` returns it; series: how many there are."""
        self.validation, self.growth = errors, growth
        self.conformal = self._calibrate(errors.all(), errors.independent)
        self.tracker = Tracker(self.conformal, self._move_size(), series) if tracked else None

    def _calibrate(self, errors: np.ndarray, independent: int) -> Intervals:
        own, quantiles = self.validation.own, self.validation.quantiles
        if independent < MIN_INDEPENDENT_WINDOWS:
            # 2n + 1 degrees covered best on the training rows of four panels, see benchmarks/few_windows.py.
            return calibrate_few(errors, quantiles, own, self.growth, degrees=2 * independent + 1)
        return calibrate(errors, quantiles, own)

    def _move_size(self) -> np.ndarray:
        errors = self.validation.all()
        few = self.validation.independent < MIN_INDEPENDENT_WINDOWS  # Whose deviation at a step says little, or nothing.
        return _size_of_few(errors, self.growth) if few else errors.std(axis=0)

    def quantiles(self, windows: Windows, forecast: np.ndarray, errors: np.ndarray) -> dict[str, np.ndarray]:
        """Scaled quantiles by method, each `(windows, horizon, targets, quantiles)`, as they stood at the windows' cutoffs.

        windows: the next ones, in order; forecast: what the network made of them; errors: what came of it.
        """
        made = {"conformal": self.conformal.apply(forecast, windows.series)}
        if self.tracker:
            tracked = replace(self.conformal, offsets=self.tracker.follow(windows.first, windows.series, errors))
            made["adaptive"] = tracked.apply(forecast, np.arange(len(windows)))
        return made

    def of_future(self, method: str, test: Errors) -> Intervals:
        """Intervals for what comes after the test part, whose errors are known by then, too."""
        if method == "adaptive":
            return self.tracker.intervals()
        both = np.concatenate([self.validation.all(), test.all()])
        return self._calibrate(both, self.validation.independent + test.independent)
