"""The trials of a search, in a storage that several processes may share: none is lost, none is doubled."""

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

LOST, SURPLUS, RETRY, DRIVER, IDENTITY = "lost", "surplus", "retry_of", "driver", "identity"  # attributes of trials and studies
WHY, EPOCHS = "why", "epochs"
STATES = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}
NEWBORN = 60.0  # seconds in which a trial is given its driver, and a study its identity
log = logging.getLogger(__name__)


@functools.cache
def open_storage(place: str) -> optuna.storages.BaseStorage:
    """A database where `place` is a URL, a journal file where it is a path; once in each process.

    Raises:
        RunError: it cannot be used.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with storage_errors(place, opening=True):
        if "://" in place:
            return _database(place)
        _check_journal(place)
        return optuna.storages.JournalStorage(JournalFileBackend(place))


def _check_journal(place: str) -> None:
    """A file that is there is a journal, before anything is written into it.

    Raises:
        ValueError: it is another.
    """
    if os.path.exists(place) and os.path.getsize(place):
        with open(place, "rb") as file:
            if not file.readline().startswith(b'{"op_code"'):
                raise ValueError("this file is no journal of a search")


def mend_journal(place: str) -> None:
    """Cut off the line that a process was writing when it was killed; to be called while no other writes."""
    if os.path.exists(place):
        with open(place, "rb+") as file:
            text = file.read()
            file.truncate(text.rfind(b"\n") + 1)


@contextlib.contextmanager
def storage_errors(place: str, opening: bool = False) -> Iterator[None]:
    """What goes wrong with a storage is told as a user's error; while it is opened, it need not even be one.

    Raises:
        RunError: without the password that a URL may hold.
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    errors: tuple[type[Exception], ...] = (SQLAlchemyError, optuna.exceptions.OptunaError)
    if opening:
        errors += (OSError, ImportError, ValueError, KeyError)
    try:
        yield
    except errors as error:
        found = f"the storage cannot be used ({type(error).__name__}: {next(iter(str(error).splitlines()), '')})."
        hint = "The extra `postgres` installs what postgresql+psycopg://user@host/name needs."
        hint = hint if "://" in place else "Name a journal of `forecast tune`, or a new file in a folder that is there."
        raise RunError(found.replace(place, shown(place)), hint, shown(place)) from None


def shown(place: str) -> str:
    """A storage without its password.

    >>> shown("postgresql://me:se/c@ret@host/db")
    'postgresql://...@host/db'
    """
    return re.sub(r"://.*@", "://...@", place)


def _database(url: str) -> optuna.storages.RDBStorage:
    """A database, whose tables two processes may be making at the same moment."""
    import optuna
    from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

    for wait in (0.5, 1.0, 2.0):
        try:
            return optuna.storages.RDBStorage(url)
        except (IntegrityError, OperationalError, ProgrammingError):
            time.sleep(wait)
    return optuna.storages.RDBStorage(url)


def open_study(search: Search, place: str, shared: bool) -> optuna.Study:
    """The study, new or joined. shared: other processes may be at it.

    Raises:
        RunError: a study of this name is there, of another config or data; or the storage cannot be used.
    """
    import optuna

    storage, name, seed = open_storage(place), search.config.name, search.config.seed
    waiting, created = search.waiting(), True
    try:
        study = optuna.create_study(study_name=name, storage=storage, direction="minimize")
        study.set_user_attr(IDENTITY, search.identity())
    except optuna.exceptions.DuplicatedStudyError:
        created, study = False, optuna.load_study(study_name=name, storage=storage)
        _check_same(study, search, place, shared)
        seed = None if shared else seed + len(study.trials)  # who joins others must not draw what they draw
    if created or not shared:
        for params in waiting:
            study.enqueue_trial(params, skip_if_exists=True)
    kinds = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler, "grid": optuna.samplers.RandomSampler}
    study.sampler = kinds[search.tuning.sampler](seed=seed)
    return study


