"""Scalers: one per series and channel, fitted on training rows only, undone in every result, stored as JSON."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from forecast.config import ResolvedWindowsConfig, ScalingConfig
from forecast.errors import DataError, RunError
from forecast.windows.splits import Splits

if TYPE_CHECKING:
    from forecast.data import Panel, StaticCovariates


@dataclass(frozen=True)
class StaticScaler:
    """What is static as a network reads it: numbers with mean 0 and deviation 1 over the training series, categories as codes.

    offset, scale: `(static covariates,)`; vocabulary: the texts of each static category, in the order of their codes from 1 on.
    """

    offset: np.ndarray
    scale: np.ndarray
    vocabulary: list[list[str]]

    def apply(self, static: StaticCovariates) -> dict[str, np.ndarray]:
        """A network's inputs by name: `static` float32 and `categories` int32, 0 where one is unknown; `(series, columns)`."""
        inputs = {}
        if len(self.offset):
            inputs["static"] = ((static.numbers - self.offset) / self.scale).astype(np.float32)
        if self.vocabulary:
            codes = [{text: code for code, text in enumerate(texts, 1)} for texts in self.vocabulary]
            columns = [[known.get(text, 0) for text in given] for known, given in zip(codes, static.categories.T, strict=True)]
            inputs["categories"] = np.array(columns, dtype=np.int32).T
        return inputs

    def to_json(self) -> dict:
        """Plain JSON values."""
        return {"offset": self.offset.tolist(), "scale": self.scale.tolist(), "vocabulary": self.vocabulary}

    @classmethod
    def from_json(cls, data: dict) -> StaticScaler:
        """What `to_json` described; a ValueError, TypeError or KeyError where it is something else."""
        scaler = cls(np.array(data["offset"], float), np.array(data["scale"], float), data["vocabulary"])
        words = isinstance(scaler.vocabulary, list) and all(isinstance(texts, list) for texts in scaler.vocabulary)
        words = words and all(type(text) is str for texts in scaler.vocabulary for text in texts)
        numbers = scaler.offset.ndim == scaler.scale.ndim == 1 and len(scaler.offset) == len(scaler.scale)
        if not (words and numbers and np.isfinite([scaler.offset, scaler.scale]).all() and (scaler.scale > 0).all()):
            raise ValueError("no scaler of what is static")
        return scaler


