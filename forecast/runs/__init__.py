"""The run directory: its layout, its documents, its status, and how finished runs are read."""

from __future__ import annotations

from forecast.runs.checkpoints import Checkpoints, append_history
from forecast.runs.documents import Environment, Fingerprint, Fingerprints, Gradients, ParentRecord, Status
from forecast.runs.environment import THREADS, find_slow_settings, inspect_environment
from forecast.runs.fingerprints import compare_documents, compare_fingerprints, fingerprint_arrays, fingerprint_inputs
from forecast.runs.layout import RunDirectory
from forecast.runs.lineage import Parent, check_not_worse, copy_rows_into_run, prepare_with_parent, read_parent
from forecast.runs.loaded import (
    Trained,
    TrainingStage,
    make_member_prefix,
    pop_prefixed,
    read_contract,
    read_evidence,
    read_trained,
)
from forecast.runs.rows import (
    RECENT_WINDOWS,
    make_actual_rows,
    make_continuing_windows,
    make_recent_rows,
    read_rows_to_continue,
)
from forecast.runs.run import Run, RunGroup
from forecast.runs.status import describe_state
from forecast.runs.tables import (
    SUBSET,
    Mask,
    make_series_mask,
    read_actual,
    read_cutoffs,
    read_fitted,
    read_folds,
    read_forecast,
    read_history,
    read_per_series,
    read_predictions,
)
from forecast.runs.tracking import check_trackers, open_trackers
