"""Copies of a later target are found in series of any length. test_leakage.py has the checks of a whole panel."""

from __future__ import annotations

import numpy as np
import pytest

from forecast.evaluation.covariates import _is_copy


@pytest.mark.parametrize("shift", [-3, -2, 0, 2, 3])
def test_a_series_shorter_than_a_shift_says_nothing(shift):
    short, long = np.arange(2.0), np.arange(40.0)
    assert not _is_copy([(short, short)], shift)
    assert _is_copy([(short, short), (long, long)], shift)
