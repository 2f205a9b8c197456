"""`experiment`: train a run for every combination of an experiment, and rank the runs."""

from __future__ import annotations

import io
import logging
import tarfile
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from forecast.commands.train import train
from forecast.config import Config, differing_sections, format_yaml_line
from forecast.data import Panel
from forecast.errors import ConfigError, ForecastError, RunError, first_few
from forecast.evaluation import Certificate, TrainingMetrics, format_number
from forecast.forecasters.preparation import digest_scored_windows, prepare_panel, read_and_resolve
from forecast.reports import write_experiment_page
from forecast.runs import Run, RunGroup, read_contract
from forecast.search.grid import Cell, Experiment, read_experiment
from forecast.search.workers import Finished, Job, LostError, Workers
from forecast.training import check_can_train, check_inputs_outside

METRICS, SETS = ("mae", "mase", "rmse"), ("validation", "test")  # Columns of the leaderboard.
MAX_ATTEMPTS = 2  # Attempts at a run whose process or node is lost.
Cells = dict[str, object]  # Cells of a row of the leaderboard, by column.
Panels = dict[str, Panel]  # The key is the data section of a config.
log = logging.getLogger(__name__)


def experiment(
    source: str | Path,
    run_dir: str | Path | None = None,
    force: bool = False,
    overrides: Mapping[str, object] | None = None,
    workers: Workers | None = None,
    on_finished: Callable[[Finished], None] | None = None,
) -> RunGroup:
    """Train every run of the experiment in the file `source`, and rank the runs by their error on the validation set.

    run_dir: the directory to write, by default `runs/NAME`. Its finished runs are not trained again, so that an interrupted
    experiment continues. force: begin anew. overrides: of the base config. workers: where runs are computed, by default in this
    process. on_finished: called after each run.

    Raises:
        ConfigError, DataError: a run cannot be trained. Nothing is written.
        RunError: the directory cannot be used, or holds runs of another experiment.
    """
    check_can_train()
    plan, workers = read_experiment(source, overrides), workers or Workers()
    cells, panels = _check_runs(plan)
    directory = Path(run_dir or Path("runs") / plan.name)
    read = {"the experiment's file": source, "its base": plan.base}
    check_inputs_outside(directory, read | {f"the data {panel.source}": panel.source for panel in panels.values()})
    folder = RunGroup.open_or_create("experiment", directory, force)
    with folder.record():
        board = _Leaderboard(folder, cells)
        left = [cell for cell in cells if not _is_finished(folder, cell, panels)]
        folder.write_text(folder.config, Path(source).read_text(encoding="utf-8-sig"))
        _train_all(board, left, panels, workers, on_finished)
        _write_results(board, plan.name)
    return folder


def _check_runs(plan: Experiment) -> tuple[list[Cell], Panels]:
    """Return all runs, with resolved configs, and their data. Each data file is read once.

    Raises:
        ConfigError, DataError: runs cannot be trained, or are scored on different windows. One error lists all problems.
    """
    panels: Panels = {}
    cells: list[Cell] = []
    errors: dict[str, ForecastError] = {}
    first_runs: dict[str, str] = {}  # The first run that is scored on some windows, by their description.
    for cell in plan.cells:
        try:
            config, panel = read_and_resolve(cell.config, panels.get(_key(cell.config)))
            prepared = prepare_panel(config, panel)
            first_runs.setdefault(digest_scored_windows(prepared), cell.name)
        except ForecastError as error:
            errors.setdefault(str(error), type(error)(f"{cell.name}: {error.problem}", error.remedy, error.location))
            continue
        panels[_key(cell.config)] = panels[_key(config)] = panel  # Durations of the data are steps from here on.
        cells.append(Cell(cell.name, cell.factors, cell.seed, prepared.config))
    if errors:
        problems = list(errors.values())
        raise type(problems[0]).combine(problems)
    if len(first_runs) > 1:
        first, second = list(first_runs.values())[:2]
        remedy = "Do not vary the data, the target, the horizon, or the windows of the validation and test sets."
        raise ConfigError(f"{first} and {second} are scored on different windows, so they cannot be ranked.", remedy)
    return cells, panels


def _key(config: Config) -> str:
    """Return the key of a config's data in `Panels`."""
    return config.data.model_dump_json()


def _is_finished(folder: RunGroup, cell: Cell, panels: Panels) -> bool:
    """Return whether a run has finished.

    Raises:
        RunError: the directory holds a run of the same name that was trained with another config or on other data.
    """
    run = Run(folder.runs / cell.name)
    if not run.finished:
        return False
    before, panel = run.read_config(), panels[_key(cell.config)]
    sections, contract = differing_sections(before, cell.config), read_contract(run)
    other_data = contract.sha256 != panel.sha256
    other_grid = contract.resample_origin != panel.resample_origin
    if sections or other_data or other_grid:
        problem = "was trained before the data changed." if other_data else f"was trained with another {first_few(sections, 5)}."
        if other_grid and not (sections or other_data):
            problem = "was trained by an earlier version, which used another origin for the steps of data.resample."
        raise RunError(problem, "Begin anew with --force, or choose another --run-dir.", str(run.directory))
    return True


