"""Combine the forecasts of several networks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from forecast.windows import Forward


def combine_by_median(forwards: Sequence[Forward]) -> Forward:
    """Return a function from a network's inputs to the median, step by step, of what several networks forecast."""
    if len(forwards) == 1:
        return forwards[0]
    return lambda inputs: np.median([forward(inputs) for forward in forwards], axis=0)
