"""Show a run to a person: one page and PNG pictures."""

from __future__ import annotations

from forecast.reports.page import spread_of
from forecast.reports.plots import draw_anomalies, write_plots
from forecast.reports.report import report
from forecast.reports.searches import draw_study, write_experiment_page, write_study_page