def _train_all(
    board: _Leaderboard,
    left: list[Cell],
    panels: Panels,
    workers: Workers,
    on_finished: Callable[[Finished], None] | None,
) -> None:
    """Train the runs that are left, and write the leaderboard after each."""
    is_remote = workers.engine == "ray"  # A node has another disk.
    queue, attempts = deque(left), Counter[str]()
    done, began = 0, time.perf_counter()

    def _next_job() -> Job | None:
        if not queue:
            return None
        cell = queue.popleft()
        attempts[cell.name] += 1
        panel, directory = panels[_key(cell.config)], board.folder.runs / cell.name
        return cell.name, (cell.config, panel, cell.name) if is_remote else (cell.config, panel, directory)

    for name, result in workers.compute(_train_remotely if is_remote else train_quietly, _next_job):
        if isinstance(result, LostError) and attempts[name] < MAX_ATTEMPTS:
            log.info("%s: %s It is trained once more.", name, result.problem)
            queue.append(next(cell for cell in left if cell.name == name))
            continue
        if isinstance(result, ForecastError):
            board.failed[name] = str(result).splitlines()[0]
            log.error("%s failed: %s", name, result)
        elif is_remote:
            _unpack(result, board.folder.runs / name)
        done += 1
        table = board.table()
        board.folder.write_table(board.folder.leaderboard, table)
        if on_finished:
            seconds_left = (time.perf_counter() - began) / done * (len(left) - done)
            on_finished(_finished(name, len(table) - len(left) + done, table, seconds_left))


def train_quietly(config: Config, panel: Panel | None, directory: Path) -> None:
    """Train, with warnings in the log only. The directory appears at the end. panel: the data, None to read them."""
    with Run(directory).stage() as stage:
        _train(config, panel, stage)


def _train_remotely(config: Config, panel: Panel, name: str) -> bytes:
    """Train on a machine without the data file and this disk. Return the run directory as an archive."""
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / name
        _train(config, panel, directory)
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            archive.add(directory, ".")
        return packed.getvalue()


def _unpack(packed: bytes, directory: Path) -> None:
    with Run(directory).stage() as stage, tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(stage, filter="data")


def _train(config: Config, panel: Panel | None, directory: Path) -> None:
    """Train. Warnings go to the log of the run only, since a hundred runs would repeat them."""
    from forecast.forecasters.network.backend import keras

    keras.utils.clear_session()  # Otherwise the networks of all runs stay in memory.
    logger = logging.getLogger("forecast")
    handlers, logger.handlers, logger.propagate = logger.handlers, [logging.NullHandler()], False
    try:
        train(config, directory, panel=panel)
    finally:
        logger.handlers, logger.propagate = handlers, True


class _Leaderboard:
    """The state and the scores of every run of an experiment."""

    def __init__(self, folder: RunGroup, cells: list[Cell]):
        self.folder, self.cells = folder, cells
        self.failed: dict[str, str] = {}  # The reason of each failure, by run.
        self._scores: dict[str, Cells] = {}  # Rows of finished runs.

    def table(self) -> pd.DataFrame:
        """Return a row for each run, by its error on the validation set, smallest first. Failed and waiting runs come last.

        Columns: run, its factors, seed, state, errors on both sets, skill against seasonal naive on the test set, parameters,
        epoch, why.
        """
        rows = [{"run": cell.name, **cell.factors, "seed": cell.seed, **self._row(cell.name)} for cell in self.cells]
        scores = [f"{subset}_{name}" for subset in SETS for name in METRICS]
        rest = ["state", *scores, "skill_seasonal_naive", "parameters", "kept_epoch", "why"]
        table = pd.DataFrame(rows, dtype=object).reindex(
            columns=["run", *self.cells[0].factors, "seed", *rest]
        )  # Values keep their types.
        table = table.astype(dict.fromkeys([*scores, "skill_seasonal_naive"], float))
        table = table.astype(dict.fromkeys(["seed", "parameters", "kept_epoch"], "Int64"))
        errors = table[ranking_metric(table)]
        return table.iloc[errors.fillna(np.inf).argsort(kind="stable")].reset_index(drop=True)

    def _row(self, name: str) -> Cells:
        if name in self.failed:
            return {"state": "failed", "why": self.failed[name]}
        if name not in self._scores:
            run = Run(self.folder.runs / name)
            if not run.finished:
                return {"state": "waiting"}
            self._scores[name] = _scores(run)
        return self._scores[name]


