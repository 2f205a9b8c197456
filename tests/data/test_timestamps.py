"""Clock changes, formats of timestamps, and freqs."""

from __future__ import annotations

import pandas as pd
import pytest

from forecast.config.schema import DataConfig
from forecast.data.freq import from_wall_clock, infer_freq
from forecast.data.panel import read_panel
from forecast.data.timestamps import choose_date_format, format_timestamps, parse_parts, parse_timestamps
from forecast.errors import DataError

STAMPS = pd.DatetimeIndex(["2020-01-31 04:05:06", "2021-12-01 23:00:59"])


@pytest.mark.parametrize("written", [None, "unix", "unix_ms", "%d.%m.%Y %H:%M:%S"])
def test_timestamps_are_written_as_they_are_read(written):
    cells = format_timestamps(STAMPS, ["t"], written).t.astype(str)
    read, _ = parse_timestamps(cells, written or choose_date_format(cells, "t", ""))
    assert pd.DatetimeIndex(read).tz_localize(None).as_unit("ns").equals(STAMPS.as_unit("ns"))


def test_timestamps_are_written_in_parts():
    parts = format_timestamps(STAMPS, ["year", "m", "d", "h"], None)
    assert parts.to_numpy().tolist() == [[2020, 1, 31, 4], [2021, 12, 1, 23]]
    assert parse_parts(parts).tolist() == STAMPS.floor("h").tolist()


def test_months_with_gaps_everywhere():
    stamps = pd.date_range("2010-01-01", periods=60, freq="MS")
    assert infer_freq(stamps.delete(range(3, 60, 4))) == "MS"


@pytest.mark.parametrize("freq", ["h", "D", "W-SUN", "MS", "15min"])
def test_freq_in_spite_of_gaps(freq):
    stamps = pd.date_range("2020-01-01", periods=60, freq=freq)
    assert infer_freq(stamps.delete([5, 6, 31, 47])) == freq


YEAR = pd.date_range("2020-01-01", "2020-12-31 23:00", freq="h", tz="Europe/London")  # holds a day of 23 hours and one of 25


@pytest.mark.parametrize("written", ["offsets", "local", "UTC"])
def test_a_year_of_hours_in_london(tmp_path, written):
    texts = {"offsets": YEAR.map(str), "local": YEAR.tz_localize(None).map(str), "UTC": YEAR.tz_convert("UTC").map(str)}
    pd.DataFrame({"t": texts[written], "y": range(len(YEAR))}).to_csv(tmp_path / "a.csv", index=False)
    panel = read_panel(DataConfig(path=str(tmp_path / "a.csv"), timestamp="t", target="y", timezone="Europe/London"))
    assert panel.timestamps.as_unit("ns").equals(YEAR.as_unit("ns"))
    assert panel.freq == "h"
    per_day = pd.Series(1, panel.timestamps).resample("D").sum()
    assert per_day["2020-03-29"] == 23
    assert per_day["2020-10-25"] == 25
    assert str(panel.timestamps_after(0, 1)[0]) == "2021-01-01 00:00:00+00:00"


def test_newest_first(tmp_path):
    hours = YEAR[YEAR.slice_indexer("2020-10-24", "2020-10-26")]
    table = pd.DataFrame({"t": hours.tz_localize(None).map(str), "y": range(len(hours))})
    table.iloc[::-1].to_csv(tmp_path / "a.csv", index=False)
    panel = read_panel(DataConfig(path=str(tmp_path / "a.csv"), timestamp="t", target="y", timezone="Europe/London"))
    assert panel.values[:, 0].tolist() == list(range(len(hours)))


def test_a_single_offset_is_a_zone(tmp_path):
    (tmp_path / "a.csv").write_text("t,y\n2020-01-01T00:00+05:30,1\n2020-01-01T01:00+05:30,2\n2020-01-01T02:00+05:30,3\n")
    panel = read_panel(DataConfig(path=str(tmp_path / "a.csv"), timestamp="t", target="y"))
    assert str(panel.timestamps_after(0, 1)[0]) == "2020-01-01 03:00:00+05:30"


def test_local_hours_of_several_series(tmp_path):
    hours = YEAR[YEAR.slice_indexer("2020-10-24", "2020-10-26")]
    table = pd.DataFrame({"t": hours.tz_localize(None).map(str), "y": range(len(hours))})
    pd.concat([table.assign(s="a"), table.assign(s="b")]).to_csv(tmp_path / "a.csv", index=False)
    panel = read_panel(
        DataConfig(path=str(tmp_path / "a.csv"), timestamp="t", target="y", series_id="s", timezone="Europe/London")
    )
    assert panel.timestamps.as_unit("ns").equals(hours.append(hours).as_unit("ns"))


MIDNIGHTS = {  # A day whose midnight the clocks skip or repeat, and the moment at which it begins.
    "Santiago skips": ("America/Santiago", "2024-09-08", "2024-09-08 01:00:00-03:00"),
    "Havana skips": ("America/Havana", "2024-03-10", "2024-03-10 01:00:00-04:00"),
    "Havana repeats": ("America/Havana", "2024-11-03", "2024-11-03 00:00:00-04:00"),
    "Beirut skips": ("Asia/Beirut", "2024-03-31", "2024-03-31 01:00:00+03:00"),
    "Cairo skips": ("Africa/Cairo", "2024-04-26", "2024-04-26 01:00:00+03:00"),
}


@pytest.mark.parametrize(("zone", "day", "begins"), MIDNIGHTS.values(), ids=MIDNIGHTS.keys())
@pytest.mark.parametrize("written", ["dates", "offsets"])
def test_days_whose_midnight_the_clocks_skip_or_repeat(tmp_path, zone, day, begins, written):
    days = pd.date_range(end=pd.Timestamp(day) + pd.Timedelta(days=3), periods=20)
    moments = from_wall_clock(days, zone)

    def panel_of(rows):
        text = days[rows].strftime("%Y-%m-%d") if written == "dates" else moments[rows].map(str)
        pd.DataFrame({"t": text, "y": range(len(text))}).to_csv(tmp_path / "a.csv", index=False)
        config = DataConfig(
            path=str(tmp_path / "a.csv"), timestamp="t", target="y", timezone=zone, missing_timestamps="fill",
            missing_values="forward",
        )  # fmt: skip
        return read_panel(config)

    before = panel_of(slice(0, 15))  # The horizon reaches over the day.
    assert before.freq == "D"
    assert before.timestamps_after(0, 5).map(str).tolist() == moments[15:].map(str).tolist()
    assert str(before.timestamps_after(0, 5)[1]) == begins
    assert panel_of([*range(18), 19]).timestamps.map(str).tolist() == moments.map(str).tolist()  # One is filled.
    ends_there = panel_of(slice(0, 17))
    assert str(ends_there.timestamps[-1]) == begins
    assert ends_there.timestamps_after(0, 3).map(str).tolist() == moments[17:].map(str).tolist()


def test_hours_that_do_not_exist_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("t,y\n2024-09-07 23:00,1\n2024-09-08 00:00,2\n2024-09-08 01:00,3\n")
    with pytest.raises(DataError, match="2024-09-08 00:00:00 is a nonexistent time"):
        read_panel(DataConfig(path=str(tmp_path / "a.csv"), timestamp="t", target="y", timezone="America/Santiago"))
