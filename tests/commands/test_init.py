"""`init` writes a config that trains as it is, and says what it chose."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from forecast.commands.init import init
from forecast.commands.train import train
from forecast.config.load import load_config
from forecast.errors import ConfigError, DataError, RunError
from forecast.forecasters.preparation import prepare
from tests.conftest import seasonal_rows

MONTHS = pd.date_range("2010-01-01", periods=120, freq="MS")
FOUND = {
    "ETTh1.csv": {"timestamp": ["date"], "target": ["HUFL"]},
    "delhi-climate.csv": {"timestamp": ["date"], "target": ["meantemp"], "season_length": 365},
    "beijing-pm25.csv": {
        "timestamp": ["year", "month", "day", "hour"],
        "target": ["pm2.5"],
        "missing_values": "interpolate",
        "max_gap": 155,
    },
    "daily-min-temperatures.csv": {"missing_timestamps": "fill", "missing_values": "interpolate"},
    "airline-passengers.csv": {"timestamp": ["Month"], "target": ["Passengers"], "missing_values": "error"},
}


@pytest.mark.parametrize(("name", "keys"), FOUND.items(), ids=FOUND)
def test_shared_data(shared_data, tmp_path, name, keys):
    config = load_config(init(shared_data / name, tmp_path / "config.yaml"))
    found = config.data.model_dump()
    assert {key: found[key] for key in keys} == keys
    assert len(prepare(config).windows["train"]) > 40


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["airline-passengers.csv", *(pytest.param(name, marks=pytest.mark.exhaustive) for name in list(FOUND)[:-1])]
)
def test_shared_data_trains_unedited(shared_data, tmp_path, name):
    quick = {"training.epochs": 1, "training.seeds": None, "windows.stride": 40, "baselines": []}
    config = load_config(init(shared_data / name, tmp_path / "config.yaml"), quick)
    run = train(config, tmp_path / "run")
    assert run.read_json(run.metrics_file)["skill"]["seasonal_naive"] > 0


@pytest.mark.parametrize(("effort", "seeds", "epochs"), [("quick", 1, 120), ("usual", 3, 300), ("thorough", 7, 450)])
def test_effort_sets_seeds_and_epochs(tmp_path, effort, seeds, epochs):
    pd.DataFrame({"month": MONTHS, "sales": seasonal_rows()}).to_csv(tmp_path / "data.csv", index=False)
    config = load_config(init(tmp_path / "data.csv", tmp_path / "config.yaml", effort=effort))
    assert (len(config.seeds), config.training.epochs) == (seeds, epochs)
    assert ("arima" in config.baselines) == (effort == "thorough")


@pytest.mark.parametrize(("freq", "season", "has_ets"), [("MS", 12, True), ("W", 52, False)])
def test_ets_is_left_out_for_seasons_that_it_cannot_fit(tmp_path, freq, season, has_ets):
    stamps = pd.date_range("2010-01-01", periods=300, freq=freq)
    sales = 10 + np.sin(2 * np.pi * np.arange(300) / season) + np.random.default_rng(0).normal(0, 0.1, 300)
    pd.DataFrame({"day": stamps, "sales": sales}).to_csv(tmp_path / "data.csv", index=False)
    config = load_config(init(tmp_path / "data.csv", tmp_path / "config.yaml"))
    assert ("theta" in config.baselines, "ets" in config.baselines) == (True, has_ets)


def test_an_unknown_effort_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="unknown effort `fast`"):
        init(tmp_path / "data.csv", effort="fast")


def write(folder, table, name="data.csv", **options):
    table.to_csv(folder / name, index=False, **options)
    return init(folder / name, folder / "config.yaml")


def test_what_was_chosen_is_said(tmp_path):
    table = pd.DataFrame({"row": range(120), "month": MONTHS, "sales": seasonal_rows(), "visits": seasonal_rows(seed=2)})
    text = write(tmp_path, table).read_text()
    assert "target: sales # the first numeric column" in text
    assert "  # past_covariates: [visits] # columns that are not used;" in text
    assert "  # target: [sales, visits] # forecasts these columns together" in text
    assert "horizon: 12 # steps to forecast; chosen from the season, change it as needed" in text
    assert "path: data.csv" in text
    assert "confirmed by autocorrelation" in text


def test_series_are_found(tmp_path):
    shops = [pd.DataFrame({"month": MONTHS, "shop": name, "city": "x", "sales": seasonal_rows()}) for name in ("007", "008")]
    config = load_config(write(tmp_path, pd.concat(shops)))
    assert config.data.series_id == ["shop"]
    assert prepare(config).panel.series_ids == ["007", "008"]


@pytest.mark.parametrize("date_format", ["%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y"])
def test_ambiguous_dates_are_read_so_that_rows_are_evenly_spaced(tmp_path, date_format):
    table = pd.DataFrame({"month": MONTHS.strftime(date_format), "sales": seasonal_rows()})
    path = write(tmp_path, table)
    assert "CHECK THIS: day and month could be swapped" in path.read_text()
    assert load_config(path).data.date_format == date_format
    assert prepare(load_config(path)).panel.freq == "MS"


def test_other_ways_of_writing(tmp_path):
    table = pd.DataFrame({"month": MONTHS, "sales": seasonal_rows().round(2)})
    config = load_config(write(tmp_path, table, sep=";", decimal=",", encoding="latin-1"))
    assert (config.data.delimiter, config.data.decimal) == (";", ",")
    assert prepare(config).panel.values[:, 0].tolist() == table.sales.tolist()


def test_thousands_are_no_decimals(tmp_path):
    (tmp_path / "data.csv").write_text(
        "month,sales\n" + "".join(f'{month:%Y-%m-%d},"{980 + i:,}"\n' for i, month in enumerate(MONTHS))
    )
    config = load_config(init(tmp_path / "data.csv", tmp_path / "config.yaml"))
    assert (config.data.thousands, config.data.decimal) == (",", ".")
    assert prepare(config).panel.values[-1, 0] == 1099


def grouped(numbers, mark: str) -> list[str]:
    return [f"{number:,}".replace(",", mark) for number in numbers]


CHECK = "CHECK THIS: "
NUMBERS = {  # delimiter, cells, the values they are, and the remark
    "a leading 0,": (",", ["0,560", "1,250", "2,480"], [0.56, 1.25, 2.48], None),
    "commas beside semicolons": (";", ["1,560", "1,250"], [1.56, 1.25], "1,560 is read as 1.56. If it means 1560, set decimal"),
    "two digits after a comma": (",", ["1,560", "1,25"], [1.56, 1.25], None),
    "points and a comma": (";", ["1.006,29", "12,5"], [1006.29, 12.5], None),
    "commas and a point": (",", ["1,006.29", "12.5"], [1006.29, 12.5], None),
    "points beside semicolons": (";", ["4.018", "4.020"], [4.018, 4.02], "4.018 is read as 4.018. If it means 4018, set"),
    "points from a thousand on": (";", grouped([998, 999, 1000], "."), [998, 999, 1000], "1.000 is read as 1000. If it means 1,"),
    "points beside four digits": (";", ["4.018", "1000"], [4.018, 1000], "4.018 is read as 4.018. If it means 4018,"),
    "points of other lengths": (";", ["4.018", "4.1"], [4.018, 4.1], None),
    "a leading 0.": (";", ["4.018", "0.125"], [4.018, 0.125], None),
    "two points": (";", grouped([999, 1234567], "."), [999, 1234567], None),
    "commas from a thousand on": (",", grouped([998, 999, 1000], ","), [998, 999, 1000], "1,000 is read as 1000. If it means 1,"),
    "blanks": (";", ["1 500,5", "20"], [1500.5, 20], None),
    "apostrophes": (",", ["1'500.5", "20"], [1500.5, 20], None),
    "points in a file of commas": (",", ["4.018", "4.020"], [4.018, 4.02], None),
}


@pytest.mark.parametrize(("delimiter", "cells", "values", "remark"), NUMBERS.values(), ids=NUMBERS)
def test_numbers_are_read_as_they_were_meant_or_asked_about(tmp_path, delimiter, cells, values, remark):
    table = pd.DataFrame({"month": MONTHS, "row": range(120), "sales": np.resize(cells, 120)})
    path = write(tmp_path, table, sep=delimiter)
    text, config = path.read_text(), load_config(path)
    assert config.data.target == ["sales"]
    assert prepare(config).panel.values[: len(values), 0].tolist() == values
    assert CHECK + (remark or "") in text if remark else CHECK not in text


def test_more_gaps_than_a_record_names(tmp_path):
    """The longest gap comes after the first thousand; the config takes it in, and can be trained."""
    table = pd.DataFrame({"hour": pd.date_range("2020-01-01", periods=5000, freq="h"), "load": seasonal_rows(5000)})
    table.loc[table.index[: 2 * 1100 : 2][1:], "load"] = np.nan
    table.loc[3000:3039, "load"] = np.nan
    config = load_config(write(tmp_path, table))
    assert config.data.max_gap == 40
    assert len(prepare(config).windows["train"])


def test_offsets_over_a_clock_change_become_a_zone(tmp_path):
    hours = pd.date_range("2020-03-01", "2020-04-30", freq="h", tz="Europe/Berlin")
    path = write(tmp_path, pd.DataFrame({"t": hours.map(lambda hour: hour.isoformat()), "load": seasonal_rows(len(hours))}))
    assert "timezone: UTC # CHECK THIS: the UTC offsets are +01:00, +02:00" in path.read_text()
    assert len(prepare(load_config(path)).panel.values) == len(hours)


@pytest.mark.parametrize(
    ("stamps", "date_format"),
    [(range(1900, 2000), "%Y"), (MONTHS.strftime("%Y%m%d").astype(int), "%Y%m%d"), (MONTHS.as_unit("s").asi8, "unix")],
    ids=["years", "digits", "unix"],
)
def test_numbers_that_count_time(tmp_path, stamps, date_format):
    if date_format == "unix":
        stamps = stamps[0] + 3600 * np.arange(120)
    path = write(tmp_path, pd.DataFrame({"t": stamps, "sales": seasonal_rows(len(stamps))}))
    assert load_config(path).data.date_format == date_format
    assert len(prepare(load_config(path)).windows["test"]) > 0


def test_several_keys_of_series_are_not_merged(tmp_path):
    keys = [(store, item) for store in "ab" for item in "xy"]
    tables = [pd.DataFrame({"month": MONTHS, "store": s, "item": i, "sales": seasonal_rows()}) for s, i in keys]
    with pytest.raises(DataError, match="360 of 480 timestamps repeat, and no single column separates the series"):
        write(tmp_path, pd.concat(tables))


def test_an_index_without_a_name(tmp_path):
    table = pd.DataFrame({"sales": seasonal_rows()}, index=MONTHS)
    table.to_csv(tmp_path / "data.csv")
    config = load_config(init(tmp_path / "data.csv", tmp_path / "config.yaml"))
    assert config.data.timestamp == ["Unnamed: 0"]
    assert len(prepare(config).panel.values) == 120


def test_empty_cells_at_the_start(tmp_path):
    table = pd.DataFrame({"month": MONTHS, "sales": seasonal_rows()})
    table.loc[:4, "sales"] = None
    assert len(prepare(load_config(write(tmp_path, table))).panel.values) == 115


def test_days_without_sundays(tmp_path):
    stamps = pd.date_range("2020-01-01", periods=800)
    stamps = stamps[stamps.day_of_week < 6]
    config = load_config(write(tmp_path, pd.DataFrame({"day": stamps, "sales": seasonal_rows(len(stamps))})))
    assert config.windows.horizon == 5  # Tuesday to Saturday, from a cutoff on Monday
    assert len(prepare(config).windows["test"]) > 5


def test_irregular_rows_are_resampled(tmp_path):
    minutes = pd.date_range("2020-01-01", periods=3000, freq="7min") + pd.to_timedelta([i % 3 for i in range(3000)], unit="s")
    config = load_config(write(tmp_path, pd.DataFrame({"at": minutes, "load": range(3000)})))
    assert config.data.resample.how == "mean"
    assert len(prepare(config).windows["test"]) > 0


def test_options(tmp_path):
    pd.DataFrame({"month": MONTHS, "sales": 1.0, "visits": seasonal_rows()}).to_csv(tmp_path / "a.csv", index=False)
    config = load_config(init(tmp_path / "a.csv", tmp_path / "b.yaml", target="visits", horizon=5))
    assert (config.data.target, config.windows.horizon) == (["visits"], 5)
    with pytest.raises(RunError, match=r"b.yaml: this file already exists.\n  To train it: forecast train"):
        init(tmp_path / "a.csv", tmp_path / "b.yaml")
    init(tmp_path / "a.csv", tmp_path / "b.yaml", force=True)
    with pytest.raises(DataError, match=r"no column `visit`.\n  Did you mean `visits`\?"):
        init(tmp_path / "a.csv", tmp_path / "c.yaml", target="visit")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("a,b\n1,2\n", "no column contains timestamps in a known format. The columns are a, b"),
        ("t,b\n2020-01-01,x\n2020-01-02,y\n", "no column contains numbers"),
        ("t,y\n2020-01-01,1\n2020-01-02,2\n2020-01-03,3\n", "the only series has 3 rows"),
    ],
    ids=["empty", "no timestamps", "no numbers", "short"],
)
def test_files_that_no_config_helps(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        init(tmp_path / "a.csv", tmp_path / "b.yaml")
    assert not (tmp_path / "b.yaml").exists()
    with pytest.raises(DataError, match="the data file does not exist"):
        init(tmp_path / "none.csv", tmp_path / "b.yaml")
