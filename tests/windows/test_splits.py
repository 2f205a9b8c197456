"""Parts are in time order, touch, and do not overlap."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from forecast.config.schema import SplitsConfig
from forecast.windows.splits import make_splits
from tests.panels import coded_panel

# A daily series of 100 rows from 2020-01-01: row 60 is 2020-03-01, row 80 is 2020-03-21.
CASES = {
    "fractions": ({"validation": 0.2, "test": 0.1}, [0, 70, 90, 100]),
    "steps": ({"validation": 20, "test": 10}, [0, 70, 90, 100]),
    "dates": ({"validation": "2020-03-01", "test": "2020-03-21"}, [0, 60, 80, 100]),
    "mixed": ({"validation": 5, "test": "2020-03-21"}, [0, 75, 80, 100]),
    "end": ({"validation": 10, "test": 10, "end": "2020-03-21"}, [0, 60, 70, 80]),
    "end and fraction": ({"validation": 0.25, "test": 0.25, "end": "2020-03-21"}, [0, 40, 60, 80]),
    "too much": ({"validation": 90, "test": 20}, [0, 0, 80, 100]),
    "dates out of order": ({"validation": "2020-03-21", "test": "2020-03-01"}, [0, 60, 60, 100]),
}


@pytest.mark.parametrize(("config", "borders"), CASES.values(), ids=CASES.keys())
def test_borders(config, borders):
    assert make_splits(coded_panel(100), SplitsConfig(**config)).borders.tolist() == [borders]


@pytest.mark.parametrize(
    ("zone", "date", "row"), [("America/Sao_Paulo", "2018-11-04", 51), ("Europe/London", "2020-10-25 01:00", 47)]
)
def test_dates_that_a_clock_change_skips_or_repeats(zone, date, row):
    """A part begins at the first hour that exists, or at the first of two."""
    panel = coded_panel(100)
    hours = pd.date_range(pd.Timestamp(date) - pd.Timedelta(days=2), periods=100, freq="h", tz="UTC").tz_convert(zone)
    borders = make_splits(replace(panel, timestamps=hours), SplitsConfig(validation=date, test=10)).borders
    assert borders[0, 1] == row


def test_each_series_is_split_by_itself():
    splits = make_splits(coded_panel(100, 50), SplitsConfig(validation=0.1, test=0.1, align="ends"))
    assert splits.borders.tolist() == [[0, 80, 90, 100], [100, 140, 145, 150]]
    assert splits.rows_of("validation")[0].tolist() == [80, 140]
    assert splits.rows_of("validation")[1].tolist() == [90, 145]


def test_parts_begin_at_the_same_dates_in_every_series():
    panel = coded_panel(100, 85, 30)
    splits = make_splits(panel, SplitsConfig(validation=10, test=10))
    assert splits.borders.tolist() == [[0, 80, 90, 100], [100, 180, 185, 185], [185, 215, 215, 215]]
    for part in ("validation", "test"):
        first, end = splits.rows_of(part)
        train_first, train_end = splits.rows_of("train")
        trained = panel.timestamps[[row - 1 for row in train_end]].max()
        assert all(panel.timestamps[a] > trained for a, b in zip(first, end, strict=True) if a < b)
