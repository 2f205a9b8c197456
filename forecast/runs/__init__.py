"""The run directory: its files, its status, and what a finished run knows."""

from __future__ import annotations

from forecast.runs.checkpoints import Checkpoints
from forecast.runs.environment import THREADS, environment, slowed_by
from forecast.runs.fingerprints import apart, distance, fingerprint, fingerprint_of
from forecast.runs.lineage import Parent, check_not_worse, prepare_after, read_parent, taken_in
from forecast.runs.loaded import (
    RECENT_WINDOWS,
    Trained,
    check_recent,
    continuing_windows,
    member_prefix,
    read_evidence,
    read_members,
    read_rows_of,
    read_trained,
    read_training_rows,
    recent_rows,
)
from forecast.runs.run import Run
from forecast.runs.tracking import check_trackers, tracked

__all__ = [
    "Checkpoints",
    "Parent",
    "RECENT_WINDOWS",
    "Run",
    "THREADS",
    "Trained",
    "apart",
    "check_not_worse",
    "check_recent",
    "check_trackers",
    "continuing_windows",
    "distance",
    "environment",
    "fingerprint",
    "fingerprint_of",
    "member_prefix",
    "prepare_after",
    "read_evidence",
    "read_members",
    "read_parent",
    "read_rows_of",
    "read_trained",
    "read_training_rows",
    "recent_rows",
    "slowed_by",
    "taken_in",
    "tracked",
]
