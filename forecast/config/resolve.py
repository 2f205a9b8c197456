"""Resolve a config: durations become steps, and `auto` becomes the value that fits the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

from forecast.config.durations import duration_to_steps
from forecast.config.schema import BacktestConfig, Config, DataConfig, ModelConfig, SplitsConfig, TrainingConfig, WindowsConfig
from forecast.config.types import DURATION
from forecast.errors import ConfigError, check_backend

DURATIONS = (
    "data.season_length", "data.max_gap", "splits.validation", "splits.test", "windows.lookback", "windows.horizon",
    "windows.stride", "model.segment", "backtest.stride",
)  # fmt: skip
AUTO_SETTINGS = ("training.batch_size", "training.jit_compile")
AUTO_BATCH_SIZES = (32, 64, 128, 256)
MIN_STEPS_PER_EPOCH = 16  # Steps of the optimizer that `batch_size: auto` leaves in an epoch.
MAX_COMPILED_BATCH = 64  # XLA is slower than TensorFlow's graph at larger batches.
MIN_COMPILED_WINDOWS = 200_000  # Windows in a whole training, from which XLA saves more than the seconds of compiling.


if TYPE_CHECKING:

    class ResolvedDataConfig(DataConfig):
        """The section `data`, with durations in steps."""

        season_length: int | None = None
        max_gap: int = 24

    class ResolvedSplitsConfig(SplitsConfig):
        """The section `splits`, with durations in steps; a string is a date."""

    class ResolvedWindowsConfig(WindowsConfig):
        """The section `windows`, with durations in steps."""

        lookback: int
        horizon: int
        stride: int = 1

    class ResolvedModelConfig(ModelConfig):
        """The section `model`, with durations in steps."""

        segment: int | None = None

    class ResolvedBacktestConfig(BacktestConfig):
        """The section `backtest`, with durations in steps."""

        stride: int | None = None

    class ResolvedTrainingConfig(TrainingConfig):
        """The section `training`, without `auto`."""

        batch_size: int = 32
        jit_compile: bool = False

else:  # Only type checkers tell resolved sections apart. At run time, equal sections of two configs are equal.
    ResolvedDataConfig, ResolvedSplitsConfig, ResolvedWindowsConfig = DataConfig, SplitsConfig, WindowsConfig
    ResolvedModelConfig, ResolvedBacktestConfig, ResolvedTrainingConfig = ModelConfig, BacktestConfig, TrainingConfig


class ConfigInSteps(Config):
    """A config whose durations are numbers of steps; `auto` is left until the training windows are counted."""

    data: ResolvedDataConfig
    splits: ResolvedSplitsConfig = ResolvedSplitsConfig()
    windows: ResolvedWindowsConfig
    model: ResolvedModelConfig = ResolvedModelConfig()
    backtest: ResolvedBacktestConfig = ResolvedBacktestConfig()


class ResolvedConfig(ConfigInSteps):
    """A config whose durations are numbers of steps, and in which no setting is `auto`."""

    training: ResolvedTrainingConfig = ResolvedTrainingConfig()


Kind = TypeVar("Kind", bound=ConfigInSteps)


def resolve_durations(config: Config, freq: str) -> ConfigInSteps:
    """Replace durations such as 7d by steps of `freq`.

    Raises:
        ConfigError: durations are not a whole number of steps; the error names all of them.
    """
    steps: dict[str, object] = {}
    errors: list[ConfigError] = []
    for key in DURATIONS:
        section, name = key.split(".")
        value = getattr(getattr(config, section), name)
        if isinstance(value, str) and DURATION.fullmatch(value):
            try:
                steps[key] = duration_to_steps(value, freq, key, config.locate(key))
            except ConfigError as error:
                errors.append(error)
    if errors:
        raise ConfigError.combine(errors)
    return _replace(config, steps, ConfigInSteps)


def resolve_auto_settings(config: ConfigInSteps, windows: int) -> ResolvedConfig:
    """Replace `auto` by a value that follows from the number of training windows, so that equal configs and data train alike."""
    size = _choose_batch_size(config.training, windows)
    values = {"training.batch_size": size, "training.jit_compile": _choose_compilation(config, size, windows)}
    return _replace(config, values, ResolvedConfig)


def _choose_batch_size(training: TrainingConfig, windows: int) -> int:
    """Return the largest batch size that leaves enough steps of the optimizer in an epoch."""
    if isinstance(training.batch_size, int):
        return training.batch_size
    largest = windows // (MIN_STEPS_PER_EPOCH * training.accumulate_gradients)
    return max([size for size in AUTO_BATCH_SIZES if size <= largest], default=AUTO_BATCH_SIZES[0])


def _choose_compilation(config: ConfigInSteps, batch_size: int, windows: int) -> bool:
    """Return whether XLA is faster than TensorFlow's graph, and training long enough to pay for compiling."""
    if isinstance(config.training.jit_compile, bool):
        return config.training.jit_compile
    faster = batch_size <= MAX_COMPILED_BATCH and not any(layer.dropout for layer in config.model.stack)
    return faster and windows * config.training.epochs >= MIN_COMPILED_WINDOWS and check_backend() == "tensorflow"


def _replace(config: Config, values: Mapping[str, object], kind: type[Kind]) -> Kind:
    """Return a config of another kind, in which some keys, which are dotted, have other values."""
    sections = config.model_dump()
    for key, value in values.items():
        section, name = key.split(".")
        sections[section][name] = value
    resolved = kind.model_validate(sections)
    resolved._locations.update(config._locations)
    return resolved
