"""`tune`: Optuna searches for values that make the error on the validation part small; the test part chooses nothing."""

from __future__ import annotations

import logging
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from forecast.commands.backtest import backtest
from forecast.config import Config, differing_sections, load_config, parse_wait
from forecast.data import Panel
from forecast.errors import ForecastError, RunError, check_installed, first_few
from forecast.evaluation import Fitted, Metrics, Scores, TrainingMetrics, calibrated, format_number, scoreboard
from forecast.forecasters.preparation import Prepared, prepare_panel, read_checked
from forecast.reports import study_figures, write_study_page
from forecast.runs import Run, RunGroup, read_history
from forecast.search.experiment import train_whole, write_best
from forecast.search.space import Search
from forecast.search.study import (
    EPOCHS,
    WHY,
    ask,
    counted,
    is_ours,
    lose,
    mend_journal,
    open_storage,
    open_study,
    storage_errors,
    take_over,
    trials_table,
)
from forecast.search.workers import Finished, Job, LostError, Result, Workers
from forecast.training import check_can_train, check_inputs_outside, fit_members, fit_ridges

if TYPE_CHECKING:
    import optuna
    from matplotlib.figure import Figure

    from forecast.forecasters.network.callbacks import Progress

STARTUP, WARMUP = 2, 2  # trials that the median pruner lets pass, and epochs; chosen on validation by benchmarks/tuning.py
PATIENCE = 3  # times the longest trial, to wait for those of other processes
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
) -> RunGroup:
    """Search as `tuning` in the config says, then train the best; the run directory holds the study, `best.yaml` and `runs/best`.

    run_dir: where to write, `runs/NAME-tune` unless given; a study that is there goes on. force: begin anew. overrides: keys of
    the config, dotted. workers: where trials are computed, this process unless given. on_finished: called after each trial.
    storage: a journal file or a database URL that several processes, on several machines, may share; None keeps a journal in
    the run directory.

    Raises:
        ConfigError, DataError: the search, or an end of what it searches, cannot be trained; nothing is written.
        RunError: the directory or the storage cannot be used, or holds a study of another config; or no trial finished.
    """
    check_can_train()
    check_installed("Tuning", ["optuna"], "tune")
    config = source if isinstance(source, Config) else load_config(source, overrides)
    search = Search(*read_checked(config))
    search.check()
    config, workers = search.config, workers or Workers()
    if workers.address and storage is None:
        raise RunError("the nodes of a cluster need a study that all see.", "Add --storage with a database's URL.", "--address")
    directory = Path(run_dir or Path("runs") / f"{config.name}-tune")
    read = {} if isinstance(source, Config) else {"the config": source}
    check_inputs_outside(directory, read | {"the data": config.data.path})
    place = None if storage is None else str(storage) if "://" in str(storage) else os.path.abspath(storage)
    if place:
        open_storage(place)  # before anything is written
    folder = RunGroup.open_or_create("search", directory, force)
    with folder.recording():
        _check_held(folder, config)
        if place is None:
            place = os.path.abspath(folder.journal)
            mend_journal(place)
        with storage_errors(place, opening=True):
            study = open_study(search, place, storage is not None)
        with storage_errors(place):
            folder.write_text(folder.config, config.to_yaml())
            take_over(study)
            _run_trials(search, study, place, workers, on_finished)
            _wait_for_others(study)
            _write_results(search, study, folder)
    return folder


def _check_held(folder: RunGroup, config: Config) -> None:
    """What the directory holds is of the same search.

    Raises:
        RunError: naming what differs.
    """
    if not folder.config.exists():
        return
    before = folder.read_config()
    differing = differing_sections(before, config) + (["tuning.search"] if before.tuning.search != config.tuning.search else [])
    if differing:
        found = f"holds a search of another {first_few(differing, 5)}."
        raise RunError(found, "Begin anew with --force, or choose another --run-dir.", str(folder.directory))


def _run_trials(
    search: Search,
    study: optuna.Study,
    place: str,
    workers: Workers,
    on_finished: Callable[[Finished], None] | None,
) -> None:
    """Compute trials until there are as many as there are to be, or the time is up."""
    running: dict[str, optuna.Trial] = {}
    deadline = time.monotonic() + parse_wait(search.tuning.budget) if search.tuning.budget else math.inf

    def next_job() -> Job | None:
        trial = ask(study, search) if time.monotonic() < deadline else None
        if trial is None:
            return None
        running[name := f"trial {trial.number}"] = trial
        return name, (search, trial.params, place, trial._trial_id)

    try:
        results = workers.each(_try, next_job)
        _take_results(search, study, running, results, deadline, on_finished)
    except KeyboardInterrupt:
        for trial in running.values():
            lose(study, study.trials[trial.number], interrupted=True)
        raise


def _take_results(
    search: Search,
    study: optuna.Study,
    running: dict[str, optuna.Trial],
    results: Iterator[Result],
    deadline: float,
    on_finished: Callable[[Finished], None] | None,
) -> None:
    """Write what came of each trial into the study, and tell of it."""
    began, own = time.monotonic(), 0
    for name, result in results:
        trial = running.pop(name)
        if isinstance(result, LostError) and lose(study, study.trials[trial.number]):
            log.info("%s: %s It is tried once more.", name, result.problem)
            continue
        _tell(study, trial, result)
        own += 1
        if on_finished:
            on_finished(_finished(study, trial.number, search.trials, (time.monotonic() - began) / own, deadline))


