"""Panels whose values say where they come from: 1000 * series + time."""

from __future__ import annotations

import numpy as np
import pandas as pd

from forecast.data.panel import Panel
from forecast.data.rows import StaticCovariates


def coded_panel(*lengths: int, targets: int = 1) -> Panel:
    """A daily panel with one series per length; target k is the coded value plus 0.1 * k."""
    codes = np.concatenate([1000.0 * series + np.arange(length) for series, length in enumerate(lengths)])
    stamps = [pd.date_range("2020-01-01", periods=length) for length in lengths]
    return Panel(
        series_ids=[f"s{series}" for series in range(len(lengths))],
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        timestamps=stamps[0].append(stamps[1:]),
        values=codes[:, None] + 0.1 * np.arange(targets),
        filled=np.zeros((len(codes), targets), dtype=bool),
        targets=[f"y{target}" for target in range(targets)],
        freq="D",
        columns=[f"y{target}" for target in range(targets)],
        known_channels=0,
        calendar=[],
        source="coded.csv",
        static=StaticCovariates.empty(len(lengths)),
    )
