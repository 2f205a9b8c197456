"""The trials of a search, in a storage that several processes may share. Each trial is computed once."""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import logging
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from forecast.config import TuningConfig
from forecast.errors import RunError, first_few
from forecast.search.space import Search
from forecast.storage import is_process_alive

if TYPE_CHECKING:
    import optuna

# Attributes of trials and studies. A trial with LOST does not count: it was one too many, or never began.
LOST, DRIVER, IDENTITY, WHY, EPOCHS = "lost", "driver", "identity", "why", "epochs"
STATES = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}
# Trials and epochs that the median pruner never prunes, chosen on validation sets by benchmarks/tuning.py.
STARTUP_TRIALS, WARMUP_EPOCHS = 2, 2
GRACE_SECONDS = 60.0  # A new trial has its driver by then, and a new study its identity.
log = logging.getLogger(__name__)


@functools.cache
def open_storage(location: str) -> optuna.storages.BaseStorage:
    """Open a database if `location` is a URL, else a journal file, once in each process.

    Raises:
        RunError: the storage cannot be used.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with storage_errors(location, opening=True):
        if "://" in location:
            return _open_database(location)
        if os.path.exists(location) and os.path.getsize(location):
            with open(location, "rb") as file:
                if not file.readline().startswith(b'{"op_code"'):
                    raise ValueError("this file is not a journal of a search")
        return optuna.storages.JournalStorage(JournalFileBackend(location))


def repair_journal(location: str) -> None:
    """Cut off the line that a killed process was writing. Call it while no other process writes."""
    if os.path.exists(location):
        with open(location, "rb+") as file:
            text = file.read()
            file.truncate(text.rfind(b"\n") + 1)


@contextlib.contextmanager
def storage_errors(location: str, opening: bool = False) -> Iterator[None]:
    """Raise errors of a storage as errors of the user. opening: more errors are possible while it is opened.

    Raises:
        RunError: the storage cannot be used. The message hides the password of a URL.
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    errors: tuple[type[Exception], ...] = (SQLAlchemyError, optuna.exceptions.OptunaError)
    if opening:
        errors += (OSError, ImportError, ValueError, KeyError)
    try:
        yield
    except errors as error:
        problem = f"the storage cannot be used ({type(error).__name__}: {next(iter(str(error).splitlines()), '')})."
        remedy = "For PostgreSQL, install the extra `postgres` and use a URL such as postgresql+psycopg://user@host/name."
        remedy = remedy if "://" in location else "Specify a journal of `forecast tune`, or a new file in an existing folder."
        raise RunError(problem.replace(location, hide_password(location)), remedy, hide_password(location)) from None


def hide_password(location: str) -> str:
    """Return the location of a storage without its password.

    >>> hide_password("postgresql://me:se/c@ret@host/db")
    'postgresql://...@host/db'
    """
    return re.sub(r"://.*@", "://...@", location)


def _open_database(url: str) -> optuna.storages.RDBStorage:
    """Open a database, whose tables another process may be creating at the same time."""
    import optuna
    from sqlalchemy.exc import DBAPIError

    for seconds in (0.5, 1.0, 2.0):
        with contextlib.suppress(DBAPIError):
            return optuna.storages.RDBStorage(url)
        time.sleep(seconds)
    return optuna.storages.RDBStorage(url)


def open_study(search: Search, location: str, shared: bool) -> optuna.Study:
    """Return a new study, or the study of this name. shared: other processes may use it.

    Raises:
        RunError: the study of this name has another config or other data, or the storage cannot be used.
    """
    import optuna

    storage, name = open_storage(location), search.config.name
    seed: int | None = search.config.seed
    waiting, is_new = search.waiting(), True
    try:
        study = optuna.create_study(study_name=name, storage=storage, direction="minimize")
        study.set_user_attr(IDENTITY, json.dumps(search.identity()))
    except optuna.exceptions.DuplicatedStudyError:
        is_new, study = False, optuna.load_study(study_name=name, storage=storage)
        remedy = "Choose another --storage" if shared else "Start again with --force, choose another --run-dir"
        remedy += ", or change the `name` in the config."
        check_identity(f"the study {name}", _read_identity(study), search, remedy, hide_password(location))
        seed = None if shared else search.config.seed + len(study.trials)  # Processes must not draw equal trials.
    if is_new or not shared:
        for params in waiting:
            study.enqueue_trial(params, skip_if_exists=True)
    is_tpe = search.tuning.sampler == "tpe"  # The trials of a grid are enqueued.
    study.sampler = optuna.samplers.TPESampler(seed=seed) if is_tpe else optuna.samplers.RandomSampler(seed=seed)
    pruners = {
        "median": optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=WARMUP_EPOCHS),
        "halving": optuna.pruners.SuccessiveHalvingPruner(min_resource=1),
    }
    study.pruner = pruners[search.tuning.pruner] if search.prunes else optuna.pruners.NopPruner()
    return study


