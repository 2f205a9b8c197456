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
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pandas as pd

from forecast.errors import RunError, first_few
from forecast.search.space import Search
from forecast.storage import is_process_alive

if TYPE_CHECKING:
    import optuna

LOST, SURPLUS, RETRY, DRIVER, IDENTITY = "lost", "surplus", "retry_of", "driver", "identity"  # Attributes of trials and studies.
WHY, EPOCHS = "why", "epochs"
STATES = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}
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
            return _database(location)
        _check_journal(location)
        return optuna.storages.JournalStorage(JournalFileBackend(location))


def _check_journal(location: str) -> None:
    """Check that an existing file is a journal before anything is written into it.

    Raises:
        ValueError: it is another file.
    """
    if os.path.exists(location) and os.path.getsize(location):
        with open(location, "rb") as file:
            if not file.readline().startswith(b'{"op_code"'):
                raise ValueError("this file is not a journal of a search")


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
        remedy = "The extra `postgres` installs what postgresql+psycopg://user@host/name needs."
        remedy = remedy if "://" in location else "Name a journal of `forecast tune`, or a new file in an existing folder."
        raise RunError(problem.replace(location, hide_password(location)), remedy, hide_password(location)) from None


def hide_password(location: str) -> str:
    """Return the location of a storage without its password.

    >>> hide_password("postgresql://me:se/c@ret@host/db")
    'postgresql://...@host/db'
    """
    return re.sub(r"://.*@", "://...@", location)


def _database(url: str) -> optuna.storages.RDBStorage:
    """Open a database, whose tables another process may be creating at the same time."""
    import optuna
    from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

    for wait in (0.5, 1.0, 2.0):
        try:
            return optuna.storages.RDBStorage(url)
        except (IntegrityError, OperationalError, ProgrammingError):
            time.sleep(wait)
    return optuna.storages.RDBStorage(url)


def open_study(search: Search, location: str, shared: bool) -> optuna.Study:
    """Return a new study, or the study of this name. shared: other processes may use it.

    Raises:
        RunError: the study of this name has another config or other data, or the storage cannot be used.
    """
    import optuna

    storage, name = open_storage(location), search.config.name
    seed: int | None = search.config.seed
    waiting, created = search.waiting(), True
    try:
        study = optuna.create_study(study_name=name, storage=storage, direction="minimize")
        study.set_user_attr(IDENTITY, search.identity())
    except optuna.exceptions.DuplicatedStudyError:
        created, study = False, optuna.load_study(study_name=name, storage=storage)
        _check_same(study, search, location, shared)
        seed = None if shared else search.config.seed + len(study.trials)  # Processes must not draw equal trials.
    if created or not shared:
        for params in waiting:
            study.enqueue_trial(params, skip_if_exists=True)
    kinds = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler, "grid": optuna.samplers.RandomSampler}
    study.sampler = kinds[search.tuning.sampler](seed=seed)
    return study


def _check_same(study: optuna.Study, search: Search, location: str, shared: bool) -> None:
    """Check that a study has the config and the data of this search.

    Raises:
        RunError: it has others.
    """
    deadline = time.monotonic() + GRACE_SECONDS
    while IDENTITY not in study.user_attrs and time.monotonic() < deadline:  # Another process has just created it.
        time.sleep(0.5)
    before, now = json.loads(study.user_attrs.get(IDENTITY, "{}")), json.loads(search.identity())
    differing = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if differing:
        problem = f"the study {search.config.name} has another {first_few(differing, 5)}."
        remedy = "Choose another --storage" if shared else "Begin anew with --force, choose another --run-dir"
        raise RunError(problem, f"{remedy}, or change the `name` in the config.", hide_password(location))


def mark_as_ours(trial: optuna.Trial) -> None:
    """Record that a trial belongs to this process."""
    trial.set_user_attr(DRIVER, f"{socket.gethostname()}:{os.getpid()}")


def is_ours(trial: optuna.trial.FrozenTrial) -> bool:
    """Return whether a trial belongs to this process."""
    return trial.user_attrs.get(DRIVER) == f"{socket.gethostname()}:{os.getpid()}"


def take_over(study: optuna.Study) -> None:
    """Enqueue again the trials of processes of this machine that have ended. Call it before this process has trials."""
    for trial in study.trials:
        if trial.state.name == "RUNNING" and _is_orphan(trial):
            log.info("the process of trial %d has ended", trial.number)
            mark_lost(study, trial)


def _is_orphan(trial: optuna.trial.FrozenTrial) -> bool:
    if DRIVER not in trial.user_attrs:  # Its process was killed, or is about to record itself.
        start = trial.datetime_start
        return start is not None and (datetime.datetime.now() - start).total_seconds() > GRACE_SECONDS
    host, _, pid = trial.user_attrs[DRIVER].rpartition(":")
    return host == socket.gethostname() and (int(pid) == os.getpid() or not is_process_alive(int(pid)))


def mark_lost(study: optuna.Study, trial: optuna.trial.FrozenTrial, interrupted: bool = False) -> bool:
    """Mark a trial as failed whose process ended before it, and enqueue its parameters once more.

    Return whether they are tried again, which is so after the first loss and after every interruption by the user.
    """
    import optuna

    again = interrupted or RETRY not in trial.user_attrs
    try:
        marked = optuna.Trial(study, trial._trial_id)
        marked.set_user_attr(*((LOST, True) if again else (WHY, "its process was killed twice")))
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    except (ValueError, optuna.exceptions.UpdateFinishedTrialError):  # Another process was faster.
        return True
    if again:
        study.enqueue_trial(trial.params, user_attrs={} if interrupted else {RETRY: trial.number})
    return again


def ask_for_trial(study: optuna.Study, search: Search) -> optuna.Trial | None:
    """Return the next trial, or None if there are enough."""
    import optuna

    started = [trial for trial in counted_trials(study) if trial.state.name != "WAITING"]
    if len(started) >= search.trials:
        return None
    if search.tuning.sampler == "grid" and not any(trial.state.name == "WAITING" for trial in study.trials):
        return None
    trial = study.ask(search.distributions())
    mark_as_ours(trial)
    # Another process may have asked at the same time. Numbers are unique, so all agree on which trial is surplus.
    if sum(earlier.number < trial.number for earlier in counted_trials(study)) < search.trials:
        return trial
    trial.set_user_attr(SURPLUS, True)
    study.tell(trial, state=optuna.trial.TrialState.FAIL)
    return None


def counted_trials(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Return the trials of a study without those that were lost and tried again, and without surplus trials."""
    return [trial for trial in study.trials if LOST not in trial.user_attrs and SURPLUS not in trial.user_attrs]


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
    table = pd.DataFrame(rows, columns=None if rows else columns)
    return table.astype({EPOCHS: "Int64", "error": float})