@dataclass(frozen=True)
class Scaler:
    """scaled = (transform(value) - offset) / scale, with `offset` and `scale` of shape `(series, channels)`.

    targets: the number of channels that the transform is for, which are the first; covariates are scaled as they are.
    """

    transform: str
    series_ids: list[str]
    columns: list[str]
    offset: np.ndarray
    scale: np.ndarray
    targets: int
    static: StaticScaler

    def apply(self, values: np.ndarray, series: np.ndarray | int) -> np.ndarray:
        """Scale `values` of shape `(n, ..., channels)`, where `series[n]` (or one number for all) tells whose they are; float32.

        Fewer channels than were fitted mean the first ones, which are the targets.
        """
        offset, scale = self._for(values, series)
        with np.errstate(over="ignore"):  # what does not fit becomes infinite; `check_scaled` finds it
            return ((self._transformed(values) - offset) / scale).astype(np.float32)

    def undo(self, scaled: np.ndarray, series: np.ndarray) -> np.ndarray:
        """The inverse of `apply` for targets, in the units of the file; float64."""
        offset, scale = self._for(scaled, series)
        with np.errstate(over="ignore"):  # what is infinite is not announced as a forecast
            return _backward(scaled.astype(np.float64) * scale + offset, self.transform)

    def undo_quantiles(self, scaled: np.ndarray, series: np.ndarray) -> np.ndarray:
        """`undo` for several values of each target, such as its quantiles: `(n, ..., targets, values)`."""
        values = range(scaled.shape[-1])
        return np.stack([self.undo(scaled[..., value], series) for value in values], axis=-1) if values else scaled

    def select(self, series_ids: list[str]) -> Scaler:
        """The scaler of these series, in this order; a KeyError where one is unknown."""
        place = {name: number for number, name in enumerate(self.series_ids)}
        chosen = np.array([place[name] for name in series_ids])
        return replace(self, series_ids=series_ids, offset=self.offset[chosen], scale=self.scale[chosen])

    def extend(self, panel: Panel, config: ScalingConfig) -> Scaler:
        """With the series of a panel that it does not know yet: scaled as all are, or each by all of its rows."""
        check_transform(panel, self.transform)
        spans = [slice(first, end) for first, end in pairwise(panel.offsets)]
        own = (
            [_fit_rows(panel, span, config) for span in spans]
            if config.per == "series"
            else [(self.offset[0], self.scale[0])] * len(spans)
        )
        offset, scale = (np.array(values) for values in zip(*own, strict=True))
        both = np.concatenate([self.offset, offset]), np.concatenate([self.scale, scale])
        return replace(self, series_ids=self.series_ids + panel.series_ids, offset=both[0], scale=both[1])

    def to_json(self) -> dict:
        """Plain JSON values; numbers survive the trip exactly."""
        arrays = {"offset": self.offset.tolist(), "scale": self.scale.tolist()}
        names = {"series_ids": self.series_ids, "columns": self.columns, "targets": self.targets}
        return {"transform": self.transform, **names, **arrays, "static": self.static.to_json()}

    @classmethod
    def from_json(cls, data: dict, place: str = "") -> Scaler:
        """The scaler that `to_json` described.

        Raises:
            RunError: `data` is something else.
        """
        try:
            nothing = {"offset": [], "scale": [], "vocabulary": []}
            data = {"targets": len(data["columns"]), "static": nothing, **data}  # the first runs had no covariates
            arrays = {name: np.array(data[name], float) for name in ("offset", "scale")}
            scaler = cls(**{**data, **arrays, "static": StaticScaler.from_json(data["static"])})
            shape = (len(scaler.series_ids), len(scaler.columns))
            names = all(type(name) is str for name in [*scaler.series_ids, *scaler.columns])
            names = names and len(set(scaler.series_ids)) == len(scaler.series_ids)
            names = names and type(scaler.targets) is int and 1 <= scaler.targets <= len(scaler.columns)
        except (TypeError, ValueError, KeyError, OverflowError):
            raise RunError("the scaler is damaged.", "Train again.", place) from None
        arrays = {scaler.offset.shape, scaler.scale.shape} == {shape} and np.isfinite([scaler.offset, scaler.scale]).all()
        if scaler.transform not in ("none", "log1p") or not (names and arrays and (scaler.scale > 0).all()):
            raise RunError("the scaler is damaged.", "Train again.", place)
        return scaler

    def _transformed(self, values: np.ndarray) -> np.ndarray:
        if self.transform == "none":
            return values
        return np.concatenate([np.log1p(values[..., : self.targets]), values[..., self.targets :]], axis=-1)

    def _for(self, values: np.ndarray, series: np.ndarray | int) -> tuple[np.ndarray, np.ndarray]:
        shape = (np.size(series),) + (1,) * (values.ndim - 2) + (values.shape[-1],)
        channels = slice(0, values.shape[-1])
        return self.offset[series, channels].reshape(shape), self.scale[series, channels].reshape(shape)


def fit_scaler(panel: Panel, splits: Splits, config: ScalingConfig, windows: ResolvedWindowsConfig) -> Scaler:
    """Fit each series' scaler, or one for all series, on measured training rows, and on nothing after them.

    A series without training rows is scaled by its first `lookback` rows, none of which is ever a target. A channel that is
    constant over these rows gets scale 1.

    Raises:
        DataError: `transform: log1p` meets a value of -1 or less.
    """
    check_transform(panel, config.transform)
    spans = splits.scaler_rows(windows.lookback)
    if config.per == "all":
        train = np.concatenate([np.arange(first, end) for first, end in zip(*splits.rows_of("train"), strict=True)])
        fitted = [_fit_rows(panel, train, config)] * len(spans)
    else:
        fitted = [_fit_rows(panel, span, config) for span in spans]
    offset, scale = (np.array(values) for values in zip(*fitted, strict=True))
    trained = np.diff(splits.rows_of("train"), axis=0)[0] >= windows.lookback + windows.horizon  # have a training window
    static = _fit_static(panel.static[trained])
    return Scaler(config.transform, panel.series_ids, panel.columns, offset, scale, len(panel.targets), static)


