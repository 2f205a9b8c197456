"""`tune`: Optuna searches for values that make the error on the validation part small; the test part chooses nothing."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from forecast.backtesting import backtest
from forecast.config import Config, differing_sections
from forecast.data import Panel
from forecast.errors import ForecastError, RunError, check_installed, first_few
from forecast.evaluation import MODEL
from forecast.experiments import train_whole
from forecast.loading import load_config
from forecast.pages import write_study_page
from forecast.preparation import Prepared, prepare_panel, read_checked
from forecast.reports import study_figures
from forecast.runs import Run
from forecast.scoring import Fitted, calibrated, scoreboard
from forecast.search import Search
from forecast.training import check_apart, check_trainable, fit_members, fit_ridges
from forecast.values import seconds_of
from forecast.workers import Finished, Job, LostError, Workers

if TYPE_CHECKING:
    import optuna

    from forecast.models.fitting import Progress

STARTUP, WARMUP = 4, 5  # trials that the median pruner lets pass, and epochs
LOST, SURPLUS, WHY = "lost", "surplus", "why"  # attributes of trials that failed
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Pruned:
    """A trial that ended early."""

    epochs: int


@dataclass(frozen=True)
class _Scored:
    """A trial that went to its end: its error, MASE or MAE, on the validation part, and the epochs that it took."""

    error: float
    epochs: int


def tune(
    source: Config | str | Path,
    run_dir: str | Path | None = None,
    force: bool = False,
    overrides: Mapping[str, object] | None = None,
    workers: Workers | None = None,
    storage: str | Path | None = None,
    on_finished: Callable[[Finished], None] | None = None,
) -> Run:
    """Search as `tuning` in the config says, then train the best; the run directory holds the study, `best.yaml` and `runs/best`.

    run_dir: where to write, `runs/NAME-tune` unless given; a study that is there goes on. force: begin anew. overrides: keys of
    the config, dotted. workers: where trials are computed, this process unless given. on_finished: called after each trial.
    storage: a journal file or a database URL that several processes, on several machines, may share; None keeps a journal in
    the run directory.

    Raises:
        ConfigError, DataError: the search, or the corner of what it searches, cannot be trained; nothing is written.
        RunError: the directory or the storage cannot be used, or holds a study of another config.
    """
    check_trainable()
    check_installed("Tuning", ["optuna"], "tune")
    config = source if isinstance(source, Config) else load_config(source, overrides)
    config, panel = read_checked(config)
    workers = workers or Workers()
    search = Search(config, panel)
    search.check()
    check_apart(run_dir, {"the data": config.data.path})
    folder = Run.resume(f"{config.name}-tune", run_dir, force)
    with folder.recording():
        place = str(storage or folder.journal)
        study = _study(search, place, shared=storage is not None)
        folder.write_text(folder.config, config.to_yaml())
        _take_over(study)
        _run_trials(search, study, place, workers, on_finished)
        _write_results(search, study, folder)
    return folder


def open_storage(place: str) -> optuna.storages.BaseStorage:
    """A database where `place` is a URL, a journal file where it is a path.

    Raises:
        RunError: it cannot be used.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        if "://" in place:
            return _database(place)
        return optuna.storages.JournalStorage(JournalFileBackend(place))
    except (OSError, ImportError, ValueError, SQLAlchemyError, optuna.exceptions.OptunaError) as error:
        shown = re.sub(r"://[^@/]*@", "://...@", place)  # without its password
        hint = "The extra `postgres` installs what postgresql+psycopg://user@host/name needs."
        raise RunError(f"the storage cannot be used: {str(error).splitlines()[0]}", hint, shown) from None


def _database(url: str) -> optuna.storages.RDBStorage:
    """A database, whose tables two processes may be making at the same moment."""
    import optuna
    from sqlalchemy.exc import IntegrityError, ProgrammingError

    for wait in (0.5, 1.0, 2.0):
        try:
            return optuna.storages.RDBStorage(url)
        except (IntegrityError, ProgrammingError):
            time.sleep(wait)
    return optuna.storages.RDBStorage(url)


def _study(search: Search, place: str, shared: bool) -> optuna.Study:
    """The study, new or joined.

    Raises:
        RunError: a study of this name is there, of another config or data.
    """
    import optuna

    storage, name, seed = open_storage(place), search.config.name, search.config.seed
    try:
        study = optuna.create_study(study_name=name, storage=storage, direction="minimize")
        study.set_user_attr("identity", search.identity())
        for params in search.waiting():
            study.enqueue_trial(params)
    except optuna.exceptions.DuplicatedStudyError:
        study = optuna.load_study(study_name=name, storage=storage)
        before, now = json.loads(study.user_attrs.get("identity", "{}")), json.loads(search.identity())
        differing = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
        if differing:
            found = f"the study {name} is of another {first_few(differing, 5)}."
            raise RunError(found, "Give the config another `name`, or begin anew with --force.", place) from None
        # Who joins others must not draw what they draw.
        seed = None if shared else seed + len(study.trials)
    kinds = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler, "grid": optuna.samplers.RandomSampler}
    study.sampler = kinds[search.tuning.sampler](seed=seed)
    return study


