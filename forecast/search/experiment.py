"""`experiment`: every combination of what is varied becomes a run, and all runs a leaderboard."""

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

METRICS, PARTS = ("mae", "mase", "rmse"), ("validation", "test")  # in the leaderboard
TRIES = 2  # of a run whose process or node is lost
Panels = dict[str, Panel]  # by what is read, and how
log = logging.getLogger(__name__)


def experiment(
    source: str | Path,
    run_dir: str | Path | None = None,
    force: bool = False,
    overrides: Mapping[str, object] | None = None,
    workers: Workers | None = None,
    on_finished: Callable[[Finished], None] | None = None,
) -> RunGroup:
    """Train every run of the experiment that the file `source` describes, and rank them by their error on the validation part.

    run_dir: where to write, `runs/NAME` unless given. Finished runs that are there are kept, so that an experiment that was
    interrupted goes on. force: begin anew. overrides: of the base config. workers: where runs are computed, this process unless
    given. on_finished: called after each run.

    Raises:
        ConfigError, DataError: some run cannot be trained as it is described; nothing is written.
        RunError: the directory cannot be used, or holds runs of another experiment.
    """
    check_can_train()
    plan, workers = read_experiment(source, overrides), workers or Workers()
    cells, panels = _checked(plan)
    directory = Path(run_dir or Path("runs") / plan.name)
    read = {"the experiment's file": source, "its base": plan.base}
    check_inputs_outside(directory, read | {f"the data {panel.source}": panel.source for panel in panels.values()})
    folder = RunGroup.open_or_create("experiment", directory, force)
    with folder.recording():
        board = _Leaderboard(folder, cells)
        left = [cell for cell in cells if not _is_kept(folder, cell, panels)]
        folder.write_text(folder.config, Path(source).read_text(encoding="utf-8-sig"))
        _train_all(board, left, panels, workers, on_finished)
        _write_results(board, plan.name)
    return folder


def _checked(plan: Experiment) -> tuple[list[Cell], Panels]:
    """Return all runs, with resolved configs, and the data that they read, each once.

    Raises:
        ConfigError, DataError: some cannot be trained, or are scored on other windows; all that is wrong is told at once.
    """
    panels: Panels = {}
    cells: list[Cell] = []
    errors: dict[str, ForecastError] = {}
    scored: dict[str, str] = {}  # on what, and the first cell that is
    for cell in plan.cells:
        try:
            config, panel = read_and_resolve(cell.config, panels.get(_key(cell.config)))
            prepared = prepare_panel(config, panel)
            scored.setdefault(digest_scored_windows(prepared), cell.name)
        except ForecastError as error:
            errors.setdefault(str(error), type(error)(f"{cell.name}: {error.problem}", error.remedy, error.location))
            continue
        panels[_key(cell.config)] = panels[_key(config)] = panel  # Durations of the data are steps from here on.
        cells.append(Cell(cell.name, cell.factors, cell.seed, prepared.config))
    if errors:
        found = list(errors.values())
        raise type(found[0]).combine(found)
    if len(scored) > 1:
        one, other = list(scored.values())[:2]
        remedy = "Vary nothing that changes the data, the target, the horizon, or the windows of the validation and test parts."
        raise ConfigError(f"{one} and {other} are scored on different windows; no order of the two means anything.", remedy)
    return cells, panels


def _key(config: Config) -> str:
    return config.data.model_dump_json()


def _is_kept(folder: RunGroup, cell: Cell, panels: Panels) -> bool:
    """Whether the run is there and finished.

    Raises:
        RunError: a run of the same name is there, which was trained by another config or on other data.
    """
    run = Run(folder.runs / cell.name)
    if not run.finished:
        return False
    before, panel = run.read_config(), panels[_key(cell.config)]
    sections, contract = differing_sections(before, cell.config), read_contract(run)
    other_data = contract.sha256 != panel.sha256
    other_grid = contract.resample_origin != panel.resample_origin
    if sections or other_data or other_grid:
        found = "was trained before the data changed." if other_data else f"was trained with another {first_few(sections, 5)}."
        if other_grid and not (sections or other_data):
            found = "was trained by an earlier version, which used another origin for the steps of data.resample."
        raise RunError(found, "Begin anew with --force, or choose another --run-dir.", str(run.directory))
    return True


