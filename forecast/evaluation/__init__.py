"""Measure how good a forecast is, and whether that is luck."""

from __future__ import annotations

from forecast.evaluation.curves import split_by_seed
from forecast.evaluation.diagnosis import CROWDED, HEALTHY, Evidence, explain_failure, find_problems, remark
from forecast.evaluation.forecasts import DRAWN, MAX_ROWS, PredictionTable
from forecast.evaluation.importance import Importance, Region, measure_importance
from forecast.evaluation.intervals import (
    Calibration,
    Intervals,
    bounds_of,
    column_of,
    columns_of,
    count_independent,
    explain_few_windows,
    method_of,
    quantiles_of,
)
from forecast.evaluation.leakage import UNSEEN, Certificate, certify, check_covariates, check_leaks
from forecast.evaluation.metrics import format_number
from forecast.evaluation.scoreboard import Scoreboard
from forecast.evaluation.scores import BASELINES, LABELS, MODEL, Diagnoses, Diagnosis, Errors, Metrics, Scores, TrainingMetrics
from forecast.evaluation.scoring import (
    MAX_VALUES,
    Fitted,
    make_fitted_rows,
    measure_missing_costs,
    measure_training_errors,
    score,
    score_validation,
)
from forecast.evaluation.significance import ALPHA, EQUAL, Comparison, compare_losses, ljung_box
from forecast.evaluation.verdict import (
    choose_loss_metric,
    describe_combination,
    describe_coverage,
    describe_fit,
    find_best_baseline,
    is_worse_than,
    summarize,
    warn_of_few_windows,
)
