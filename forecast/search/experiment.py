"""`experiment`: train a run for every combination of an experiment, and rank the runs."""

from __future__ import annotations

import io
import logging
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

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
from forecast.search.workers import Finished, Workers
from forecast.training import check_can_train, check_inputs_outside

METRICS, SETS = ("mae", "mase", "rmse"), ("validation", "test")  # Columns of the leaderboard.
LABELS = {"validation_mase": "MASE", "validation_mae": "MAE"}  # Errors by which runs are ranked.
Scores = dict[str, object]  # State and scores of a run, by column of the leaderboard.
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
    plan = read_experiment(source, overrides)
    cells, panels = _check_runs(plan)
    directory = Path(run_dir or Path("runs") / plan.name)
    read = {"the experiment's file": source, "its base": plan.base}
    check_inputs_outside(directory, read | {f"the data {panel.source}": panel.source for panel in panels.values()})
    folder = RunGroup.open_or_create("experiment", directory, force)
    with folder.record():
        runs = {cell.name: Run(folder.runs / cell.name) for cell in cells}
        scores = {cell.name: _read_scores(runs[cell.name]) for cell in cells if _is_finished(runs[cell.name], cell, panels)}
        folder.write_text(folder.config, Path(source).read_text(encoding="utf-8-sig"))
        _train_all(folder, cells, panels, scores, workers or Workers(), on_finished)
        _write_results(folder, plan.name, cells, make_leaderboard(cells, scores))
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
        cells.append(replace(cell, config=prepared.config))
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


def _is_finished(run: Run, cell: Cell, panels: Panels) -> bool:
    """Return whether a run has finished.

    Raises:
        RunError: a run of this name was trained with another config or on other data.
    """
    if not run.finished:
        return False
    sections, contract, panel = differing_sections(run.read_config(), cell.config), read_contract(run), panels[_key(cell.config)]
    is_same_data = (contract.sha256, contract.resample_origin) == (panel.sha256, panel.resample_origin)
    if is_same_data and not sections:
        return True
    problem = (
        f"this run was trained with different settings in {first_few(sections, 5)}."
        if is_same_data
        else "this run was trained before the data changed."
    )
    raise RunError(problem, "Start again with --force, or choose another --run-dir.", str(run.directory))


def _train_all(
    folder: RunGroup,
    cells: list[Cell],
    panels: Panels,
    scores: dict[str, Scores],
    workers: Workers,
    on_finished: Callable[[Finished], None] | None,
) -> None:
    """Train the runs without scores, add their scores, and write the leaderboard after each."""
    is_remote = workers.engine == "ray"  # A node has another disk.
    waiting = [cell for cell in cells if cell.name not in scores]
    targets = [cell.name if is_remote else folder.runs / cell.name for cell in waiting]
    jobs = ((cell.name, (cell.config, panels[_key(cell.config)], target)) for cell, target in zip(waiting, targets, strict=True))
    began = time.perf_counter()
    for name, result in workers.compute(_train_remotely if is_remote else train_quietly, lambda: next(jobs, None)):
        run = Run(folder.runs / name)
        if is_remote and not isinstance(result, ForecastError):
            with run.stage() as stage, tarfile.open(fileobj=io.BytesIO(result)) as archive:
                archive.extractall(stage, filter="data")
        if isinstance(result, ForecastError):
            log.error("%s failed: %s", name, result)
            scores[name] = _fail(str(result).splitlines()[0])
        else:
            scores[name] = _read_scores(run)
        table = make_leaderboard(cells, scores)
        folder.write_table(folder.leaderboard, table)
        if on_finished:
            left = len(cells) - len(scores)
            seconds_left = (time.perf_counter() - began) / (len(waiting) - left) * left
            on_finished(_summarize_progress(name, table, seconds_left))


def _summarize_progress(name: str, table: pd.DataFrame, seconds_left: float) -> Finished:
    ended, metric = table[table.state != "waiting"].set_index("run"), ranking_metric(table)
    why = f"failed: {ended.why[name]}" if ended.state[name] == "failed" else ""
    return Finished.from_errors(name, why, ended[metric], len(table), LABELS[metric], seconds_left)


def train_quietly(config: Config, panel: Panel | None, directory: Path) -> None:
    """Train. Warnings go to the log of the run only, since a hundred runs would repeat them.

    The directory appears at the end. panel: the data, None to read them.
    """
    from forecast.forecasters.network.backend import keras

    keras.utils.clear_session()  # Otherwise the networks of all runs stay in memory.
    logger = logging.getLogger("forecast")
    handlers, logger.handlers, logger.propagate = logger.handlers, [logging.NullHandler()], False
    try:
        with Run(directory).stage() as stage:
            train(config, stage, panel=panel)
    finally:
        logger.handlers, logger.propagate = handlers, True


def _train_remotely(config: Config, panel: Panel, name: str) -> bytes:
    """Train on a machine without the data file and this disk. Return the run directory as an archive."""
    with tempfile.TemporaryDirectory() as scratch:
        train_quietly(config, panel, Path(scratch) / name)
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            archive.add(Path(scratch) / name, ".")
        return packed.getvalue()


