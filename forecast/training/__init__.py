"""Train the networks of a run: check, fit, score, and explain the result."""

from __future__ import annotations

from forecast.training.checks import check_can_train, check_inputs_outside
from forecast.training.fitting import Member, Members, OnProgress, fit_members, fit_regressions
from forecast.training.memory import check_memory, explain_memory_error, suggest_less_memory
from forecast.training.results import (
    calibrate_members,
    explain,
    save_networks,
    score_run,
    write_certificate,
    write_diagnosis,
    write_scores,
)
