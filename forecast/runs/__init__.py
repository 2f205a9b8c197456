"""The run directory: its layout, its documents, its status, and what a finished run knows."""

from __future__ import annotations

from forecast.runs.checkpoints import Checkpoints, append_history, remove_checkpoint
from forecast.runs.documents import Environment, Fingerprint, Fingerprints, Gradients, ParentRecord, Status
from forecast.runs.environment import THREADS, find_slow_settings, inspect_environment
from forecast.runs.fingerprints import compare_documents, compare_fingerprints, fingerprint_arrays, fingerprint_inputs
from forecast.runs.layout import RunDirectory
from forecast.runs.lineage import Parent, check_not_worse, prepare_after, read_parent, taken_in
from forecast.runs.loaded import (
    RECENT_WINDOWS,
    Trained,
    check_recent,
    continuing_windows,
    member_prefix,
    read_contract,
    read_evidence,
    read_members,
    read_metrics,
    read_rows_of,
    read_trained,
    read_training_rows,
    recent_rows,
)
from forecast.runs.run import Run, RunGroup
from forecast.runs.tables import (
    Mask,
    of_series,
    read_cutoffs,
    read_folds,
    read_forecast,
    read_history,
    read_per_series,
    read_predictions,
    read_recent,
)
from forecast.runs.tracking import check_trackers, tracked

__all__ = [
    "Checkpoints",
    "Environment",
    "Fingerprint",
    "Fingerprints",
    "Gradients",
    "Mask",
    "Parent",
    "ParentRecord",
    "RECENT_WINDOWS",
    "Run",
    "RunDirectory",
    "RunGroup",
    "Status",
    "THREADS",
    "Trained",
    "append_history",
    "check_not_worse",
    "check_recent",
    "check_trackers",
    "compare_documents",
    "compare_fingerprints",
    "continuing_windows",
    "find_slow_settings",
    "fingerprint_arrays",
    "fingerprint_inputs",
    "inspect_environment",
    "member_prefix",
    "of_series",
    "prepare_after",
    "read_contract",
    "read_cutoffs",
    "read_evidence",
    "read_folds",
    "read_forecast",
    "read_history",
    "read_members",
    "read_metrics",
    "read_parent",
    "read_per_series",
    "read_predictions",
    "read_recent",
    "read_rows_of",
    "read_trained",
    "read_training_rows",
    "recent_rows",
    "remove_checkpoint",
    "taken_in",
    "tracked",
]