def _take_over(study: optuna.Study) -> None:
    """Trials of a process of this machine that is no more are tried again."""
    for trial in study.trials:
        host, _, pid = trial.user_attrs.get("driver", "").rpartition(":")
        if trial.state.name == "RUNNING" and host == socket.gethostname() and not _lives(int(pid)):
            _lose(study, trial)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _lose(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
    """Mark a trial as failed whose process ended under it; the first time, its parameters are tried once more."""
    import optuna

    if "retry_of" not in trial.user_attrs:
        optuna.Trial(study, trial._trial_id).set_user_attr(LOST, True)
        study.enqueue_trial(trial.params, user_attrs={"retry_of": trial.number})
    study.tell(trial.number, state=optuna.trial.TrialState.FAIL)


def counted(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """The trials of a study but those that were lost and tried again, or were one too many."""
    return [trial for trial in study.trials if LOST not in trial.user_attrs and SURPLUS not in trial.user_attrs]


def _run_trials(
    search: Search,
    study: optuna.Study,
    place: str,
    workers: Workers,
    on_finished: Callable[[Finished], None] | None,
) -> None:
    """Compute trials until there are as many as there are to be, or the time is up."""
    import optuna

    distributions, running = search.distributions(), {}
    began, own = time.monotonic(), 0
    deadline = began + seconds_of(search.tuning.budget) if search.tuning.budget else math.inf

    def next_job() -> Job | None:
        begun = [trial for trial in counted(study) if trial.state.name != "WAITING"]
        if len(begun) >= search.trials or time.monotonic() > deadline:
            return None
        trial = study.ask(distributions)
        trial.set_user_attr("driver", f"{socket.gethostname()}:{os.getpid()}")
        # Another process may have asked at the same time; numbers are given once, so all agree on which is one too many.
        if sum(other.number < trial.number for other in counted(study)) >= search.trials:
            trial.set_user_attr(SURPLUS, True)
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            return None
        running[name := f"trial {trial.number}"] = trial
        return name, (search.config_of(trial.params), search.config, search.panel, place, trial._trial_id, search.prunes)

    for name, result in workers.each(_try, next_job):
        trial = running.pop(name)
        if isinstance(result, LostError):
            log.info("%s: %s It is tried once more.", name, result.found)
            _lose(study, study.trials[trial.number])
            continue
        _tell(study, trial, result)
        own += 1
        if on_finished:
            on_finished(_finished(study, trial.number, search.trials, (time.monotonic() - began) / own, deadline))


def _tell(study: optuna.Study, trial: optuna.Trial, result: _Scored | _Pruned | ForecastError) -> None:
    """Write what came of a trial into the study."""
    import optuna

    if isinstance(result, ForecastError):
        trial.set_user_attr(WHY, str(result).splitlines()[0])
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return
    trial.set_user_attr("epochs", result.epochs)
    if isinstance(result, _Pruned):
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        return
    study.tell(trial, result.error)


def _finished(study: optuna.Study, number: int, trials: int, pace: float, deadline: float) -> Finished:
    table = trials_table(study)
    own = table[table.trial == number].iloc[0]
    ended = table[table.state != "running"]
    whole = ended.dropna(subset="error")
    best = whole.loc[whole.error.idxmin()] if len(whole) else None
    left = min(pace * (trials - len(ended)), max(0.0, deadline - time.monotonic()))
    why = {"pruned": f"pruned after {own.epochs} epochs", "failed": f"failed: {own.why}"}.get(own.state, "")
    error = None if pd.isna(own.error) else float(own.error)
    name = "" if best is None else f"trial {best.trial}"
    return Finished(f"trial {number}", len(ended), trials, error, why, name, None if best is None else best.error, "error", left)


def trials_table(study: optuna.Study) -> pd.DataFrame:
    """A row per trial that began: trial, state, error, epochs, seconds, its parameters, and why it failed."""
    states = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}
    rows = [
        {
            "trial": trial.number,
            "state": states[trial.state.name],
            "error": trial.value if trial.state.name == "COMPLETE" else None,
            "epochs": trial.user_attrs.get("epochs"),
            "seconds": trial.duration.total_seconds() if trial.duration else None,
            **trial.params,
            WHY: trial.user_attrs.get(WHY),
        }
        for trial in counted(study)
        if trial.state.name in states
    ]
    columns = ["trial", "state", "error", "epochs", "seconds"]
    return pd.DataFrame(rows, columns=None if rows else columns).astype({"epochs": "Int64"} if rows else {})


def _try(config: Config, base: Config, panel: Panel, place: str, trial_id: int, prunes: bool) -> _Scored | _Pruned:
    """A trial, in whatever process."""
    import optuna

    if config.tuning.objective == "backtest":
        return _backtested(config, panel)
    pruners = {
        "median": optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=WARMUP),
        "halving": optuna.pruners.SuccessiveHalvingPruner(),
    }
    pruner = pruners[config.tuning.pruner] if prunes else optuna.pruners.NopPruner()
    study = optuna.load_study(
        study_name=base.name, storage=open_storage(place), pruner=pruner, sampler=optuna.samplers.RandomSampler()
    )
    trial = optuna.Trial(study, trial_id)
    epochs = 0

    def report(progress: Progress, first: bool) -> None:
        nonlocal epochs
        if progress.done == 1 and progress.epoch > 0:
            epochs += 1
            if first and progress.member == 1:
                trial.report(progress.val_loss, progress.epoch)
                if trial.should_prune():
                    raise optuna.TrialPruned

    prepared = prepare_panel(*read_checked(config, panel if config.data == base.data else None))
    errors = []
    try:
        for execution in range(config.tuning.executions_per_trial):
            seeded = prepared.config.model_copy(update={"seed": config.seed + execution})
            own = replace(prepared, config=seeded)
            errors.append(_validation_error(own, partial(report, first=execution == 0)))
    except optuna.TrialPruned:
        return _Pruned(epochs)
    return _Scored(float(np.mean(errors)), epochs)


