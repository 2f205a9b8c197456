"""A DataFrame is as good as a file."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import forecast
from forecast.config.load import load_config
from forecast.data.frames import store_frame
from forecast.data.panel import read_panel
from forecast.errors import DataError
from tests.conftest import seasonal_rows

MONTHS = pd.date_range("2010-01-01", periods=120, freq="MS")


def test_an_index_becomes_columns_and_the_name_follows_the_content(tmp_path):
    frame = pd.DataFrame({"sales": seasonal_rows()}, index=MONTHS)
    path = store_frame(frame, tmp_path)
    pd.testing.assert_frame_equal(pd.read_csv(path, parse_dates=["timestamp"]), frame.rename_axis("timestamp").reset_index())
    assert store_frame(frame, tmp_path) == path
    assert store_frame(frame + 1, tmp_path) != path


REFUSED = {
    "empty": pd.DataFrame(),
    "same names": pd.DataFrame([[1, 2]], columns=["a", "a"]),
    "index like a column": pd.DataFrame({"a": [1]}, index=pd.Index([1], name="a")),
    "unnamed levels": pd.DataFrame({"a": [1]}, index=pd.MultiIndex.from_tuples([(1, 2)])),
    "levels of columns": pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])),
}


@pytest.mark.parametrize("frame", REFUSED.values(), ids=REFUSED)
def test_a_frame_that_is_no_table_is_refused(frame, tmp_path):
    with pytest.raises(
        DataError, match="the DataFrame: it has no rows, or it has several columns with the same name or several levels"
    ):
        store_frame(frame, tmp_path)


@pytest.mark.parametrize(
    "keys", [{}, {"decimal": ",", "thousands": "."}, {"delimiter": ";"}, {"date_format": "%d/%m/%Y"}], ids=str
)
def test_a_frame_is_read_as_it_is_whatever_the_format_of_files(keys, project, tmp_path):
    values = np.round(seasonal_rows() / 1000, 3)
    config = load_config(project(data=keys)).data
    path = store_frame(pd.DataFrame({"month": MONTHS, "sales": values}), tmp_path / "frames", config)
    panel = read_panel(config.model_copy(update={"path": str(path)}))
    assert np.allclose(panel.values[:, 0], values, rtol=1e-12)
    assert panel.timestamps.equals(MONTHS)


@pytest.mark.slow
def test_a_notebook_trains_on_a_frame_and_forecasts_from_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame({"unique_id": "a", "ds": MONTHS, "y": seasonal_rows()})
    config = forecast.load_config(forecast.init(frame, "a.yaml", horizon=3), {"training.epochs": 1, "training.seeds": [1]})
    assert (config.data.timestamp, config.data.target) == (["ds"], ["y"])
    run = forecast.train(config, data=frame)
    newer = frame.rename(columns={"ds": "when", "y": "sales"}).assign(when=MONTHS + pd.DateOffset(years=1))
    with pytest.raises(DataError, match="^the DataFrame:1: the file has no column `ds`"):
        forecast.predict(run, newer)
    ahead = forecast.predict(run, newer.rename(columns={"when": "ds", "sales": "y"}))
    assert ahead.timestamp.min() == pd.Timestamp("2021-01-01")
    assert forecast.predict(run, frame).equals(forecast.predict(run))


@pytest.mark.slow
def test_names_of_other_libraries_stand_for_those_of_the_config(project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame({"ds": MONTHS, "y": seasonal_rows()})
    run = forecast.train(forecast.load_config(project()), data=frame)
    assert run.read_config().data.target == ["sales"]
    assert len(forecast.predict(run, frame)) == 3


@pytest.mark.slow
def test_a_notebook_shows_the_report_of_a_run(trained, tmp_path):
    run = forecast.Run(trained().directory)
    assert run._repr_html_() == f"Run({str(run.directory)!r})".replace("'", "&#x27;"), "it was trained without a report"
    shown = forecast.Run(tmp_path)
    shown.report.write_text('<p>"quoted"</p>')
    sandbox = "allow-scripts allow-downloads"
    assert shown._repr_html_().startswith(f'<iframe sandbox="{sandbox}" srcdoc="&lt;p&gt;&quot;quoted&quot;&lt;/p&gt;"')