def _fit_static(static: StaticCovariates) -> StaticScaler:
    """On the series that are trained on; a number that is the same in all of them gets scale 1."""
    numbers = static.numbers
    deviation = numbers.std(axis=0)
    scale = np.where((np.ptp(numbers, axis=0) > 0) & (deviation > 0), deviation, 1.0)  # of equal ones it is not always 0
    return StaticScaler(numbers.mean(axis=0), scale, [sorted(set(column)) for column in static.categories.T])


def _fit_rows(panel: Panel, rows: slice | np.ndarray, config: ScalingConfig) -> tuple[list[float], list[float]]:
    """Offset and scale of each channel over the measured ones of these rows; the calendar stays as it is, between -1 and 1."""
    fitted = []
    for name, values, filled in zip(panel.columns, panel.values[rows].T, panel.filled[rows].T, strict=True):
        measured = values[~filled] if name not in panel.calendar else ()
        measured = np.log1p(measured) if config.transform == "log1p" and name in panel.targets else measured
        fitted.append(_fit(measured, config) if len(measured) else (0.0, 1.0))
    return [offset for offset, _ in fitted], [scale for _, scale in fitted]


def scale_panel(panel: Panel, scaler: Scaler) -> np.ndarray:
    """The matrix of a panel after scaling: `(rows, channels)` float32; the scaler is that of the panel's series, in its order.

    Raises:
        DataError: a value cannot be scaled.
    """
    check_transform(panel, scaler.transform)
    spans = [slice(first, end) for first, end in pairwise(panel.offsets)]
    scaled = np.concatenate([scaler.apply(panel.values[span], series) for series, span in enumerate(spans)])
    check_scaled(panel, scaled)
    return scaled


def check_transform(panel: Panel, transform: str) -> None:
    """Every value can be transformed."""
    low = np.argwhere(panel.target_values <= -1) if transform == "log1p" else ()
    if len(low):
        row, column = low[0]
        raise DataError(
            f"scaling.transform is log1p, but `{panel.targets[column]}` is {panel.values[row, column]:g}"
            f" at {panel.timestamps[row]}"
            f" ({len(low)} values are -1 or less).",
            "Set scaling.transform: none, or shift the column above -1.",
            panel.source,
        )


def check_scaled(panel: Panel, scaled: np.ndarray) -> None:
    """Every scaled value fits into float32, in which networks compute."""
    large = np.argwhere(~np.isfinite(scaled))
    if len(large):
        row, column = large[0]
        raise DataError(
            f"`{panel.columns[column]}` is {panel.values[row, column]:g} at {panel.timestamps[row]}, too large for a network.",
            "Correct the cell, or set scaling.method to minmax or standard.",
            panel.source,
        )


def _fit(values: np.ndarray, config: ScalingConfig) -> tuple[float, float]:
    """Offset and scale of one channel's values; scale 1 where they are constant."""
    spread = np.ptp(values)  # a standard deviation of equal values is not always 0 to the last bit
    if config.method == "minmax":
        low, high = config.range
        scale = spread / (high - low) if spread > 0 else 1.0
        return values.min() - low * scale, scale
    if config.method == "standard":
        return values.mean(), values.std() if spread > 0 else 1.0
    if config.method == "robust":
        quarter, middle, three_quarters = np.quantile(values, [0.25, 0.5, 0.75])
        return middle, (three_quarters - quarter) or 1.0
    return 0.0, 1.0


def _backward(values: np.ndarray, transform: str) -> np.ndarray:
    return np.expm1(values) if transform == "log1p" else values
