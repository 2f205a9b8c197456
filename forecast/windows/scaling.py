"""Scale each series and channel. The scaling is fitted on training rows only, undone in every result, and stored as JSON."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import PlainSerializer, PlainValidator, TypeAdapter

from forecast.config import ResolvedWindowsConfig, ScalingConfig
from forecast.errors import DataError, RunError, check_installed
from forecast.windows.splits import Splits

if TYPE_CHECKING:
    from forecast.data import Panel, StaticCovariates

Transform = Literal["none", "log1p"]
MAX_FITTED_VALUES = 10_000_000  # Values that are copied at once while scalers are fitted.


def _read_array(values: Any) -> np.ndarray:
    try:
        array = np.array(values, dtype=np.float64)
    except (OverflowError, TypeError) as error:
        raise ValueError(str(error)) from None
    if not np.isfinite(array).all():
        raise ValueError("a number is not finite")
    return array


Array = Annotated[np.ndarray, PlainValidator(_read_array), PlainSerializer(np.ndarray.tolist)]  # A list of numbers in JSON.


@dataclass(frozen=True)
class StaticScaler:
    """The scaling of static covariates, which makes inputs of a network of them.

    offset, scale: `(static covariates,)`. vocabulary: the texts of each static category, in the order of their codes from 1 on.
    """

    offset: Array
    scale: Array
    vocabulary: list[list[str]]

    def apply(self, static: StaticCovariates) -> dict[str, np.ndarray]:
        """Return inputs by name: `static` float32 and `categories` int32, 0 for an unknown category; `(series, columns)`."""
        inputs = {}
        if len(self.offset):
            inputs["static"] = ((static.numbers - self.offset) / self.scale).astype(np.float32)
        if self.vocabulary:
            inputs["categories"] = np.empty(static.categories.shape, dtype=np.int32)
            for column, texts in enumerate(self.vocabulary):
                codes = {text: code for code, text in enumerate(texts, 1)}
                inputs["categories"][:, column] = [codes.get(text, 0) for text in static.categories[:, column]]
        return inputs


@dataclass(frozen=True)
class Scaler:
    """scaled = (transform(value) - offset) / scale, with `offset` and `scale` of shape `(series, channels)`.

    targets: the number of channels that the transform is for, which are the first; covariates are scaled as they are.
    """

    transform: Transform
    series_ids: list[str]
    columns: list[str]
    offset: Array
    scale: Array
    targets: int
    static: StaticScaler

    def apply(self, values: np.ndarray, series: np.ndarray | int) -> np.ndarray:
        """Scale `values` of shape `(n, ..., channels)`, which belong to `series[n]`, or all to one series; float32.

        Fewer channels than were fitted mean the first ones, which are the targets.
        """
        offset, scale = self._broadcast(values, series)
        with np.errstate(over="ignore"):  # What does not fit becomes infinite, which `check_scaled` refuses.
            scaled: np.ndarray = (_transform(values, self.transform, self.targets) - offset) / scale
            return scaled.astype(np.float32)

    def undo(self, scaled: np.ndarray, series: np.ndarray) -> np.ndarray:
        """Return targets in the units of the file, as the inverse of `apply`; float64."""
        offset, scale = self._broadcast(scaled, series)
        with np.errstate(over="ignore"):  # The caller refuses infinite forecasts.
            values: np.ndarray = scaled.astype(np.float64) * scale + offset
            return np.expm1(values) if self.transform == "log1p" else values

    def undo_quantiles(self, scaled: np.ndarray, series: np.ndarray) -> np.ndarray:
        """Undo the scaling of several values of each target, such as its quantiles: `(n, ..., targets, values)`."""
        return self.undo(scaled.swapaxes(-1, -2), series).swapaxes(-1, -2)

    def select(self, series_ids: list[str]) -> Scaler:
        """Return the scaler of these series, in this order.

        Raises:
            KeyError: a series is unknown.
        """
        numbers = {series_id: number for number, series_id in enumerate(self.series_ids)}
        chosen = np.array([numbers[series_id] for series_id in series_ids])
        return replace(self, series_ids=series_ids, offset=self.offset[chosen], scale=self.scale[chosen])

    def extend(self, panel: Panel, config: ScalingConfig) -> Scaler:
        """Add the series of a panel, which are new: scaled as all are, or each by all of its rows."""
        check_transform(panel, self.transform)
        count = len(panel.series_ids)
        if config.per == "series":
            offset, scale = _fit_spans(panel, [slice(begin, end) for begin, end in pairwise(panel.offsets)], config)
        else:
            offset, scale = np.repeat(self.offset[:1], count, axis=0), np.repeat(self.scale[:1], count, axis=0)
        return replace(
            self,
            series_ids=self.series_ids + panel.series_ids,
            offset=np.concatenate([self.offset, offset]),
            scale=np.concatenate([self.scale, scale]),
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, from which the numbers are restored exactly."""
        values: dict[str, Any] = TypeAdapter(Scaler).dump_python(self, mode="json")
        return values

    @classmethod
    def from_json(cls, values: Any, location: str = "") -> Scaler:
        """Return the scaler that `to_json` described. Earlier runs lack `targets` and `static`, since they had no covariates.

        Raises:
            RunError: the values are something else.
        """
        try:
            earlier = {"targets": len(values["columns"]), "static": {"offset": [], "scale": [], "vocabulary": []}}
            scaler = TypeAdapter(Scaler).validate_python(earlier | values)
        except (KeyError, TypeError, ValueError):
            raise RunError("the scaler is damaged.", "Train again.", location) from None
        series, columns, static = len(scaler.series_ids), len(scaler.columns), scaler.static
        fits = scaler.offset.shape == scaler.scale.shape == (series, columns) and 1 <= scaler.targets <= columns
        static_fits = static.offset.shape == static.scale.shape and static.offset.ndim == 1
        positive = (scaler.scale > 0).all() and (static.scale > 0).all()
        if not (fits and static_fits and positive and len(set(scaler.series_ids)) == series):
            raise RunError("the scaler is damaged.", "Train again.", location)
        return scaler

    def _broadcast(self, values: np.ndarray, series: np.ndarray | int) -> tuple[np.ndarray, np.ndarray]:
        """Return offset and scale in a shape that broadcasts with `values`."""
        shape = (np.size(series),) + (1,) * (values.ndim - 2) + (values.shape[-1],)
        channels = slice(0, values.shape[-1])
        return self.offset[series, channels].reshape(shape), self.scale[series, channels].reshape(shape)


