"""`validate`: find beforehand what can fail in training, without TensorFlow."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from forecast.config import Config, change_config, load_config
from forecast.data import TYPED, Panel, build_panel, describe_repairs, read_rows
from forecast.errors import ConfigError, ForecastError
from forecast.evaluation import CROWDED, check_covariates, count_independent, explain_few_windows
from forecast.forecasters.baselines import estimate_seconds
from forecast.forecasters.preparation import Prepared, prepare_panel, read_and_resolve
from forecast.runs import check_trackers
from forecast.training import check_can_train
from forecast.training.memory import check_memory, suggest_less_memory

MIN_WINDOWS = 50  # Training windows. With fewer, a network hardly learns more than its linear skip.
MAX_SEASON = 100  # Steps. The lookback need not cover a longer season.
MAX_TEXT_BYTES = 100e6
SLOW_BASELINE = 300  # Seconds.
REPAIRS = {"data.duplicates": "first", "data.missing_timestamps": "fill", "data.missing_values": "interpolate"}
Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """A result of the validation: its figures in `text`, and what to do about it in `remedy`."""

    level: Level
    subject: str
    text: str
    remedy: str = ""


def validate(config: Config | str | Path, overrides: Mapping[str, object] | None = None) -> list[Finding]:
    """Check a config and its data as `train` does before it builds the network. Errors are findings, not exceptions."""
    findings: list[Finding] = []
    try:
        loaded = config if isinstance(config, Config) else load_config(config, overrides)
        findings.append(Finding("ok", "config", f"{loaded.name}: all keys are valid"))
        resolved, panel = read_and_resolve(loaded)
        # An installation for prediction only has no scikit-learn, and cannot fit a scaler.
        prepared = prepare_panel(resolved, panel) if importlib.util.find_spec("sklearn") else None
    except ForecastError as error:
        if isinstance(error, ConfigError) or not findings:
            return [*findings, Finding("error", "config", str(error))]
        return [*findings, *(Finding("error", "data", message) for message in _find_data_errors(loaded, error))]
    findings += _check_data(loaded, prepared.panel if prepared else panel)
    if prepared:
        findings += [*_check_leaks(prepared), *_check_windows(prepared), *_check_network(prepared), *_check_baselines(prepared)]
    return [*findings, *_check_packages(loaded)]


def _find_data_errors(config: Config, error: ForecastError) -> list[str]:
    """Return the message of an error, and those of the errors that would follow if the config repaired the first one."""
    messages, path = [str(error)], Path(config.data.path)
    try:
        rows = read_rows(config.data, path)
    except ForecastError:  # No policy repairs cells that cannot be read.
        return messages
    for key, policy in REPAIRS.items():
        config = change_config(config, {key: policy})
        try:
            build_panel(*rows, config.data, str(path))
            break
        except ForecastError as later:
            messages.append(str(later))
    return list(dict.fromkeys(messages))


def _check_data(config: Config, panel: Panel) -> Iterator[Finding]:
    yield Finding("ok", "data", panel.describe())
    path = Path(config.data.path)
    if path.suffix.lower() not in TYPED and (size := path.stat().st_size) > MAX_TEXT_BYTES:
        text = f"{size / 1e6:.0f} MB of text; Parquet is read several times faster"
        yield Finding("ok", "data", text, "Convert it to Parquet, with numbers and names unchanged, and set data.path.")
    for repair in describe_repairs(panel.record):
        yield Finding("warning", "data", repair, "contract.json in the run will list the first places.")


def _check_leaks(prepared: Prepared) -> Iterator[Finding]:
    for check in check_covariates(prepared):
        if check.doubtful or not check.passed:
            text = f"{check.subject} {check.result}"
            yield Finding("warning", "leaks", text, "Remove it, or use the values known at each timestamp.")


def _check_windows(prepared: Prepared) -> Iterator[Finding]:
    config, season = prepared.config, prepared.season_length
    lookback, train = config.windows.lookback, len(prepared.network_windows["train"])
    counts = {subset: len(windows) for subset, windows in prepared.windows.items()} | {"train": train}
    sizes = ", ".join(f"{count} {subset}" for subset, count in counts.items())
    yield Finding("ok", "windows", f"{sizes}; lookback {lookback}, horizon {config.windows.horizon}")
    if train < MIN_WINDOWS:
        yield Finding("warning", "windows", f"only {train} training windows", "Use a shorter lookback or horizon, or more data.")
    if config.intervals and (sentence := explain_few_windows(count_independent(prepared.windows["validation"]))):
        yield Finding("ok", "intervals", sentence, "Increase splits.validation to calibrate the intervals on more windows.")
    if 1 < season <= MAX_SEASON and lookback < season:
        text = f"the lookback of {lookback} steps is shorter than the season of {season} steps"
        yield Finding("warning", "windows", text, "Increase windows.lookback.")


def _check_network(prepared: Prepared) -> Iterator[Finding]:
    parameters, train = prepared.network.parameters, prepared.network_windows["train"]
    values = len(train) * train.horizon * train.future.shape[1]
    if parameters > CROWDED * values:
        text = f"{parameters:,} parameters learn from {values:,} target values"
        yield Finding("warning", "network", text, "Use fewer model.units.")
    else:
        yield Finding("ok", "network", f"{parameters} parameters")
    is_enough, memory = check_memory(prepared)
    if is_enough:
        yield Finding("ok", "memory", f"training needs {memory}")
    else:
        yield Finding("warning", "memory", f"training needs {memory}", suggest_less_memory(prepared))


def _check_baselines(prepared: Prepared) -> Iterator[Finding]:
    lengths, season = np.diff(prepared.panel.offsets) - prepared.panel.padding, prepared.season_length
    windows = len(prepared.windows["validation"]) + len(prepared.windows["test"])
    for name in prepared.config.baselines:
        rows, horizon = int(np.median(lengths)), prepared.config.windows.horizon
        seconds = estimate_seconds(name, rows, len(lengths), season, windows, horizon) * len(prepared.panel.targets)
        if seconds > SLOW_BASELINE:
            text = f"fitting {name} to {len(lengths)} series takes about {seconds / 60:.0f} min"
            yield Finding("warning", "baselines", text, f"Leave {name} out of `baselines` to save this time.")
        else:
            yield Finding("ok", "baselines", f"fitting {name} takes about {max(1, round(seconds))} s")


def _check_packages(config: Config) -> Iterator[Finding]:
    """Yield an error for what `train` would refuse on this machine, or a warning if the installation is for prediction only."""
    level: Level = "warning" if importlib.util.find_spec("keras") is None else "error"
    for check in (partial(check_can_train, config.baselines), partial(check_trackers, config)):
        try:
            check()
        except ForecastError as error:
            location = f"{error.location}: " if error.location else ""
            yield Finding(level, "training", location + error.problem, error.remedy)