def _read_identity(study: optuna.Study) -> Mapping[str, Any]:
    deadline = time.monotonic() + GRACE_SECONDS
    while IDENTITY not in study.user_attrs and time.monotonic() < deadline:  # Another process has just created it.
        time.sleep(0.5)
    return dict(json.loads(study.user_attrs.get(IDENTITY, "{}")))


def check_identity(subject: str, before: Mapping[str, Any], search: Search, remedy: str, location: str) -> None:
    """Check that a study or a directory was made by this search.

    Raises:
        RunError: it was made with another config or other data. The message names the settings that differ.
    """
    now = search.identity()
    differing = {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)}
    if differing:
        names = sorted(f"tuning.{key}" if key in TuningConfig.model_fields else key for key in differing)
        raise RunError(f"{subject} was made with different settings in {first_few(names, 5)}.", remedy, location)


def take_over(study: optuna.Study) -> list[optuna.Trial]:
    """Return the trials of processes of this machine that have ended, as ours. Call it before this process has trials."""
    import optuna

    trials = []
    for frozen in study.trials:
        if frozen.state.name == "RUNNING" and _is_orphan(frozen):
            log.info("the process of trial %d has ended", frozen.number)
            trial = optuna.Trial(study, frozen._trial_id)
            if DRIVER in frozen.user_attrs:
                trial.set_user_attr(DRIVER, _name_process())
                trials.append(trial)
            else:  # It may have no parameters yet.
                _discard(study, trial)
    return trials


def _is_orphan(trial: optuna.trial.FrozenTrial) -> bool:
    if DRIVER not in trial.user_attrs:  # Its process was killed, or is about to record itself.
        start = trial.datetime_start
        return start is not None and (datetime.datetime.now() - start).total_seconds() > GRACE_SECONDS
    host, _, pid = trial.user_attrs[DRIVER].rpartition(":")
    return host == socket.gethostname() and (int(pid) == os.getpid() or not is_process_alive(int(pid)))


def _name_process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _discard(study: optuna.Study, trial: optuna.Trial) -> None:
    import optuna

    trial.set_user_attr(LOST, True)
    study.tell(trial, state=optuna.trial.TrialState.FAIL)


def ask_for_trial(study: optuna.Study, search: Search) -> optuna.Trial | None:
    """Return the next trial, or None if there are enough."""
    if sum(trial.state.name != "WAITING" for trial in counted_trials(study)) >= search.trials:
        return None
    if search.tuning.sampler == "grid" and not any(trial.state.name == "WAITING" for trial in study.trials):
        return None
    trial = study.ask(search.distributions())
    trial.set_user_attr(DRIVER, _name_process())
    # Another process may have asked at the same time. Numbers are unique, so all agree on which trial is one too many.
    if sum(earlier.number < trial.number for earlier in counted_trials(study)) < search.trials:
        return trial
    _discard(study, trial)
    return None


def counted_trials(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Return the trials of a study without those that do not count."""
    return [trial for trial in study.trials if LOST not in trial.user_attrs]


def trials_table(study: optuna.Study) -> pd.DataFrame:
    """Return a row for each trial that started: trial, state, error, epochs, seconds, its parameters, and why it failed."""
    rows = [
        {
            "trial": trial.number,
            "state": STATES[trial.state.name],
            "error": trial.value if trial.state.name == "COMPLETE" else None,
            EPOCHS: trial.user_attrs.get(EPOCHS),
            "seconds": trial.duration.total_seconds() if trial.duration else None,
            **trial.params,
            WHY: trial.user_attrs.get(WHY),
        }
        for trial in counted_trials(study)
        if trial.state.name in STATES
    ]
    columns = ["trial", "state", "error", EPOCHS, "seconds", WHY]
    return pd.DataFrame(rows, columns=None if rows else columns).astype({EPOCHS: "Int64", "error": float})