def _tell(study: optuna.Study, trial: optuna.Trial, result: _Scored | _Pruned | ForecastError) -> None:
    """Write what came of a trial into the study."""
    import optuna

    if isinstance(result, LostError):  # twice, as `lose` has told
        return
    if isinstance(result, ForecastError):
        trial.set_user_attr(WHY, str(result).splitlines()[0])
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return
    trial.set_user_attr(EPOCHS, result.epochs)
    if isinstance(result, _Pruned):
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    else:
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


def _wait_for_others(study: optuna.Study) -> None:
    """The best is known when the last trial ends, whoever computes it; one that takes far too long is not waited for."""
    durations = [trial.duration.total_seconds() for trial in study.trials if trial.duration]
    end = time.monotonic() + PATIENCE * max(durations, default=0.0)
    while others := [trial for trial in counted(study) if trial.state.name == "RUNNING" and not is_ours(trial)]:
        if time.monotonic() > end:
            log.warning("%d trials of other processes have not ended; call the same again when they have.", len(others))
            return
        time.sleep(0.5)


def _try(search: Search, params: Mapping[str, object], place: str, trial_id: int) -> _Scored | _Pruned:
    """A trial, in whatever process.

    Raises:
        ForecastError: these parameters cannot be trained.
    """
    import optuna

    config = search.config_of(params)
    if search.tuning.objective == "backtest":
        return _backtested(config, search.panel_of(config))
    pruners = {
        "median": optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=WARMUP),
        "halving": optuna.pruners.SuccessiveHalvingPruner(min_resource=1),
    }
    pruner = pruners[search.tuning.pruner] if search.prunes else optuna.pruners.NopPruner()
    with storage_errors(place, opening=True):
        study = optuna.load_study(
            study_name=search.config.name, storage=open_storage(place), pruner=pruner, sampler=optuna.samplers.RandomSampler()
        )
        trial, epochs = optuna.Trial(study, trial_id), 0

    def report(progress: Progress, first: bool) -> None:
        nonlocal epochs
        if progress.done == 1 and progress.epoch > 0:
            epochs += 1
            if first and progress.member == 1:
                with storage_errors(place):
                    trial.report(progress.val_loss, progress.epoch)
                    worse = trial.should_prune()
                if worse:
                    raise optuna.TrialPruned

    prepared = prepare_panel(*read_checked(config, search.panel_of(config)))
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
    """Train, and measure on the validation part."""
    from forecast.forecasters.network.backend import keras
    from forecast.forecasters.network.keras_builder import load_keras

    keras.utils.clear_session()  # or the networks of all trials would stay in memory
    linear, start = fit_ridges(prepared)
    members = fit_members(prepared, start, lambda row: None, on_progress)
    networks = [load_keras(prepared.network, weights).predict_on_batch for _, weights in members.values()]
    board = scoreboard(prepared)
    calibrated(Fitted(prepared, networks, linear), board)
    return _error(board.scores())


def _error(scores: Scores) -> float:
    """Return MASE, or MAE where that is undefined."""
    total = scores.forecast.total
    return total.mae if total.mase is None else total.mase


def _backtested(config: Config, panel: Panel | None) -> _Scored:
    """The mean error over the folds of a backtest on the rows before the test part."""
    prepared = prepare_panel(*read_checked(config, panel))
    begin, end = prepared.splits.rows_of("validation")
    rows = int((end - begin).max())
    test, end = prepared.splits.rows_of("test")
    until = str(prepared.panel.timestamps[test[end > test]].min().tz_localize(None))
    before = config.splits.model_copy(update={"end": until, "test": rows, "validation": rows})
    with tempfile.TemporaryDirectory() as scratch:
        run = backtest(config.model_copy(update={"splits": before, "tracking": []}), Path(scratch) / "run")
        history = read_history(run)
        return _Scored(_error(run.read(run.metrics, Metrics).test), int((history.epoch > 0).sum()))


def _write_results(search: Search, study: optuna.Study, folder: RunGroup) -> None:
    """Write the trials and the best config, train it, and draw the study.

    Raises:
        RunError: no trial went to its end.
    """
    table = trials_table(study)
    folder.write_table(folder.trials, table)
    if not table.state.eq("finished").any():
        why = table[WHY].dropna()
        told = f": {why.iloc[-1]}" if len(why) else "."
        raise RunError(f"no trial finished{told}", f"Search other values; {folder.log} says more.", str(folder.directory))
    best = study.best_trial
    config = search.config_of(best.params)
    metric = "mean error over the folds" if search.tuning.objective == "backtest" else "error on the validation part"
    title = f"{len(table)} trials: {metric} {format_number(best.value)} (trial {best.number})"
    write_best(folder, title, config)
    trained = Run(folder.runs / "best")
    if not trained.finished or differing_sections(trained.read_config(), config):
        train_whole(config, search.panel_of(config), trained.directory)
        trained = Run(trained.directory)  # Its layout is the current one.
    figures: dict[str, Figure] = {}
    with folder.explaining("drawing the plots"):
        figures = study_figures(study)
        for name, figure in figures.items():
            folder.write_figure(folder.plots / f"{name}.png", figure)
    with folder.explaining("writing the page"):
        verdict = trained.read(trained.metrics, TrainingMetrics).verdict
        write_study_page(folder, search.config.name, f"The best of {title}.", verdict, table, figures)
