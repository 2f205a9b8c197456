"""`backtest`: what the forecasts would have been, had the network been trained at several moments of the past."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from forecast.config import Config, ConfigInSteps, load_config
from forecast.data import Panel, make_contract
from forecast.errors import ConfigError, RunError
from forecast.evaluation import (
    BASELINES,
    MODEL,
    Calibration,
    Fitted,
    Scoreboard,
    Scores,
    TrainingMetrics,
    count_independent,
    score,
    score_validation,
    summarize,
)
from forecast.forecasters.preparation import Prepared, prepare_panel, prepare_splits, read_and_resolve
from forecast.reports import report, write_plots
from forecast.runs import (
    Run,
    append_history,
    find_slow_settings,
    inspect_environment,
    read_contract,
    read_trained,
    read_training_panel,
)
from forecast.training import check_can_train, check_inputs_outside, fit_members, fit_ridges
from forecast.windows import Fold, Splits, Windows, make_splits

if TYPE_CHECKING:
    from forecast.forecasters.network.callbacks import Progress

Weights = tuple[list[dict[str, np.ndarray]], int]  # of each seed's network, and the latest epoch that was kept
log = logging.getLogger(__name__)


def backtest(
    source: Config | str | Path,
    run_dir: str | Path | None = None,
    force: bool = False,
    overrides: Mapping[str, object] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Run:
    """Train as if it were the past, forecast what came next, move on, and again; `backtest` in the config says how.

    source: a config, its file, or the directory of a run, whose own network is tested where `backtest.refit` is never.
    run_dir: where to write; None takes the next free `runs/NAME-backtest-N`. force: replace what is there.
    overrides: keys of the config, dotted. on_progress: called after each batch and each epoch.

    Everything that is fitted (scaler, ridge regression, epochs, intervals) is fitted anew on what a fold may know.

    Raises:
        ConfigError, DataError: nothing is written.
        RunError: a directory cannot be used, or training failed.
    """
    check_can_train()
    began = time.perf_counter()
    own = Run.open(source) if isinstance(source, (str, Path)) and Path(source).is_dir() else None
    config = source if isinstance(source, Config) else load_config(own.config if own else source, overrides)
    folds = _plan(config, read_training_panel(own, config.data) if own else None)
    tested = _weights_of(own, config, folds.first) if own and config.backtest.refit == "never" else None
    config = folds.first.config
    check_inputs_outside(run_dir, {"the data": config.data.path} | ({"the run to test": own.directory} if own else {}))
    run = Run.create(f"{config.name}-backtest", run_dir, force)
    run.kind = "backtest"
    with run.record():
        run.write_text(run.config, folds.first.config.to_yaml())
        environment = inspect_environment()
        run.write(run.environment, environment)
        for sentence in find_slow_settings(config, environment):
            log.warning(sentence)
        run.write(run.contract, make_contract(folds.first.panel))
        board = Scoreboard(folds.first)
        calibration_windows = count_independent(folds.first.windows["validation"])
        table = _through_the_folds(run, folds, tested, board, on_progress)
        trained = bool(table.kept_epoch.any()) or (tested is not None and own.parent.exists())
        metrics = summarize(board, trained, calibration_windows)
        run.write_table(run.cutoffs, board.losses())
        run.write_table(run.folds, table)
        run.write_table(run.steps, _per_step(metrics.test))
        run.write_table(run.per_series, board.per_series())
        run.write(run.metrics, metrics)
        with run.log_and_continue("drawing the plots"):
            write_plots(run)
        environment.seconds = {"all": round(time.perf_counter() - began, 2)}
        run.write(run.environment, environment)
        with run.log_and_continue("writing report.html"):
            report(run)
    return run


def _weights_of(run: Run, config: Config, first: Prepared) -> Weights:
    """The weights of each seed's network of a run, and the latest epoch that was kept; to be tested on its own test part.

    Raises:
        ConfigError, RunError: config or data differ from what decided which rows the network was trained on.
    """
    trained = read_trained(run)
    sections = {name: getattr(trained.config, name) for name in ("data", "splits", "scaling", "windows", "model")}
    differing = [name for name, section in sections.items() if getattr(first.config, name) != section]
    if config.backtest.stride or differing:
        found = "backtest.refit: never tests the network of the run, on the rows that it was not trained on: its test part."
        raise ConfigError(found, "Leave out backtest.stride and other keys than those of backtest, or refit.", str(run.directory))
    if read_contract(run).sha256 != first.panel.sha256:
        raise RunError("the data are no longer those that the run was trained on.", "Backtest its config.", str(run.directory))
    return trained.members, max(run.read(run.metrics, TrainingMetrics).kept_epochs.values())


@dataclass(frozen=True)
class _Folds:
    """The folds of a backtest: fold k's first test cutoff is `k * stride` ticks after that of the first."""

    first: Prepared  # its test part reaches to the end of the last fold
    ticks: pd.DatetimeIndex  # of the whole panel
    stride: int

    def splits(self, fold: int, until: int) -> Splits:
        """The splits of a fold, with a test part that goes on to the fold `until`, which is not included."""
        config = self.first.config
        last = until >= config.backtest.folds
        rows = None if last else (until - fold) * self.stride + config.windows.horizon - 1
        moved = Fold(fold * self.stride, rows, config.backtest.training_part == "sliding")
        return make_splits(self.first.panel, config.splits, moved, self.ticks)

    def of(self, windows: Windows) -> np.ndarray:
        """The number of the fold that each window is tested in, from 0."""
        return np.sum([windows.first >= start[windows.series] for start in self._starts], axis=0) - 1

    @cached_property
    def _starts(self) -> list[np.ndarray]:
        """The first row of each fold's test part, of every series."""
        return [self.splits(fold, fold + 1).rows_of("test")[0] for fold in range(self.first.config.backtest.folds)]


