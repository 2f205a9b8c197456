"""`backtest`: what the forecasts would have been, had the network been trained at several moments of the past."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from forecast.config import Config
from forecast.data import Panel
from forecast.errors import ConfigError, RunError
from forecast.evaluation import Scoreboard, advice, compare_all, verdict
from forecast.intervals import Calibration
from forecast.loading import load_config
from forecast.preparation import Prepared, prepare, prepare_parts
from forecast.reports import write_backtest_plots
from forecast.runs import Run
from forecast.scoring import Fitted, calibrated, score, scoreboard
from forecast.splits import Splits
from forecast.trained import read_trained
from forecast.training import check_trainable, environment, fit_members, fit_ridges
from forecast.windows import Windows

if TYPE_CHECKING:
    from forecast.models.fitting import Progress

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
    check_trainable()
    began = time.perf_counter()
    own = None
    if isinstance(source, (str, Path)) and Path(source).is_dir():
        own = Run.open(source)
        source = own.config
    config = source if isinstance(source, Config) else load_config(source, overrides)
    if own and config.backtest.refit == "never" and config.backtest.stride:
        found = "backtest.refit: never tests the network of the run, on the rows that it was not trained on: its test part."
        raise ConfigError(found, "Leave out backtest.stride, or refit.", config.place("backtest.stride"))
    first, stride = _first_fold(config)
    config = first.config
    run = Run.create(f"{config.name}-backtest", run_dir, force)
    with run.recording():
        run.write_text(run.config, config.to_yaml())
        run.write_json(run.environment, environment())
        run.write_json(run.contract, {"timezone": first.panel.timestamps.tz and str(first.panel.timestamps.tz)})
        board = scoreboard(first)
        folds = _through_the_folds(run, first, stride, own, board, on_progress)
        losses = board.losses()
        run.write_table(run.losses, losses)
        run.write_table(run.folds, folds)
        run.write_table(run.steps, _per_step(board.scores()))
        run.write_table(run.per_series, board.per_series())
        compared = compare_all(losses, config.windows.horizon)
        summary = {
            "verdict": verdict(compared),
            "advice": advice(compared, board.persistence(), int(folds.kept_epoch.max()), config.model.linear_skip),
            "skill": {name: found.skill for name, found in compared.items()},
            "compared": {name: found.to_json() for name, found in compared.items()},
            "persistence": board.persistence(),
            "season_length": first.season_length,
            "test": board.scores(),
        }
        run.write_json(run.metrics, summary)
        write_backtest_plots(run)
        seconds = {"all": round(time.perf_counter() - began, 2)}
        run.write_json(run.environment, run.read_json(run.environment) | {"seconds": seconds})
    return run


def _first_fold(config: Config) -> tuple[Prepared, int]:
    """What the first fold trains on, with a test part that holds the cutoffs of all folds; and the stride between folds.

    Raises:
        ConfigError: there are fewer cutoffs than folds.
    """
    folds, stride = config.backtest.folds, config.backtest.stride
    if stride is not None:
        from forecast.data import read_panel
        from forecast.timestamps import in_steps

        config = in_steps(config, read_panel(config.data).freq)
        rows = folds * config.backtest.stride + config.windows.horizon - 1
        config = config.model_copy(update={"splits": config.splits.model_copy(update={"test": rows})})
        return prepare(config), config.backtest.stride
    prepared = prepare(config)
    cutoffs = _cutoffs(prepared)
    if cutoffs < folds:
        raise ConfigError(
            f"the test part has {cutoffs} cutoffs, too few for {folds} folds.",
            f"Ask for at most {cutoffs}, or set backtest.stride to the cutoffs of each fold.",
            config.place("backtest.folds"),
        )
    return prepared, cutoffs // folds


def _cutoffs(prepared: Prepared) -> int:
    """How many cutoffs the longest test part of a series has."""
    test, end = prepared.splits.part("test")
    return int((end - test).max()) - prepared.config.windows.horizon + 1


@dataclass
class _Stage:
    """What was fitted last, and the fold that it was fitted for."""

    fold: int
    fitted: Fitted
    calibration: Calibration | None
    kept: int


def _through_the_folds(
    run: Run,
    first: Prepared,
    stride: int,
    own: Run | None,
    board: Scoreboard,
    on_progress: Callable[[Progress], None] | None,
) -> pd.DataFrame:
    """Fit and score fold after fold; writes all forecasts and returns a row per fold."""
    config, rows = first.config, []
    count, refit = config.backtest.folds, config.backtest.refit
    every = {"never": count, "every": 1}.get(refit, refit)
    stage: _Stage | None = None
    with run.writing_table(run.predictions) as append:
        for fold in range(count):
            if stage is None or fold % every == 0:
                last = min(fold + every, count)
                cutoffs = (last - fold) * stride if last < count else _cutoffs(first) - fold * stride
                prepared = _prepared(first, first.splits.of_fold(fold, stride, cutoffs, *_moving(config)))
                stage = _fit(run, prepared, fold, own if refit == "never" else None, on_progress)
            windows = _of_fold(stage, fold, stride, last=fold == count - 1)
            before = len(board.of_cutoff)
            score(stage.fitted, windows, board, stage.calibration, append)
            rows.append(_row(fold, stage, board.of_cutoff[before:]))
            log.info("fold %d: %s", fold + 1, rows[-1])
    return pd.DataFrame(rows)


def _moving(config: Config) -> tuple[int, bool]:
    return config.windows.horizon, config.backtest.window == "sliding"


def _prepared(first: Prepared, splits: Splits) -> Prepared:
    return prepare_parts(first.config, first.panel, splits)


def _fit(run: Run, prepared: Prepared, fold: int, own: Run | None, on_progress: Callable[[Progress], None] | None) -> _Stage:
    """Train on what a fold may know, or take the network of a run; and calibrate its intervals on the validation part."""
    from forecast.models.backend import keras
    from forecast.models.keras_builder import load_keras

    keras.utils.clear_session()
    linear, start = fit_ridges(prepared)
    if own:
        trained = read_trained(own)
        if trained.scaler.to_json() != prepared.scaler.to_json():
            raise RunError(
                "the data are no longer those that the run was trained on.", "Backtest its config.", str(own.directory)
            )
        weights, kept = trained.members, max(map(int, own.read_json(own.metrics)["kept_epochs"].values()))
    else:
        folds = prepared.config.backtest.folds
        members = fit_members(prepared, start, run, on_progress, fold=fold + 1, folds=folds)
        weights, kept = [own_weights for _, own_weights in members.values()], max(epoch for epoch, _ in members.values())
    forwards = [load_keras(prepared.network, member).predict_on_batch for member in weights]
    fitted = Fitted(prepared, forwards, linear)
    return _Stage(fold, fitted, calibrated(fitted, scoreboard(prepared)), kept)


def _of_fold(stage: _Stage, fold: int, stride: int, last: bool) -> Windows:
    """The test windows of a fold, among those of the folds for which a stage was fitted."""
    prepared = stage.fitted.prepared
    windows = prepared.windows["test"]
    cutoff = windows.first - prepared.splits.part("test")[0][windows.series]  # counted from the stage's first
    begin = (fold - stage.fold) * stride
    return windows.only((cutoff >= begin) & (last | (cutoff < begin + stride)))


def _row(fold: int, stage: _Stage, pieces: list[pd.DataFrame]) -> dict:
    """The results of one fold: means over its windows."""
    sums = pd.concat(pieces)
    prepared = stage.fitted.prepared
    panel, windows = prepared.panel, int(sums.windows.sum())
    means = (sums.drop(columns="windows").sum(min_count=1) / windows).to_dict()
    return {
        "fold": fold + 1,
        "trained_until": _last_row(panel, prepared.splits.part("train")[1]),
        "first_cutoff": sums.index.min(),
        "last_cutoff": sums.index.max(),
        "windows": windows,
        "kept_epoch": stage.kept,
    } | means


def _last_row(panel: Panel, ends: np.ndarray) -> pd.Timestamp:
    return panel.timestamps[ends - 1].max()


def _per_step(scores: dict) -> pd.DataFrame:
    """A row per horizon step: the MAE of every forecaster, and the coverage of every interval."""
    columns = {
        f"mae_{name}": part["per_step"]["mae"] for name, part in scores.items() if isinstance(part, dict) and "total" in part
    }
    for method, made in scores.get("intervals", {}).items():
        columns |= {f"{method}_{level}": found["per_step"]["coverage"] for level, found in made["levels"].items()}
    table = pd.DataFrame(columns)
    return table.rename_axis("step").reset_index().assign(step=lambda rows: rows.step + 1)
