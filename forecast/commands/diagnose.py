"""`diagnose`: find the problems in a training run, with the evidence and the setting to change."""

from __future__ import annotations

from pathlib import Path

from forecast.evaluation import Diagnosis, explain_failure, find_problems
from forecast.runs import Run, read_evidence


def diagnose(run: Run | str | Path) -> list[Diagnosis]:
    """Return the problems of a training run, causes before effects. Return an empty list for a run without problems.

    Raises:
        RunError: there is no run, it is damaged, or it stopped for an unknown reason.
    """
    if not isinstance(run, Run):
        if problems := explain_failure(Run(run).why_failed):
            return problems
        run = Run.open(run)
    return find_problems(read_evidence(run))
