"""Fit the offset and the scale of columns with scikit-learn. Applying them needs no scikit-learn."""

from __future__ import annotations

import numpy as np

from forecast.config import ScalingConfig
from forecast.errors import check_installed


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
