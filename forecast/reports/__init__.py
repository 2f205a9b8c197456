"""Show a run to a person: one page and PNG pictures."""

from __future__ import annotations

from forecast.reports.page import format_timestamp, spread_of
from forecast.reports.palette import COLOURS
from forecast.reports.plots import draw_anomalies, write_plots
from forecast.reports.report import report, write_report
from forecast.reports.result import TrainingResult, read_result, remove_time_zones
from forecast.reports.searches import draw_study, write_experiment_page, write_index_page, write_study_page
from forecast.reports.selection import select_series
