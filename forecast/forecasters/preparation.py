"""A config and its data become everything that exists before the first weight."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace

import numpy as np

from forecast.config import (
    Config,
    ConfigInSteps,
    ResolvedConfig,
    infer_season_length,
    resolve_auto_settings,
    resolve_durations,
)
from forecast.data import Panel, check_target_not_constant, read_panel
from forecast.errors import ConfigError
from forecast.forecasters.network.architectures import describe_network
from forecast.forecasters.network.description import Network
from forecast.windows import (
    Scaler,
    Splits,
    Subset,
    Windows,
    check_subsets,
    check_windows_measured,
    drop_short_series,
    fit_scaler,
    make_splits,
    make_windows,
    scale_panel,
)


@dataclass(frozen=True)
class Prepared:
    """Everything that exists before the first weight: read, checked, split, scaled and cut into windows."""

    config: ResolvedConfig
    panel: Panel
    splits: Splits
    scaler: Scaler
    windows: dict[Subset, Windows]
    ridge_windows: Windows  # of the training part, whatever `windows.stride` leaves to the network
    season_length: int  # in steps; 1 where the training part holds no whole season
    inherited: Scaler | None = None  # the scaler, where it is that of a run which this one continues

    @property
    def network(self) -> Network:
        """The description of the network that this config makes of these windows."""
        return describe_network(self.config, self.scaler)

    def of_network(self, windows: Windows) -> Windows:
        """The same windows, as far ahead as the network forecasts at once: one step with `decoder: recursive`."""
        return replace(windows, horizon=self.network.horizon)


def prepare(config: Config) -> Prepared:
    """Read the data, check that it can be used as the config says, fit the scaler and cut the windows.

    Raises:
        ConfigError, DataError
    """
    return prepare_panel(*read_checked(config))


def read_checked(config: Config, panel: Panel | None = None) -> tuple[ConfigInSteps, Panel]:
    """The data, which can be used as the config says; and the config, with durations in steps of the data.

    panel: what `config.data` describes, where it was read before.

    Raises:
        ConfigError, DataError
    """
    panel = panel or read_panel(config.data)
    check_target_not_constant(panel)
    in_steps = resolve_durations(config, panel.freq)
    _check_known(in_steps, panel.freq)
    return in_steps, panel


def prepare_panel(config: ConfigInSteps, panel: Panel, scaler: Scaler | None = None) -> Prepared:
    """Split what `read_checked` returns, and prepare its parts. scaler: of a run whose networks go on with these data.

    Raises:
        ConfigError, DataError
    """
    panel, splits = drop_short_series(panel, make_splits(panel, config.splits), config)
    check_subsets(panel, splits, config)
    return prepare_parts(config, panel, splits, scaler)


def prepare_parts(config: ConfigInSteps, panel: Panel, splits: Splits, scaler: Scaler | None = None) -> Prepared:
    """Fit the scaler on the training part, unless one is given, and cut the windows of all parts.

    Raises:
        ConfigError, DataError
    """
    inherited = scaler.select(panel.series_ids) if scaler else None
    scaler = inherited or fit_scaler(panel, splits, config.scaling, config.windows)
    scaled, static = scale_panel(panel, scaler), scaler.static.apply(panel.static)

    def cut(part: Subset, stride: int = 1) -> Windows:
        return replace(make_windows(panel, scaled, splits, part, config.windows, stride), static=static)

    windows = {"train": cut("train", config.windows.stride), "validation": cut("validation"), "test": cut("test")}
    check_windows_measured(windows, config)
    resolved = resolve_auto_settings(config, len(windows["train"]))
    _check_accumulation(resolved, len(windows["train"]))
    season_length = _season_length(panel, splits, config)
    return Prepared(resolved, panel, splits, scaler, windows, cut("train"), season_length, inherited)


def scored_on(prepared: Prepared) -> str:
    """A digest of what the network is scored on: equal where targets, horizon, and windows of both parts are the same."""
    panel, told = prepared.panel, hashlib.sha256()
    told.update(json.dumps([panel.sha256, panel.targets, prepared.config.windows.horizon, panel.series_ids]).encode())
    for part in ("validation", "test"):
        windows = prepared.windows[part]
        told.update(panel.timestamps[windows.first].asi8.tobytes() + windows.series.tobytes())
    return told.hexdigest()


def _season_length(panel: Panel, splits: Splits, config: ConfigInSteps) -> int:
    """The config's season, or that of the freq; a season that no training part can hold is 1 if nobody asked for it."""
    rows = int(np.diff(splits.borders[:, :2]).max())
    season_length = config.data.season_length or infer_season_length(panel.freq)
    if season_length < rows:
        return season_length
    if config.data.season_length:
        raise ConfigError(
            f"data.season_length is {season_length}, but the training part has {rows} rows.",
            f"Use at most {rows - 1}, or a longer training part.",
            config.locate("data.season_length"),
        )
    return 1


def _check_known(config: ConfigInSteps, freq: str) -> None:
    """What the decoder and `data.missing_known` need to know is known."""
    data, season = config.data, config.data.season_length or infer_season_length(freq)
    if config.model.decoder == "recursive" and data.past_covariates:
        raise ConfigError(
            f"model.decoder: recursive takes one step after the other, and nobody knows `{data.past_covariates[0]}` in between.",
            "Use direct or seq2seq, or leave out the past covariates.",
            config.locate("model.decoder"),
        )
    if "seasonal" in data.missing_known.values() and season > config.windows.lookback:
        raise ConfigError(
            f"data.missing_known: seasonal needs a whole season of {season} steps in the lookback of {config.windows.lookback}.",
            "Use a longer windows.lookback, or hold.",
            config.locate("data.missing_known"),
        )


def _check_accumulation(config: ResolvedConfig, windows: int) -> None:
    """Check that an epoch holds at least one step of the optimizer."""
    batches = -(-windows // config.training.batch_size)
    if config.training.accumulate_gradients > batches:
        raise ConfigError(
            f"training.accumulate_gradients is {config.training.accumulate_gradients}, but an epoch has {batches} batches.",
            f"Use at most {batches}, or a smaller training.batch_size.",
            config.locate("training.accumulate_gradients"),
        )
