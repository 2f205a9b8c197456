"""`diagnose`: name what is wrong with a training, with the evidence and the setting to change."""

from __future__ import annotations

from pathlib import Path

from forecast.evaluation import Diagnosis, explain_failure, find_problems
from forecast.runs import Run, read_evidence


def diagnose(run: Run | str | Path) -> list[Diagnosis]:
    """Return what is wrong with the training of a run, the gravest problem first; an empty list for a healthy one.

    Raises:
        RunError: there is no run here, it is damaged, or it was interrupted for a reason that `explain_failure` does not know.
    """
    if not isinstance(run, Run):
        if problems := explain_failure(Run(run).why_failed):
            return problems
        run = Run.open(run)
    return find_problems(read_evidence(run))
