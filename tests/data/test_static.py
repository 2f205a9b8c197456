"""What stays the same in all rows of a series: read, scaled, and told to the network."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from forecast.commands.export import export
from forecast.commands.predict import predict
from forecast.commands.train import train
from forecast.config.load import load_config
from forecast.data.panel import read_panel
from forecast.errors import DataError
from forecast.forecasters.preparation import prepare
from tests.shops import config, promoted, rmse_of

STATIC = {"static_covariates": "size", "static_categories": "region"}


@pytest.mark.slow
def test_what_is_static_tells_the_series_apart(project, tmp_path, caplog):
    def trained(name, **static):
        path = config(project, promoted(), known_covariates="promotion", **static)
        keys = {
            "training.epochs": 20,
            "scaling.per": "all",
            "windows.lookback": 2,
            "model.linear_skip": False,
            "model.decoder": "seq2seq",
        }
        return train(load_config(path, keys), tmp_path / name)

    run = trained("static", **STATIC)
    assert rmse_of(run) < 0.5 * rmse_of(trained("plain"))
    future = promoted().groupby("shop").tail(3).assign(promotion=1.0)
    future["day"] = pd.to_datetime(future.day) + pd.Timedelta(days=3)
    future.to_csv(tmp_path / "future.csv", index=False)
    ahead = predict(run, future=tmp_path / "future.csv")
    jumps = ahead.groupby("series_id").forecast.mean() - 20
    np.testing.assert_allclose(jumps, [5, -5, 15, -15], atol=2)
    np.testing.assert_allclose(ahead.forecast, predict(run, future=tmp_path / "future.csv", runtime="keras").forecast, rtol=1e-4)
    made = export(run, "keras", tmp_path / "made")
    with np.load(made.directory / "example.npz") as example:
        assert set(example) == {"past", "known", "series"}, "an export looks up what is static by the series"

    newer = promoted(seed=1).groupby("shop").tail(9).replace({"region": "south"}, "east")
    newer.to_csv(tmp_path / "newer.csv", index=False)
    with caplog.at_level("WARNING"):
        unseen = predict(run, tmp_path / "newer.csv", future=tmp_path / "future.csv")
    assert (
        "categories of `region` that were not in the training data are treated as the average of all categories: 'east'"
        in caplog.text
    )
    assert np.isfinite(unseen.forecast).all()
    vectors = run.read_arrays(run.weights, 10**6)["embedding_1/embeddings"]
    np.testing.assert_allclose(vectors[0], vectors[1:].mean(axis=0), rtol=1e-6)


def test_what_is_static_does_not_change(project):
    table = promoted().reset_index(drop=True).astype({"size": object})
    table.loc[700, "region"] = "east"
    with pytest.raises(DataError, match=r"data.csv:702: `region` of series 'shop 2' is 'north' in row 602 and 'east' in row 702"):
        prepare(load_config(config(project, table, **STATIC)))
    table.loc[700, ["region", "size"]] = ["north", 2.5]
    with pytest.raises(DataError, match="`size` of series 'shop 2' is 3 in row 602 and 2.5 in row 702"):
        prepare(load_config(config(project, table, **STATIC)))
    table.loc[700, ["region", "size"]] = ["n" * 201, 3]
    with pytest.raises(DataError, match="`region` is longer than 200 characters in 1 row: row 702"):
        prepare(load_config(config(project, table, **STATIC)))
    table.loc[700, "region"] = np.nan
    with pytest.raises(DataError, match="`region` is empty in 1 row: row 702"):
        prepare(load_config(config(project, table, **STATIC)))


def test_static_numbers_are_scaled_by_series_that_are_trained_on(project):
    table = promoted()
    late = table[table.shop == "shop 3"].tail(125).assign(shop="late", size=1000, region="west")  # 5 training rows, no window
    keys = {"short_series": "skip", **STATIC}
    prepared = prepare(load_config(config(project, pd.concat([table, late]), **keys)))
    scaler = prepared.scaler.static
    assert (scaler.offset.tolist(), scaler.scale.tolist(), scaler.vocabulary) == ([2], [1], [["north", "south"]])
    seen = prepared.windows["test"].inputs()
    series = np.array(prepared.panel.series_ids)[prepared.windows["test"].series]
    assert seen["categories"][series == "late"].max() == 0
    np.testing.assert_allclose(seen["static"][series == "late"], 998)
    assert seen["categories"][series == "shop 1"].min() == 2


def test_static_numbers_are_written_as_all_numbers_are(project):
    def written(values):
        return values.map("{:,.1f}".format).str.translate(str.maketrans(",.", ".,"))

    table = promoted()
    table = table.assign(size=written(1000.5 + 100 * table["size"]), sales=written(table.sales))
    path = config(project, table, **STATIC, decimal=",", thousands=".")
    assert read_panel(load_config(path).data).static.numbers[:, 0].tolist() == [1100.5, 1100.5, 1300.5, 1300.5]


def test_categories_are_text_as_it_stands(project):
    table = promoted().replace({"region": {"north": "NA", "south": "01"}})
    panel = read_panel(load_config(config(project, table, **STATIC)).data)
    assert panel.static.categories[:, 0].tolist() == ["NA", "01", "NA", "01"]


def test_rows_of_the_future_need_not_repeat_what_is_static(project):
    table = promoted().astype({"day": str, "size": object})
    ahead = pd.DataFrame({"day": "2020-10-27", "shop": table.shop.unique(), "promotion": 1.0})
    panel = read_panel(load_config(config(project, pd.concat([table, ahead]), known_covariates="promotion", **STATIC)).data)
    assert len(panel.future_covariates) == 4
    assert panel.static.numbers[:, 0].tolist() == [1, 1, 3, 3]


@pytest.mark.parametrize("name", ["series", "shop"])
def test_any_column_may_be_a_category(project, name):
    table = promoted().assign(series=lambda rows: rows.region)
    panel = read_panel(load_config(config(project, table, static_categories=name)).data)
    assert sorted(set(panel.static.categories[:, 0])) == sorted(table[name].unique())


def test_tiny_static_numbers_are_scaled_to_numbers(project):
    table = promoted().assign(size=lambda rows: 1e-200 * rows["size"])
    seen = prepare(load_config(config(project, table, **STATIC))).windows["train"].inputs()
    assert np.isfinite(seen["static"]).all()