def _validation_error(prepared: Prepared, on_progress: Callable[[Progress], None]) -> float:
    """Train, and measure on the validation part: MASE, or MAE where that is undefined."""
    from forecast.models.backend import keras
    from forecast.models.keras_builder import load_keras

    keras.utils.clear_session()  # or the networks of all trials would stay in memory
    linear, start = fit_ridges(prepared)
    members = fit_members(prepared, start, lambda row: None, on_progress)
    networks = [load_keras(prepared.network, weights).predict_on_batch for _, weights in members.values()]
    board = scoreboard(prepared)
    calibrated(Fitted(prepared, networks, linear), board)
    return _error(board.scores())


def _error(scores: dict) -> float:
    total = scores[MODEL]["total"]
    return total["mae"] if total["mase"] is None else total["mase"]


def _backtested(config: Config, panel: Panel) -> _Scored:
    """The mean error over the folds of a backtest on the rows before the test part."""
    config, panel = read_checked(config, panel)
    splits = prepare_panel(config, panel).splits
    test, _ = splits.part("test")
    begin, end = splits.part("validation")
    rows = int((end - begin).max())
    until = str(panel.timestamps[test].min().tz_localize(None))
    before = config.splits.model_copy(update={"end": until, "test": rows, "validation": rows})
    with tempfile.TemporaryDirectory() as scratch:
        run = backtest(config.model_copy(update={"splits": before, "tracking": []}), Path(scratch) / "run")
        history = pd.read_csv(run.history)
        return _Scored(_error(run.read_json(run.metrics)["test"]), int((history.epoch > 0).sum()))


def _write_results(search: Search, study: optuna.Study, folder: Run) -> None:
    """Write the trials and the best config, train it, and draw the study.

    Raises:
        RunError: no trial went to its end.
    """
    table = trials_table(study)
    folder.write_table(folder.trials, table)
    if not table.state.eq("finished").any():
        why = table[WHY].dropna() if len(table) else []
        raise RunError(
            f"no trial finished{f': {why.iloc[-1]}' if len(why) else ''}.", "See its log; search other values.", str(folder)
        )
    best = study.best_trial
    config = search.config_of(best.params)
    metric = "mean error over the folds" if search.tuning.objective == "backtest" else "error on the validation part"
    title = f"The best of {len(table)} trials: {metric} {best.value:.4g} (trial {best.number})."
    folder.write_text(folder.best, f"# {title}\n# forecast train {folder.best}\n\n{config.to_short_yaml()}")
    trained = Run(folder.runs / "best")
    if not trained.finished or differing_sections(trained.read_config(), config):
        train_whole(config, trained.directory)
    figures = study_figures(study)
    for name, figure in figures.items():
        folder.write_figure(f"{name}.png", figure)
    verdict = trained.read_json(trained.metrics)["verdict"]
    write_study_page(folder, search.config.name, title, verdict, table, figures)
