"""Read what the user asked for: define the schema, read the YAML file, and resolve its durations and `auto`."""

from __future__ import annotations

from forecast.config.durations import duration_to_steps, fixed_step, infer_season_length
from forecast.config.keys import describe, differing_sections, find_field, find_item, find_section, list_keys, non_default_values
from forecast.config.load import (
    DATA_SUFFIXES,
    change_config,
    load_config,
    name_after_file,
    parse_overrides,
    read_yaml,
    validate_section,
)
from forecast.config.resolve import (
    AUTO_SETTINGS,
    ConfigInSteps,
    ResolvedConfig,
    ResolvedDataConfig,
    ResolvedModelConfig,
    ResolvedSplitsConfig,
    ResolvedTrainingConfig,
    ResolvedWindowsConfig,
    resolve_auto_settings,
    resolve_durations,
)
from forecast.config.schema import (
    OBSERVED,
    Config,
    DataConfig,
    ModelConfig,
    ScalingConfig,
    Section,
    SplitsConfig,
    TrainingConfig,
    TuningConfig,
    WindowsConfig,
    name_calendar_columns,
)
from forecast.config.types import DURATION, HOLIDAYS, MAX_CATEGORY_LENGTH, Baseline, Name, Seeds, Text, parse_wait
from forecast.config.yaml12 import format_yaml_line, parse_yaml_value
