"""`train`: a config goes in, a run comes out. A run can also be resumed, or continue from the networks of another run."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

from forecast.commands.predict import predict
from forecast.config import AUTO_SETTINGS, Config, change_config, load_config, non_default_values
from forecast.data import Contract, Data, Panel, SubsetFacts, describe_repairs, make_contract, store_frame
from forecast.errors import DataError, ResourceError, RunError, first_few
from forecast.evaluation import Fitted, count_independent
from forecast.forecasters.preparation import Prepared, read_and_resolve
from forecast.reports import TrainingResult, select_series, write_plots, write_report
from forecast.runs import (
    Fingerprints,
    Parent,
    Run,
    check_not_worse,
    check_trackers,
    copy_rows_into_run,
    find_slow_settings,
    fingerprint_inputs,
    inspect_environment,
    make_actual_rows,
    make_recent_rows,
    open_trackers,
    prepare_with_parent,
    read_contract,
    read_parent,
    read_trained,
)
from forecast.storage import PARTIAL_PREFIX, report_stage
from forecast.training import (
    Member,
    Members,
    OnProgress,
    check_can_train,
    check_inputs_outside,
    check_memory,
    explain,
    explain_memory_error,
    fit_members,
    fit_regressions,
    save_networks,
    score_run,
    suggest_less_memory,
    write_certificate,
    write_diagnosis,
)

RESUMABLE = ("training.epochs", "training.early_stopping.patience", "training.checkpoint_every", "data.path", "tracking")
log = logging.getLogger(__name__)


def train(
    config: Config | str | Path,
    run_dir: str | Path | None = None,
    force: bool = False,
    on_progress: OnProgress | None = None,
    panel: Panel | None = None,
    data: Data | None = None,
) -> Run:
    """Train the network that `config` (or the file it names) describes, and write a run directory.

    run_dir: the directory to write; None takes the next free `runs/NAME-N`. force: replace the run in it. panel: the data of the
    config, if it has already been read. data: a file or a DataFrame in place of `data.path`; the rows of a DataFrame are stored
    in `runs/data/`, so that the run can be reproduced.

    Raises:
        ConfigError, DataError: the config or the data cannot be used. Nothing is written.
        RunError: the directory cannot be used, or training failed. The status of the run names the reason.
    """
    config = load_config(config) if isinstance(config, (str, Path)) else config
    if data is not None:
        path = Path(data) if isinstance(data, (str, Path)) else store_frame(data, Path("runs/data"), config.data)
        config = change_config(config, {"data.path": str(path.absolute())})
    seconds: dict[str, float] = {}
    prepared = _prepare(config, None, panel, seconds)
    run = _create(prepared, run_dir, force)
    _train_into(run, prepared, seconds, on_progress)
    return run


def resume_training(run_dir: str | Path, config: Config | str | Path | None = None, on_progress: OnProgress | None = None) -> Run:
    """Resume an interrupted training run from its last checkpoint. On a CPU, its final weights are those of an uninterrupted run.

    config: the config of the run with other values of keys that may change on resuming. None uses the config of the run.

    Raises:
        RunError: there is no interrupted training in this directory, its data changed, or the config differs in other settings.
    """
    run = Run.open_unfinished(run_dir)
    config = _config_to_resume(run, load_config(config) if isinstance(config, (str, Path)) else config)
    seconds: dict[str, float] = {}
    parent = read_parent(run)
    prepared = _prepare(config, parent, None, seconds)
    if read_contract(run).sha256 != prepared.panel.sha256:
        problem = "the data has changed since this training run began."
        raise RunError(problem, "Restore the original data, or train again.", prepared.panel.source)
    _train_into(run, prepared, seconds, on_progress, parent)
    return run


def continue_training(
    config: Config,
    parent: Parent,
    panel: Panel,
    run_dir: str | Path | None = None,
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> Run:
    """Train the networks of a parent run further on newer data, in a new run with the parent's scaling.

    Raises:
        ConfigError, DataError: the config or the data cannot be used. Nothing is written.
        RunError: the directory cannot be used, training failed, or the result is worse than the parent.
    """
    seconds: dict[str, float] = {}
    prepared = _prepare(config, parent, panel, seconds)
    run = _create(prepared, run_dir, force)
    _train_into(run, prepared, seconds, on_progress, parent)
    return run


def _prepare(config: Config, parent: Parent | None, panel: Panel | None, seconds: dict[str, float]) -> Prepared:
    check_can_train(config.baselines)
    check_trackers(config)
    with _timed(seconds, "reading"):
        return prepare_with_parent(parent, *read_and_resolve(config, panel))


def _create(prepared: Prepared, run_dir: str | Path | None, force: bool) -> Run:
    check_inputs_outside(run_dir, {"the data": prepared.config.data.path})
    return Run.create(prepared.config.name, run_dir, force)


def _train_into(
    run: Run, prepared: Prepared, seconds: dict[str, float], on_progress: OnProgress | None, parent: Parent | None = None
) -> None:
    """Train, score and explain the networks of a run, from prepared data to a finished run. seconds: by stage, added to."""
    with run.record(), _say_how_to_resume(run), explain_memory_error(prepared), open_trackers(run, prepared.config) as record:
        if parent and parent.rows:
            prepared = copy_rows_into_run(run, prepared, parent.rows)
        contract = _record_inputs(run, prepared, parent)
        with _timed(seconds, "regressions"):
            regressions, ridge = fit_regressions(prepared)
        with _timed(seconds, "training"):
            environment = inspect_environment()  # This loads Keras.
            run.write(run.environment, environment)
            seeds = prepared.config.seeds
            weights = dict(zip(seeds, parent.trained.members, strict=True)) if parent else {}
            if parent and parent.intervals_only:
                final = dict(zip(seeds, read_trained(parent.run).members, strict=True))
                members: Members = {seed: Member(0, weights[seed], weights[seed], final[seed]) for seed in seeds}
            else:
                for sentence in find_slow_settings(prepared.config, environment):
                    log.warning(sentence)
                members = fit_members(prepared, ridge, record, on_progress, run, weights)
            save_networks(run, prepared, members)
        best_epochs = {seed: member.epoch for seed, member in members.items()}
        log.info("best epochs by seed: %s; %d parameters each", best_epochs, prepared.network.parameters)
        with _timed(seconds, "scoring"):
            fitted, result = score_run(run, prepared, regressions, members, contract, environment)
            if parent:
                check_not_worse(run, fitted, parent)
                result.parent = parent.to_document()
        run.seal()  # The result is complete. Nothing below may fail the run.
        _explain(result, fitted, members, seconds)
        with run.log_and_continue("removing the checkpoint"):
            run.checkpoint.unlink(missing_ok=True)


def _explain(result: TrainingResult, fitted: Fitted, members: Members, seconds: dict[str, float]) -> None:
    """Write the files that explain a complete result. Log the failure of any, and go on."""
    run, prepared, environment = result.run, fitted.prepared, result.environment
    with _timed(seconds, "leaks"), run.log_and_continue("checking for leaks"):
        write_certificate(result, fitted)
    with run.log_and_continue("writing forecast.csv"):
        _write_forecast(result, prepared)
    with _timed(seconds, "explaining"), run.log_and_continue("measuring the importance of the inputs"):
        explain(result, fitted, members[prepared.config.seeds[0]].scored)
    with run.log_and_continue("diagnosing the training"):
        write_diagnosis(result, prepared)
    with _timed(seconds, "plots"), run.log_and_continue("drawing the plots"):
        rows = make_actual_rows(prepared.panel, prepared.splits, select_series(result.per_series))
        run.write_table(run.actual, rows)
        result.actual = result.select_rows(rows)
        write_plots(result)
    log.info("seconds: %s", seconds)
    environment.seconds = seconds
    run.write(run.environment, environment)
    with run.log_and_continue("writing report.html"):
        write_report(result)


@contextlib.contextmanager
def _say_how_to_resume(run: Run) -> Iterator[None]:
    """Log the command that resumes a training which was interrupted, or which lacked memory or disk space."""
    try:
        yield
    except (KeyboardInterrupt, ResourceError):
        if run.config.is_file() and not run.directory.name.startswith(PARTIAL_PREFIX):
            log.warning("Interrupted. Progress is saved; resume with: forecast train --resume %s", run.directory)
        raise


@contextlib.contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    report_stage(stage)
    began = time.perf_counter()
    yield
    seconds[stage] = round(time.perf_counter() - began, 2)


def _record_inputs(run: Run, prepared: Prepared, parent: Parent | None) -> Contract:
    """Write everything that is known before training starts, and return the contract."""
    config, panel = prepared.config, prepared.panel
    contract = make_contract(panel)
    contract.parts = {
        subset: SubsetFacts(windows=len(windows), independent=count_independent(windows))
        for subset, windows in (prepared.windows | {"train": prepared.network_windows["train"]}).items()
    }
    run.write(run.contract, contract)
    run.write_json(run.scaler, prepared.scaler.to_json())
    if not run.fingerprints.exists():  # A resumed training has them.
        run.write(run.fingerprints, Fingerprints(windows=fingerprint_inputs(prepared), initial_weights={}))
    if parent:
        run.write(run.parent, parent.to_document())
    run.write_table(run.recent, make_recent_rows(panel, config))
    moved = change_config(config, {"data.path": os.path.relpath(config.data.path, run.directory)}) if parent else config
    run.write_text(run.config, moved.to_yaml())  # Written last: with it, a training can be resumed.
    counts = {subset: facts.windows for subset, facts in contract.parts.items()}
    log.info("%s: %d rows, %d series; windows: %s", panel.source, len(panel.values), len(panel.series_ids), counts)
    for sentence in describe_repairs(panel.record):
        log.warning("%s: %s", panel.source, sentence)
    is_enough, sentence = check_memory(prepared)
    if not is_enough:
        log.warning("memory may run out: training needs %s. %s", sentence, suggest_less_memory(prepared))
    return contract


def _write_forecast(result: TrainingResult, prepared: Prepared) -> None:
    """Write forecast.csv, unless the file lacks the known covariates of the horizon, which `predict` then asks for."""
    columns = prepared.config.data.required_known_covariates
    if columns and prepared.panel.future_covariates is None:
        log.info("no forecast.csv yet: it needs %s over the horizon", ", ".join(columns))
        return
    try:
        forecast = predict(result.run)
    except DataError as error:  # The known covariates end within the horizon.
        log.warning("forecast.csv was not written: %s", error)
    else:
        result.run.write_table(result.run.forecast_file, forecast)
        result.forecast = result.select_rows(forecast)


def _config_to_resume(run: Run, config: Config | None) -> Config:
    """Return the config of an interrupted training, or another one that differs from it only in `RESUMABLE`.

    Raises:
        RunError: the config differs in other settings.
    """
    original = run.read_config()
    if config is None:
        return original
    for key in AUTO_SETTINGS:
        if non_default_values(config).get(key) == "auto":  # The run holds the value that stands for it.
            config = change_config(config, {key: getattr(original.training, key.removeprefix("training."))})
    before, after = non_default_values(original), non_default_values(config)
    keys = [key for key in dict.fromkeys([*before, *after]) if key not in RESUMABLE]
    changed = [key for key in keys if before.get(key, "(default)") != after.get(key, "(default)")]
    if changed:
        old, new = (settings.get(changed[0], "(default)") for settings in (before, after))
        problem = f"a resumed training run cannot change {first_few(changed)}: {old} was changed to {new}."
        raise RunError(problem, f"Only {', '.join(RESUMABLE)} may change. To change other keys, train again.", str(run.directory))
    return config