def _scores(run: Run) -> Cells:
    """Return the row of a finished run. A run that leaks is not ranked."""
    if not run.leakage.exists():
        return {"state": "failed", "why": f"it could not be checked for leaks: see {run.log}"}
    if not run.read(run.leakage, Certificate).passed:
        return {"state": "failed", "why": f"a leak was found: see {run.leakage}"}
    metrics = run.read(run.metrics, TrainingMetrics)
    totals = {"validation": metrics.validation.forecast.total, "test": metrics.test.forecast.total}
    errors = {f"{subset}_{name}": getattr(totals[subset], name) for subset in SETS for name in METRICS}
    return errors | {
        "state": "finished",
        "skill_seasonal_naive": metrics.skill["seasonal_naive"],
        "parameters": metrics.parameters,
        "kept_epoch": max(metrics.kept_epochs.values()),
    }


def ranking_metric(table: pd.DataFrame) -> str:
    """Return the column by which runs are ranked: MASE on the validation set, or MAE if MASE is undefined for a run."""
    undefined = table.validation_mase.isna() & table.validation_mae.notna()
    return "validation_mae" if undefined.any() else "validation_mase"


def ranking_label(table: pd.DataFrame) -> str:
    """Return the name of the error by which runs are ranked."""
    return ranking_metric(table).rpartition("_")[2].upper()


def summarize_settings(table: pd.DataFrame, factors: list[str]) -> pd.DataFrame:
    """Return a row for each setting of the factors, best first. A setting with failed runs comes after those without.

    Columns: the factors; mean, low and high error of its seeds on the validation set; test, the mean on
    the test set; runs and failed, their numbers.
    """
    metric = ranking_metric(table)
    keys = [table[name].map(format_yaml_line) for name in factors] or [pd.Series("run", table.index, name="run")]
    groups = table.groupby(keys, sort=False)
    settings = groups.agg(
        mean=(metric, "mean"), low=(metric, "min"), high=(metric, "max"), test=(metric.replace("validation", "test"), "mean")
    )
    settings["runs"], settings["failed"] = groups.size(), groups[metric].agg(lambda errors: errors.isna().sum())
    return settings.reset_index().sort_values(["failed", "mean"], kind="stable", ignore_index=True)


def compute_effects(table: pd.DataFrame, factors: list[str]) -> pd.DataFrame:
    """Return a row for each value of each factor.

    Columns: factor, value, mean error on the validation set over all other factors, seed_spread, runs. seed_spread is the mean
    standard deviation over the seeds of a setting, NaN with one seed.
    """
    metric, rows = ranking_metric(table), []
    finished = table[table.state == "finished"]
    for factor in factors:
        remaining = [name for name in factors if name != factor]
        for value, runs in finished.groupby(finished[factor].map(format_yaml_line), sort=False):
            keys = [runs[name].map(format_yaml_line) for name in remaining] or [pd.Series(0, runs.index)]
            spread = runs.groupby(keys)[metric].std().mean()
            rows.append({"factor": factor, "value": value, "mean": runs[metric].mean(), "seed_spread": spread, "runs": len(runs)})
    return pd.DataFrame(rows, columns=["factor", "value", "mean", "seed_spread", "runs"])


def _write_results(board: _Leaderboard, name: str) -> None:
    """Write the leaderboard, the best config, and the page.

    Raises:
        RunError: no run finished.
    """
    folder, cells, table = board.folder, board.cells, board.table()
    factors = list(cells[0].factors)
    folder.write_table(folder.leaderboard, table)
    settings = summarize_settings(table, factors)
    as_written = table.set_index("run").loc[[cell.name for cell in cells]].reset_index()  # In the order of the file.
    seconds = {cell.name: Run(folder.runs / cell.name).seconds for cell in cells}
    timed = table.assign(seconds=table.run.map(seconds))
    with folder.log_and_continue("writing the page"):
        write_experiment_page(folder, name, ranking_label(table), timed, settings, compute_effects(as_written, factors))
    if not table.state.eq("finished").any():
        raise RunError(
            f"no run finished: {table.why.iloc[0]}",
            "Correct the config, and run the same command again.",
            str(folder.leaderboard),
        )
    chosen = settings.iloc[0]
    cell = next(cell for cell in cells if all(format_yaml_line(cell.factors[factor]) == chosen[factor] for factor in factors))
    spread = f" (its {chosen.runs} seeds {format_number(chosen.low)} to {format_number(chosen.high)})" if chosen.runs > 1 else ""
    error = f"{ranking_label(table)} {format_number(chosen['mean'])} on the validation set{spread}"
    write_best(folder, f"experiment {name}: {error}", cell.config)


def write_best(folder: RunGroup, source: str, config: Config) -> None:
    """Write the best config as a file that is ready to train. source: what it is the best of."""
    folder.write_text(folder.best, f"# The best of the {source}.\n# forecast train {folder.best}\n\n{config.to_short_yaml()}")


def _finished(name: str, done: int, table: pd.DataFrame, seconds_left: float) -> Finished:
    """Return the progress after a run."""
    metric = ranking_metric(table)
    current, best = (row.where(row.notna(), None) for row in (table[table.run == name].iloc[0], table.iloc[0]))
    why = f"failed: {current.why}" if current.state == "failed" else ""
    return Finished(name, done, len(table), current[metric], why, best.run, best[metric], ranking_label(table), seconds_left)
