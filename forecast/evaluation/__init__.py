"""Measure how good a forecast is, and whether that is luck."""

from __future__ import annotations

from forecast.evaluation.diagnosis import CROWDED, HEALTHY, Diagnoses, Diagnosis, Evidence, explain_failure, find_problems, remark
from forecast.evaluation.importance import Importance, Region, measure_importance
from forecast.evaluation.intervals import (
    Calibration,
    Intervals,
    bounds,
    column_of,
    columns_of,
    count_independent,
    few_windows,
    method_of,
    quantiles_of,
)
from forecast.evaluation.leakage import UNSEEN, Certificate, certify, check_covariates, check_leaks
from forecast.evaluation.metrics import format_number
from forecast.evaluation.scoreboard import EQUAL, Scoreboard, coverage, is_worse_than, loss_metric, summarize
from forecast.evaluation.scores import BASELINES, LABELS, MODEL, Errors, Metrics, Scores, TrainingMetrics
from forecast.evaluation.scoring import MOST_VALUES, Fitted, calibrated, costs_of_missing, score, scoreboard
from forecast.evaluation.significance import ALPHA, compare_losses, ljung_box

__all__ = [
    "ALPHA",
    "BASELINES",
    "CROWDED",
    "Calibration",
    "Certificate",
    "Diagnoses",
    "Diagnosis",
    "EQUAL",
    "Errors",
    "Evidence",
    "Fitted",
    "HEALTHY",
    "Importance",
    "Intervals",
    "LABELS",
    "MODEL",
    "MOST_VALUES",
    "Metrics",
    "Region",
    "Scoreboard",
    "Scores",
    "TrainingMetrics",
    "UNSEEN",
    "bounds",
    "calibrated",
    "certify",
    "check_covariates",
    "check_leaks",
    "column_of",
    "columns_of",
    "compare_losses",
    "costs_of_missing",
    "count_independent",
    "coverage",
    "explain_failure",
    "few_windows",
    "find_problems",
    "is_worse_than",
    "measure_importance",
    "ljung_box",
    "loss_metric",
    "method_of",
    "format_number",
    "quantiles_of",
    "remark",
    "score",
    "scoreboard",
    "summarize",
]
