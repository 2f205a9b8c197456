"""`init`: write a commented config for a data file, ready to train."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from forecast.commands.inspection import Draft, inspect_file
from forecast.commands.sizing import EFFORTS, Effort, choose_baselines, choose_sizes, find_season, needs_logarithm
from forecast.config import format_yaml_line, infer_season_length
from forecast.data import Data, Panel, store_frame
from forecast.errors import ConfigError, RunError, did_you_mean
from forecast.storage import name_without_suffix, translate_write_errors

LARGE_MODEL = {"cell": "gru", "units": [128], "dropout": 0.1, "normalization": "mean", "linear_skip": True}
SMALL_MODEL = {"cell": "lstm", "units": [32], "dropout": 0.2, "normalization": "mean", "linear_skip": True}
LARGE_TRAINING: dict[str, Any] = {
    "epochs": 15, "batch_size": "auto", "learning_rate": 0.002, "loss": "mae", "schedule": "cosine",
    "early_stopping": {"patience": 5},
}  # fmt: skip
SMALL_TRAINING: dict[str, Any] = {
    "epochs": 300, "batch_size": 16, "learning_rate": 0.01, "early_stopping": {"patience": 20},
}  # fmt: skip
MAX_TARGETS = 10  # Columns that are suggested as targets.
EffortName = Literal["quick", "usual", "thorough"]
UNUSED = "columns that are not used; use known_covariates for those whose future values are known"
REMARKS = {
    "validation": "steps, used to select the best epoch",
    "test": "steps, used only for scoring",
    "transform": "logarithms turn exponential growth into linear growth, and make errors relative",
    "lookback": "past steps that the network sees",
    "normalization": "subtracts the mean of each window, so that the network can forecast at a new level",
    "linear_skip": "training starts from a ridge regression, and keeps it if no epoch is better",
    "segment": "steps that a recurrent layer reads at once: a season",
    "seeds": "one network per seed; the network's forecast is their median",
    "short_series": "adds rows before each series, marked as not observed, so that short series are also used for training",
    "align": "the series end at different times",
    "baselines": "forecast in addition to the network; leave them out to save time",
    "combine": "averages the network and the baselines, with weights chosen on the validation set",
}


def init(
    data: Data,
    output: str | Path | None = None,
    target: str | None = None,
    horizon: int | None = None,
    force: bool = False,
    effort: EffortName = "usual",
) -> Path:
    """Write a config for a data file and return its path. Comments explain the keys.

    data: a file, or a DataFrame, whose rows are stored in `runs/data/`.
    output: the config file to write. None means the name of the data file with the suffix .yaml, in the current folder.
    target, horizon: None chooses them from the data.
    effort: `quick` takes about a fifth of the usual training time, and `thorough` about five times as long.

    Raises:
        DataError: no timestamp or numeric column is found, or the rows cannot be repaired.
        RunError: `output` exists and `force` is false, or it cannot be written.
    """
    if effort not in EFFORTS:
        raise ConfigError(f"unknown effort `{effort}`.", did_you_mean(effort, EFFORTS), "init")
    name = name_without_suffix(Path(data)) if isinstance(data, (str, Path)) else "data"
    data = Path(data) if isinstance(data, (str, Path)) else store_frame(data, Path("runs/data"))
    output = Path(output or f"{name}.yaml")
    if output.exists() and not force:
        remedy = f"To train it: forecast train {output}. Or choose another name with -o, or replace it with --force."
        raise RunError("this file already exists.", remedy, str(output))
    draft, panel = inspect_file(data, target)
    draft.keys["path"] = os.path.relpath(data.absolute(), output.absolute().parent)
    text = _write_config(draft, panel, horizon, EFFORTS[effort])
    with translate_write_errors(output):
        output.write_text(text, encoding="utf-8")
    return output


def _write_config(draft: Draft, panel: Panel, horizon: int | None, effort: Effort) -> str:
    season, evidence = find_season(panel)
    sizes = choose_sizes(panel, season, horizon, effort)
    if season != infer_season_length(panel.freq):
        draft.set("season_length", season, evidence)
    remarks = REMARKS | {
        "horizon": "steps to forecast" + ("" if horizon else "; chosen from the season, change it as needed"),
        "stride": f"uses every {_ordinal(sizes.stride)} window to keep epochs short. 1 uses all.",
    }
    if sizes.pad:
        draft.set("short_series", "pad", REMARKS["short_series"])
    ends = panel.timestamps[panel.offsets[1:] - 1]
    windows = {"lookback": sizes.lookback, "horizon": sizes.horizon} | ({"stride": sizes.stride} if sizes.stride > 1 else {})
    segments = {"segment": sizes.segment, "decoder": "parallel"} if sizes.segment else {}
    level = "none" if len(panel.series_ids) > 1 else "minmax" if sizes.small else "standard"
    training = SMALL_TRAINING if sizes.small else LARGE_TRAINING
    seeds, epochs = list(range(1, effort.seeds + 1)), round(effort.epochs * training["epochs"])
    sections: dict[str, Mapping[str, object]] = {
        "splits": {"validation": sizes.held_out, "test": sizes.held_out} | ({} if len(set(ends)) == 1 else {"align": "ends"}),
        "scaling": {"method": level, "transform": "log1p"} if needs_logarithm(panel, season) else {"method": "standard"},
        "windows": windows,
        "model": SMALL_MODEL if sizes.small else LARGE_MODEL | segments,
        "training": {"seeds": seeds} | training | {"epochs": epochs},
    }
    lines = [
        f"# {panel.source}: {panel.describe()}",
        "# Written by `forecast init`. Check it with `forecast validate`, train it with `forecast train`.",
        *_format_section("data", draft.keys, draft.remarks),
        *([] if "season_length" in draft.keys else [f"  # season_length: {season} # {evidence}"]),
        *_suggest_columns(draft),
    ]
    for name, keys in sections.items():
        lines += _format_section(name, keys, remarks)
    baselines = choose_baselines(panel, season, sizes, effort)
    lines += [""] + [f"baselines: {format_yaml_line(baselines)} # {REMARKS['baselines']}"] * bool(baselines)
    lines += [f"combine: weighted # {REMARKS['combine']}"]
    return "\n".join(lines) + "\n"


def _format_section(name: str, keys: Mapping[str, object], remarks: Mapping[str, str]) -> Iterable[str]:
    yield f"\n{name}:"
    for key, value in keys.items():
        yield f"  {key}: {format_yaml_line(value)}" + (f" # {remarks[key]}" if key in remarks else "")


def _suggest_columns(draft: Draft) -> Iterator[str]:
    """Yield comments on what to do with the columns of numbers that are not used. Only people know what they mean."""
    if draft.unused:
        yield f"  # past_covariates: {format_yaml_line(draft.unused)} # {UNUSED}"
    if draft.unused and len(draft.unused) < MAX_TARGETS:
        yield f"  # target: {format_yaml_line([draft.keys['target'], *draft.unused])} # forecasts these columns together"


def _ordinal(number: int) -> str:
    """Format a number with its ordinal suffix.

    >>> [_ordinal(number) for number in (2, 3, 11, 23)]
    ['2nd', '3rd', '11th', '23rd']
    """
    teens = 10 < number % 100 < 14
    return f"{number}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"
