"""Panels, names, sizes, configs and networks drawn at random: a draw is a file and a config, and follows from its seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

FREQS = ["D", "D", "h", "MS", "W-MON", "15min", "B", "QS"]
NAMES = [
    ["a", "b", "c", "d", "e"],
    ["t", "b", "a", "z", "m"],
    ["s1", "s2", "s10", "s11", "s3"],
    [" x", "y ", " z ", "B", "b"],
    ["NA", "nan", "007", "7", "1e3"],
    ["é", "中", 'q"u,o', "two words", "True"],
]
SHAPES = ["season", "walk", "constant", "late", "zeros", "line", "counts", "spike"]


@dataclass(frozen=True)
class Draw:
    """A panel in the form of a file, and the config of a run on it."""

    table: pd.DataFrame
    file: str  # name of the data file; its suffix says how the table is written
    config: dict


def values_of(rng: np.random.Generator, rows: int, shape: str) -> np.ndarray:
    """A series of a shape, of a size from 1e-9 to 1e14, whatever its sign."""
    time = np.arange(rows)
    size = 10 ** rng.uniform(-9, 14) if rng.random() < 0.4 else 10 ** rng.uniform(-1, 3)
    base = {
        "season": lambda: 5 + np.sin(2 * np.pi * time / 7) + rng.normal(0, 0.1, rows),
        "walk": lambda: rng.normal(0, 1, rows).cumsum(),
        "constant": lambda: np.full(rows, 3.0),
        "late": lambda: np.where(time < rows * rng.uniform(0.3, 0.95), 2.0, rng.normal(2, 1, rows)),
        "zeros": lambda: np.where(rng.random(rows) < 0.15, rng.integers(1, 9, rows), 0).astype(float),
        "line": lambda: 1.0 + time,
        "counts": lambda: rng.poisson(4, rows).astype(float),
        "spike": lambda: 1 + rng.normal(0, 0.1, rows) + (time == rng.integers(rows)) * 1e4,
    }[shape]()
    return base * size * (-1 if rng.random() < 0.1 else 1)


def choose(rng: np.random.Generator, *choices, weights=None):
    """One of the choices, as itself."""
    return choices[rng.choice(len(choices), p=weights)]


def draw(seed: int) -> Draw:
    """The draw of a seed."""
    rng = np.random.default_rng(seed)
    form = choose(rng, "single", "long", "wide")
    count = 1 if form == "single" else int(rng.integers(1, 6))
    names = NAMES[rng.integers(len(NAMES))][:count]
    freq = choose(rng, *FREQS)
    rows = int(rng.integers(12, 35) if rng.random() < 0.2 else rng.integers(40, 100))
    targets = 1 if form == "wide" else int(choose(rng, 1, 1, 2, 3))
    past = [] if form == "wide" or rng.random() < 0.7 else ["visits"]
    known = [] if form == "wide" or rng.random() < 0.7 else ["price"]
    horizon, lookback = int(choose(rng, 1, 1, 2, 3, 4, 5)), int(choose(rng, 1, 2, 3, 4, 5, 6, 8))
    same = choose(rng, True, False)  # shape of all series
    shape = choose(rng, *SHAPES)
    unequal = count > 1 and rng.random() < 0.4
    pieces = []
    for name in names:
        first = int(rng.integers(0, rows // 2)) if unequal and rng.random() < 0.5 else 0
        last = rows - (int(rng.integers(0, rows // 2)) if unequal and rng.random() < 0.5 else 0)
        if unequal and rng.random() < 0.15:
            last = min(last, first + int(rng.integers(1, 8)))
        piece = pd.DataFrame({"when": pd.date_range("2021-01-03", periods=rows, freq=freq)[first:last], "shop": name})
        for column in [f"y{number}" for number in range(targets)] + past:
            piece[column] = values_of(rng, last - first, shape if same else choose(rng, *SHAPES))
        for column in known:
            piece[column] = rng.normal(0, 1, last - first)
        piece["area"], piece["kind"] = float(rng.integers(1, 5)), choose(rng, "NA", "north", "x,y")
        if known and rng.random() < 0.5:  # the file tells what comes
            coming = pd.date_range(piece.when.iloc[-1], periods=horizon + 1, freq=freq)[1:]
            coming = pd.DataFrame({"when": coming, "shop": name, "price": rng.normal(0, 1, horizon)})
            piece = pd.concat([piece, coming.assign(area=piece.area.iloc[0], kind=piece.kind.iloc[0])])
        pieces.append(piece)
    table = pd.concat(pieces, ignore_index=True)
    data: dict = {"timestamp": "when", "target": [f"y{number}" for number in range(targets)]}
    data |= {"past_covariates": past, "known_covariates": known}
    if known and rng.random() < 0.4:
        data["missing_known"] = {"price": choose(rng, "hold", "seasonal", "drop")}
    if rng.random() < 0.3:
        data["calendar"] = [choose(rng, "day_of_week", "month", "hour", "week")]
    if form == "long":
        data["series_id"] = "shop"
        data |= {"static_covariates": ["area"]} if rng.random() < 0.2 else {}
        data |= {"static_categories": [choose(rng, "kind", "shop")]} if rng.random() < 0.2 else {}
    if count > 1 and rng.random() < (0.8 if unequal else 0.2):
        data["short_series"] = "skip"
    if rng.random() < 0.3:  # cells are missing
        column = f"y{rng.integers(targets)}"
        table.loc[table.sample(frac=rng.uniform(0.01, 0.08), random_state=seed).index, column] = np.nan
        data["missing_values"] = choose(rng, "interpolate", "forward", "season")
    if rng.random() < 0.15:  # rows are missing
        table = table.drop(table.sample(frac=0.05, random_state=seed).index)
        data |= {"missing_timestamps": "fill", "missing_values": choose(rng, "forward", "season"), "freq": freq}
    if rng.random() < 0.1:
        data["resample"] = {"freq": {"D": "2D", "h": "3h"}.get(freq, freq), "how": choose(rng, "sum", "mean", "last")}
    if rng.random() < 0.3 or (form == "wide" and rng.random() < 0.5):
        table = table.sample(frac=1, random_state=seed)
    if rng.random() < 0.15:
        data["freq"] = freq
    if form == "wide":
        table = table.dropna(subset="y0").pivot(index="when", columns="shop", values="y0")
        names = [name for name in names if name in table]
        table = table[names].reset_index()
        data |= {"wide": True, "target": ["sales"]}
    model = {
        "cell": choose(rng, "lstm", "gru", "simple_rnn", "peephole_lstm"),
        "units": choose(rng, [2], [3], [2, 3], [1]),
        "decoder": choose(rng, "direct", "direct", "parallel", "seq2seq", "recursive"),
        "normalization": choose(rng, "none", "last", "mean", "revin"),
        "linear_skip": choose(rng, True, True, False),
    }
    extras = {
        "bidirectional": True,
        "attention": True,
        "dropout": 0.3,
        "l1": 0.01,
        "l2": 0.01,
        "initializer": "he_uniform",
        "layer_norm": True,
        "channel_independent": True,
        "segment": int(rng.integers(1, lookback + 1)),
        "front": {"conv": {"filters": 2, "kernel_size": int(choose(rng, 1, 2, 3)), "strides": int(choose(rng, 1, 2))}},
        "quantiles": choose(rng, [0.1, 0.5, 0.9], [0.25, 0.5]),
        "recurrent_dropout": 0.2,
    }
    model |= {key: value for key, value in extras.items() if rng.random() < 0.15}
    if model["cell"] == "peephole_lstm":
        model.pop("recurrent_dropout", None)
    if model["decoder"] == "recursive":
        model.pop("quantiles", None)
    training: dict = {"epochs": int(choose(rng, 1, 1, 2)), "batch_size": choose(rng, 32, 1, 2, 7, 64, "auto")}
    more = {
        "optimizer": choose(rng, "adamw", "rmsprop", "sgd"),
        "schedule": choose(rng, "step", "cosine", "plateau"),
        "early_stopping": None,
        "sampling": "series",
        "seeds": [1, 2],
        "warmup_epochs": 1,
        "learning_rate": choose(rng, 1e-6, 0.1, 10.0),
        "accumulate_gradients": 2,
        "clipnorm": None,
    }
    training |= {key: value for key, value in more.items() if rng.random() < 0.1}
    if "quantiles" not in model and rng.random() < 0.2:
        training["loss"] = choose(rng, "mae", "huber")
    # Parts often hold just as many windows as the horizon has steps, or one.
    size = [int(horizon + choose(rng, 0, 1, horizon - 1, horizon, 6)) for _ in range(2)]
    splits: dict = {"validation": size[0], "test": size[1]} if rng.random() < 0.7 else {"validation": 0.2, "test": 0.2}
    if count > 1 and rng.random() < 0.4:
        splits["align"] = "ends"
    scaling = {"method": choose(rng, "minmax", "standard", "robust", "none", weights=[0.4, 0.3, 0.2, 0.1])}
    scaling["per"] = choose(rng, "series", "series", "all")
    scaling["transform"] = choose(rng, "none", "none", "none", "none", "none", "log1p")
    intervals = choose(rng, {"level": [80]}, {"level": [50, 95], "method": "conformal"}, {"level": [80, 99]}, None)
    file = "data" + choose(rng, ".csv", ".csv", ".parquet")
    config = {
        "seed": int(rng.integers(100)),
        "data": {"path": file} | data,
        "splits": splits,
        "scaling": scaling,
        "windows": {"lookback": lookback, "horizon": horizon} | ({"stride": 2} if rng.random() < 0.1 else {}),
        "model": model,
        "training": training,
        "intervals": intervals,
    }
    return Draw(table, file, config)


def write(drawn: Draw, folder: Path) -> Path:
    """Write data and config into a folder; returns the config's path."""
    if drawn.file.endswith(".parquet"):
        drawn.table.to_parquet(folder / drawn.file, index=False)
    else:
        drawn.table.to_csv(folder / drawn.file, index=False)
    (folder / "config.yaml").write_text(yaml.safe_dump(drawn.config, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return folder / "config.yaml"