def fit_scaler(panel: Panel, splits: Splits, config: ScalingConfig, windows: ResolvedWindowsConfig) -> Scaler:
    """Fit a scaler of each series, or one for all series, on measured training rows, and on nothing after them.

    A series without training rows is scaled by its first `lookback` rows, none of which is ever a target. If `short_series: pad`
    added these rows, it is centred at its first measured row, with the median scale of the others. A channel that is constant
    over these rows gets scale 1.

    Raises:
        DataError: `transform: log1p` meets a value of -1 or less.
        ForecastError: scikit-learn is not installed.
    """
    check_transform(panel, config.transform)
    begin, end = splits.rows_of("train")
    if config.per == "series":
        spans = splits.scaler_rows(windows.lookback)
        offset, scale = _fit_spans(panel, spans, config)
        unseen = np.array([panel.filled[span, : len(panel.file_columns)].all() for span in spans])
        if config.method != "none" and unseen.any() and not unseen.all():  # Rows that were added to short series hold no values.
            first = panel.begins[unseen]
            offset[unseen] = _transform(panel.values[first], config.transform, len(panel.targets))
            scale[unseen] = np.median(scale[~unseen], axis=0)
            offset[unseen, len(panel.file_columns) :], scale[unseen, len(panel.file_columns) :] = 0.0, 1.0
    else:
        rows = np.concatenate([np.arange(*span) for span in zip(begin, end, strict=True)])
        count = len(panel.series_ids)
        offset, scale = (np.repeat(fitted, count, axis=0) for fitted in _fit_rows(panel, rows[None], config))
    has_training_window = end - begin >= windows.lookback + windows.horizon
    static = fit_static(panel.static[has_training_window])
    return Scaler(config.transform, panel.series_ids, panel.columns, offset, scale, len(panel.targets), static)


