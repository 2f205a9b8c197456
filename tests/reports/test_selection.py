"""A histogram shows values of every size."""

from __future__ import annotations

import numpy as np
import pytest

from forecast.reports.selection import histogram_edges


@pytest.mark.parametrize("values", [[0.0, 0.0], [7.0], [1e17, 1e17], [1e14, 1e14 + 0.1], [-1e-300, 1e-300], [-3.0, 5.0]])
def test_a_histogram_holds_every_value_whatever_its_size(values):
    edges = histogram_edges(np.array(values))
    assert (np.diff(edges) > 0).all()
    counts, _ = np.histogram(values, bins=edges)
    assert counts.sum() == len(values)