def _read_scores(run: Run) -> Scores:
    """Return the scores of a finished run. A run that leaks is not ranked."""
    if not run.leakage.exists():
        return _fail(f"it could not be checked for leaks: see {run.log}")
    if not run.read(run.leakage, Certificate).passed:
        return _fail(f"a leak was found: see {run.leakage}")
    metrics = run.read(run.metrics_file, TrainingMetrics)
    totals = {"validation": metrics.validation.forecast.total, "test": metrics.test.forecast.total}
    return {f"{subset}_{name}": getattr(totals[subset], name) for subset in SETS for name in METRICS} | {
        "state": "finished",
        "skill_seasonal_naive": metrics.skill["seasonal_naive"],
        "parameters": metrics.parameters,
        "kept_epoch": max(metrics.kept_epochs.values()),
    }


def _fail(why: str) -> Scores:
    return {"state": "failed", "why": why}


def make_leaderboard(cells: list[Cell], scores: Mapping[str, Scores]) -> pd.DataFrame:
    """Return a row for each run, by its error on the validation set, smallest first. Failed and waiting runs come last.

    Columns: run, its factors, seed, state, errors on both sets, skill against seasonal naive on the test set, parameters,
    epoch, why. The index is the position of the run in the experiment.
    """
    numbers = [*(f"{subset}_{name}" for subset in SETS for name in METRICS), "skill_seasonal_naive"]
    columns = ["run", *cells[0].factors, "seed", "state", *numbers, "parameters", "kept_epoch", "why"]
    rows = [
        {"run": cell.name, **cell.factors, "seed": cell.seed, **scores.get(cell.name, {"state": "waiting"})} for cell in cells
    ]
    table = pd.DataFrame(rows, columns=columns, dtype=object)  # Values of factors keep their types.
    table = table.astype(dict.fromkeys(numbers, float) | dict.fromkeys(["seed", "parameters", "kept_epoch"], "Int64"))
    return table.sort_values(ranking_metric(table), kind="stable")


def ranking_metric(table: pd.DataFrame) -> str:
    """Return the column by which runs are ranked: MASE on the validation set, or MAE if MASE is undefined for a run."""
    undefined = table.validation_mase.isna() & table.validation_mae.notna()
    return "validation_mae" if undefined.any() else "validation_mase"


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
    settings["runs"], settings["failed"] = groups.size(), groups.size() - groups[metric].count()
    return settings.reset_index().sort_values(["failed", "mean"], kind="stable", ignore_index=True)


def compute_effects(table: pd.DataFrame, factors: list[str]) -> pd.DataFrame:
    """Return a row for each value of each factor, in the order of the experiment.

    Columns: factor, value, mean error on the validation set over all other factors, seed_spread, runs. seed_spread is the mean
    standard deviation over the seeds of a setting, NaN with one seed.
    """
    metric, rows = ranking_metric(table), []
    finished = table[table.state == "finished"].sort_index()
    texts = finished[factors].map(format_yaml_line)
    for factor in factors:
        for value, runs in finished.groupby(texts[factor], sort=False):
            spread = runs.groupby([texts[name] for name in factors])[metric].std().mean()
            rows.append({"factor": factor, "value": value, "mean": runs[metric].mean(), "seed_spread": spread, "runs": len(runs)})
    return pd.DataFrame(rows, columns=["factor", "value", "mean", "seed_spread", "runs"])


def _write_results(folder: RunGroup, name: str, cells: list[Cell], table: pd.DataFrame) -> None:
    """Write the leaderboard, the best config, and the page.

    Raises:
        RunError: no run finished.
    """
    factors, label = list(cells[0].factors), LABELS[ranking_metric(table)]
    folder.write_table(folder.leaderboard, table)
    settings = summarize_settings(table, factors)
    timed = table.assign(seconds=table.run.map(lambda run: Run(folder.runs / run).seconds))
    with folder.log_and_continue("writing the page"):
        write_experiment_page(folder, name, label, timed, settings, compute_effects(table, factors))
    if not table.state.eq("finished").any():
        problem = f"no run finished: {table.why.iloc[0]}"
        raise RunError(problem, "Correct the config, and run the same command again.", str(folder.leaderboard))
    best = settings.iloc[0]
    config = next(
        cell.config for cell in cells if all(format_yaml_line(value) == best[key] for key, value in cell.factors.items())
    )
    spread = f" ({best.runs} seeds: {format_number(best.low)} to {format_number(best.high)})" if best.runs > 1 else ""
    write_best(folder, f"experiment {name}: {label} {format_number(best['mean'])} on the validation set{spread}", config)


def write_best(folder: RunGroup, source: str, config: Config) -> None:
    """Write the best config as a file that is ready to train. source: what it is the best of."""
    folder.write_text(folder.best, f"# The best of the {source}.\n# forecast train {folder.best}\n\n{config.to_short_yaml()}")
