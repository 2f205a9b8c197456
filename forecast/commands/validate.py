"""`validate`: everything that can fail in training is said now, without TensorFlow."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from forecast.config import Config, load_config
from forecast.data import PARQUET, Panel, describe_repairs
from forecast.errors import ConfigError, ForecastError
from forecast.evaluation import CROWDED, check_covariates, count_independent, explain_few_windows
from forecast.forecasters.network.description import Network
from forecast.forecasters.preparation import Prepared, prepare_panel, read_and_resolve
from forecast.runs import check_trackers
from forecast.training import check_can_train
from forecast.training.memory import check_memory, suggest_less_memory

FEW_WINDOWS = 50  # training windows below which a network hardly learns more than its linear skip
LONG_SEASON = 100  # steps; a season longer than this is not for the lookback to see
LARGE_TEXT = 100e6  # bytes


@dataclass(frozen=True)
class Finding:
    """One line of a validation; `text` has figures, `remedy` says what to do."""

    level: Literal["ok", "warning", "error"]
    subject: str
    text: str
    remedy: str = ""


def validate(config: Config | str | Path, overrides: Mapping[str, object] | None = None) -> list[Finding]:
    """Check a config and its data as `train` would, up to the first weight; errors are findings, not exceptions."""
    try:
        loaded = config if isinstance(config, Config) else load_config(config, overrides)
    except ForecastError as error:
        return [Finding("error", "config", str(error))]
    found = [Finding("ok", "config", f"{loaded.name}, all keys are known and in range")]
    try:
        in_steps, panel = read_and_resolve(loaded)
        if importlib.util.find_spec("sklearn") is None:  # Only prediction is installed, which cannot prepare a training.
            return [*found, *_about_data(in_steps, panel), *_about_packages(loaded)]
        prepared = prepare_panel(in_steps, panel)
    except ForecastError as error:
        return [*found, Finding("error", "config" if isinstance(error, ConfigError) else "data", str(error))]
    network = prepared.network
    found += [
        Finding("warning", "leaks", f"{check.subject} {check.result}", "Remove it, or use the values known at each timestamp.")
        for check in check_covariates(prepared)
        if check.doubtful or not check.passed
    ]
    about_config = [*_about_windows(prepared), *_about_network(prepared, network), *_about_packages(loaded)]
    return [*found, *_about_data(prepared.config, prepared.panel), *about_config]


def _about_data(config: Config, panel: Panel) -> list[Finding]:
    span = f"{panel.timestamps.min()} to {panel.timestamps.max()}"
    found = [Finding("ok", "data", f"{len(panel.values)} rows, {len(panel.series_ids)} series, freq {panel.freq}, {span}")]
    path = Path(config.data.path)
    if path.suffix.lower() not in PARQUET and (size := path.stat().st_size) > LARGE_TEXT:
        told_size = f"{size / 1e6:.0f} MB of text; Parquet is read several times faster"
        found.append(Finding("ok", "data", told_size, "Convert it once, with numbers and names as they are, and set data.path."))
    return found + [
        Finding("warning", "data", repair, "The run's contract says where.") for repair in describe_repairs(panel.record)
    ]


def _about_windows(prepared: Prepared) -> list[Finding]:
    counts = {part: len(windows) for part, windows in prepared.windows.items()}
    sizes = ", ".join(f"{count} {part}" for part, count in counts.items())
    found = [
        Finding(
            "ok", "windows", f"{sizes}; lookback {prepared.config.windows.lookback}, horizon {prepared.config.windows.horizon}"
        )
    ]
    if counts["train"] < FEW_WINDOWS:
        found.append(
            Finding(
                "warning",
                "windows",
                f"only {counts['train']} training windows",
                "Use a shorter lookback or horizon, or more data.",
            )
        )
    independent = count_independent(prepared.windows["validation"])
    if prepared.config.intervals and (sentence := explain_few_windows(independent)):
        found.append(Finding("ok", "intervals", sentence, "A larger splits.validation gives calibrated intervals."))
    season, lookback = prepared.season_length, prepared.config.windows.lookback
    if 1 < season <= LONG_SEASON and lookback < season:
        found.append(
            Finding(
                "warning",
                "windows",
                f"a lookback of {lookback} sees no whole season of {season} steps",
                "Set windows.lookback higher.",
            )
        )
    return found


def _about_network(prepared: Prepared, network: Network) -> list[Finding]:
    train = prepared.windows["train"]
    values = len(train) * train.horizon * train.future.shape[1]
    found = [Finding("ok", "network", f"{network.parameters} parameters")]
    if network.parameters > CROWDED * values:
        found = [
            Finding(
                "warning",
                "network",
                f"{network.parameters:,} parameters learn from {values:,} target values",
                "Use fewer model.units.",
            )
        ]
    is_enough, sentence = check_memory(prepared)
    if not is_enough:
        return [*found, Finding("warning", "memory", sentence, suggest_less_memory(prepared))]
    return [*found, Finding("ok", "memory", sentence)]


def _about_packages(config: Config) -> list[Finding]:
    """Return a finding for what `train` would refuse here; a warning where only predicting is installed.

    Such an installation checks configs for other machines.
    """
    level = "warning" if importlib.util.find_spec("keras") is None else "error"
    found = []
    for check in (check_can_train, partial(check_trackers, config)):
        try:
            check()
        except ForecastError as error:
            place = f"{error.location}: " if error.location else ""
            found.append(Finding(level, "training", place + error.problem, error.remedy))
    return found
