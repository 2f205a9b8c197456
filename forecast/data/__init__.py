"""Read what is in the file: rows, timestamps, repairs, and the panel of series."""

from __future__ import annotations

from forecast.data.calendar import make_calendar_features
from forecast.data.cleaning import Repair, describe_repairs
from forecast.data.contract import Contract, SubsetFacts, compare_values_with_contract, compare_with_contract, make_contract
from forecast.data.panel import (
    Panel,
    build_panel,
    check_target_not_constant,
    clean_future_covariates,
    known_covariates_as_targets,
    read_panel,
)
from forecast.data.readers import (
    DELIMITERS,
    EMPTY,
    FIRST_DATA_ROW,
    PARQUET,
    Rows,
    StaticCovariates,
    build_number_pattern,
    check_width,
    clean_series_id,
    codec_name,
    find_value_columns,
    read_column_names,
    read_header,
    read_parquet,
    read_rows,
    translate_read_errors,
)
from forecast.data.resampling import Grid
from forecast.data.timestamps import (
    CLOCK,
    check_freq,
    find_possible_formats,
    format_timestamps,
    infer_freq,
    parse_parts,
    parse_timestamps,
)

__all__ = [
    "CLOCK",
    "Contract",
    "DELIMITERS",
    "EMPTY",
    "FIRST_DATA_ROW",
    "Grid",
    "PARQUET",
    "Panel",
    "Repair",
    "Rows",
    "SubsetFacts",
    "StaticCovariates",
    "build_number_pattern",
    "build_panel",
    "check_freq",
    "check_target_not_constant",
    "check_width",
    "clean_future_covariates",
    "clean_series_id",
    "codec_name",
    "compare_values_with_contract",
    "compare_with_contract",
    "describe_repairs",
    "find_possible_formats",
    "find_value_columns",
    "format_timestamps",
    "infer_freq",
    "known_covariates_as_targets",
    "make_calendar_features",
    "make_contract",
    "parse_parts",
    "parse_timestamps",
    "read_column_names",
    "read_header",
    "read_panel",
    "read_parquet",
    "read_rows",
    "translate_read_errors",
]
