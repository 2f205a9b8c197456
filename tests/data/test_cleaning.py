"""Each policy does what it says and nothing else, and the record says to which rows."""

from __future__ import annotations

import numpy as np
import pytest

from forecast.config.schema import DataConfig
from forecast.data.cleaning import Repair
from forecast.data.panel import read_panel
from forecast.errors import DataError


def read(folder, rows, **keys):
    (folder / "a.csv").write_text("t,s,y\n" + "".join(f"{','.join(str(cell) for cell in row)}\n" for row in rows))
    base = {"path": str(folder / "a.csv"), "timestamp": "t", "target": ["y"], "series_id": "s", "freq": "D"}
    return read_panel(DataConfig(**(base | keys)))


def days(*values, series="a"):
    return [(f"2020-01-{day:02}", series, "" if value is None else value) for day, value in enumerate(values, 1)]


@pytest.mark.parametrize(("policy", "value"), [("first", 2), ("last", 4), ("mean", 3), ("sum", 6)])
def test_duplicates(tmp_path, policy, value):
    rows = [*days(1, 2, 3), ("2020-01-02", "a", 4), *days(9, 9, series="b")]
    panel = read(tmp_path, rows, duplicates=policy)
    assert panel.values[:, 0].tolist() == [1, value, 3, 9, 9]
    (note,) = [line for line in panel.record if line.kind == "duplicates"]
    assert note.to_json() == {"what": "duplicates", "policy": policy, "rows": 1, "first": ["row 5 (2020-01-02 00:00:00)"]}


def test_missing_timestamps_are_rows_without_values(tmp_path):
    rows = [row for row in days(1, 2, 3, 4, 5) if row[0] not in ("2020-01-02", "2020-01-04")]
    panel = read(tmp_path, [*rows, *days(7, 8, series="b")], missing_timestamps="fill", missing_values="interpolate")
    assert panel.values[:, 0].tolist() == [1, 2, 3, 4, 5, 7, 8]
    assert panel.filled[:, 0].tolist() == [False, True, False, True, False, False, False]
    assert panel.record[0].rows == 2
    assert panel.record[0].first == ["2020-01-02 00:00:00 of 'a'", "2020-01-04 00:00:00 of 'a'"]


def test_empty_cells_of_the_file_are_named_before_added_rows(tmp_path):
    rows = [*days(1, 2, 3, 4)[::3], ("2020-01-05", "a", None)]
    with pytest.raises(
        DataError, match=r":4: `y` is empty in 3 of 5 rows: row 4 \(2020-01-05 00:00:00\), an added row \(2020-01-02"
    ):
        read(tmp_path, rows, missing_timestamps="fill")


def test_a_flag_is_never_filled_with_a_half(tmp_path):
    panel = read(tmp_path, days(0, None, 1, None, 0), missing_values="interpolate")
    assert panel.values[:, 0].tolist() == [0, 0, 1, 1, 0]


SEASONS = list(range(1, 8)) + [11, None, 13, None, 15, 16, None]
FILLS = {
    "interpolate": ([1, None, None, 4, 5], [1, 2, 3, 4, 5]),
    "forward": ([1, None, None, 4, None], [1, 1, 1, 4, 4]),
    "season": (SEASONS, [*range(1, 8), 11, 2, 13, 4, 15, 16, 7]),
}


@pytest.mark.parametrize(("policy", "given", "expected"), [(name, *case) for name, case in FILLS.items()], ids=FILLS)
def test_missing_values(tmp_path, policy, given, expected):
    panel = read(tmp_path, days(*given), missing_values=policy)
    assert panel.values[:, 0].tolist() == expected
    assert panel.filled[:, 0].tolist() == [value is None for value in given]
    assert panel.record[0].cells == sum(value is None for value in given)


def test_rows_before_the_first_value_are_left_out(tmp_path):
    panel = read(tmp_path, [*days(None, None, 3, 4), *days(1, 2, series="b")], missing_values="forward")
    assert panel.values[:, 0].tolist() == [3, 4, 1, 2]
    assert panel.offsets.tolist() == [0, 2, 4]
    assert panel.record == [Repair(kind="rows before the first value, left out", rows=2)]


@pytest.mark.parametrize("policy", ["interpolate", "forward", "season"])
def test_columns_may_begin_at_different_rows(tmp_path, policy):
    (tmp_path / "b.csv").write_text("t,y,z\n2020-01-01,1,\n2020-01-02,,5\n2020-01-03,3,6\n2020-01-04,4,7\n")
    keys = {"path": str(tmp_path / "b.csv"), "timestamp": "t", "freq": "D", "missing_values": policy}
    for target in (["y", "z"], ["z", "y"]):
        panel = read_panel(DataConfig(target=target, **keys))
        filled = {"interpolate": 2, "forward": 1, "season": 1}[policy]
        assert dict(zip(target, panel.values.T.tolist(), strict=True)) == {"y": [filled, 3, 4], "z": [5, 6, 7]}


def test_series_do_not_fill_each_other(tmp_path):
    panel = read(tmp_path, [*days(1, None), *days(100, 200, series="b")], missing_values="forward")
    assert panel.values[:, 0].tolist() == [1, 1, 100, 200]


@pytest.mark.parametrize(
    ("how", "expected"), [("mean", [2, 5]), ("sum", [6, 10]), ("first", [1, 4]), ("last", [3, 6]), ("max", [3, 6])]
)
def test_resample(tmp_path, how, expected):
    rows = [(f"2020-01-01 {hour:02}:17", "a", value) for hour, value in [(0, 1), (5, 2), (23, 3)]]
    rows += [("2020-01-02 01:00", "a", 4), ("2020-01-02 21:00", "a", 6)]
    panel = read(tmp_path, rows, freq=None, resample={"freq": "D", "how": how})
    assert panel.values[:, 0].tolist() == expected
    assert panel.freq == "D"
    assert panel.record == [Repair(kind="resampled", policy=f"{how} per D", rows=5)]


def test_an_empty_step_is_no_zero(tmp_path):
    rows = [(f"2020-01-0{day} {hour:02}:00", "a", "" if day == 2 else 5) for day in (1, 2, 3) for hour in range(24)]
    panel = read(tmp_path, rows, freq=None, resample={"freq": "D", "how": "sum"}, missing_values="forward")
    assert panel.values[:, 0].tolist() == [120, 120, 120]
    assert panel.filled[:, 0].tolist() == [False, True, False]


def test_order_is_told_per_series(tmp_path):
    rows = [(f"2020-01-0{day}", name, day) for day in (1, 2, 4, 3, 5) for name in "ab"]
    assert read(tmp_path, rows).record == [Repair(kind="sorted", rows=10)]
    rows = [(f"2020-01-0{day}", name, day) for day in (1, 2, 3, 4, 5) for name in "ab"]
    assert read(tmp_path, rows).record == []


def test_good_rows_stay_as_they_are(tmp_path):
    policies = {"duplicates": "sum", "missing_timestamps": "fill", "missing_values": "interpolate"}
    panel = read(tmp_path, days(1, 2, 3), **policies)
    assert panel.record == []
    assert not panel.filled.any()
    np.testing.assert_array_equal(panel.values[:, 0], [1, 2, 3])