def _check_same(study: optuna.Study, search: Search, place: str, shared: bool) -> None:
    waited = time.monotonic() + NEWBORN
    while IDENTITY not in study.user_attrs and time.monotonic() < waited:  # another process has just made it
        time.sleep(0.5)
    before, now = json.loads(study.user_attrs.get(IDENTITY, "{}")), json.loads(search.identity())
    differing = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if differing:
        found = f"the study {search.config.name} is of another {first_few(differing, 5)}."
        remedy = "Choose another --storage" if shared else "Begin anew with --force, choose another --run-dir"
        raise RunError(found, f"{remedy}, or give the config another `name`.", shown(place))


def mark_as_ours(trial: optuna.Trial) -> None:
    """Write which process a trial belongs to."""
    trial.set_user_attr(DRIVER, f"{socket.gethostname()}:{os.getpid()}")


def is_ours(trial: optuna.trial.FrozenTrial) -> bool:
    """Whether a trial belongs to this process."""
    return trial.user_attrs.get(DRIVER) == f"{socket.gethostname()}:{os.getpid()}"


def take_over(study: optuna.Study) -> None:
    """Trials of a process of this machine that is no more are tried again; to be called before this process has trials."""
    for trial in study.trials:
        if trial.state.name == "RUNNING" and _is_orphan(trial):
            log.info("trial %d was left by a process that is gone", trial.number)
            lose(study, trial)


def _is_orphan(trial: optuna.trial.FrozenTrial) -> bool:
    if DRIVER not in trial.user_attrs:  # its process was killed as it began, or is about to say so
        return (datetime.datetime.now() - trial.datetime_start).total_seconds() > NEWBORN
    host, _, pid = trial.user_attrs[DRIVER].rpartition(":")
    return host == socket.gethostname() and (int(pid) == os.getpid() or not is_process_alive(int(pid)))


def lose(study: optuna.Study, trial: optuna.trial.FrozenTrial, interrupted: bool = False) -> bool:
    """Mark a trial as failed whose process ended under it; returns whether its parameters are tried once more: the first time,
    and whenever it was interrupted on purpose.
    """
    import optuna

    again = interrupted or RETRY not in trial.user_attrs
    try:
        marked = optuna.Trial(study, trial._trial_id)
        marked.set_user_attr(*((LOST, True) if again else (WHY, "its process was killed, twice")))
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    except (ValueError, optuna.exceptions.UpdateFinishedTrialError):  # another process was faster
        return True
    if again:
        study.enqueue_trial(trial.params, user_attrs={} if interrupted else {RETRY: trial.number})
    return again


def ask(study: optuna.Study, search: Search) -> optuna.Trial | None:
    """The next trial, None where there are as many as there are to be."""
    import optuna

    begun = [trial for trial in counted(study) if trial.state.name != "WAITING"]
    if len(begun) >= search.trials:
        return None
    if search.tuning.sampler == "grid" and not any(trial.state.name == "WAITING" for trial in study.trials):
        return None
    trial = study.ask(search.distributions())
    mark_as_ours(trial)
    # Another process may have asked at the same time; numbers are given once, so all agree on which is one too many.
    if sum(other.number < trial.number for other in counted(study)) < search.trials:
        return trial
    trial.set_user_attr(SURPLUS, True)
    study.tell(trial, state=optuna.trial.TrialState.FAIL)
    return None


def counted(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """The trials of a study but those that were lost and tried again, or were one too many."""
    return [trial for trial in study.trials if LOST not in trial.user_attrs and SURPLUS not in trial.user_attrs]


def trials_table(study: optuna.Study) -> pd.DataFrame:
    """A row per trial that began: trial, state, error, epochs, seconds, its parameters, and why it failed."""
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
        for trial in counted(study)
        if trial.state.name in STATES
    ]
    columns = ["trial", "state", "error", EPOCHS, "seconds", WHY]
    table = pd.DataFrame(rows, columns=None if rows else columns)
    return table.astype({EPOCHS: "Int64", "error": float})
