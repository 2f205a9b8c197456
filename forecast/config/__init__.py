"""What the user asked for: the schema of a config, its types, and how a YAML file is read."""

from __future__ import annotations

from forecast.config.load import changed, checked, load_config, name_of, parse_overrides, read_yaml
from forecast.config.schema import (
    Config,
    DataConfig,
    ModelConfig,
    ScalingConfig,
    Section,
    SplitsConfig,
    TrainingConfig,
    TuningConfig,
    WindowsConfig,
    calendar_columns,
    differences,
    differing_sections,
    field_at,
    schema,
    section_of,
)
from forecast.config.types import DURATION, HOLIDAYS, LONGEST_CATEGORY, Name, Seeds, Text, seconds_of
from forecast.config.yaml12 import yaml_line, yaml_value

__all__ = [
    "Config",
    "DURATION",
    "DataConfig",
    "HOLIDAYS",
    "LONGEST_CATEGORY",
    "ModelConfig",
    "Name",
    "ScalingConfig",
    "Section",
    "Seeds",
    "SplitsConfig",
    "Text",
    "TrainingConfig",
    "TuningConfig",
    "WindowsConfig",
    "calendar_columns",
    "changed",
    "checked",
    "differences",
    "differing_sections",
    "field_at",
    "load_config",
    "name_of",
    "parse_overrides",
    "read_yaml",
    "schema",
    "seconds_of",
    "section_of",
    "yaml_line",
    "yaml_value",
]
