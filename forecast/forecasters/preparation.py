"""Prepare a config and its data for training: read, check, split, scale, and cut windows."""

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
    SUBSETS,
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
    """Everything that exists before the first weight.

    windows: all that hold no filled value from their cutoff on. network_windows: those that networks are trained and validated
    on, `windows.stride` steps apart in the training set. Filled targets, which do not count, are NaN.
    season_length: in steps; 1 if the training set holds no whole season. inherited: the scaler, if it is that of a parent run.
    """

    config: ResolvedConfig
    panel: Panel
    splits: Splits
    scaler: Scaler
    windows: dict[Subset, Windows]
    network_windows: dict[Subset, Windows]
    season_length: int
    inherited: Scaler | None = None

    @property
    def network(self) -> Network:
        """Return the description of the network that the config asks for."""
        return describe_network(self.config, self.scaler)

    def extend_training(self, last: Subset, with_gaps: bool = False) -> Windows:
        """Return the training windows up to the end of a later subset. with_gaps: return those for networks."""
        borders, windows = self.splits.borders.copy(), self.network_windows if with_gaps else self.windows
        borders[:, 1] = borders[:, SUBSETS.index(last) + 1]
        train, stride = windows["train"], self.config.windows.stride if with_gaps else 1
        longer = make_windows(self.panel, train.past, Splits(borders), "train", self.config.windows, stride, with_gaps)
        return replace(longer, static=train.static)

    def limit_horizon(self, windows: Windows) -> Windows:
        """Return the windows with the horizon that the network forecasts at once, a single step for `decoder: recursive`."""
        return replace(windows, horizon=self.network.horizon)


def prepare(config: Config) -> Prepared:
    """Read the data, check that the config fits them, fit the scaler and cut the windows.

    Raises:
        ConfigError, DataError: the data cannot be used, or the config does not fit them.
    """
    return prepare_panel(*read_and_resolve(config))


def read_and_resolve(config: Config, panel: Panel | None = None) -> tuple[ConfigInSteps, Panel]:
    """Return the config with durations in steps of the data, and the checked data.

    panel: the data that `config.data` describes, if they were read before.

    Raises:
        ConfigError, DataError: the data cannot be used, or the config does not fit them.
    """
    panel = panel or read_panel(config.data)
    check_target_not_constant(panel)
    in_steps = resolve_durations(config, panel.freq)
    _check_covariates(in_steps, panel.freq)
    return in_steps, panel


def prepare_panel(config: ConfigInSteps, panel: Panel, scaler: Scaler | None = None) -> Prepared:
    """Split what `read_and_resolve` returns, and prepare it. scaler: that of a parent run.

    Raises:
        ConfigError, DataError: the data cannot be used, or the config does not fit them.
    """
    panel = panel.pad(config.windows.lookback) if config.data.short_series == "pad" else panel
    panel, splits = drop_short_series(panel, make_splits(panel, config.splits), config)
    check_subsets(panel, splits, config)
    return prepare_splits(config, panel, splits, scaler)


def prepare_splits(config: ConfigInSteps, panel: Panel, splits: Splits, scaler: Scaler | None = None) -> Prepared:
    """Fit the scaler on the training set, unless there is one, and cut the windows of all three sets.

    Raises:
        ConfigError, DataError: the data cannot be used, or the config does not fit them.
    """
    inherited = scaler.select(panel.series_ids) if scaler else None
    scaler = inherited or fit_scaler(panel, splits, config.scaling, config.windows)
    scaled, static = scale_panel(panel, scaler), scaler.static.apply(panel.static)

    def cut(subset: Subset, stride: int = 1, with_gaps: bool = False) -> Windows:
        return replace(make_windows(panel, scaled, splits, subset, config.windows, stride, with_gaps), static=static)

    windows: dict[Subset, Windows] = {subset: cut(subset) for subset in SUBSETS}
    check_windows_measured(windows, config)
    network_windows: dict[Subset, Windows] = {
        "train": cut("train", config.windows.stride, with_gaps=True),
        "validation": cut("validation", with_gaps=True),
    }
    check_windows_measured(network_windows, config)
    resolved = resolve_auto_settings(config, len(network_windows["train"]))
    _check_accumulation(resolved, len(network_windows["train"]))
    season_length = _choose_season_length(panel, splits, config)
    return Prepared(resolved, panel, splits, scaler, windows, network_windows, season_length, inherited)


def digest_scored_windows(prepared: Prepared) -> str:
    """Return a digest that is equal for two configs if data, targets, horizon, and windows to score are the same."""
    panel, digest = prepared.panel, hashlib.sha256()
    digest.update(json.dumps([panel.sha256, panel.targets, prepared.config.windows.horizon, panel.series_ids]).encode())
    for subset in SUBSETS[1:]:
        windows = prepared.windows[subset]
        digest.update(panel.timestamps[windows.first].asi8.tobytes() + windows.series.tobytes())
    return digest.hexdigest()


def _choose_season_length(panel: Panel, splits: Splits, config: ConfigInSteps) -> int:
    """Return the season of the config or of the freq; 1 if the season of the freq is longer than every training set.

    Raises:
        ConfigError: the season of the config is as long.
    """
    rows = int(np.diff(splits.borders[:, :2]).max())
    season_length = config.data.season_length or infer_season_length(panel.freq)
    if season_length < rows:
        return season_length
    if config.data.season_length:
        raise ConfigError(
            f"data.season_length is {season_length}, but the training set has {rows} rows.",
            f"Use at most {rows - 1}, or a longer training set.",
            config.locate("data.season_length"),
        )
    return 1


def _check_covariates(config: ConfigInSteps, freq: str) -> None:
    """Check that the decoder and `data.missing_known` find the values that they need."""
    data, season = config.data, config.data.season_length or infer_season_length(freq)
    if config.model.decoder == "recursive" and data.past_covariates:
        raise ConfigError(
            f"the recursive decoder forecasts step by step, but `{data.past_covariates[0]}` is unknown after the first step.",
            "Use direct or seq2seq, or leave out the past covariates.",
            config.locate("model.decoder"),
        )
    if "seasonal" in data.missing_known.values() and season > config.windows.lookback:
        raise ConfigError(
            f"data.missing_known: seasonal needs a whole season of {season} steps in the lookback of {config.windows.lookback}.",
            "Use a longer windows.lookback, or set data.missing_known to hold.",
            config.locate("data.missing_known"),
        )


def _check_accumulation(config: ResolvedConfig, windows: int) -> None:
    """Check that an epoch holds at least one step of the optimizer."""
    batches = -(-windows // config.training.batch_size)
    if config.training.accumulate_gradients > batches:
        raise ConfigError(
            f"training.accumulate_gradients is {config.training.accumulate_gradients},"
            f" but the number of batches in an epoch is {batches}.",
            f"Use at most {batches}, or a smaller training.batch_size.",
            config.locate("training.accumulate_gradients"),
        )
