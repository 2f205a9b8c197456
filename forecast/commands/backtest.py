"""`backtest`: measure how well a network would have forecast, had it been trained at several points in the past."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from forecast.config import Config, ConfigInSteps, load_config
from forecast.data import Panel, make_contract
from forecast.errors import ConfigError, RunError, format_count
from forecast.evaluation import (
    Calibration,
    Fitted,
    PredictionTable,
    Scoreboard,
    Scores,
    TrainingMetrics,
    count_independent,
    score,
    summarize,
)
from forecast.forecasters.preparation import Prepared, prepare_panel, prepare_splits, read_and_resolve
from forecast.reports import remove_time_zones, write_plots, write_report
from forecast.runs import (
    Run,
    append_history,
    find_slow_settings,
    inspect_environment,
    read_contract,
    read_trained,
)
from forecast.training import (
    Member,
    Members,
    OnProgress,
    calibrate_members,
    check_can_train,
    check_inputs_outside,
    fit_members,
    fit_regressions,
    write_scores,
)
from forecast.windows import Fold, Splits, Windows, make_splits

if TYPE_CHECKING:
    from forecast.forecasters.network.callbacks import Progress

log = logging.getLogger(__name__)


def backtest(
    source: Config | str | Path,
    run_dir: str | Path | None = None,
    force: bool = False,
    overrides: Mapping[str, object] | None = None,
    on_progress: OnProgress | None = None,
) -> Run:
    """Train on the rows before a point in the past and forecast the rows after it. Repeat this for several later points (folds).

    source: a config, its file, or the directory of a run, whose network is tested if `backtest.refit` is never.
    run_dir: the directory to write; None takes the next free `runs/NAME-backtest-N`. force: replace the run in it.
    overrides: keys of the config, dotted. on_progress: called after each batch and each epoch.

    Scaler, ridge regression, epochs and intervals are fitted in each fold on the rows before its test set.

    Raises:
        ConfigError, DataError: the config or the data cannot be used. Nothing is written.
        RunError: a directory cannot be used, or training failed.
    """
    check_can_train()
    began = time.perf_counter()
    source_run = Run.open(source) if isinstance(source, (str, Path)) and Path(source).is_dir() else None
    config = source if isinstance(source, Config) else load_config(source_run.config if source_run else source, overrides)
    folds = _plan(config)
    tested = _read_networks(source_run, config, folds.first) if source_run and config.backtest.refit == "never" else None
    config = folds.first.config
    inputs = {"the data": config.data.path} | ({"the run to test": source_run.directory} if source_run else {})
    check_inputs_outside(run_dir, inputs)
    run = Run.create(f"{config.name}-backtest", run_dir, force)
    run.kind = "backtest"
    with run.record():
        run.write_text(run.config, config.to_yaml())
        _score_into(run, folds, tested, on_progress, began)
    return run


@dataclass(frozen=True)
class _Networks:
    """Trained networks, and whether they continue those of another run."""

    members: Members
    continued: bool = False


def _read_networks(run: Run, config: Config, first: Prepared) -> _Networks:
    """Read the networks of a run, to be tested on its test set.

    Raises:
        ConfigError, RunError: config or data differ from those that decided on which rows the networks were trained.
    """
    trained = read_trained(run, "scored")
    sections = {name: getattr(trained.config, name) for name in ("data", "splits", "scaling", "windows", "model")}
    if config.backtest.stride or any(getattr(first.config, name) != section for name, section in sections.items()):
        problem = "`backtest.refit: never` tests the network of the run on the run's own test set, so neither can be changed."
        raise ConfigError(
            problem,
            "Leave out backtest.stride and all keys outside `backtest`, or set backtest.refit: every.",
            str(run.directory),
        )
    if read_contract(run).sha256 != first.panel.sha256:
        raise RunError(
            "the data file has changed since the run was trained.",
            f"To train new networks on the changed data, run: forecast backtest {run.config}",
            str(run.directory),
        )
    epochs = run.read(run.metrics_file, TrainingMetrics).kept_epochs
    pairs = zip(trained.config.seeds, read_trained(run, "selected").members, trained.members, strict=True)
    members = {seed: Member(epochs[seed], selected, scored, scored) for seed, selected, scored in pairs}
    return _Networks(members, run.parent.exists())


@dataclass(frozen=True)
class _Folds:
    """The folds of a backtest. The first test cutoff of fold k comes `k * stride` ticks after that of fold 0.

    first: its test set reaches to the end of the last fold. ticks: of the whole panel.
    """

    first: Prepared
    ticks: pd.DatetimeIndex
    stride: int

    def make_splits(self, fold: int, end: int) -> Splits:
        """Return the splits of a fold, with a test set that reaches to the fold `end`, exclusive."""
        config = self.first.config
        is_last = end >= config.backtest.folds
        rows = None if is_last else (end - fold) * self.stride + config.windows.horizon - 1
        moved = Fold(fold * self.stride, rows, config.backtest.training_part == "sliding")
        return make_splits(self.first.panel, config.splits, moved, self.ticks)

    def find_folds(self, windows: Windows) -> npt.NDArray[np.int64]:
        """Return the number of the fold that tests each window, from 0."""
        numbers: npt.NDArray[np.int64] = np.sum([windows.first >= start[windows.series] for start in self._starts], axis=0) - 1
        return numbers

    @cached_property
    def _starts(self) -> list[npt.NDArray[np.integer]]:
        """The first row of the test set of each fold, of every series."""
        return [self.make_splits(fold, fold + 1).rows_of("test")[0] for fold in range(self.first.config.backtest.folds)]


def _plan(config: Config) -> _Folds:
    """Return the folds of a config.

    Raises:
        ConfigError: the data or the test set hold fewer cutoffs.
    """
    in_steps, panel = read_and_resolve(config)
    count, stride = in_steps.backtest.folds, in_steps.backtest.stride
    first = _prepare_strided(in_steps, panel, stride) if stride else prepare_panel(in_steps, panel)
    begin, end = first.splits.rows_of("test")
    cutoffs = int((end - begin).max()) - in_steps.windows.horizon + 1
    if cutoffs < count:
        raise ConfigError(
            f"the test set has {format_count(cutoffs, 'cutoff')}, too few for {count} folds.",
            f"Use at most {cutoffs}, or set backtest.stride to the number of cutoffs per fold.",
            config.locate("backtest.folds"),
        )
    folds = _Folds(first, panel.ticks, stride or cutoffs // count)
    empty = np.flatnonzero(np.bincount(folds.find_folds(first.windows["test"]), minlength=count) == 0)
    if len(empty):
        problem = f"fold {empty[0] + 1} of {count} has no window without filled values."
        raise ConfigError(problem, "Use fewer folds or a longer stride.", config.locate("backtest.folds"))
    return folds


def _prepare_strided(config: ConfigInSteps, panel: Panel, stride: int) -> Prepared:
    """Prepare a panel with a test set that is long enough for all folds, and a validation set as long as before.

    Raises:
        ConfigError: the data are too short.
    """
    count = config.backtest.folds
    rows = count * stride + config.windows.horizon - 1
    _, validation, test, _ = make_splits(panel, config.splits).borders.T
    splits = config.splits.model_copy(update={"test": rows, "validation": int((test - validation).max())})
    try:
        return prepare_panel(config.model_copy(update={"splits": splits}), panel)
    except ConfigError as error:
        problem = f"{count} folds with a stride of {stride} need a test set of {rows} rows: {error.problem}"
        raise ConfigError(problem, "Use fewer folds or a shorter stride.", config.locate("backtest.stride")) from None


def _score_into(run: Run, folds: _Folds, tested: _Networks | None, on_progress: OnProgress | None, began: float) -> None:
    """Fit and score all folds, and write the results. tested: networks to test instead. began: when the backtest did."""
    environment, contract = inspect_environment(), make_contract(folds.first.panel)
    run.write(run.environment, environment)
    run.write(run.contract, contract)
    for sentence in find_slow_settings(folds.first.config, environment):
        log.warning(sentence)
    board, calibration_windows = Scoreboard(folds.first), count_independent(folds.first.windows["validation"])
    with run.open_table(run.predictions_file) as append:
        predictions = PredictionTable(folds.first, append)
        table = _score_folds(run, folds, tested, board, predictions, on_progress)
    is_trained = bool(table.kept_epoch.any()) or (tested is not None and tested.continued)
    metrics = summarize(board, is_trained, calibration_windows)
    result = write_scores(run, contract, environment, metrics, board, predictions)
    run.write_table(run.steps, _tabulate_steps(metrics.test))
    run.write_table(run.folds, table)
    result.folds = remove_time_zones(table)
    with run.log_and_continue("drawing the plots"):
        write_plots(result)
    environment.seconds = {"all": round(time.perf_counter() - began, 2)}
    run.write(run.environment, environment)
    with run.log_and_continue("writing report.html"):
        write_report(result)


def _score_folds(
    run: Run,
    folds: _Folds,
    tested: _Networks | None,
    board: Scoreboard,
    predictions: PredictionTable,
    on_progress: OnProgress | None,
) -> pd.DataFrame:
    """Fit and score fold after fold. Return a row per fold."""
    config, rows = folds.first.config, list[dict[str, object]]()
    count, refit = config.backtest.folds, config.backtest.refit
    folds_per_fit = count if refit == "never" else 1 if refit == "every" else int(refit)
    for fold in range(0, count, folds_per_fit):
        end = min(fold + folds_per_fit, count)
        prepared = prepare_splits(config, folds.first.panel, folds.make_splits(fold, end))
        fitted, calibration, best_epoch = _fit(run, prepared, fold, tested, on_progress)
        windows = prepared.windows["test"]
        score(fitted, windows, board, calibration, predictions, folds.find_folds(windows))
        train_begin, train_end = prepared.splits.rows_of("train")
        trained_until = prepared.panel.timestamps[train_end[train_end > train_begin] - 1].max()
        rows += [{"trained_until": trained_until, "kept_epoch": best_epoch}] * (end - fold)
        log.info("folds %d to %d: trained until %s, best epoch %d", fold + 1, end, trained_until, best_epoch)
    table = pd.concat([pd.DataFrame(rows), board.per_fold()], axis=1)
    return table.rename_axis("fold").reset_index().assign(fold=lambda rows: rows.fold + 1)


def _fit(
    run: Run, prepared: Prepared, fold: int, tested: _Networks | None, on_progress: OnProgress | None
) -> tuple[Fitted, Calibration | None, int]:
    """Train networks for a fold, unless there are networks to test. Return the forecasters, intervals and the best epoch."""
    from forecast.forecasters.network.backend import keras

    def report(progress: Progress) -> None:
        if on_progress:
            on_progress(replace(progress, fold=fold + 1, folds=prepared.config.backtest.folds))

    keras.utils.clear_session()  # Otherwise the networks of all folds would stay in memory.
    regressions, ridge = fit_regressions(prepared)
    if not tested:
        number = {"fold": fold + 1}
        members = fit_members(prepared, ridge, lambda row: append_history(run, number | row), report, refits=["scored"])
        tested = _Networks(members)
    fitted, calibration, _ = calibrate_members(prepared, regressions, tested.members, Scoreboard(prepared))
    return fitted, calibration, max(member.epoch for member in tested.members.values())


def _tabulate_steps(scores: Scores) -> pd.DataFrame:
    """Return a row per horizon step: the MAE of every forecaster, and the coverage of every interval."""
    columns = {f"mae_{name}": scores.of(name).per_step.mae for name in scores.labels}
    for method, intervals in scores.intervals.items():
        columns |= {f"{method}_{level}": measured.per_step.coverage for level, measured in intervals.levels.items()}
    table = pd.DataFrame(columns)
    return table.rename_axis("step").reset_index().assign(step=lambda rows: rows.step + 1)