def _plan(config: Config, panel: Panel | None) -> _Folds:
    """The folds that a config asks for. panel: the data of the config, None to read them.

    Raises:
        ConfigError: the data or the test part hold fewer cutoffs.
    """
    in_steps, panel = read_and_resolve(config, panel)
    count, stride = in_steps.backtest.folds, in_steps.backtest.stride
    first = prepare_panel(in_steps, panel) if stride is None else _stretched(in_steps, panel)
    test, end = first.splits.rows_of("test")
    cutoffs = int((end - test).max()) - in_steps.windows.horizon + 1
    if cutoffs < count:
        raise ConfigError(
            f"the test part has {cutoffs} cutoffs, too few for {count} folds.",
            f"Ask for at most {cutoffs}, or set backtest.stride to the cutoffs of each fold.",
            config.locate("backtest.folds"),
        )
    folds = _Folds(first, panel.ticks, stride or cutoffs // count)
    empty = np.flatnonzero(np.bincount(folds.of(first.windows["test"]), minlength=count) == 0)
    if len(empty):
        found = f"fold {empty[0] + 1} of {count} has no window that is free of filled values."
        raise ConfigError(found, "Ask for fewer folds, or for a longer stride.", config.locate("backtest.folds"))
    return folds


def _stretched(config: ConfigInSteps, panel: Panel) -> Prepared:
    """What is prepared with a test part as long as the folds need, and a validation part as long as it was.

    Raises:
        ConfigError: the data are too short.
    """
    count, stride = config.backtest.folds, config.backtest.stride
    rows = count * stride + config.windows.horizon - 1
    _, validation, test, _ = make_splits(panel, config.splits).borders.T
    parts = config.splits.model_copy(update={"test": rows, "validation": int((test - validation).max())})
    try:
        return prepare_panel(config.model_copy(update={"splits": parts}), panel)
    except ConfigError as error:
        found = f"{count} folds with a stride of {stride} need a test part of {rows} rows: {error.problem}"
        raise ConfigError(found, "Ask for fewer folds or a shorter stride.", config.locate("backtest.stride")) from None


def _through_the_folds(
    run: Run, folds: _Folds, tested: Weights | None, board: Scoreboard, on_progress: Callable[[Progress], None] | None
) -> pd.DataFrame:
    """Fit and score fold after fold; writes all forecasts and returns a row per fold. tested: a network to test instead."""
    config, fitted_for = folds.first.config, []
    count, refit = config.backtest.folds, config.backtest.refit
    every = {"never": count, "every": 1}.get(refit, refit)
    with run.open_table(run.predictions) as append:
        for fold in range(0, count, every):
            until = min(fold + every, count)
            prepared = prepare_splits(config, folds.first.panel, folds.splits(fold, until))
            fitted, calibration, kept = _fit(run, prepared, fold, tested, on_progress)
            windows = prepared.windows["test"]
            score(fitted, windows, board, calibration, append, folds.of(windows))
            begin, end = prepared.splits.rows_of("train")
            trained_until = prepared.panel.timestamps[end[end > begin] - 1].max()
            fitted_for += [{"trained_until": trained_until, "kept_epoch": kept}] * (until - fold)
            log.info("folds %d to %d: trained until %s, kept epoch %d", fold + 1, until, trained_until, kept)
    table = pd.concat([pd.DataFrame(fitted_for), board.per_fold()], axis=1)
    return table.rename_axis("fold").reset_index().assign(fold=lambda rows: rows.fold + 1)


def _fit(
    run: Run, prepared: Prepared, fold: int, tested: Weights | None, on_progress: Callable[[Progress], None] | None
) -> tuple[Fitted, Calibration | None, int]:
    """Train on what a fold may know, or take a network that is there, and calibrate its intervals on the validation part; returns
    the latest epoch that was kept, too.
    """
    from forecast.forecasters.network.backend import keras
    from forecast.forecasters.network.keras_builder import load_keras

    keras.utils.clear_session()  # or the networks of all folds would stay in memory
    linear, start = fit_ridges(prepared)
    if tested:
        weights, kept = tested
    else:
        members = fit_members(
            prepared, start, partial(append_history, run), on_progress, fold=fold + 1, folds=prepared.config.backtest.folds
        )
        weights, kept = [trained for _, trained in members.values()], max(epoch for epoch, _ in members.values())
    fitted = Fitted(prepared, [load_keras(prepared.network, member).predict_on_batch for member in weights], linear)
    return fitted, score_validation(fitted, Scoreboard(prepared)), kept


def _per_step(scores: Scores) -> pd.DataFrame:
    """A row per horizon step: the MAE of every forecaster, and the coverage of every interval."""
    columns = {f"mae_{name}": scores.of(name).per_step.mae for name in (MODEL, *BASELINES)}
    for method, intervals in scores.intervals.items():
        columns |= {f"{method}_{level}": measured.per_step.coverage for level, measured in intervals.levels.items()}
    table = pd.DataFrame(columns)
    return table.rename_axis("step").reset_index().assign(step=lambda rows: rows.step + 1)
