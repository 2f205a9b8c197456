"""Files become panels, or an error that names row and value."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pytest

from forecast.config import DataConfig
from forecast.data import check_moves, contract, read_panel
from forecast.errors import DataError


def read(folder, text, name="a.csv", **keys):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_panel(DataConfig(**{"path": str(path), "timestamp": "t", "target": ["y"], **keys}))


def days(values, start="2020-01-01"):
    stamps = pd.date_range(start, periods=len(values)).strftime("%Y-%m-%d")
    return "t,y\n" + "".join(f"{stamp},{value}\n" for stamp, value in zip(stamps, values, strict=True))


def test_one_series(tmp_path):
    panel = read(tmp_path, days([1, 2.5, 3]))
    assert (panel.series_ids, panel.freq, panel.targets) == (["a"], "D", ["y"])
    np.testing.assert_array_equal(panel.values, [[1], [2.5], [3]])
    assert panel.future(0, 2).tolist() == [pd.Timestamp("2020-01-04"), pd.Timestamp("2020-01-05")]


def test_series_are_kept_apart_and_sorted(tmp_path):
    text = "t,s,y\n2020-01-02,b,101\n2020-01-01,b,100\n2020-01-01,a,0\n2020-01-03,b,102\n2020-01-02,a,1\n"
    panel = read(tmp_path, text, series_id="s")
    assert panel.series_ids == ["a", "b"]
    assert panel.offsets.tolist() == [0, 2, 5]
    assert panel.values[:, 0].tolist() == [0, 1, 100, 101, 102]
    assert panel.series.tolist() == [0, 0, 1, 1, 1]


def test_parquet_reads_like_csv(tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    table = pd.DataFrame({"t": pd.date_range("2020-01-01", periods=4), "y": [1.0, 2, 3, 4]})
    table.to_parquet(tmp_path / "a.parquet")
    table.to_csv(tmp_path / "a.csv", index=False)
    configs = [DataConfig(path=str(tmp_path / name), timestamp="t", target=["y"]) for name in ("a.parquet", "a.csv")]
    left, right = (read_panel(config) for config in configs)
    np.testing.assert_array_equal(left.values, right.values)
    assert left.timestamps.equals(right.timestamps)


@pytest.mark.parametrize("freq", ["min", "15min", "h", "D", "B", "W-SAT", "MS", "ME", "QS-OCT", "YS-JAN", "36h"])
def test_freq_is_inferred(tmp_path, freq):
    stamps = pd.date_range("2019-12-31", periods=30, freq=freq)
    text = "t,y\n" + "".join(f"{stamp},{i}\n" for i, stamp in enumerate(stamps))
    panel = read(tmp_path, text)
    assert panel.future(0, 2).equals(pd.date_range(stamps[-1], periods=3, freq=freq)[1:])


def test_blank_last_lines_and_bom_are_fine(tmp_path):
    assert len(read(tmp_path, b"\xef\xbb\xbf" + (days([1, 2, 3]) + "\n\n").encode()).values) == 3


ERRORS = {
    "empty file": ("", "a.csv: the file is empty"),
    "header only": ("t,y\n", "there is a header but no rows"),
    "no target column": ("t,Y2\n2020-01-01,1\n", r"a.csv:1: no column `y`.\n  Did you mean `Y2`\?"),
    "no timestamp column": ("date,y\n2020-01-01,1\n", r"no column `t`.\n  Known are: `date`, `y`"),
    "not a timestamp": (days([1, 2, 3]) + "soon,4\n", r"a.csv:5: `t` is not a timestamp in 1 rows: row 5 'soon'"),
    "no timestamp": (days([1, 2, 3]) + ",4\n", r"`t` is not a timestamp in 1 rows: row 5 nan"),
    "text cell": (days([1, "two", 3]), r"a.csv:3: `y` is not a number in 1 rows: row 3 'two'"),
    "empty cell": (days([1, "", "", 3]), r"a.csv:3: `y` is empty, infinite or beyond 1e\+30 in 2 of 4 rows: 3, 4"),
    "infinite cell": (days([1, "inf", 3]), "`y` is empty, infinite or beyond"),
    "huge cell": (days([1, "1e31", 3]), "`y` is empty, infinite or beyond"),
    "header twice": ("t,y,y\n2020-01-01,1,2\n", "a.csv:1: the header names `y` twice"),
    "too wide": ("t,y\n2020-01-01,1,5\n2020-01-02,1,5\n", "a.csv:2: the rows have more cells than the header"),
    "off the tick": ("t,y\n2020-01-17,1\n2020-02-17,2\n", "2020-01-17 00:00:00 is no tick of freq MS"),
    "true and false": (days(["True", "False", "True"]), "`y` holds bool values"),
    "mixed offsets": ("t,y\n2020-01-01T00:00+01:00,1\n2020-01-01T01:00+02:00,2\n", "mixes several UTC offsets"),
    "no values": (days(["", "", ""]), "`y` has no values at all"),
    "duplicate": (days([1, 2, 3]) + "2020-01-02,9\n", r"1 timestamps are given twice: row 5 \(2020-01-02 00:00:00\)"),
    "gap": (
        days([1, 2, 3, 4, 5, 6]) + "2020-01-09,7\n",
        r"a.csv:8: the spacing is not one step of freq D in 1 places: row 8 \(2020-01-06 00:00:00 is followed by 2020-01-09",
    ),
    "two rows": (days([1, 2]), "2 rows are too few to infer the freq"),
    "ragged": ("t,y\n2020-01-01,1\n2020-01-02,1,2,3\n", "cannot be read"),
    "not text": (b"\xff\xfe\x00\x01\xff", "cannot be read"),
}


@pytest.mark.parametrize(("text", "message"), ERRORS.values(), ids=ERRORS.keys())
def test_bad_files(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, text, freq="MS" if "MS" in message else None)


def test_ids_are_text(tmp_path):
    text = "t,s,y\n" + "".join(f"2020-01-0{day},{name},{day}\n" for name in ("NA", "007", "7", "1e3") for day in (1, 2, 3))
    assert read(tmp_path, text, series_id="s").series_ids == ["007", "1e3", "7", "NA"]
    with pytest.raises(DataError, match="a.csv:3: `s` is empty in 1 rows: 3"):
        read(tmp_path, "t,s,y\n2020-01-01,a,1\n2020-01-02,,2\n", series_id="s")


def test_missing_file_and_folder(tmp_path):
    config = DataConfig(path=str(tmp_path / "none.csv"), timestamp="t", target=["y"])
    with pytest.raises(DataError, match="none.csv: no such data file"):
        read_panel(config)
    with pytest.raises(DataError, match="cannot be read"):
        read_panel(config, tmp_path)


def test_freq_that_does_not_fit(tmp_path):
    with pytest.raises(DataError, match="the spacing is not one step of freq h in 2 places"):
        read(tmp_path, days([1, 2, 3]), freq="h")
    with pytest.raises(DataError, match="data.freq 'hourly' is not a pandas frequency"):
        read(tmp_path, days([1, 2, 3]), freq="hourly")


def test_same_column_twice(tmp_path):
    with pytest.raises(DataError, match="column `y` is used twice"):
        read(tmp_path, days([1, 2, 3]), target=["y", "y"])


def test_constant_target(tmp_path):
    panel = read(tmp_path, days([7, 7, 7]))
    with pytest.raises(DataError, match="`y` is 7 in every row"):
        check_moves(panel)


def test_contract(tmp_path):
    panel = read(tmp_path, days([1, 2, 6]))
    told = contract(panel)
    assert told["sha256"] == hashlib.sha256((tmp_path / "a.csv").read_bytes()).hexdigest()
    assert (told["rows"], told["freq"], told["last_timestamp"]) == (3, "D", "2020-01-03 00:00:00")
    assert told["columns"]["y"] == {"min": 1.0, "max": 6.0, "mean": 3.0}
