"""Read what is in the file: rows, timestamps, repairs, and the panel of series."""

from __future__ import annotations

from forecast.data.calendar import calendar_features
from forecast.data.cleaning import told
from forecast.data.contract import Contract, compare, compare_values, contract
from forecast.data.panel import Panel, check_moves, known_ahead, known_only, read_panel, repaired
from forecast.data.readers import (
    DELIMITERS,
    EMPTY,
    HEADER_ROWS,
    PARQUET,
    Rows,
    Static,
    check_width,
    codec_of,
    columns_of,
    header_of,
    number_pattern,
    read_parquet,
    read_rows,
    readable,
    series_id_of,
    value_columns,
)
from forecast.data.resampling import Grid
from forecast.data.timestamps import (
    CLOCK,
    check_freq,
    in_steps,
    infer_freq,
    parse_parts,
    parse_timestamps,
    possible_formats,
    season_length_of,
    season_of,
    write_timestamps,
)

__all__ = [
    "CLOCK",
    "Contract",
    "DELIMITERS",
    "EMPTY",
    "Grid",
    "HEADER_ROWS",
    "PARQUET",
    "Panel",
    "Rows",
    "Static",
    "calendar_features",
    "check_freq",
    "check_moves",
    "check_width",
    "codec_of",
    "columns_of",
    "compare",
    "compare_values",
    "contract",
    "header_of",
    "in_steps",
    "infer_freq",
    "known_ahead",
    "known_only",
    "number_pattern",
    "parse_parts",
    "parse_timestamps",
    "possible_formats",
    "read_panel",
    "read_parquet",
    "read_rows",
    "readable",
    "repaired",
    "season_length_of",
    "season_of",
    "series_id_of",
    "told",
    "value_columns",
    "write_timestamps",
]