def _fit_spans(panel: Panel, spans: list[slice], config: ScalingConfig) -> tuple[np.ndarray, np.ndarray]:
    """Fit offset and scale, `(series, channels)`, of each series on a span of its rows, equally long ones at once."""
    begins = np.array([span.start for span in spans])
    lengths = np.array([span.stop - span.start for span in spans])
    offset, scale = np.zeros((2, len(spans), len(panel.columns)))
    for length in np.unique(lengths):
        chosen = np.flatnonzero(lengths == length)
        pieces = -(-len(chosen) * length * len(panel.columns) // MAX_FITTED_VALUES)
        for piece in np.array_split(chosen, pieces):
            offset[piece], scale[piece] = _fit_rows(panel, begins[piece, None] + np.arange(length), config)
    return offset, scale


def _fit_rows(panel: Panel, rows: np.ndarray, config: ScalingConfig) -> tuple[np.ndarray, np.ndarray]:
    """Fit offset and scale, `(series, channels)`, on the measured cells of some rows, `(series, rows)`.

    The calendar stays as it is, between -1 and 1.
    """
    values = _transform(panel.values[rows], config.transform, len(panel.targets))  # (series, rows, channels)
    values[panel.filled[rows]] = np.nan
    values[..., len(panel.file_columns) :] = np.nan
    # NumPy sums contiguous values with the least rounding.
    columns = np.ascontiguousarray(values.transpose(0, 2, 1)).reshape(-1, rows.shape[1])  # (series * channels, rows)
    offset, scale = fit_columns(columns.T, config)
    return offset.reshape(len(rows), -1), scale.reshape(len(rows), -1)


def fit_columns(values: np.ndarray, config: ScalingConfig) -> tuple[np.ndarray, np.ndarray]:
    """Fit offset and scale, `(columns,)`, so that `(values - offset) / scale` is scaled as `config.method` says.

    values: `(rows, columns)`, NaN where there is no value. A constant column gets scale 1; a column without values is left as is.

    Raises:
        ForecastError: scikit-learn is not installed.
    """
    if config.method == "none" or not values.size:
        return np.zeros(values.shape[1]), np.ones(values.shape[1])
    check_installed("Fitting the scaling", ["sklearn"])
    from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

    absent = np.isnan(values).all(axis=0)
    values = np.where(absent, 0.0, values) if absent.any() else values
    if config.method == "minmax":
        low, high = config.range
        fitted = MinMaxScaler().fit(values)
        scale = np.where(fitted.data_range_ > 0, fitted.data_range_ / (high - low), 1.0)
        offset = fitted.data_min_ - low * scale
    elif config.method == "standard":
        fitted = StandardScaler().fit(values)
        offset, scale = fitted.mean_, fitted.scale_
    else:
        fitted = RobustScaler().fit(values)
        offset, scale = fitted.center_, fitted.scale_
    return np.where(absent, 0.0, offset), scale


def fit_static(static: StaticCovariates) -> StaticScaler:
    """Fit the scaling of static covariates on the series that are trained on; a number that they share gets scale 1."""
    offset, scale = fit_columns(static.numbers, ScalingConfig(method="standard"))
    return StaticScaler(offset, scale, [sorted(set(column)) for column in static.categories.T])


def _transform(values: np.ndarray, transform: Transform, targets: int) -> np.ndarray:
    """Transform the first channels, which are the targets."""
    if transform == "none":
        return values
    return np.concatenate([np.log1p(values[..., :targets]), values[..., targets:]], axis=-1)


def scale_panel(panel: Panel, scaler: Scaler) -> np.ndarray:
    """Return the matrix of a panel after scaling: `(rows, channels)` float32. The scaler has the panel's series, in its order.

    Raises:
        DataError: a value cannot be scaled.
    """
    check_transform(panel, scaler.transform)
    spans = [slice(begin, end) for begin, end in pairwise(panel.offsets)]
    scaled = np.concatenate([scaler.apply(panel.values[span], series) for series, span in enumerate(spans)])
    check_scaled(panel, scaled)
    return scaled


def check_transform(panel: Panel, transform: Transform) -> None:
    """Check that every target value can be transformed.

    Raises:
        DataError: a value is too low.
    """
    low = np.argwhere(panel.target_values <= -1)
    if transform == "log1p" and len(low):
        row, column = low[0]
        raise DataError(
            f"scaling.transform is log1p, but `{panel.targets[column]}` is {panel.values[row, column]:g}"
            f" at {panel.timestamps[row]} (values of -1 or less: {len(low)}).",
            "Set scaling.transform: none, or shift the column above -1.",
            panel.source,
        )


def check_scaled(panel: Panel, scaled: np.ndarray) -> None:
    """Check that every scaled value fits into float32, in which networks compute.

    Raises:
        DataError: a value does not fit.
    """
    large = np.argwhere(~np.isfinite(scaled))
    if len(large):
        row, column = large[0]
        raise DataError(
            f"`{panel.columns[column]}` is {panel.values[row, column]:g} at {panel.timestamps[row]},"
            " which is too large for a network.",
            "Correct the cell, or set scaling.method to minmax or standard.",
            panel.source,
        )
