"""Resampled steps lie on one grid, whatever row a file begins with, and a step that rows cover in part is left out."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from forecast.commands.predict import predict
from forecast.commands.train import train
from forecast.commands.update import UpdateOptions, update
from forecast.config.schema import DataConfig
from forecast.data.panel import read_panel
from forecast.data.resampling import ORIGIN
from forecast.errors import DataError
from forecast.runs.run import Run


def panel_of(folder, stamps, values=None, keep_partial=False, freq="D", how="sum", **keys):
    table = pd.DataFrame({"t": stamps, "y": np.arange(len(stamps)) if values is None else values})
    table.to_csv(folder / "a.csv", index=False)
    config = DataConfig(
        path=str(folder / "a.csv"), timestamp="t", target="y", resample={"freq": freq, "how": how}, missing_timestamps="fill",
        missing_values="forward", max_gap=1000, **keys,
    )  # fmt: skip
    return read_panel(config, keep_partial=keep_partial)


def measured(panel) -> pd.Series:
    """The steps that hold rows."""
    return pd.Series(panel.values[:, 0], panel.timestamps)[~panel.filled[:, 0]]


def irregular(first: str, days: int = 400, zone: str | None = None) -> pd.DatetimeIndex:
    seconds = np.random.default_rng(0).integers(0, days * 86400, size=300)
    return pd.DatetimeIndex(pd.Timestamp(first, tz=zone) + pd.to_timedelta(np.unique(seconds), unit="s"))


CALENDAR = ["D", "h", "B", "W", "W-WED", "MS", "ME", "QS", "QE", "YS", "YE", "SMS"]
MULTIPLES = ["3D", "7h", "36h", "2W", "2MS", "5ME", "2QS", "3QE", "5B", "2YS"]


@pytest.mark.parametrize("freq", CALENDAR)
@pytest.mark.parametrize("zone", [None, "Europe/London"])
def test_steps_are_those_of_pandas(tmp_path, freq, zone):
    stamps = irregular("2021-10-07 09:13", zone=zone)
    values = pd.Series(np.random.default_rng(1).normal(size=len(stamps)), stamps)
    expected = values.resample(freq).sum(min_count=1).dropna()
    steps = measured(panel_of(tmp_path, stamps, values.to_numpy(), True, freq, timezone=zone))
    pd.testing.assert_series_equal(steps, expected, check_names=False, check_freq=False, check_index_type=False)


@pytest.mark.parametrize("freq", MULTIPLES)
@pytest.mark.parametrize("zone", [None, "America/Santiago"])
def test_the_grid_does_not_depend_on_the_first_row(tmp_path, freq, zone):
    stamps = irregular("1999-08-03", days=4000, zone=zone)
    whole = measured(panel_of(tmp_path, stamps, keep_partial=True, freq=freq, timezone=zone))
    for skipped in (1, 17, 150):
        late = measured(panel_of(tmp_path, stamps[skipped:], range(skipped, len(stamps)), True, freq, timezone=zone))
        assert late.index.isin(whole.index).all()
        np.testing.assert_array_equal(late[1:], whole[late.index[1:]], "the first step may have lost rows")


def test_series_of_a_panel_share_their_steps(tmp_path):
    days = pd.date_range("2020-01-01", periods=40)
    table = pd.concat([pd.DataFrame({"t": days[first:], "y": 1.0, "s": first}) for first in range(5)])
    table.to_csv(tmp_path / "a.csv", index=False)
    steps = {"freq": "3D", "how": "sum"}
    panel = read_panel(DataConfig(path=str(tmp_path / "a.csv"), timestamp="t", target="y", series_id="s", resample=steps))
    assert panel.resample_origin == ORIGIN
    assert set(panel.values[:, 0]) == {3}
    assert panel.timestamps.isin(pd.date_range(ORIGIN, "2021-01-01", freq="3D")).all()
    assert panel.record[0].to_json() == {
        "what": "rows of a partial first step, left out",
        "rows": 2 + 1 + 2 + 1,
        "first": ["'0' at 2019-12-31 00:00:00", "'1' at 2019-12-31 00:00:00", "'3' at 2020-01-03 00:00:00"],
    }


TRADED = [f"{day.date()} {hour}:00" for day in pd.bdate_range("2024-01-01", periods=20) for hour in range(10, 17)]
WEEKDAYS = pd.bdate_range("2024-01-01", "2024-03-29")  # from a Monday to a Friday
HOURS = pd.date_range("2024-01-01", "2024-01-10 23:00", freq="h")
HALF_MONTHS = pd.DatetimeIndex([f"2023-{month:02}-{day}" for month in (1, 2, 3) for day in ("01", "15")])
BURSTS = irregular("2024-01-01", days=60)
PARTIAL = {  # rows, freq, and whether the first and the last step are left out
    "hours of whole days": (HOURS, "D", False, False),
    "hours at another minute": (HOURS + pd.Timedelta(minutes=17), "D", False, False),
    "the last hour is missing": (HOURS[:-1], "D", False, True),
    "the first hour is missing": (HOURS[1:], "D", True, False),
    "an hour in the middle is missing": (HOURS.delete(40), "D", False, False),
    "the usual hours of trade": (TRADED, "D", False, False),
    "half a day of trade": (TRADED[:-3], "D", False, True),
    "a day of trade that begins late": (TRADED[2:], "D", True, False),
    "weeks without weekends": (WEEKDAYS, "W", False, False),
    "weeks of which days are missing": (WEEKDAYS[1:-2], "W", True, True),
    "months": (pd.date_range("2020-01-01", "2020-06-30"), "MS", False, False),
    "months, labelled by their end": (pd.date_range("2020-01-01", "2020-06-30"), "ME", False, False),
    "months of which days are missing": (pd.date_range("2020-01-02", "2020-06-29"), "MS", True, True),
    "steps as long as rows are apart": (pd.date_range("2020-01-01", "2020-02-01"), "D", False, False),
    "shorter steps": (pd.date_range("2020-01-01", "2020-02-01"), "6h", False, False),
    "months stamped by their end": (pd.date_range("2023-01-31", periods=2, freq="ME"), "ME", False, False),
    "twice a month": (HALF_MONTHS, "MS", False, False),
    "twice a month, but once in the last": (HALF_MONTHS[:-1], "MS", False, True),
    "rows at any times": (BURSTS, "D", False, False),
    "rows at any times until noon": (BURSTS[BURSTS < "2024-02-20 12:00"], "D", False, True),
}


@pytest.mark.parametrize(("stamps", "freq", "first", "last"), PARTIAL.values(), ids=PARTIAL.keys())
def test_a_step_that_rows_cover_in_part_is_left_out(tmp_path, stamps, freq, first, last):
    every, whole = (panel_of(tmp_path, stamps, freq=freq, keep_partial=partial) for partial in (True, False))
    expected = every.timestamps[int(first) : len(every.timestamps) - int(last)]
    assert whole.timestamps.equals(expected)
    for panel, ending in ((every, ""), (whole, ", left out")):
        said = [line.kind for line in panel.record if "partial" in line.kind]
        assert said == [f"rows of a partial {edge} step{ending}" for edge, is_so in [("first", first), ("last", last)] if is_so]


def test_rows_of_no_whole_step_are_refused(tmp_path):
    with pytest.raises(
        DataError, match=r"series 'a' does not cover a whole step. Its rows range from 2024-01-02 .* to 2024-01-05 .*\.\n"
    ):
        panel_of(tmp_path, pd.date_range("2024-01-02", "2024-01-05"), freq="W")


def test_hours_of_a_day_that_begins_at_one_o_clock(tmp_path):
    hours = pd.date_range("2024-09-06", "2024-09-10", freq="h", tz="America/Santiago", inclusive="left")
    panel = panel_of(tmp_path, hours, np.ones(len(hours)), timezone="America/Santiago")
    assert panel.values[:, 0].tolist() == [24, 24, 23, 24]
    assert str(panel.timestamps[2]) == "2024-09-08 01:00:00-03:00"


def test_a_step_that_is_half_measured_is_known_as_a_whole(tmp_path):
    """The last measured step is left out, and is the first one to forecast; its price is that of all of its rows."""
    hours = pd.date_range("2024-01-01", periods=24 * 8, freq="h")
    price = np.where(hours.hour < 12, 1.0, 3.0)
    table = pd.DataFrame({"t": hours, "y": np.where(hours < "2024-01-06 12:00", 1.0, np.nan), "price": price})
    table.to_csv(tmp_path / "a.csv", index=False)
    keys = {"known_covariates": "price", "resample": {"freq": "D", "how": "mean"}}
    panel = read_panel(DataConfig(path=str(tmp_path / "a.csv"), timestamp="t", target="y", **keys, missing_values="forward"))
    assert str(panel.timestamps[-1]) == "2024-01-05 00:00:00"
    assert panel.timestamps_after(0, 3).equals(panel.future_covariates.index.get_level_values(1))
    assert panel.future_covariates.price.tolist() == [2.0, 2.0, 2.0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a run of hourly rows that end in the middle of a step of 7 hours, and all rows."""
    folder = tmp_path_factory.mktemp("resampled")
    hours = pd.date_range("2024-01-01 02:00", periods=7 * 120 + 3, freq="h")
    table = pd.DataFrame({"t": hours, "y": 5 + np.arange(len(hours)) // 7 % 5})
    table.to_csv(folder / "all.csv", index=False)
    table[: 7 * 100].to_csv(folder / "data.csv", index=False)
    (folder / "config.yaml").write_text(
        "data: {path: data.csv, timestamp: t, target: y, resample: {freq: 7h, how: sum}}\nsplits: {validation: 15, test: 15}\n"
        "windows: {lookback: 5, horizon: 3}\nmodel: {units: 2}\ntraining: {epochs: 1}\n"
    )
    train(folder / "config.yaml", folder / "run")
    return folder


@pytest.mark.slow
def test_newer_rows_fall_on_the_grid_of_the_run(folder, tmp_path, caplog):
    run, every = Run.open(folder / "run"), pd.read_csv(folder / "all.csv")
    contract = json.loads(run.contract.read_text())
    assert contract["resample_origin"] == ORIGIN
    assert [line["what"] for line in contract["repairs"]] == [
        "rows of a partial first step, left out", "rows of a partial last step, left out", "resampled",
    ]  # fmt: skip
    assert "data.csv: rows of a partial last step, left out: " in (run.log).read_text()
    expected = predict(run)
    for skipped in (0, 500, 503):
        every[skipped : 7 * 100].to_csv(tmp_path / "newer.csv", index=False)
        pd.testing.assert_frame_equal(predict(run, tmp_path / "newer.csv"), expected)
    for path, rows in {"newer": every[7 * 100 :], "whole": every}.items():
        rows.to_csv(tmp_path / f"{path}.csv", index=False)
        new = update(run, tmp_path / f"{path}.csv", tmp_path / f"run-{path}", options=UpdateOptions(even_if_worse=True))
        told = json.loads(new.contract.read_text())
        assert (told["rows"], told["resample_origin"]) == (contract["rows"] + 20, ORIGIN)
    assert "are missing" not in caplog.text
    assert "in training" not in caplog.text
    every[7 * 100 : 7 * 100 + 2].to_csv(tmp_path / "newer.csv", index=False)
    with pytest.raises(DataError, match="the newer rows do not complete a step of freq 7h after 2024-01-29 21:00:00"):
        update(run, tmp_path / "newer.csv", tmp_path / "none")
    every[7 * 100 + 2 :].to_csv(tmp_path / "newer.csv", index=False)
    with pytest.raises(DataError, match="series 'data' ends at 2024-01-30 05:00:00 and continues at 2024-01-30 08:00:00"):
        update(run, tmp_path / "newer.csv", tmp_path / "none")


@pytest.mark.slow
def test_a_run_of_an_earlier_version_warns_of_other_steps(folder, tmp_path, caplog):
    shutil.copytree(folder / "run", tmp_path / "run")
    run = Run(tmp_path / "run")
    contract = json.loads(run.contract.read_text())
    del contract["resample_origin"]
    run.contract.write_text(json.dumps(contract))
    run.seal()
    every = pd.read_csv(folder / "all.csv")
    every[502 : 7 * 100].to_csv(tmp_path / "newer.csv", index=False)
    expected = predict(folder / "run", tmp_path / "newer.csv")
    assert "started the steps" not in caplog.text
    pd.testing.assert_frame_equal(predict(run, tmp_path / "newer.csv"), expected)
    assert "an earlier version started the steps of data.resample at different times" in caplog.text
