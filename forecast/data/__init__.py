"""Read what is in the file: rows, timestamps, repairs, and the panel of series."""

from __future__ import annotations

from forecast.data.calendar import make_calendar_features
from forecast.data.cleaning import Repair, describe_repairs
from forecast.data.contract import Contract, SubsetFacts, compare_values_with_contract, compare_with_contract, make_contract
from forecast.data.frames import Data, as_file, store_frame
from forecast.data.freq import check_freq, infer_freq
from forecast.data.panel import (
    Panel,
    build_panel,
    check_target_not_constant,
    clean_future_covariates,
    known_covariates_as_targets,
    read_panel,
)
from forecast.data.readers import build_number_pattern, read_rows
from forecast.data.rows import Rows, StaticCovariates
from forecast.data.tables import (
    DELIMITERS,
    EMPTY,
    FIRST_DATA_ROW,
    TYPED,
    check_width,
    codec_name,
    find_value_columns,
    read_column_names,
    read_header,
    read_typed,
    translate_read_errors,
)
from forecast.data.timestamps import CLOCK, find_possible_formats, format_timestamps, parse_parts, parse_timestamps
