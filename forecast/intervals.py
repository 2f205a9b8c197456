"""Intervals: how far a network was off where it could not have learned says how far off it may be next.

Calibration needs no training and works for every network: the errors on held-out windows, each horizon step and target by itself,
are what is added to its forecast (split conformal prediction, Vovk et al. 2005; of a network with quantiles, to each of its own,
Romano et al. 2019). All is in scaled units, so that series of any size share their errors.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from forecast.config import Config
from forecast.errors import DAMAGED, RunError
from forecast.windows import Windows

MOST_ERRORS = 20_000_000  # that are held at once; windows beyond are left out, evenly
FEWEST_IN_TAIL = 5  # errors expected beyond a quantile, with fewer of which steps are pooled
MOST_TRACKED = 500_000_000  # quantiles of a part, beyond which conformal intervals are not compared with adaptive ones
RATE = 0.1  # of `Tracker`, in deviations of the errors for each step of the series; see there

log = logging.getLogger(__name__)


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
        """Scaled quantiles `(windows, horizon, targets, quantiles)` of a network's output; they never cross.

        Steps beyond the horizon that was calibrated are NaN.
        """
        known = min(forecast.shape[1], self.offsets.shape[1])
        offsets = (self.offsets if len(self.offsets) == 1 else self.offsets[series])[:, :known]
        made = base_of(forecast[:, :known], self.own, self.quantiles) + offsets
        if 0.5 in self.quantiles:  # it is the forecast itself, and stays in the middle
            middle = self.quantiles.index(0.5)
            made[..., :middle] = np.minimum(made[..., :middle], made[..., [middle]])
            made[..., middle + 1 :] = np.maximum(made[..., middle + 1 :], made[..., [middle]])
        made = np.sort(made, axis=-1)
        return np.pad(made, [(0, 0), (0, forecast.shape[1] - known), (0, 0), (0, 0)], constant_values=np.nan)

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
    """Scaled errors, actual - forecast, of windows that come in pieces: `(windows, horizon, targets, quantiles or 1)`."""

    def __init__(self, windows: int, values: int, own: list[float], quantiles: list[float]):
        """windows: how many will come; values: `horizon * targets` of each."""
        self.own, self.quantiles = own, quantiles
        each = len(quantiles) if own else 1
        self.stride, self.skip = max(1, ceil(windows * values * each / MOST_ERRORS)), 0
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


def calibrate(errors: np.ndarray, quantiles: list[float], own: list[float]) -> Intervals:
    """Intervals from errors on windows that were not trained on, `(windows, horizon, targets, quantiles or 1)`.

    Each step has the quantiles of its own errors, ranked among one more than there are, as conformal prediction asks. Where too
    few errors are expected beyond a quantile, those of all steps, each divided by the size that is usual at its step, stand in.
    """
    count = len(errors)
    errors = np.broadcast_to(errors, (*errors.shape[:-1], len(quantiles))) if len(own) else errors
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


class Tracker:
    """Intervals that are moved after every step by what came true (Gibbs & Candès 2021; Angelopoulos et al. 2023).

    Each quantile of each step, target and series goes up by `rate * quantile` where the actual value was above it, and down by
    `rate * (1 - quantile)` where it was not, so that the share of values below it comes to equal it, however the series changes.
    A forecast `h` steps ahead is judged `h` steps later.

    Of the rates 0.01, 0.02, 0.05, 0.1 and 0.2, 0.1 covers best, at little cost in pinball loss, on the second half of validation
    parts whose first half it started from: see `intervals.py` in the benchmarks.
    """

    def __init__(self, start: Intervals, errors: np.ndarray, series: int, rate: float = RATE):
        """start: calibrated on `errors`, which also set the size of a move; series: how many there are."""
        self.levels = np.array(start.quantiles)
        self.step = rate * errors.std(axis=0) * (self.levels != 0.5)  # (horizon, targets, quantiles)
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
    """Intervals around one network's forecasts, from its errors on the validation part: conformal, and adaptive if `tracked`."""

    def __init__(self, errors: Errors, series: int, tracked: bool = True):
        known = errors.all()
        tail = min(min(quantile, 1 - quantile) for quantile in errors.quantiles)
        if len(known) * known.shape[1] * tail < 1:
            text = "%d windows of the validation part are too few for the widest intervals: they end at the largest errors seen."
            log.warning(text, len(known))
        self.validation = errors
        self.conformal = calibrate(known, errors.quantiles, errors.own)
        self.tracker = Tracker(self.conformal, known, series) if tracked else None

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
        return calibrate(np.concatenate([self.validation.all(), test.all()]), test.quantiles, test.own)
