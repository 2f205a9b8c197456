"""`train`: a config goes in, a run comes out."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from forecast.commands.memory import advised, needs, remedy
from forecast.commands.predict import predict
from forecast.config import Config, DataConfig, change_config, load_config, non_default_values
from forecast.data import Panel, SubsetFacts, describe_repairs, make_contract
from forecast.errors import (
    BACKENDS,
    DataError,
    InternalError,
    ResourceError,
    RunError,
    check_backend,
    check_installed,
    first_few,
)
from forecast.evaluation import (
    Certificate,
    Fitted,
    TrainingMetrics,
    calibrated,
    certify,
    costs_of_missing,
    count_independent,
    measure_importance,
    method_of,
    score,
    scoreboard,
    summarize,
)
from forecast.forecasters.combination import combine_by_median
from forecast.forecasters.linear import Linear, fit_linear
from forecast.forecasters.network.architectures import describe_network
from forecast.forecasters.network.description import Network
from forecast.forecasters.network.numpy_runtime import READER_TOLERANCE, forward, relative_difference
from forecast.forecasters.preparation import Prepared, read_checked
from forecast.reports import report, write_plots
from forecast.runs import (
    Checkpoints,
    Fingerprints,
    Gradients,
    Parent,
    Run,
    check_not_worse,
    check_recent,
    check_trackers,
    find_slow_settings,
    fingerprint_inputs,
    inspect_environment,
    member_prefix,
    prepare_after,
    read_contract,
    read_members,
    read_parent,
    read_training_rows,
    recent_rows,
    remove_checkpoint,
    taken_in,
    tracked,
)
from forecast.storage import PARTIAL_PREFIX

if TYPE_CHECKING:
    from forecast.forecasters.network.callbacks import Progress

Weights = dict[str, np.ndarray]  # of a network, by the names of its description
Kept = dict[int, tuple[int, Weights]]  # by seed: the epoch that its network keeps, and its weights
PROBED_WINDOWS = 64  # of the validation part, by which it is measured how far back a network learns
PROBED_STATES = 5_000_000  # numbers in the states of all their steps, or there are fewer
ROUNDING_MARGIN = 10  # Times the rounding error of NumPy, within which Keras may differ from it.
CHECKED_WINDOWS = 256  # of the test part, on which the two readers of the network are compared
RESUMABLE = ("training.epochs", "training.early_stopping.patience", "training.checkpoint_every", "data.path", "tracking")
AUTO_SETTINGS = ("training.batch_size", "training.jit_compile")
log = logging.getLogger(__name__)


def train(
    config: Config | str | Path | None = None,
    run_dir: str | Path | None = None,
    force: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    panel: Panel | None = None,
    resume: str | Path | None = None,
    parent: Parent | None = None,
) -> Run:
    """Train the network that `config` (or the file it names) describes and write a run directory.

    run_dir: where; None takes the next free `runs/NAME-N`. force: replace the run that is there.
    on_progress: called after each batch and each epoch. panel: the data of the config, where `read_checked` has read them.
    resume: the directory of a training that was cut short, which goes on from its last checkpoint: the weights at the end are, to
    the last bit, those that it would have had. `config` may then be left out, or differ in `RESUMABLE`.
    parent: the run whose networks and scaling this one begins with.

    Raises:
        ConfigError, DataError: nothing is written.
        RunError: the directory cannot be used, or training failed; the run's status says so.
    """
    check_trainable()
    if config is None and resume is None:
        raise RunError("there is nothing to train.", "Name a config, or a run to --resume.")
    config = config if config is None or isinstance(config, Config) else load_config(config)
    config = config if resume is None else _config_to_resume(Run.open_unfinished(resume), config)
    check_trackers(config)
    seconds: dict[str, float] = {}
    parent = parent if resume is None else read_parent(Run(resume))
    with _timed(seconds, "reading"):
        panel = panel if resume is None else read_training_rows(Run(resume), config.data)
        prepared = prepare_after(parent, *read_checked(config, panel))
    config = prepared.config
    if resume is None:
        check_apart(run_dir, {"the data": config.data.path})
        run = Run.create(config.name, run_dir, force)
    else:
        run = Run(resume)
        _check_same_data(run, prepared.panel)
    with run.recording(), _resumable(run), advised(prepared), tracked(run, config) as record:
        _train(run, prepared, parent, seconds, partial(fit_members, record=record, on_progress=on_progress))
    return run


def _train(run: Run, prepared: Prepared, parent: Parent | None, seconds: dict[str, float], fit: Callable[..., Kept]) -> None:
    """From what is prepared to a finished run. fit: `fit_members`, with all that it needs of the caller."""
    config = prepared.config
    if parent and parent.rows:
        prepared = taken_in(run, prepared, parent.rows)
    _record_inputs(run, prepared, parent)
    with _timed(seconds, "ridge"):
        linear, start = fit_ridges(prepared)
    with _timed(seconds, "training"):
        environment = inspect_environment()  # This loads Keras.
        run.write(run.environment, environment)
        begin = dict(zip(config.seeds, parent.trained.members, strict=True)) if parent else None
        if parent and parent.intervals_only:
            fitted = {seed: (0, weights) for seed, weights in begin.items()}
        else:
            for sentence in find_slow_settings(config, environment):
                log.warning(sentence)
            fitted = fit(prepared, start, run=run, begin=begin)
        kept = {seed: epoch for seed, (epoch, _) in fitted.items()}
        _save(run, prepared, fitted)
    log.info("kept epochs by seed: %s; %d parameters each", kept, prepared.network.parameters)
    with _timed(seconds, "scoring"):
        scored = _score(run, prepared, linear, kept)
        if parent:
            check_not_worse(run, scored, parent)
    run.seal()  # The result is complete. Nothing below may fail the run.
    with _timed(seconds, "leaks"), run.explaining("checking for leaks"):
        _certify(run, scored)
    with run.explaining("writing forecast.csv"):
        _forecast(run, config.data, prepared.panel)
    with _timed(seconds, "explaining"), run.explaining("measuring the importance of the inputs"):
        _explain(run, scored)
    with _timed(seconds, "plots"), run.explaining("drawing the plots"):
        write_plots(run)
    log.info("seconds: %s", seconds)
    environment.seconds = seconds
    run.write(run.environment, environment)
    with run.explaining("writing report.html"):
        report(run)
    with run.explaining("removing the checkpoint"):
        remove_checkpoint(run)


@contextlib.contextmanager
def _resumable(run: Run) -> Iterator[None]:
    """Say how to go on, where it was not the training that failed."""
    try:
        yield
    except (KeyboardInterrupt, ResourceError):
        if run.config.is_file() and not run.directory.name.startswith(PARTIAL_PREFIX):
            log.warning("what was trained is kept; this goes on: forecast train --resume %s", run.directory)
        raise


def check_apart(run_dir: str | Path | None, kept: Mapping[str, str | Path]) -> None:
    """What is to be read does not lie in the directory that is to be written, which may be replaced.

    Raises:
        RunError: naming what lies there.
    """
    for what, path in kept.items():
        path = Path(path).resolve()
        if run_dir is not None and Path(run_dir).resolve() in (path, *path.parents):
            raise RunError(f"the run directory holds {what}.", "Choose another --run-dir.", str(run_dir))


def check_outside(run_dir: str | Path | None, run: Run) -> None:
    """A run to write does not lie in another one.

    Raises:
        RunError: it does.
    """
    if run_dir is not None and run.directory.resolve() in Path(run_dir).resolve().parents:
        raise RunError("this lies in a run.", "Choose another --run-dir.", str(run_dir))


def fit_ridges(prepared: Prepared) -> tuple[Linear, Linear]:
    """The linear baseline, and the ridge regression that the network starts from, which may take smaller steps."""
    train_windows, validation = prepared.ridge_windows, prepared.windows["validation"]
    linear = fit_linear(train_windows, validation, prepared.config.model.normalization)
    if prepared.network.horizon == prepared.config.windows.horizon:
        return linear, linear
    return linear, fit_linear(prepared.of_network(train_windows), prepared.of_network(validation), linear.normalization)


@contextlib.contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[stage] = round(time.perf_counter() - began, 2)


def check_trainable() -> None:
    """Check that what only training needs is installed, and that Keras has a backend which trains.

    Raises:
        ForecastError: with the line that installs what is missing.
    """
    backend = check_backend()
    check_installed("Training", ["keras", backend, "matplotlib", "scipy"], BACKENDS[backend])


def _record_inputs(run: Run, prepared: Prepared, parent: Parent | None) -> None:
    """Write all that is known before training starts."""
    config, panel = prepared.config, prepared.panel
    contract = make_contract(panel)
    contract.parts = {
        subset: SubsetFacts(windows=len(windows), independent=count_independent(windows))
        for subset, windows in prepared.windows.items()
    }
    run.write(run.contract, contract)
    counts = {subset: len(windows) for subset, windows in prepared.windows.items()}
    run.write_json(run.scaler, prepared.scaler.to_json())
    if not run.fingerprints.exists():  # a resumed training has them
        run.write(run.fingerprints, Fingerprints(windows=fingerprint_inputs(prepared), initial_weights={}))
    if parent:
        run.write(run.parent, parent.record())
    run.write_table(run.recent, recent_rows(panel, config))
    check_recent(run, panel, config.data)
    whole = change_config(config, {"data.path": os.path.relpath(config.data.path, run.directory)}) if parent else config
    run.write_text(run.config, whole.to_yaml())  # the last, since with it a training can be resumed
    log.info("%s: %d rows, %d series; windows: %s", panel.source, len(panel.values), len(panel.series_ids), counts)
    for sentence in describe_repairs(panel.record):
        log.warning("%s: %s", panel.source, sentence)
    memory, too_much = needs(prepared)
    if too_much:
        log.warning("memory may run out: %s. %s", memory, remedy(prepared))


def _forecast(run: Run, config: DataConfig, panel: Panel) -> None:
    """Write forecast.csv, if what it needs of the future is in the file; else it is left to `predict`."""
    if config.required_known_covariates and panel.future_covariates is None:
        log.info("no forecast.csv yet: it needs %s over the horizon", ", ".join(config.required_known_covariates))
        return
    try:
        run.write_table(run.forecast, predict(run))
    except DataError as error:  # the file goes on, but not to the end of the horizon
        log.warning("no forecast.csv yet: %s", error)


def _config_to_resume(run: Run, config: Config | None) -> Config:
    """The config of a training that was cut short; or another, which differs in nothing but `RESUMABLE`.

    Raises:
        RunError: the other config differs in more.
    """
    before = run.read_config()
    if config is None:
        return before
    own, other = non_default_values(before), non_default_values(config)
    keys = [key for key in dict.fromkeys([*own, *other]) if key not in RESUMABLE]
    for key in AUTO_SETTINGS:
        if other.get(key) == "auto":  # The run holds the value that stands for it.
            keys.remove(key)
            config = change_config(config, {key: getattr(before.training, key.removeprefix("training."))})
    differing = [key for key in keys if own.get(key, "(default)") != other.get(key, "(default)")]  # None may be chosen
    if differing:
        before, after = (one.get(differing[0], "(default)") for one in (own, other))
        found = f"a resumed training cannot change {first_few(differing)}: {before} became {after}."
        raise RunError(found, f"Only {', '.join(RESUMABLE)} may change; train anew for more.", str(run.directory))
    return config


def _check_same_data(run: Run, panel: Panel) -> None:
    if read_contract(run).sha256 != panel.sha256:
        found = "the data changed since this training began."
        raise RunError(found, "Train anew, or bring back the data as they were.", panel.source)


def fit_members(
    prepared: Prepared,
    ridge: Linear,
    record: Callable[[dict[str, float]], object],
    on_progress: Callable[[Progress], None] | None = None,
    run: Run | None = None,
    begin: Mapping[int, Weights] | None = None,
    **place: int,
) -> Kept:
    """Train a network for each seed; returns the epoch that each keeps, and its weights.

    record: takes a row for each epoch. run: keeps checkpoints, and may hold one to go on from. begin: the weights that each seed
    begins with, where they are not drawn. place: `fold` and `folds` of a backtest, for those rows and for `on_progress`.
    """
    config, fitted = prepared.config, {}
    checkpoints = Checkpoints(run)
    for member, seed in enumerate(config.seeds):
        if seed in checkpoints.done:
            fitted[seed] = checkpoints.done[seed]
            continue

        def report(progress: Progress, member: int = member, seed: int = seed) -> None:
            progress = replace(progress, member=member + 1, members=len(config.seeds), **place)
            if progress.done == 1:
                hidden = {"epochs", "done", "member", "members", "fold", "folds"}
                row = {name: value for name, value in asdict(progress).items() if name not in hidden}
                record(({"fold": progress.fold} if place else {}) | {"seed": seed} | row)
            if on_progress:
                on_progress(progress)

        with checkpoints.interrupts if run else contextlib.nullcontext():
            fitted[seed] = _fit_network(prepared, begin[seed] if begin else ridge, seed, report, checkpoints)
        checkpoints.done[seed] = fitted[seed]
    return fitted


def _save(run: Run, prepared: Prepared, fitted: Kept) -> None:
    """Write the description of the network and the weights of each seed's."""
    several = prepared.config.training.seeds
    prefixes = {seed: member_prefix(seed) if several else "" for seed in fitted}
    run.write_json(run.network, prepared.network.to_json())
    run.write_arrays(
        run.weights, {prefixes[seed] + name: values for seed, (_, own) in fitted.items() for name, values in own.items()}
    )


