"""Cut windows, which hold what a model sees and what it is scored on, and forecast them. No other module cuts windows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from forecast.config import ResolvedDataConfig, ResolvedWindowsConfig, infer_season_length
from forecast.windows.splits import Splits, Subset

if TYPE_CHECKING:
    from forecast.data import Panel

MAX_BATCH = 1024  # Windows that are copied at once where no optimizer sets the batch size.
Forward = Callable[[dict[str, np.ndarray]], np.ndarray]  # A network's scaled inputs -> (windows, steps, targets).


@dataclass(frozen=True)
class Imputation:
    """Fill in a known covariate where it is missing over the horizon.

    column: its position among the known covariates.
    policy: hold, the last value of the lookback; seasonal, its last season; drop, its mean.
    """

    column: int
    policy: str
    season_length: int

    def values(self, past: np.ndarray, horizon: int) -> np.ndarray:
        """Return values over the horizon, `(windows, horizon)`, from those over the lookback, `(windows, lookback)`.

        >>> Imputation(0, "seasonal", 2).values(np.array([[1.0, 2.0, 3.0]]), 3)
        array([[2., 3., 2.]])
        """
        if self.policy == "drop":
            return np.repeat(past.mean(axis=1, keepdims=True), horizon, axis=1)
        season = self.season_length if self.policy == "seasonal" else 1
        return past[:, past.shape[1] - season + np.arange(horizon) % season]


@dataclass(frozen=True)
class Windows:
    """Windows as indices into matrices, so that memory does not grow with lookback or horizon.

        rows                  ... | first - lookback ... first - 1 | first ... first + horizon - 1 | ...
        past                        inputs(window) sees these
        known_covariates            inputs(window) sees these        and these
        future                                                       targets(window) is scored on these

    past: `(rows, channels)` scaled; known_covariates: its last channels; future: `(rows, targets)` scaled, its first channels.
    first: `(windows,)`, the row of each window's first target step; cutoff = first - 1.
    series: `(windows,)`, the index of each window's series.
    static: inputs that are the same in all windows of a series, by name: `(series, columns)`.
    imputations: for the known covariates that may be NaN over the horizon.
    future_rows: rows of each series in the matrices that follow those of the panel, with known covariates only.
    """

    past: np.ndarray
    known_covariates: np.ndarray
    future: np.ndarray
    first: np.ndarray
    series: np.ndarray
    lookback: int
    horizon: int
    static: Mapping[str, np.ndarray] = field(default_factory=dict)
    imputations: Sequence[Imputation] = ()
    future_rows: int = 0

    @property
    def panel_rows(self) -> np.ndarray:
        """The row in the panel of each window's first target step: `(windows,)`."""
        rows: np.ndarray = self.first - self.series * self.future_rows
        return rows

    def __len__(self) -> int:
        return len(self.first)

    def inputs(self, chosen: np.ndarray | slice = slice(None)) -> dict[str, np.ndarray]:
        """Return the inputs of a network for the chosen windows, by name.

        past `(windows, lookback, channels)`, known `(windows, horizon, known covariates)`, and static ones `(windows, columns)`.
        """
        inputs = {"past": self.past_values(chosen)}
        if self.known_covariates.shape[1]:
            inputs["known"] = self._known_values(chosen, inputs["past"])
        return inputs | {name: values[self.series[chosen]] for name, values in self.static.items()}

    def _known_values(self, chosen: np.ndarray | slice, past: np.ndarray) -> np.ndarray:
        """Return the known covariates over the horizon, imputed where they are NaN."""
        values = gather(self.known_covariates, self.first[chosen], self.horizon)
        for imputation in self.imputations:
            column = values[..., imputation.column]
            past_column = past[..., past.shape[2] - values.shape[2] + imputation.column]
            column[:] = np.where(np.isnan(column), imputation.values(past_column, self.horizon), column)  # Changes `values`.
        return values

    def past_values(self, chosen: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return the past values of the chosen windows: `(windows, lookback, channels)`."""
        return gather(self.past, self.first[chosen] - self.lookback, self.lookback)

    def targets(self, chosen: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return the future values of the chosen windows: `(windows, horizon, targets)`."""
        return gather(self.future, self.first[chosen], self.horizon)

    def select_target(self, target: int) -> Windows:
        """Return the same windows with the past and the truth of one target only."""
        return replace(self, past=self.past[:, [target]], future=self.future[:, [target]])

    def impute(self, imputation: Imputation) -> Windows:
        """Return the same windows without one known covariate over the horizon, which is imputed instead."""
        known_covariates = self.known_covariates.copy()
        known_covariates[:, imputation.column] = np.nan
        return replace(self, known_covariates=known_covariates, imputations=[imputation])

    def chunks(self, max_windows: int) -> Iterator[Windows]:
        """Return all windows in order, in chunks of at most `max_windows`, and of at least one."""
        step = max(1, max_windows)
        return (self.select(slice(start, start + step)) for start in range(0, len(self), step))

    def sample_evenly(self, max_windows: int) -> Windows:
        """Return at most `max_windows` of the windows, evenly spaced."""
        return self.select(np.linspace(0, len(self) - 1, min(len(self), max_windows)).astype(np.int64))

    def select(self, chosen: np.ndarray | slice) -> Windows:
        """Return some of the windows: their numbers, a mask, or a slice."""
        return replace(self, first=self.first[chosen], series=self.series[chosen])

    def forecast_with(self, forward: Forward, block: int | None = None) -> np.ndarray:
        """Forecast all windows, `MAX_BATCH` at a time: `(windows, horizon, targets)`.

        block: steps that `forward` forecasts at once, None for all. If the horizon is longer, the forecast is rolled out.
        """
        steps = block or self.horizon
        return np.concatenate([roll_out(forward, chunk.inputs(), self.horizon, steps) for chunk in self.chunks(MAX_BATCH)])


def roll_out(forward: Forward, inputs: dict[str, np.ndarray], horizon: int, block: int) -> np.ndarray:
    """Forecast `horizon` steps of some windows with a network that forecasts `block` steps at once.

    All channels but the targets must be known over the horizon.
    """
    past, lookback, forecasts = inputs["past"], inputs["past"].shape[1], []
    known_covariates = inputs.get("known", np.zeros((len(past), horizon, 0), np.float32))
    # The known covariates of steps behind the horizon, which fill the last block, change no forecast that is returned: those
    # steps lie in segments of their own (`Trained.known_steps`).
    known_covariates = np.pad(known_covariates, [(0, 0), (0, -horizon % block), (0, 0)], mode="edge")
    for begin in range(0, horizon, block):
        ahead = known_covariates[:, begin : begin + block]
        forecasts.append(forward(inputs | {"past": past} | ({"known": ahead} if ahead.shape[2] else {})))
        if begin + block < horizon:
            happened = np.concatenate([forecasts[-1], ahead], axis=2)
            past = np.concatenate([past, happened], axis=1)[:, -lookback:]
    steps = np.concatenate(forecasts, axis=1)
    return steps if steps.shape[1] == horizon else steps[:, :horizon].copy()  # A view would keep what is beyond the horizon.


def gather(rows: np.ndarray, first: np.ndarray, steps: int) -> np.ndarray:
    """Copy `steps` rows from each row in `first`: `(rows, channels)` -> `(len(first), steps, channels)`.

    >>> gather(np.arange(5)[:, None], np.array([0, 3]), 2)[:, :, 0]
    array([[0, 1],
           [3, 4]])
    """
    view = np.lib.stride_tricks.sliding_window_view(rows, steps, axis=0)  # (rows - steps + 1, channels, steps)
    return np.ascontiguousarray(view[first].transpose(0, 2, 1))


def make_windows(
    panel: Panel,
    scaled: np.ndarray,
    splits: Splits,
    subset: Subset,
    config: ResolvedWindowsConfig,
    stride: int = 1,
    with_gaps: bool = False,
) -> Windows:
    """Cut the windows whose targets lie in a subset, `stride` steps apart; `scaled` is the panel's matrix after scaling.

    Windows whose cutoff or targets hold a filled value are left out. with_gaps: windows are kept if the cutoff and at least
    half of the rows after it were measured. Filled targets are NaN.
    """
    lookback, horizon = config.lookback, config.horizon
    firsts = [
        np.arange(max(start, begin + lookback), end - horizon + 1, stride)
        for begin, start, end in zip(splits.borders[:, 0], *splits.rows_of(subset), strict=True)
    ]
    series = np.repeat(np.arange(len(firsts)), [len(rows) for rows in firsts])
    first = np.concatenate(firsts)
    # A filled target is no truth. If the row at the cutoff was filled, the first target may have helped to fill it.
    filled = np.concatenate([[0], np.cumsum(panel.filled.any(axis=1))])
    allowed = horizon // 2 if with_gaps else 0
    measured = (filled[first] == filled[first - 1]) & (filled[first + horizon] - filled[first] <= allowed)
    known_covariates, future = _select_known_covariates(panel, scaled), scaled[:, : len(panel.targets)]
    if with_gaps and filled[-1]:
        future = np.where(panel.filled[:, : len(panel.targets)], np.float32(np.nan), future)
    return Windows(scaled, known_covariates, future, first[measured], series[measured], lookback, horizon)


def make_last_windows(
    panel: Panel,
    scaled: np.ndarray,
    lookback: int,
    horizon: int,
    ahead: np.ndarray | None = None,
    count: int = 1,
    before: int = 0,
) -> Windows:
    """Cut the last windows of each series, at most `count`, whose targets begin after its last row or `before` steps earlier.

    scaled: as for `make_windows`; ahead: scaled known covariates after each series' end, `(series, horizon, known covariates)`.
    """
    spans = [(begin, end - before + 1) for begin, end in pairwise(panel.offsets)]
    needed = max(lookback, panel.padding + 1)
    firsts = [np.arange(max(begin + needed, end - count), end) for begin, end in spans]
    series = np.repeat(np.arange(len(firsts)), [len(rows) for rows in firsts])
    if ahead is not None:
        blocks = np.zeros((*ahead.shape[:2], scaled.shape[1]), dtype=np.float32)  # No window sees the other channels.
        blocks[..., -ahead.shape[2] :] = ahead
        pairs = zip(pairwise(panel.offsets), blocks, strict=True)
        scaled = np.concatenate([piece for (begin, end), block in pairs for piece in (scaled[begin:end], block)])
        firsts = [rows + number * horizon for number, rows in enumerate(firsts)]
    future = np.full((0, len(panel.targets)), np.nan, dtype=np.float32)
    known_covariates = _select_known_covariates(panel, scaled)
    future_rows = 0 if ahead is None else horizon
    first = np.concatenate(firsts)
    return Windows(scaled, known_covariates, future, first, series, lookback, horizon, future_rows=future_rows)


def _select_known_covariates(panel: Panel, scaled: np.ndarray) -> np.ndarray:
    return scaled[:, len(panel.columns) - panel.known_channels :]


def make_imputations(data: ResolvedDataConfig, freq: str) -> list[Imputation]:
    """Return an imputation for each known covariate that `data.missing_known` names."""
    season_length = data.season_length or infer_season_length(freq)
    return [Imputation(data.known_covariates.index(name), policy, season_length) for name, policy in data.missing_known.items()]