def _train_all(
    board: _Leaderboard,
    left: list[Cell],
    panels: Panels,
    workers: Workers,
    on_finished: Callable[[Finished], None] | None,
) -> None:
    """Train the runs that are left. The leaderboard on disk grows with every run."""
    there = workers.engine == "ray"  # on another disk
    queue, tried = deque(left), Counter()
    done, began = 0, time.perf_counter()

    def next_job() -> Job | None:
        if not queue:
            return None
        cell = queue.popleft()
        tried[cell.name] += 1
        panel, directory = panels[_key(cell.config)], board.folder.runs / cell.name
        return cell.name, (cell.config, panel, cell.name) if there else (cell.config, panel, directory)

    for name, result in workers.each(_train_there if there else train_whole, next_job):
        if isinstance(result, LostError) and tried[name] < TRIES:
            log.info("%s: %s It is tried once more.", name, result.problem)
            queue.append(next(cell for cell in left if cell.name == name))
            continue
        if isinstance(result, ForecastError):
            board.failed[name] = str(result).splitlines()[0]
            log.error("%s failed: %s", name, result)
        elif there:
            _unpack(result, board.folder.runs / name)
        done += 1
        table = board.table()
        board.folder.write_table(board.folder.leaderboard, table)
        if on_finished:
            seconds_left = (time.perf_counter() - began) / done * (len(left) - done)
            on_finished(_finished(name, len(table) - len(left) + done, table, seconds_left))


def train_whole(config: Config, panel: Panel | None, directory: Path) -> None:
    """Train quietly, and let the directory appear when it is done. panel: the data, where they have been read."""
    with Run(directory).staged() as stage:
        _train_quietly(config, panel, stage)


def _train_there(config: Config, panel: Panel, name: str) -> bytes:
    """Train on a machine that may have neither the data file nor this disk; returns the run directory as an archive."""
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / name
        _train_quietly(config, panel, directory)
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            archive.add(directory, ".")
        return packed.getvalue()


def _unpack(packed: bytes, directory: Path) -> None:
    with Run(directory).staged() as stage, tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(stage, filter="data")


def _train_quietly(config: Config, panel: Panel | None, directory: Path) -> None:
    """Train; warnings go to the run's log only, or a hundred runs would repeat them."""
    from forecast.forecasters.network.backend import keras

    keras.utils.clear_session()  # or the networks of all runs would stay in memory
    logger = logging.getLogger("forecast")
    handlers, logger.handlers, logger.propagate = logger.handlers, [logging.NullHandler()], False
    try:
        train(config, directory, panel=panel)
    finally:
        logger.handlers, logger.propagate = handlers, True


class _Leaderboard:
    """What became of every cell of an experiment."""

    def __init__(self, folder: RunGroup, cells: list[Cell]):
        self.folder, self.cells = folder, cells
        self.failed: dict[str, str] = {}  # why
        self._scores: dict[str, dict] = {}  # of the runs that are there

    def table(self) -> pd.DataFrame:
        """A row per run, those with the smallest error on the validation part first, then those that failed or are yet to come:
        run, its factors, seed, state, errors on both parts, skill against seasonal naive on the test part, parameters, epoch,
        why.
        """
        rows = [{"run": cell.name, **cell.factors, "seed": cell.seed, **self._of(cell.name)} for cell in self.cells]
        scores = [f"{part}_{name}" for part in PARTS for name in METRICS]
        rest = ["state", *scores, "skill_seasonal_naive", "parameters", "kept_epoch", "why"]
        table = pd.DataFrame(rows, dtype=object).reindex(columns=["run", *self.cells[0].factors, "seed", *rest])  # values stay
        table = table.astype(dict.fromkeys([*scores, "skill_seasonal_naive"], float))
        table = table.astype(dict.fromkeys(["seed", "parameters", "kept_epoch"], "Int64"))
        errors = table[ranking_metric(table)]
        return table.iloc[errors.fillna(np.inf).argsort(kind="stable")].reset_index(drop=True)

    def _of(self, name: str) -> dict:
        if name in self.failed:
            return {"state": "failed", "why": self.failed[name]}
        if name not in self._scores:
            run = Run(self.folder.runs / name)
            if not run.finished:
                return {"state": "waiting"}
            self._scores[name] = _scores(run)
        return self._scores[name]


def _scores(run: Run) -> dict:
    """The row of a run that is finished; one that leaks is not ranked."""
    if not run.leakage.exists():
        return {"state": "failed", "why": f"it could not be checked for leaks: see {run.log}"}
    if not run.read(run.leakage, Certificate).passed:
        return {"state": "failed", "why": f"a leak was found: see {run.leakage}"}
    metrics = run.read(run.metrics, TrainingMetrics)
    totals = {"validation": metrics.validation.forecast.total, "test": metrics.test.forecast.total}
    errors = {f"{part}_{name}": getattr(totals[part], name) for part in PARTS for name in METRICS}
    return errors | {
        "state": "finished",
        "skill_seasonal_naive": metrics.skill["seasonal_naive"],
        "parameters": metrics.parameters,
        "kept_epoch": max(metrics.kept_epochs.values()),
    }