def _fit_network(
    prepared: Prepared, begin: Linear | Weights, seed: int, report: Callable[[Progress], None], checkpoints: Checkpoints
) -> tuple[int, Weights]:
    """Build and train the network of one seed; returns the epoch that it keeps, and its weights.

    begin: all its weights, or those of the linear skip alone, and the others are drawn.
    """
    from forecast.forecasters.network.fitting import fit
    from forecast.forecasters.network.keras_builder import build_keras, get_weights, set_weights

    config, network = prepared.config, prepared.network
    model = build_keras(network, config.model, seed, config.training.mixed_precision)
    if not isinstance(begin, Linear):
        set_weights(model, network, begin)
    elif config.model.linear_skip:
        skip = {"linear_skip/kernel": begin.kernel, "linear_skip/bias": begin.bias}
        skip = {name: values.astype(np.float32) for name, values in skip.items()}
        set_weights(model, network, get_weights(model, network) | skip)
    checkpoints.begin(seed, get_weights(model, network))
    train, validation = (prepared.of_network(prepared.windows[part]) for part in ("train", "validation"))
    kept = fit(model, train, validation, config.training, seed, report, network.quantiles, checkpoints.keeper(seed))
    return kept, _with_average_categories(network, get_weights(model, network))


def _with_average_categories(network: Network, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights with the vector of code 0, an unknown category, at the mean of those that were trained."""
    averaged = dict(weights)
    for layer in network.layers:
        if layer.kind == "embedding":
            trained = weights[f"{layer.name}/embeddings"][1:]
            averaged[f"{layer.name}/embeddings"] = np.concatenate([trained.mean(axis=0, keepdims=True), trained])
    return averaged


def _certify(run: Run, fitted: Fitted) -> None:
    """Write the leak certificate, and say so loudly if it is none."""
    checks = certify(fitted.prepared, fitted.forward)
    run.write(run.leakage, Certificate.of(checks))
    for check in checks:
        if not check.passed:
            log.warning("LEAK: %s %s (cutoff %s); the metrics cannot be believed.", check.what, check.found, check.cutoff)
        elif check.doubtful:
            log.warning("%s %s", check.what, check.found)


def _explain(run: Run, fitted: Fitted) -> None:
    """Write what the network looks at; and how far back the first one learns, beside a simple RNN of the same sizes."""
    from forecast.forecasters.network.gradients import measure_gradient_norms
    from forecast.forecasters.network.keras_builder import build_keras, load_keras

    prepared, config = fitted.prepared, fitted.prepared.config
    if looked := measure_importance(prepared, fitted.forward):
        run.write(run.importance, looked)
    simple = config.model_copy(update={"model": config.model.model_copy(update={"cell": "simple_rnn"})})
    width = max(config.model.units) * len(prepared.panel.targets) * prepared.network.lookback
    windows = prepared.of_network(prepared.windows["validation"])
    inputs = windows.sample_evenly(max(1, min(PROBED_WINDOWS, PROBED_STATES // width))).inputs()
    trained = load_keras(prepared.network, read_members(run, config, prepared.network)[0])
    untrained = describe_network(simple, prepared.scaler)
    norms = measure_gradient_norms(trained, prepared.network, inputs)
    simple_norms = measure_gradient_norms(build_keras(untrained, simple.model, config.seed), untrained, inputs)
    run.write(run.gradients, Gradients(network=list(map(_finite, norms)), simple_rnn=list(map(_finite, simple_norms))))


def _reader_difference(network: Network, members: list[Weights], inputs: dict[str, np.ndarray], by_keras: np.ndarray) -> float:
    """Return how far the NumPy reader of a network is from what Keras forecasts for the same windows, in `relative_difference`.

    Rounding explains a difference if float32 is as far from float64 in NumPy alone: a network may amplify rounding errors.

    Raises:
        InternalError: the readers differ by more than rounding.
    """
    by_numpy = combine_by_median([partial(forward, network, member) for member in members])(inputs)
    difference = relative_difference(by_numpy, by_keras)
    if difference <= READER_TOLERANCE:
        return difference
    exact = combine_by_median([partial(forward, network, _in_float64(member)) for member in members])(_in_float64(inputs))
    rounding = relative_difference(by_numpy, exact)
    if not difference <= ROUNDING_MARGIN * rounding:
        raise InternalError(f"NumPy and Keras forecasts differ by {difference:.1e} of the largest forecast.")
    log.warning("the network amplifies rounding errors: its forecasts are accurate to %.1e of the largest.", difference)
    return difference


def _in_float64(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: values.astype(np.float64) if values.dtype == np.float32 else values for name, values in arrays.items()}


def _finite(number: float) -> float | None:
    """As JSON has it: a gradient may be beyond all numbers."""
    return float(number) if np.isfinite(number) else None


def _score(run: Run, prepared: Prepared, linear: Linear, kept: dict[int, int]) -> Fitted:
    """Write metrics of network and baselines on validation and test, and the test forecasts; returns what was scored.

    The network is the one that the run holds, so that what is scored is what will forecast.
    """
    from forecast.forecasters.network.keras_builder import load_keras

    config, network = prepared.config, prepared.network
    weights = read_members(run, config, network)
    fitted = Fitted(prepared, [load_keras(network, member).predict_on_batch for member in weights], linear)
    validation, test = scoreboard(prepared), scoreboard(prepared)
    calibration = calibrated(fitted, validation)
    with run.writing_table(run.predictions) as append:
        errors = score(fitted, prepared.windows["test"], test, calibration, append)
    if calibration:
        run.write_arrays(run.intervals, calibration.make_final_intervals(method_of(config), errors).to_arrays())
    run.write_table(run.cutoffs, test.losses())
    run.write_table(run.per_series, test.per_series())
    checked = prepared.of_network(prepared.windows["test"]).sample_evenly(CHECKED_WINDOWS).inputs()
    trained = any(kept.values()) or run.parent.exists()
    metrics = TrainingMetrics(
        **vars(summarize(test, trained, count_independent(prepared.windows["validation"]))),
        missing_known=costs_of_missing(fitted),
        kept_epochs=kept,
        parameters=network.parameters * len(weights),
        runtime_difference=_reader_difference(network, weights, checked, fitted.forward(checked)),
        linear_strength=dict(zip(prepared.panel.targets, linear.strength, strict=True)),
        validation=validation.scores(),
    )
    run.write(run.metrics, metrics)
    return fitted
