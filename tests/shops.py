"""Shops whose sales follow from what is known of them, with a little noise: a network that sees it errs by the noise alone."""

from __future__ import annotations

import numpy as np
import pandas as pd

NOISE = 0.1


def priced(rows=400, shops=("north", "south"), seed=0):
    """Sales that follow from the price of the day, and nothing else."""
    rng = np.random.default_rng(seed)
    tables = []
    for shop in shops:
        price = rng.uniform(0, 1, rows)
        sales = 20 + 5 * np.sin(3 * price) + rng.normal(0, NOISE, rows)
        days = pd.date_range("2020-01-01", periods=rows)
        tables.append(
            pd.DataFrame({"day": days, "shop": shop, "price": price, "visits": rng.uniform(0, 9, rows), "sales": sales})
        )
    return pd.concat(tables)


def config(project, table, **data):
    keys = {"timestamp": "day", "target": "sales", "series_id": "shop"} | data
    return project(
        table,
        data=keys,
        splits={"validation": 60, "test": 60},
        windows={"lookback": 7, "horizon": 3},
        model={"units": [16], "normalization": "none"},
        training={"epochs": 40, "learning_rate": 0.01, "early_stopping": {"patience": 10}},
    )


def rmse_of(run):
    return run.read_json(run.metrics_file)["test"]["forecast"]["total"]["rmse"]


def future(run, **changes):
    """The next three days of both shops."""
    days = pd.date_range("2021-02-04", periods=3)
    table = pd.concat([pd.DataFrame({"day": days, "shop": shop, "price": [0.1, 0.5, 0.9]}) for shop in ("south", "north")])
    path = run.directory.parent / "future.csv"
    table.assign(**changes).to_csv(path, index=False)
    return path


def promoted(rows=300, seed=0):
    """Shops whose sales jump on rare promotion days: up in the north, down in the south, by their size."""
    rng = np.random.default_rng(seed)
    tables = []
    for number, (region, size) in enumerate([("north", 1), ("south", 1), ("north", 3), ("south", 3)]):
        promotion = (rng.uniform(0, 1, rows) < 0.1).astype(float)
        sales = 20 + {"north": 5, "south": -5}[region] * size * promotion + rng.normal(0, NOISE, rows)
        days = pd.date_range("2020-01-01", periods=rows)
        table = {"day": days, "shop": f"shop {number}", "region": region, "size": size, "promotion": promotion, "sales": sales}
        tables.append(pd.DataFrame(table))
    return pd.concat(tables)