def ranking_metric(table: pd.DataFrame) -> str:
    """The column by which runs are ranked: MASE on the validation part, or MAE where that is undefined for some."""
    undefined = table.validation_mase.isna() & table.validation_mae.notna()
    return "validation_mae" if undefined.any() else "validation_mase"


def label_of(table: pd.DataFrame) -> str:
    """The name of the error by which runs are ranked."""
    return ranking_metric(table).rpartition("_")[2].upper()


def by_setting(table: pd.DataFrame, factors: list[str]) -> pd.DataFrame:
    """A row per setting of the factors, best first: mean, lowest and highest error of its seeds on the validation part, and the
    mean on the test part. A setting of which a run failed comes after those that are whole.
    """
    metric = ranking_metric(table)
    keys = [table[name].map(format_yaml_line) for name in factors] or [pd.Series("run", table.index, name="run")]
    groups = table.groupby(keys, sort=False)
    found = groups.agg(
        mean=(metric, "mean"), low=(metric, "min"), high=(metric, "max"), test=(metric.replace("validation", "test"), "mean")
    )
    found["runs"], found["failed"] = groups.size(), groups[metric].agg(lambda errors: errors.isna().sum())
    return found.reset_index().sort_values(["failed", "mean"], kind="stable", ignore_index=True)


def effects(table: pd.DataFrame, factors: list[str]) -> pd.DataFrame:
    """A row per value of each factor: its mean error on the validation part over all else, the number of runs, and how far, on
    average, the seeds of one setting lie apart (standard deviation; NaN with one seed).
    """
    metric, rows = ranking_metric(table), []
    finished = table[table.state == "finished"]
    for factor in factors:
        others = [name for name in factors if name != factor]
        for value, own in finished.groupby(finished[factor].map(format_yaml_line), sort=False):
            keys = [own[name].map(format_yaml_line) for name in others] or [pd.Series(0, own.index)]
            spread = own.groupby(keys)[metric].std().mean()
            rows.append({"factor": factor, "value": value, "mean": own[metric].mean(), "seed_spread": spread, "runs": len(own)})
    return pd.DataFrame(rows, columns=["factor", "value", "mean", "seed_spread", "runs"])


def _write_results(board: _Leaderboard, name: str) -> None:
    """Write the leaderboard, the best config, and the page.

    Raises:
        RunError: no run finished.
    """
    folder, cells, table = board.folder, board.cells, board.table()
    factors = list(cells[0].factors)
    folder.write_table(folder.leaderboard, table)
    settings = by_setting(table, factors)
    as_written = table.set_index("run").loc[[cell.name for cell in cells]].reset_index()  # so that values come in that order
    seconds = {cell.name: Run(folder.runs / cell.name).seconds for cell in cells}
    timed = table.assign(seconds=table.run.map(seconds))
    with folder.explaining("writing the page"):
        write_experiment_page(folder, name, label_of(table), timed, settings, effects(as_written, factors))
    if not table.state.eq("finished").any():
        raise RunError(f"no run finished: {table.why.iloc[0]}", "Mend it, and call the same again.", str(folder.leaderboard))
    chosen = settings.iloc[0]
    cell = next(cell for cell in cells if all(format_yaml_line(cell.factors[factor]) == chosen[factor] for factor in factors))
    spread = f" (its {chosen.runs} seeds {format_number(chosen.low)} to {format_number(chosen.high)})" if chosen.runs > 1 else ""
    error = f"{label_of(table)} {format_number(chosen['mean'])} on the validation part{spread}"
    write_best(folder, f"experiment {name}: {error}", cell.config)


def write_best(folder: RunGroup, found: str, config: Config) -> None:
    """Write the config that did best as a file that is ready to train."""
    folder.write_text(folder.best, f"# The best of the {found}.\n# forecast train {folder.best}\n\n{config.to_short_yaml()}")


def _finished(name: str, done: int, table: pd.DataFrame, seconds_left: float) -> Finished:
    metric = ranking_metric(table)
    own, best = (row.where(row.notna(), None) for row in (table[table.run == name].iloc[0], table.iloc[0]))
    why = f"failed: {own.why}" if own.state == "failed" else ""
    return Finished(name, done, len(table), own[metric], why, best.run, best[metric], label_of(table), seconds_left)
