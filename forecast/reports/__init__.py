"""Show a run to a person: one page and PNG pictures."""

from __future__ import annotations

from forecast.reports.page import spread_of, write_experiment_page, write_study_page
from forecast.reports.plots import anomalies_figure, study_figures, write_backtest_plots, write_plots
from forecast.reports.report import report

__all__ = [
    "anomalies_figure",
    "report",
    "spread_of",
    "study_figures",
    "write_backtest_plots",
    "write_experiment_page",
    "write_plots",
    "write_study_page",
]
