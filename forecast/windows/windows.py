"""Windows: what a model gets to see and what it is scored on. The only place that slices time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from forecast.config import ConfigInSteps, ResolvedDataConfig, ResolvedWindowsConfig, infer_season_length
from forecast.errors import ConfigError
from forecast.windows.splits import SUBSETS, Splits, Subset

if TYPE_CHECKING:
    from forecast.data import Panel

EPSILON = 1e-5  # added to a window's variance by `revin`, as Kim et al. (2022) do
# What `model.normalization` subtracts from a window, and whether it then divides by the window's deviation.
STATISTICS = {"none": (None, False), "last": ("last", False), "mean": ("mean", False), "revin": ("mean", True)}
Forward = Callable[[dict[str, np.ndarray]], np.ndarray]  # a network's scaled inputs -> (windows, steps, targets)
MAX_BATCH = 1024  # windows that are copied at once where no optimizer sets the batch


@dataclass(frozen=True)
class Imputation:
    """What stands in for a known covariate where it is missing over the horizon.

    column: its place among the known covariates.
    policy: hold, the last value of the lookback; seasonal, its last season; drop, its mean.
    """

    column: int
    policy: str
    season_length: int

    def values(self, seen: np.ndarray, horizon: int) -> np.ndarray:
        """`(windows, horizon)` from the values over the lookback, `(windows, lookback)`.

        >>> Imputation(0, "seasonal", 2).values(np.array([[1.0, 2.0, 3.0]]), 3)
        array([[2., 3., 2.]])
        """
        if self.policy == "drop":
            return np.repeat(seen.mean(axis=1, keepdims=True), horizon, axis=1)
        season = self.season_length if self.policy == "seasonal" else 1
        return seen[:, seen.shape[1] - season + np.arange(horizon) % season]


@dataclass(frozen=True)
class Windows:
    """Windows as indices into two matrices, so that memory does not grow with lookback or horizon.

        rows           ... | first - lookback ... first - 1 | first ... first + horizon - 1 | ...
        past                 inputs(window) sees these
        known                inputs(window) sees these        and these, of the covariates that are known ahead
        future                                                targets(window) is scored on these

    past: `(rows, channels)` scaled; known: its last channels; future: `(rows, targets)` scaled, its first.
    first: `(windows,)`, the row of each window's first target step; cutoff = first - 1.
    series: `(windows,)`, the index of each window's series.
    static: what a network sees of each series, by the name of its input: `(series, columns)`.
    assumptions: for the known covariates that may be NaN over the horizon.
    """

    past: np.ndarray
    known_covariates: np.ndarray
    future: np.ndarray
    first: np.ndarray
    series: np.ndarray
    lookback: int
    horizon: int
    static: Mapping[str, np.ndarray] = field(default_factory=dict)
    assumptions: Sequence[Imputation] = ()

    def __len__(self) -> int:
        return len(self.first)

    def inputs(self, chosen: np.ndarray | slice = slice(None)) -> dict[str, np.ndarray]:
        """What a network sees of the chosen windows: past `(windows, lookback, channels)`, known `(windows, horizon, known)`,
        and what is static, `(windows, columns)`.
        """
        inputs = {"past": self.past_values(chosen)}
        if self.known_covariates.shape[1]:
            inputs["known"] = self._knowns(chosen, inputs["past"])
        return inputs | {name: values[self.series[chosen]] for name, values in self.static.items()}

    def _knowns(self, chosen: np.ndarray | slice, past: np.ndarray) -> np.ndarray:
        """Known covariates of the chosen windows over the horizon, `(windows, horizon, known)`, assumed where they are NaN."""
        known = gather(self.known_covariates, self.first[chosen], self.horizon)
        for assumed in self.assumptions:
            own = known[..., assumed.column]  # a view: what follows changes `known`
            seen = past[..., past.shape[2] - known.shape[2] + assumed.column]
            own[:] = np.where(np.isnan(own), assumed.values(seen, self.horizon), own)
        return known

    def past_values(self, chosen: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Past values of the chosen windows: `(windows, lookback, channels)`."""
        return gather(self.past, self.first[chosen] - self.lookback, self.lookback)

    def targets(self, chosen: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Future values of the chosen windows: `(windows, horizon, targets)`."""
        return gather(self.future, self.first[chosen], self.horizon)

    def select_target(self, target: int) -> Windows:
        """The same windows with one target only, as input and as truth."""
        own = {
            "past": self.past[:, [target]],
            "known_covariates": self.known_covariates[:, :0],
            "future": self.future[:, [target]],
        }
        return replace(self, **own, static={}, assumptions=())

    def impute(self, assumed: Imputation) -> Windows:
        """The same windows without one known covariate over the horizon, which is assumed instead."""
        known = self.known_covariates.copy()
        known[:, assumed.column] = np.nan
        return replace(self, known_covariates=known, assumptions=[assumed])

    def chunks(self, most: int) -> Iterator[Windows]:
        """All windows in order, at `most` so many at a time, and at least one."""
        step = max(1, most)
        return (self.select(slice(start, start + step)) for start in range(0, len(self), step))

    def sample_evenly(self, most: int) -> Windows:
        """At `most` so many of the windows, evenly spaced."""
        return self.select(np.linspace(0, len(self) - 1, min(len(self), most)).astype(np.int64))

    def select(self, chosen: np.ndarray | slice) -> Windows:
        """Some of the windows: their places, a mask, or a slice."""
        return replace(self, first=self.first[chosen], series=self.series[chosen])

    def forecast_with(self, forward: Forward, block: int | None = None) -> np.ndarray:
        """What `forward` makes of all inputs, which it is given `BATCH` windows at a time: `(windows, horizon, targets)`.

        block: steps that it forecasts at once, None for all. Where the horizon is longer, it is rolled out: a forecast is taken
        for what happened, and the next block starts from there. That needs to know every channel ahead but the targets.
        """
        steps = block or self.horizon
        return np.concatenate([roll_out(forward, piece.inputs(), self.horizon, steps) for piece in self.chunks(MAX_BATCH)])


def roll_out(forward: Forward, inputs: dict[str, np.ndarray], horizon: int, block: int) -> np.ndarray:
    """What `forward`, which forecasts `block` steps at once, makes of the inputs of some windows: see `Windows.forecast_with`."""
    past, lookback, forecasts = inputs["past"], inputs["past"].shape[1], []
    known = inputs.get("known", np.zeros((len(past), horizon, 0), np.float32))
    # Nothing is known of the steps behind the horizon that fill the last block. They lie in segments of their own
    # (`Trained.known_steps`), so their values change no forecast that is returned.
    known = np.pad(known, [(0, 0), (0, -horizon % block), (0, 0)], mode="edge")
    for begin in range(0, horizon, block):
        ahead = known[:, begin : begin + block]
        forecasts.append(forward(inputs | {"past": past} | ({"known": ahead} if ahead.shape[2] else {})))
        if begin + block < horizon:
            happened = np.concatenate([forecasts[-1], ahead], axis=2)
            past = np.concatenate([past, happened], axis=1)[:, -lookback:]
    made = np.concatenate(forecasts, axis=1)
    return made if made.shape[1] == horizon else made[:, :horizon].copy()  # a view would keep what is beyond the horizon


def gather(rows: np.ndarray, first: np.ndarray, steps: int) -> np.ndarray:
    """Copy `steps` rows from each row in `first`: `(rows, channels)` -> `(len(first), steps, channels)`.

    >>> gather(np.arange(5)[:, None], np.array([0, 3]), 2)[:, :, 0]
    array([[0, 1],
           [3, 4]])
    """
    view = np.lib.stride_tricks.sliding_window_view(rows, steps, axis=0)  # (rows - steps + 1, channels, steps)
    return np.ascontiguousarray(view[first].transpose(0, 2, 1))


def make_imputations(data: ResolvedDataConfig, freq: str) -> list[Imputation]:
    """Return an imputation for each known covariate that `data.missing_known` names."""
    if not data.missing_known:
        return []
    season_length = data.season_length or infer_season_length(freq)
    return [Imputation(data.known_covariates.index(name), policy, season_length) for name, policy in data.missing_known.items()]


def make_last_windows(
    panel: Panel, scaled: np.ndarray, lookback: int, horizon: int, ahead: np.ndarray | None = None, most: int = 1, before: int = 0
) -> Windows:
    """The last windows of each series, at `most` so many, whose targets begin after its last row or `before` steps earlier.

    scaled: as for `make_windows`; ahead: scaled known covariates after each series' end, `(series, horizon, known)`.
    """
    spans = [(begin, end - before + 1) for begin, end in pairwise(panel.offsets)]
    first = [np.arange(max(begin + lookback, end - most), end) for begin, end in spans]
    series = np.repeat(np.arange(len(first)), [len(rows) for rows in first])
    if ahead is not None:
        blocks = np.zeros((*ahead.shape[:2], scaled.shape[1]), dtype=np.float32)  # its other channels are never seen
        blocks[..., -ahead.shape[2] :] = ahead
        pairs = zip(pairwise(panel.offsets), blocks, strict=True)
        scaled = np.concatenate([part for (begin, end), block in pairs for part in (scaled[begin:end], block)])
        first = [rows + number * horizon for number, rows in enumerate(first)]
    future = np.full((0, len(panel.targets)), np.nan, dtype=np.float32)
    return Windows(scaled, _known(panel, scaled), future, np.concatenate(first), series, lookback, horizon)


def make_windows(
    panel: Panel, scaled: np.ndarray, splits: Splits, part: Subset, config: ResolvedWindowsConfig, stride: int = 1
) -> Windows:
    """The windows whose targets lie in `part`, `stride` steps apart; `scaled` is the panel's matrix after scaling.

    Windows whose cutoff or targets hold a filled value are left out.
    """
    lookback, horizon = config.lookback, config.horizon
    first = [
        np.arange(max(start, begin + lookback), end - horizon + 1, stride)
        for begin, start, end in zip(splits.borders[:, 0], *splits.rows_of(part), strict=True)
    ]
    series = np.repeat(np.arange(len(first)), [len(rows) for rows in first])
    first = np.concatenate(first)
    if panel.filled.any():
        measured = _measured(panel, first, horizon)
        first, series = first[measured], series[measured]
    return Windows(scaled, _known(panel, scaled), scaled[:, : len(panel.targets)], first, series, lookback, horizon)


def _known(panel: Panel, scaled: np.ndarray) -> np.ndarray:
    return scaled[:, len(panel.columns) - panel.known_channels :]


def _measured(panel: Panel, first: np.ndarray, horizon: int) -> np.ndarray:
    """Which windows hold no filled cell from their cutoff on.

    A filled target is no truth; and where the last row seen was filled, the value after the cutoff may have helped to fill it.
    """
    filled = np.concatenate([[0], np.cumsum(panel.filled.any(axis=1))])
    return filled[first + horizon] == filled[first - 1]


def drop_short_series(panel: Panel, splits: Splits, config: ConfigInSteps) -> tuple[Panel, Splits]:
    """Panel and splits as `data.short_series` wants them: what is left out, or only scored, is added to the record.

    Raises:
        ConfigError: the policy is error and a series has no training window, or no series has one; with what would do.
    """
    lookback, horizon = config.windows.lookback, config.windows.horizon
    lengths = np.diff(splits.borders, axis=1)  # (series, parts)
    trained = lengths[:, 0] >= lookback + horizon
    if not trained.all() and (config.data.short_series == "error" or not trained.any()):
        raise _too_short(panel, lengths[:, 0], config)
    begin, _, _, end = splits.borders.T
    some_window = trained | (end - begin >= lookback + horizon)
    from forecast.data import Repair

    for told, chosen in (
        ("series too short for a window, left out", ~some_window),
        ("series without a training window, only scored", some_window & ~trained),
    ):
        if chosen.any():
            first = [panel.series_ids[series] for series in np.flatnonzero(chosen)[:3]]
            left = Repair(what=told, policy="skip", rows=int(chosen.sum()), first=first)
            panel = replace(panel, record=[*panel.record, left])  # the panel may be shared
    if some_window.all():
        return panel, splits
    kept = panel.select(np.flatnonzero(some_window))
    moved = kept.offsets[:-1] - panel.offsets[:-1][some_window]
    return kept, Splits(splits.borders[some_window] + moved[:, None])


def _too_short(panel: Panel, rows: np.ndarray, config: ConfigInSteps) -> ConfigError:
    lookback, horizon = config.windows.lookback, config.windows.horizon
    series = int(np.argmin(rows))
    largest, short = int(rows[series]) - horizon, int((rows < lookback + horizon).sum())
    others = f" ({short} series of {len(rows)} have no training window)" if short > 1 else ""
    skip = ", or data.short_series: skip" if short < len(rows) else ""
    if largest > 0:
        return ConfigError(
            f"windows.lookback is {lookback}, but series '{panel.series_ids[series]}' has {rows[series]} training rows{others}.",
            f"Use at most {largest} ({rows[series]} - horizon {horizon}), or a longer training part{skip}.",
            config.locate("windows.lookback"),
        )
    return ConfigError(
        f"splits.validation ({config.splits.validation}) and splits.test ({config.splits.test}) leave series"
        f" '{panel.series_ids[series]}' {rows[series]} training rows, too few for a horizon of {horizon}{others}.",
        f"Make these parts smaller, the horizon shorter, or give more data{skip}.",
        config.locate("splits.test"),
    )


def check_subsets(panel: Panel, splits: Splits, config: ConfigInSteps) -> None:
    """Validation and test part have at least one window, in some series.

    Raises:
        ConfigError: with the smallest part that would do.
    """
    horizon = config.windows.horizon
    lengths = np.diff(splits.borders, axis=1)
    for part, size in zip(SUBSETS[1:], lengths.max(axis=0)[1:], strict=True):
        if size < horizon:
            series = int(np.argmax(lengths[:, SUBSETS.index(part)]))
            last = panel.timestamps[splits.borders[series, 3] - 1]
            raise ConfigError(
                f"the {part} part of series '{panel.series_ids[series]}' has {size} rows, fewer than the horizon of {horizon},"
                f" so it holds no window; the series ends at {last}.",
                f"Set splits.{part} to {horizon} steps or more, an earlier date than the next part's, or use a shorter horizon.",
                config.locate(f"splits.{part}"),
            )


def check_windows_measured(windows: dict[Subset, Windows], config: ConfigInSteps) -> None:
    """Every part has a window that holds no filled value from its cutoff on.

    Raises:
        ConfigError: none is left in a part.
    """
    for part, chosen in windows.items():
        if len(chosen) == 0:
            raise ConfigError(
                f"no window of the {part} part is free of filled values, so nothing is left to learn from or to score on.",
                "Use a shorter horizon, another part of the data, or data with fewer gaps.",
                config.locate("windows.horizon"),
            )


def compute_window_statistics(past: np.ndarray, normalization: str) -> tuple[np.ndarray, np.ndarray]:
    """Return centre and scale of each window, both `(windows, 1, channels)`, as `model.normalization` needs them."""
    method, divided = STATISTICS[normalization]
    last = past[:, -1:]
    centre = past.mean(axis=1, keepdims=True) if method == "mean" else last if method else np.zeros_like(last)
    return centre, np.sqrt(past.var(axis=1, keepdims=True) + EPSILON) if divided else np.ones_like(centre)
