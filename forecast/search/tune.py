"""`tune`: search with Optuna for settings with a small error on the validation set. The test set is used only for scoring."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from forecast.commands.backtest import backtest
from forecast.config import Config, differing_sections, load_config, parse_wait
from forecast.data import Panel
from forecast.errors import ForecastError, RunError, check_installed
from forecast.evaluation import Fitted, Metrics, Scoreboard, Scores, format_number, score_validation
from forecast.forecasters.preparation import Prepared, prepare_panel, read_and_resolve
from forecast.reports import draw_study, write_study_page
from forecast.runs import Run, RunGroup, read_history
from forecast.search.experiment import train_quietly, write_best
from forecast.search.space import Search
from forecast.search.study import (
    EPOCHS,
    WHY,
    ask_for_trial,
    check_identity,
    counted_trials,
    open_storage,
    open_study,
    repair_journal,
    storage_errors,
    take_over,
    trials_table,
)
from forecast.search.workers import Finished, Job, Workers
from forecast.training import check_can_train, check_inputs_outside, fit_members, fit_regressions

if TYPE_CHECKING:
    import optuna

    from forecast.forecasters.network.callbacks import Progress

MAX_WAIT = 3  # Wait for trials of other processes, in durations of the longest trial.
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Outcome:
    """A trial that was trained: its error on the validation set, MASE or MAE, None if it was pruned; and its epochs."""

    error: float | None
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
    """Search for settings as the section `tuning` defines, and train a run with the best. The result holds the study,
    `best.yaml` and `runs/best`.

    run_dir: the directory to write, by default `runs/NAME-tune`. Its study is continued. force: begin anew. overrides: dotted
    keys of the config. workers: where trials are computed, by default in this process. on_finished: called after each trial.
    storage: a journal file, or the URL of a database, that processes on several machines may share. By default, the journal is
    in the run directory.

    Raises:
        ConfigError, DataError: the config cannot be trained with the lowest or the highest value of a search range. Nothing is
            written.
        RunError: the directory or the storage cannot be used, or holds a study of another config, or no trial finished.
    """
    check_can_train()
    check_installed("Tuning", ["optuna"], "tune")
    config = source if isinstance(source, Config) else load_config(source, overrides)
    search = Search(*read_and_resolve(config))
    search.check()
    config, workers = search.config, workers or Workers()
    if workers.address and storage is None:
        raise RunError("the nodes of a cluster must share a study.", "Add --storage with the URL of a database.", "--address")
    directory = Path(run_dir or Path("runs") / f"{config.name}-tune")
    read = {} if isinstance(source, Config) else {"the config": source}
    check_inputs_outside(directory, read | {"the data": config.data.path})
    location = None if storage is None else str(storage) if "://" in str(storage) else os.path.abspath(storage)
    if location:
        open_storage(location)  # Errors come before anything is written.
    folder = RunGroup.open_or_create("search", directory, force)
    with folder.record():
        if folder.config.exists():
            before = Search(folder.read_config(), search.panel).identity()
            remedy = "Start again with --force, or choose another --run-dir."
            check_identity("the search in this directory", before, search, remedy, str(directory))
        if location is None:
            location = os.path.abspath(folder.journal)
            repair_journal(location)
        with storage_errors(location, opening=True):
            study = open_study(search, location, storage is not None)
        with storage_errors(location):
            folder.write_text(folder.config, config.to_yaml())
            _run_trials(search, study, location, workers, on_finished)
            _wait_for_others(study)
            _write_results(search, study, folder)
    return folder


def _run_trials(
    search: Search,
    study: optuna.Study,
    location: str,
    workers: Workers,
    on_finished: Callable[[Finished], None] | None,
) -> None:
    """Compute trials until there are enough, or the time is up. Write the result of each into the study, and report it."""
    running: dict[str, optuna.Trial] = {}
    orphans = take_over(study)
    began = time.monotonic()
    deadline = began + parse_wait(search.tuning.budget) if search.tuning.budget else math.inf

    def _next_job() -> Job | None:
        is_in_time = time.monotonic() < deadline
        trial = orphans.pop() if orphans else ask_for_trial(study, search) if is_in_time else None
        if trial is None:
            return None
        running[name := f"trial {trial.number}"] = trial
        return name, (search, trial, location)

    for count, (name, result) in enumerate(workers.compute(_run_trial, _next_job), 1):
        trial = running.pop(name)
        _write_outcome(study, trial, result)
        if on_finished:
            pace = (time.monotonic() - began) / count
            on_finished(_summarize_progress(study, trial.number, search.trials, pace, deadline))


def _write_outcome(study: optuna.Study, trial: optuna.Trial, outcome: _Outcome | ForecastError) -> None:
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    with contextlib.suppress(UpdateFinishedTrialError):  # Another process took over the same trial.
        if isinstance(outcome, ForecastError):
            trial.set_user_attr(WHY, str(outcome).splitlines()[0])
            study.tell(trial, state=TrialState.FAIL)
        else:
            trial.set_user_attr(EPOCHS, outcome.epochs)
            study.tell(trial, outcome.error, TrialState.PRUNED if outcome.error is None else None)


def _summarize_progress(study: optuna.Study, number: int, trials: int, pace: float, deadline: float) -> Finished:
    """Return the progress after a trial. pace: seconds per trial."""
    table = trials_table(study).set_index("trial")
    ended, trial = table[table.state != "running"], table.loc[number]
    why = {"pruned": f"pruned after {trial.epochs} epochs", "failed": f"failed: {trial.why}"}.get(str(trial.state), "")
    left = min(pace * (trials - len(ended)), max(0.0, deadline - time.monotonic()))
    return Finished.from_errors(f"trial {number}", why, ended.error.rename("trial {}".format), trials, "error", left)


def _wait_for_others(study: optuna.Study) -> None:
    """Wait until the trials of other processes have ended, since one may be the best. Give up if it takes too long."""
    durations = [trial.duration.total_seconds() for trial in study.trials if trial.duration]
    end = time.monotonic() + MAX_WAIT * max(durations, default=0.0)
    while running := [trial for trial in counted_trials(study) if trial.state.name == "RUNNING"]:
        if time.monotonic() > end:
            message = "trials of other processes are still running (%d). Run the same command again when they have ended."
            log.warning(message, len(running))
            return
        time.sleep(0.5)


def _run_trial(search: Search, trial: optuna.Trial, location: str) -> _Outcome:
    """Compute a trial, in any process.

    Raises:
        ForecastError: its parameters cannot be trained.
    """
    import optuna

    config, epochs = search.config_of(trial.params), 0
    if search.tuning.objective == "backtest":
        return _compute_backtest_error(config, search.panel_of(config))

    def _report(progress: Progress, first: bool) -> None:
        nonlocal epochs
        if progress.done == 1 and progress.epoch > 0:
            epochs += 1
            if first and progress.member == 1:
                with storage_errors(location), warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # A trial that is computed again has reported before.
                    trial.report(progress.val_loss, progress.epoch)
                    is_worse = trial.should_prune()
                if is_worse:
                    raise optuna.TrialPruned

    prepared = prepare_panel(*read_and_resolve(config, search.panel_of(config)))
    errors = []
    try:
        for execution in range(config.tuning.executions_per_trial):
            seeded = prepared.config.model_copy(update={"seed": config.seed + execution})
            on_progress = partial(_report, first=execution == 0)
            errors.append(_compute_validation_error(replace(prepared, config=seeded), on_progress))
    except optuna.TrialPruned:
        return _Outcome(None, epochs)
    return _Outcome(float(np.mean(errors)), epochs)


def _compute_validation_error(prepared: Prepared, on_progress: Callable[[Progress], None]) -> float:
    """Train, and return the error on the validation set."""
    from forecast.forecasters.network.backend import keras
    from forecast.forecasters.network.keras_builder import load_keras

    keras.utils.clear_session()  # Otherwise the networks of all trials stay in memory.
    prepared = replace(prepared, config=prepared.config.model_copy(update={"baselines": []}))  # They take long.
    regressions, start = fit_regressions(prepared)
    members = fit_members(prepared, start, lambda row: None, on_progress, refits=[])
    networks = [load_keras(prepared.network, member.selected).predict_on_batch for member in members.values()]
    board = Scoreboard(prepared)
    score_validation(Fitted(prepared, networks, regressions), board)
    return _error(board.scores())


def _error(scores: Scores) -> float:
    """Return MASE, or MAE if MASE is undefined."""
    total = scores.forecast.total
    return total.mae if total.mase is None else total.mase


def _compute_backtest_error(config: Config, panel: Panel | None) -> _Outcome:
    """Return the mean error over the folds of a backtest on the rows before the test set."""
    prepared = prepare_panel(*read_and_resolve(config, panel))
    begin, end = prepared.splits.rows_of("validation")
    rows = int((end - begin).max())
    test, end = prepared.splits.rows_of("test")
    until = str(prepared.panel.timestamps[test[end > test]].min().tz_localize(None))
    before = config.splits.model_copy(update={"end": until, "test": rows, "validation": rows})
    with tempfile.TemporaryDirectory() as scratch:
        run = backtest(config.model_copy(update={"splits": before, "tracking": []}), Path(scratch) / "run")
        history = read_history(run)
        return _Outcome(_error(run.read(run.metrics_file, Metrics).test), int((history.epoch > 0).sum()))


def _write_results(search: Search, study: optuna.Study, folder: RunGroup) -> None:
    """Write the trials and the best config, train it, and draw the study.

    Raises:
        RunError: no trial finished.
    """
    table = trials_table(study)
    folder.write_table(folder.trials, table)
    if not table.state.eq("finished").any():
        reason = "".join(f": {why}" for why in table[WHY].dropna().tail(1))
        raise RunError(f"no trial finished{reason}", f"Use other values in the search. See {folder.log}.", str(folder.directory))
    best = study.best_trial
    config = search.config_of(best.params)
    metric = "mean error over the folds" if search.tuning.objective == "backtest" else "error on the validation set"
    title = f"{len(table)} trials: {metric} {format_number(study.best_value)} (trial {best.number})"
    write_best(folder, title, config)
    trained = Run(folder.runs / "best")
    if not trained.finished or differing_sections(trained.read_config(), config):
        train_quietly(config, search.panel_of(config), trained.directory)
        trained = Run(trained.directory)  # Its layout is the current one.
    with folder.log_and_continue("drawing the plots and writing the page"):
        figures = draw_study(study)
        for name, figure in figures.items():
            folder.write_figure(folder.plots / f"{name}.png", figure)
        verdict = trained.metrics.verdict
        write_study_page(folder, search.config.name, f"The best of {title}.", verdict, table, figures)
