"""Files become panels, or an error that names place, cause and remedy."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pytest

from forecast.config.schema import DataConfig
from forecast.data.cleaning import Repair
from forecast.data.contract import ColumnFacts, Contract, compare_with_contract, make_contract
from forecast.data.panel import check_target_not_constant, read_panel
from forecast.data.tables import read_typed
from forecast.errors import DataError
from forecast.storage import watch_reading


def read(folder, text, name="a.csv", **keys):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_panel(DataConfig(**{"path": str(path), "timestamp": "t", "target": ["y"], **keys}))


def days(values, start="2020-01-01"):
    stamps = pd.date_range(start, periods=len(values)).strftime("%Y-%m-%d")
    return "t,y\n" + "".join(f"{stamp},{value}\n" for stamp, value in zip(stamps, values, strict=True))


def at(stamps, header="t,y"):
    return f"{header}\n" + "".join(f"{stamp},{number}\n" for number, stamp in enumerate(stamps))


def test_one_series(tmp_path):
    panel = read(tmp_path, days([1, 2.5, 3]))
    assert (panel.series_ids, panel.freq, panel.targets, panel.record) == (["a"], "D", ["y"], [])
    np.testing.assert_array_equal(panel.values, [[1], [2.5], [3]])
    assert panel.timestamps_after(0, 2).tolist() == [pd.Timestamp("2020-01-04"), pd.Timestamp("2020-01-05")]


def test_series_are_kept_apart_and_sorted(tmp_path):
    text = "t,s,y\n2020-01-02,b,101\n2020-01-01,b,100\n2020-01-01,a,0\n2020-01-03,b,102\n2020-01-02,a,1\n"
    panel = read(tmp_path, text, series_id="s")
    assert panel.series_ids == ["a", "b"]
    assert panel.offsets.tolist() == [0, 2, 5]
    assert panel.values[:, 0].tolist() == [0, 1, 100, 101, 102]
    assert panel.series.tolist() == [0, 0, 1, 1, 1]
    assert panel.record == [Repair(kind="sorted", rows=5)]


def test_ids_are_text(tmp_path):
    text = "t,s,y\n" + "".join(f"2020-01-0{day},{name},{day}\n" for name in ("NA", "007", "7", "1e3") for day in (1, 2, 3))
    assert read(tmp_path, text, series_id="s").series_ids == ["007", "1e3", "7", "NA"]


def test_parquet_reads_like_csv(tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    table = pd.DataFrame({"t": pd.date_range("2020-01-01", periods=4), "y": [1.0, 2, 3, 4]})
    table.to_parquet(tmp_path / "a.parquet")
    table.to_csv(tmp_path / "a.csv", index=False)
    configs = [DataConfig(path=str(tmp_path / name), timestamp="t", target=["y"]) for name in ("a.parquet", "a.csv")]
    left, right = (read_panel(config) for config in configs)
    np.testing.assert_array_equal(left.values, right.values)
    assert left.timestamps.equals(right.timestamps)


def test_of_a_parquet_file_only_what_is_needed_is_read(tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    table = pd.DataFrame({"t": pd.date_range("2020-01-01", periods=4), "y": 1.0, "z": 2.0}).set_index("t")
    table.to_parquet(tmp_path / "a.parquet")
    assert read_typed(tmp_path / "a.parquet", ["t", "y"]).columns.tolist() == ["t", "y"]
    assert read_typed(tmp_path / "a.parquet", ["t", "x"]).columns.tolist() == ["t", "y", "z"], "for the message to name them"
    assert (
        read_panel(DataConfig(path=str(tmp_path / "a.parquet"), timestamp="t", target=["y"])).values[:, 0].tolist() == [1.0] * 4
    )


def test_reading_tells_how_far_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr("forecast.data.tables.CHUNK", 3)
    told = []
    with watch_reading(lambda path, share: told.append((path.name, share))):
        read(tmp_path, days([1, 2, 3, 4, 5, 6, 7, 8]))
    assert {name for name, _ in told} == {"a.csv"}
    assert told[-1][1] == 1
    assert [share for _, share in told] == sorted(share for _, share in told)
    read(tmp_path, days([1, 2, 3, 4, 5, 6, 7, 8]))
    assert len(told) == 4, "three pieces and the end; nobody is told afterwards"


def test_pieces_of_a_file_are_one_file(tmp_path, monkeypatch):
    text = days([1, 2, 3, 4, 5, 6, 7, 8]) + "\n2020-01-09,9\n"
    whole = read(tmp_path, text)
    monkeypatch.setattr("forecast.data.tables.CHUNK", 3)
    pieces = read(tmp_path, text)
    np.testing.assert_array_equal(pieces.values, whole.values)
    assert pieces.timestamps.equals(whole.timestamps)
    with pytest.raises(DataError, match="a.csv:11: `y` is not a number in 1 row: row 11 'x'"):
        read(tmp_path, text.replace(",9\n", ",x\n"))
    with pytest.raises(DataError, match="a.csv:11: only some timestamps in `t` have a UTC offset|row 11"):
        read(tmp_path, text.replace("2020-01-09", "2020-01-09T00:00Z"))


@pytest.mark.parametrize("freq", ["min", "15min", "h", "D", "B", "W-SAT", "MS", "ME", "QS-OCT", "YS-JAN", "36h"])
def test_freq_is_inferred(tmp_path, freq):
    stamps = pd.date_range("2019-12-31", periods=30, freq=freq)
    panel = read(tmp_path, at(stamps))
    assert panel.timestamps_after(0, 2).equals(pd.date_range(stamps[-1], periods=3, freq=freq)[1:])


WRITTEN = {
    "BOM": (b"\xef\xbb\xbf" + days([1, 2, 1234.5]).encode(), {}),
    "blank last lines": (days([1, 2, 1234.5]) + "\n\n", {}),
    "semicolons": (days([1, 2, 1234.5]).replace(",", ";"), {}),
    "tabs": (days([1, 2, 1234.5]).replace(",", "\t"), {}),
    "pipes": (days([1, 2, 1234.5]).replace(",", "|"), {}),
    "another delimiter": (days([1, 2, 1234.5]).replace(",", "~"), {"delimiter": "~"}),
    "decimal comma": ("t;y\n2020-01-01;1\n2020-01-02;2\n2020-01-03;1234,5\n", {"decimal": ","}),
    "decimal comma and points": ("t;y\n2020-01-01;1\n2020-01-02;2\n2020-01-03;1.234,5\n", {"decimal": ",", "thousands": "."}),
    "thousands": ('t,y\n2020-01-01,1\n2020-01-02,2\n2020-01-03,"1,234.5"\n', {"thousands": ","}),
    "spaces": ("t,y\n2020-01-01, 1\n2020-01-02,2 \n 2020-01-03 ,1234.5\n", {}),
    "latin-1": ("t,y,é\n2020-01-01,1,é\n2020-01-02,2,é\n2020-01-03,1234.5,é\n".encode("latin-1"), {"encoding": "latin-1"}),
    "utf-16": (days([1, 2, 1234.5]).encode("utf-16"), {"encoding": "utf-16"}),
    "quoted": ('"t","y"\n"2020-01-01","1"\n"2020-01-02","2"\n"2020-01-03","1234.5"\n', {}),
    "Windows lines": (days([1, 2, 1234.5]).replace("\n", "\r\n"), {}),
    "unsorted": ("t,y\n2020-01-03,1234.5\n2020-01-01,1\n2020-01-02,2\n", {}),
    "day first": ("t,y\n30/12/2019,1\n31/12/2019,2\n01/01/2020,1234.5\n", {}),
    "month first": ("t,y\n12/30/2019,1\n12/31/2019,2\n1/1/2020,1234.5\n", {}),
    "day first, as told": ("t,y\n01.02.2020,1\n02.02.2020,2\n03.02.2020,1234.5\n", {"date_format": "%d.%m.%Y"}),
    "year first": ("t,y\n2020/01/01,1\n2020/01/02,2\n2020/01/03,1234.5\n", {}),
    "clock": ("t,y\n2020-01-01T00:00:00,1\n2020-01-02T00:00:00,2\n2020-01-03T00:00:00,1234.5\n", {}),
    "digits": ("t,y\n20200101,1\n20200102,2\n20200103,1234.5\n", {"date_format": "%Y%m%d"}),
    "unix": ("t,y\n1577836800,1\n1577923200,2\n1578009600,1234.5\n", {"date_format": "unix"}),
    "unix_ms": ("t,y\n1577836800000,1\n1577923200000,2\n1578009600000,1234.5\n", {"date_format": "unix_ms"}),
    "parts": ("y,year,month,day\n1,2020,1,1\n2,2020,1,2\n1234.5,2020,1,3\n", {"timestamp": ["year", "month", "day"]}),
}


@pytest.mark.parametrize(("text", "keys"), WRITTEN.values(), ids=WRITTEN.keys())
def test_ways_of_writing(tmp_path, text, keys):
    panel = read(tmp_path, text, **keys)
    assert panel.values[:, 0].tolist() == [1, 2, 1234.5]
    assert panel.freq == "D"
    assert len(set(np.diff(panel.timestamps.asi8))) == 1


BAD = {
    # the file
    "empty file": ("", {}, "a.csv: the file is empty"),
    "blank first line": ("\nt,y\n2020-01-01,1\n", {}, "the file is empty or begins with an empty row"),
    "header only": ("t,y\n", {}, "the file has a header but no rows"),
    "empty rows only": ("t,y\n,\n,\n", {}, "the file has a header but no rows"),
    "not text": (b"\xff\xfe\x00\x01\xff", {}, r"is not utf-8 text .*\n  Set data.encoding"),
    "latin-1 read as utf-8": ("t,y,é\n2020-01-01,1,é\n".encode("latin-1"), {}, "is not utf-8 text"),
    "no such encoding": (days([1, 2, 3]), {"encoding": "utf-99"}, "cannot be read .*utf-99"),
    "more cells than the header": ("t,y\n2020-01-01,1,5\n2020-01-02,1,5\n", {}, "a.csv:2: the rows have more cells than the header"),
    "ragged": ("t,y\n2020-01-01,1\n2020-01-02,1,2,3\n", {}, "cannot be read .*line 3"),
    "unclosed quote": ('t,y\n2020-01-01,"1\n2020-01-02,2\n', {}, "cannot be read|is not a number"),
    "another delimiter": (days([1, 2, 3]), {"delimiter": ";"}, r"no column `t`.\n  Use one of: `t,y`"),
    # columns
    "no target column": ("t,Y2\n2020-01-01,1\n", {}, r"a.csv:1: the file has no column `y`.\n  Did you mean `Y2`\?"),
    "no timestamp column": ("date,y\n2020-01-01,1\n", {}, r"no column `t`.\n  Use one of: `date`, `y`"),
    "no series column": (days([1, 2, 3]), {"series_id": "shop"}, "no column `shop`"),
    "two columns missing": ("a,b\n1,2\n", {}, r"(?s)no column `t`.*no column `y`"),
    "header twice": ("t,y,y\n2020-01-01,1,2\n", {}, "a.csv:1: the header names `y` twice"),
    "timestamps twice": ("t,t,y\n2020-01-01,2020-01-01,2\n", {}, "the header names `t` twice"),
    "target twice": (days([1, 2, 3]), {"target": ["y", "y"]}, "column `y` is used twice"),
    "timestamp as target": (days([1, 2, 3]), {"target": ["t"]}, "column `t` is used twice"),
    # timestamps
    "not a timestamp": (days([1, 2, 3]) + "soon,4\n", {}, r"a.csv:5: `t` is not a timestamp in 1 row: row 5 'soon'"),
    "no timestamp": (days([1, 2, 3]) + ",4\n", {}, "a.csv:5: `t` is empty in 1 row: row 5"),
    "words": (at(["now", "today", "tomorrow"]), {}, r"`t` 'now' is not in a recognized format.*\n  Set data.date_format to a format such as"),
    "row numbers": (at(["1000", "1001", "1002"]), {}, r"`t` '1000' is not in a recognized format.*\n  Set data.date_format to unix"),
    "clock only": (at(["10:00", "11:00", "12:00"]), {}, "`t` '10:00' is not in a recognized format"),
    "month names": (at(["Jan 2020", "Feb 2020", "Mar 2020"]), {}, "`t` 'Jan 2020' is not in a recognized format"),
    "quarters": (at(["2020Q1", "2020Q2", "2020Q3"]), {}, "`t` '2020Q1' is not in a recognized format"),
    "day or month first": (at(["01/02/2020", "02/02/2020", "03/02/2020"]), {}, r"could be day first or month first.\n  Set data.date_format: '%d/%m/%Y' or '%m/%d/%Y'"),
    "day and month first": (at(["13/01/2020", "01/13/2020"]), {}, "is not a timestamp|is not in a recognized format"),
    "two-digit year": (at(["01/02/20", "02/02/20", "03/02/20"]), {}, "is not in a recognized format"),
    "no such day": (days([1, 2], "2020-02-28") + "2020-02-30,3\n", {}, "row 4 '2020-02-30'"),
    "another form later": (days([1, 2, 3]) + "4/1/2020,4\n", {}, r"row 5 '4/1/2020'.\n  Write all timestamps in the same format, which is ISO8601"),
    "not the format told": (days([1, 2, 3]), {"date_format": "%d/%m/%Y"}, "`t` is not a timestamp in 3 rows"),
    "no such format": (days([1, 2, 3]), {"date_format": "%Q"}, "cannot be read|is not a timestamp"),
    "not unix": (days([1, 2, 3]), {"date_format": "unix"}, "`t` is not a timestamp in 3 rows"),
    "beyond time": (at(["99999999999999", "99999999999999"]), {"date_format": "unix"}, "is not a timestamp|cannot be read"),
    "several offsets": ("t,y\n2020-01-01T00:00+01:00,1\n2020-01-01T01:00+02:00,2\n", {}, "several UTC offsets.*\n  Set data.timezone"),
    "no such zone": (days([1, 2, 3]), {"timezone": "Europe/Lundon"}, "data.timezone 'Europe/Lundon' cannot be applied"),
    "time that is skipped": (at(["2020-03-29 00:00", "2020-03-29 01:00", "2020-03-29 02:00"]), {"timezone": "Europe/London"}, "cannot be applied.*2020-03-29 01:00"),
    "time that cannot be told": (at(["2020-10-25 01:00", "2020-10-25 02:00", "2020-10-25 03:00"]), {"timezone": "Europe/London"}, "cannot be applied"),
    "parts that are no date": ("t,m,y\n2020,13,1\n", {"timestamp": ["t", "m"]}, "is not a timestamp in 1 row"),
    "parts with fractions": ("t,m,y\n2020,1.5,1\n", {"timestamp": ["t", "m"]}, "is not a timestamp in 1 row"),
    "today": (days([1, 2, 3]) + "today,4\n", {}, "row 5 'today'"),
    "parts beyond a day": ("t,m,d,h,y\n2020,1,1,23,1\n2020,1,1,24,1\n", {"timestamp": ["t", "m", "d", "h"]}, "is not a timestamp in 1 row: row 3"),
    "offsets in some rows": ("t,y\n2020-01-01T00:00Z,1\n2020-01-02T00:00,2\n2020-01-03T00:00Z,2\n", {}, "row 3 '2020-01-02T00:00'"),
    # values
    "text cell": (days([1, "two", 3]), {}, r"a.csv:3: `y` is not a number in 1 row: row 3 'two'"),
    "many text cells": (days(["a", "b", "c", "d", "e"]), {}, r"in 5 rows: row 2 'a', row 3 'b', row 4 'c' and 2 more"),
    "decimal comma": ('t,y\n2020-01-01,"1,5"\n2020-01-02,"2,5"\n', {}, r"row 2 '1,5'.*\n.*set data.decimal"),
    "thousands": ('t,y\n2020-01-01,"1,500"\n2020-01-02,"2,500"\n', {}, r"row 2 '1,500'.*\n.*data.thousands"),
    "thousands that begin with 0": ('t,y\n2020-01-01,"0,560"\n2020-01-02,"1,500"\n', {"thousands": ","}, "in 1 row: row 2 '0,560'"),
    "thousands that are none": ('t,y\n2020-01-01,"1,5"\n2020-01-02,"2,500"\n', {"thousands": ","}, "row 2 '1,5'"),
    "point beside a decimal comma": ("t;y\n2020-01-01;1,5\n2020-01-02;2.5\n", {"decimal": ","}, "row 3 '2.5'"),
    "units in cells": (days(["1 kW", "2 kW"]), {}, "row 2 '1 kW'"),
    "percent": (days(["1%", "2%"]), {}, "row 2 '1%'"),
    "infinite cell": (days([1, "inf", 3]), {}, r"a.csv:3: `y` is infinite or beyond 1e\+30 in 1 row: row 3 inf"),
    "huge cell": (days([1, "-1e31", 3]), {}, r"is infinite or beyond 1e\+30 in 1 row: row 3 -1e\+31"),
    "true and false": (days(["True", "False", "True"]), {}, "`y` contains bool values"),
    "empty cell": (days([1, "", "", 3]), {}, r"a.csv:3: `y` is empty in 2 of 4 rows: row 3 .2020-01-02 00:00:00., row 4 .*\n.*data.missing_values"),
    "NA cell": (days([1, "NA", 3]), {}, "`y` is empty in 1 of 3 rows: row 3"),
    "no values": (days(["", "", ""]), {}, r"`y` has no values\."),
    "long gap": (days([1, "", "", "", 3]), {"missing_values": "interpolate", "max_gap": 2}, r"1 gap longer than the data.max_gap of 2 steps: 2020-01-02.*\n.*max_gap: 3"),
    "long gaps": (days([1, "", "", "", 3, "", "", "", "", 4]), {"missing_values": "interpolate", "max_gap": 2}, r"2 gaps longer than the data.max_gap of 2 steps(.|\n)*max_gap: 4"),
    "long gap in time": (days([1, "", "", "", 3]), {"missing_values": "interpolate", "max_gap": "2d"}, "longer than the data.max_gap of 2 steps"),
    "empty end": (days([1, 2, "", ""]), {"missing_values": "interpolate"}, "`y` ends with 2 empty rows"),
    "blank series id": ("t,s,y\n2020-01-01,a,1\n2020-01-02, ,1\n", {"series_id": "s"}, "a.csv:3: `s` is empty in 1 row: row 3 ' '"),
    "empty series": ("t,s,y\n2020-01-01,a,1\n2020-01-02,a,1\n2020-01-01,b,\n", {"series_id": "s", "freq": "D", "missing_values": "forward"}, "`y` has no values in series 'b'"),
    "empty series id": ("t,s,y\n2020-01-01,a,1\n2020-01-02,,2\n", {"series_id": "s"}, "a.csv:3: `s` is empty in 1 row: row 3"),
    # spacing
    "duplicate": (days([1, 2, 3]) + "2020-01-02,9\n", {}, r"1 repeated timestamp: row 5 \(2020-01-02 00:00:00\).\n.*data.duplicates"),
    "several series in one": (at(["2020-01-01", "2020-01-01", "2020-01-02", "2020-01-02"]), {}, "data.series_id"),
    "gap": (days([1, 2, 3, 4, 5, 6]) + "2020-01-09,7\n", {}, r"a.csv:8: the spacing is not one step of freq D in 1 place: row 8 \(2020-01-06"),
    "gap in one series": ("t,s,y\n2020-01-01,a,1\n2020-01-02,a,1\n2020-01-03,a,1\n2020-01-01,b,1\n2020-01-03,b,1\n", {"series_id": "s"}, "row 6"),
    "irregular": (at(["2020-01-01", "2020-01-04", "2020-01-05", "2020-01-11"]), {}, r"is not one step of freq .*\n.*data.resample"),
    "wrong freq": (days([1, 2, 3]), {"freq": "h"}, "the spacing is not one step of freq h in 2 places"),
    "no such freq": (days([1, 2, 3]), {"freq": "hourly"}, "data.freq 'hourly' is not a pandas frequency"),
    "off the tick": (at(["2020-01-17", "2020-02-17"]), {"freq": "MS"}, "a.csv:2: 2020-01-17 00:00:00 does not fall on a step of freq MS"),
    "two rows": (days([1, 2]), {}, "the freq cannot be inferred from 2 rows"),
    "filled, beside the ticks": (at(["2020-01-01", "2020-01-02", "2020-01-03 12:00"]), {"freq": "D", "missing_timestamps": "fill"}, "is not one step"),
    "empty cells in a step": (days([1, "", 3]), {"resample": {"freq": "W", "how": "sum"}}, "`y` is empty in 1 of 3 rows: row 3"),
    "a remark in an empty row": ("t,y,x\n2020-01-01,1,\n,,note\n", {}, "a.csv:3: `t` is empty in 1 row"),
    "filled, of no freq": (days([1, 2, 3]), {"freq": "D3", "missing_timestamps": "fill"}, "data.freq 'D3' is not a pandas frequency"),
    "freq of nothing": (days([1, 2, 3]), {"freq": "0D"}, "data.freq '0D' is not a pandas frequency"),
    "freq too fine to fill": (days([1, 2, 3]), {"freq": "ms", "missing_timestamps": "fill"}, "is not one step of freq ms"),
    "resampling backwards": (days([1, 2, 3]), {"resample": {"freq": "-1D", "how": "mean"}}, "data.resample.freq '-1D' is not"),
    "zone that is a folder": (days([1, 2, 3]), {"timezone": "Europe"}, "data.timezone 'Europe' cannot be applied"),
    "steps without rows": (
        at(["2020-01-01", "2020-01-02", "2020-01-04", "2020-01-05"]),
        {"resample": {"freq": "D", "how": "mean"}},
        r"Some steps have no rows. To add them, set data.missing_timestamps: fill. Or use a longer data.resample.freq.$",
    ),
    "no such resampling": (days([1, 2, 3]), {"resample": {"freq": "often", "how": "mean"}}, "data.resample.freq 'often' is not"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "keys", "message"), BAD.values(), ids=BAD.keys())
def test_bad_files(tmp_path, text, keys, message):
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, text, **keys)
    assert "a.csv" in str(caught.value)
    assert "\n  " in str(caught.value), "no remedy"


def test_missing_file_and_folder(tmp_path):
    config = DataConfig(path=str(tmp_path / "none.csv"), timestamp="t", target=["y"])
    with pytest.raises(DataError, match="none.csv: the data file does not exist"):
        read_panel(config)
    with pytest.raises(DataError, match="cannot be read"):
        read_panel(config, tmp_path)


def test_what_only_looks_like_parquet(tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    with pytest.raises(DataError, match="a.PARQUET: the file cannot be read"):
        read(tmp_path, "hello", "a.PARQUET")


def test_constant_target(tmp_path):
    panel = read(tmp_path, days([7, 7, 7]))
    with pytest.raises(DataError, match="`y` is 7 in every row"):
        check_target_not_constant(panel)


def test_contract(tmp_path):
    panel = read(tmp_path, days([1, "", 6]), missing_values="forward")
    told = make_contract(panel).to_json()
    assert told["sha256"] == hashlib.sha256((tmp_path / "a.csv").read_bytes()).hexdigest()
    assert (told["rows"], told["freq"], told["last_timestamp"], told["timezone"]) == (3, "D", "2020-01-03 00:00:00", None)
    assert told["columns"]["y"] == pytest.approx({"min": 1, "max": 6, "mean": 8 / 3, "median_size": 1, "filled": 1 / 3}, abs=1e-9)
    filled = {"column": "y", "series": "a", "from": "2020-01-02 00:00:00", "to": "2020-01-02 00:00:00", "steps": 1}
    assert told["repairs"] == [{"what": "missing values", "policy": "forward", "cells": 1, "longest": 1, "ranges": [filled]}]


COLUMN = ColumnFacts(min=10.0, max=30.0, mean=20.0, median_size=20.0, filled=0.0)
FACTS = {"path": "a.csv", "sha256": "", "rows": 10, "series": 1, "freq": "D", "first_timestamp": "2020-01-01 00:00:00"}
FACTS |= {"columns": {"y": COLUMN}, "repairs": []}
KNOWN = Contract(**FACTS, last_timestamp="2020-01-10 00:00:00", timezone=None)


@pytest.mark.parametrize(
    ("values", "start", "odd"),
    [
        ([11, 25, 19], "2020-01-11", []),
        (
            [11, 25, 19],
            "2020-01-05",
            ["the rows end at 2020-01-07 00:00:00, before the end of the training data at 2020-01-10 00:00:00"],
        ),
        ([11, 25, 19], "2020-01-14", ["3 steps are missing between the end of the training data"]),
        ([31, 35, 41], "2020-01-11", ["`y` ranges from 31 to 41, but ranged from 10 to 30 in training."]),
        ([12, 12, 12], "2020-01-11", ["`y` is 12 in every row."]),
    ],
    ids=["as ever", "stale", "gap", "outside", "constant"],
)
def test_newer_rows_beside_the_contract(tmp_path, values, start, odd):
    found = compare_with_contract(read(tmp_path, days(values, start)), KNOWN)
    assert len(found) == len(odd)
    assert all(sentence.startswith(told) for sentence, told in zip(found, odd, strict=True))


@pytest.mark.parametrize("values", [[0, 20000, 25000], [11, 25, 19e6]], ids=["with a zero", "in one row"])
def test_other_units_are_seen_in_spite_of_a_usual_value(tmp_path, values):
    panel = read(tmp_path, days(values, "2020-01-11"))
    if values[1] > 1000:
        with pytest.raises(DataError, match="a factor of about 10"):
            compare_with_contract(panel, KNOWN)
    else:
        assert "but ranged from 10 to 30 in training" in compare_with_contract(panel, KNOWN)[0]


def test_time_zones_beside_the_contract(tmp_path):
    zoned = Contract(**FACTS, last_timestamp="2020-01-10 00:00:00+01:00", timezone="Europe/Berlin")
    panel = read(tmp_path, days([11, 25, 19], "2020-01-12"), timezone="Europe/Berlin")
    assert compare_with_contract(panel, zoned)[0].startswith("1 step is missing")
    with pytest.raises(DataError, match="the timestamps have no time zone, but those of the training data had Europe/Berlin"):
        compare_with_contract(read(tmp_path, days([11, 25, 19], "2020-01-12")), zoned)


@pytest.mark.parametrize(("factor", "power"), [(1000, 3), (0.01, -2), (10, 1)])
def test_other_units_are_refused(tmp_path, factor, power):
    panel = read(tmp_path, days([11 * factor, 25 * factor, 19 * factor], "2020-01-11"))
    with pytest.raises(DataError, match=rf"a factor of about 10\^{power}.\n  Use the units of the training data"):
        compare_with_contract(panel, KNOWN)


def test_series_by_several_columns(tmp_path):
    rows = [f"{shop},{item},2020-01-0{day},{day}\n" for shop in "ns" for item in (7, 8) for day in (1, 2, 3)]
    panel = read(tmp_path, "shop,item,t,y\n" + "".join(rows), series_id=["shop", "item"])
    assert panel.series_ids == ["n/7", "n/8", "s/7", "s/8"]
    with pytest.raises(DataError, match=r"`shop` contains a slash in 1 row: row 2 'n/7'"):
        read(tmp_path, "shop,item,t,y\nn/7,1,2020-01-01,1\n", series_id=["shop", "item"])


def test_wide_files_have_a_series_in_each_column(tmp_path):
    rows = ["2020-01-03,3,6,,", "2020-01-04,4,7,,", "2020-01-02,2,5,9,", "2020-01-01,1,,8,"]
    panel = read(tmp_path, "t,north,south,west,empty\n" + "\n".join(rows), wide=True)
    assert panel.series_ids == ["north", "south", "west"]
    assert panel.offsets.tolist() == [0, 4, 7, 9]
    assert panel.values[:, 0].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert panel.timestamps[4] == pd.Timestamp("2020-01-02")
    gap = "t,north\n2020-01-01,1\n2020-01-02,\n2020-01-03,3\n2020-01-04,4\n"
    with pytest.raises(DataError, match="empty"):
        read(tmp_path, gap, wide=True)
    assert read(tmp_path, gap, wide=True, missing_values="interpolate").values[:, 0].tolist() == [1, 2, 3, 4]
    with pytest.raises(DataError, match="the only column is the timestamp"):
        read(tmp_path, "t\n2020-01-01\n", wide=True)


@pytest.mark.parametrize(
    "names",
    [
        ["a", "b", "t2"],
        ["t2", "b", "a"],
        ["s1", "s2", "s10", "s11"],
        [" é", "B ", "a,b", 'q"', "x\ny", "\u00a0z"],
        ["nan", "NA", "True", "None", "1e3", "1.0", "007", "7", "2020-01-01", "y"],
    ],
    ids=["sorted", "descending", "numbered", "blanks and marks", "like values"],
)
def test_series_have_one_order_and_spelling_in_every_form(tmp_path, names):
    """Values are 100 * series + day, so that a series under another name shows."""
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    days = pd.date_range("2020-01-01", periods=4)
    columns = {name: 100.0 * number + np.arange(4) for number, name in enumerate(names)}
    wide = pd.DataFrame({"t": days} | columns)
    long = pd.concat([pd.DataFrame({"t": days, "s": name, "y": values}) for name, values in columns.items()])
    categories = long.assign(s=long.s.astype("category"))
    wide.to_csv(tmp_path / "wide.csv", index=False)
    long.to_csv(tmp_path / "long.csv", index=False)
    wide.to_parquet(tmp_path / "wide.parquet")
    long.to_parquet(tmp_path / "long.parquet", index=False)
    categories.to_parquet(tmp_path / "categories.parquet", index=False)
    ids = sorted(name.strip() for name in names)
    of_series = {name.strip(): values.tolist() for name, values in columns.items()}
    for file in ("wide.csv", "wide.parquet", "long.csv", "long.parquet", "categories.parquet"):
        form = {"wide": True} if file.startswith("wide") else {"series_id": "s"}
        panel = read_panel(DataConfig(path=str(tmp_path / file), timestamp="t", target=["y"], **form))
        assert (panel.series_ids, panel.record) == (ids, []), file
        assert panel.values[:, 0].tolist() == [value for name in ids for value in of_series[name]], file


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("t,a,a", r"a.csv:1: the header names `a` twice.\n  Rename one of the two columns"),
        ("t,a,a ", "the header names `a` twice"),
        ("t,a,", "column `Unnamed: 2` has no series name in the header.\n  Name the series, or remove the column"),
        ("t,a, ", "column ` ` has no series name in the header"),
        ('t,a,"b\r\nc"', r"the name 'b\\r\\nc' contains a carriage return"),
    ],
    ids=["twice", "twice but for blanks", "no name", "blank name", "carriage return"],
)
def test_headers_that_name_no_series(tmp_path, header, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, f"{header}\n2020-01-01,1,2\n2020-01-02,1,2\n2020-01-03,1,2\n", wide=True)


def test_ids_that_no_table_can_hold(tmp_path):
    text = 't,s,y\n2020-01-01,a,1\n2020-01-01,"b\r\n",1\n2020-01-02,"b\r\nc",2\n'
    with pytest.raises(DataError, match=r"`s` contains a carriage return or a null character in 1 row: row 4 'b\\r\\nc'"):
        read(tmp_path, text, series_id="s")


@pytest.mark.parametrize(("name", "series"), [(" sales .csv", "sales"), (" .csv", "series"), ("s.1.csv", "s.1")])
def test_a_file_of_one_series_names_it_without_blanks(tmp_path, name, series):
    assert read(tmp_path, days([1, 2.5, 3]), name).series_ids == [series]
