"""Score a trained network as stored in its run, and explain the result."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from forecast.config import Config
from forecast.data import Contract
from forecast.evaluation import (
    Calibration,
    Certificate,
    Diagnoses,
    Evidence,
    Fitted,
    Metrics,
    PredictionTable,
    Scoreboard,
    TrainingMetrics,
    certify,
    count_independent,
    find_problems,
    make_fitted_rows,
    measure_importance,
    measure_missing_costs,
    measure_training_errors,
    method_of,
    score,
    score_validation,
    summarize,
)
from forecast.forecasters.combination import combine_by_median
from forecast.forecasters.network.architectures import describe_network
from forecast.forecasters.network.description import Array, Network
from forecast.forecasters.network.numpy_runtime import READER_TOLERANCE, forward, relative_difference
from forecast.forecasters.preparation import Prepared
from forecast.forecasters.regressions import Regressions
from forecast.reports import TrainingResult, remove_time_zones, select_series
from forecast.runs import Environment, Gradients, Run, TrainingStage, make_member_prefix, read_history
from forecast.training.fitting import Members, Weights, refit_regressions
from forecast.windows import Forward

MAX_PROBED_WINDOWS = 64  # Windows of the validation set that show how far back a network learns.
MAX_PROBED_STATES = 5_000_000  # Numbers in the states of all steps of the probed windows.
MAX_COMPARED_WINDOWS = 256  # Windows of the test set on which Keras and NumPy are compared.
ROUNDING_MARGIN = 10  # Times the rounding error of NumPy, within which Keras may differ from it.
log = logging.getLogger(__name__)


def save_networks(run: Run, prepared: Prepared, members: Members) -> None:
    """Write the description of the network and the weights of each seed."""
    run.write_json(run.network, prepared.network.to_json())
    for member in members.values():
        prepared.network.check_weights(member.final, str(run.weights))  # The last step of a refit may have left no numbers.
    run.write_arrays(run.weights, _name_weights(prepared.config, members, "final"))


def _name_weights(config: Config, members: Members, stage: TrainingStage) -> Weights:
    """Return the weights of all networks at a stage, by the names that they have in the run."""
    return {
        make_member_prefix(config, seed) + name: values
        for seed, member in members.items()
        for name, values in member.at(stage).items()
    }


def _save_scored(run: Run, fitted: Fitted, members: Members) -> None:
    """Write networks and regressions before the last refit. For a combination, also write the final regressions."""
    config, regressions = fitted.prepared.config, fitted.regressions
    if fitted.combination:
        run.write(run.combination, fitted.combination)
        run.write_arrays(run.linear, refit_regressions(fitted.prepared, regressions, "final").to_arrays())
    if any(member.final is not member.scored for member in members.values()):
        stages = {"selected": _name_weights(config, members, "selected"), "scored": _name_weights(config, members, "scored")}
        stages["linear"] = regressions.to_arrays()
        run.write_arrays(run.scored, {f"{stage}/{name}": values for stage in stages for name, values in stages[stage].items()})


def score_run(
    run: Run, prepared: Prepared, regressions: Regressions, members: Members, contract: Contract, environment: Environment
) -> tuple[Fitted, TrainingResult]:
    """Write the metrics of network and baselines and the forecasts of the test set. Return the forecasters and the result."""
    config, network = prepared.config, prepared.network
    validation, test = Scoreboard(prepared), Scoreboard(prepared)
    fitted, calibration, selected = calibrate_members(prepared, regressions, members, validation)
    _save_scored(run, fitted, members)
    with run.open_table(run.predictions_file) as append:
        table = PredictionTable(prepared, append)
        errors = score(fitted, prepared.windows["test"], test, calibration, table)
    if calibration:
        run.write_arrays(run.intervals, calibration.make_final_intervals(method_of(config), errors).to_arrays())
    inputs = prepared.limit_horizon(prepared.windows["test"]).sample_evenly(MAX_COMPARED_WINDOWS).inputs()
    best_epochs = {seed: member.epoch for seed, member in members.items()}
    weights = [member.scored for member in members.values()]
    is_trained = any(best_epochs.values()) or run.parent.exists()
    metrics = TrainingMetrics(
        **vars(summarize(test, is_trained, count_independent(prepared.windows["validation"]))),
        missing_known=measure_missing_costs(fitted),
        kept_epochs=best_epochs,
        parameters=network.parameters * len(weights),
        runtime_difference=_reader_difference(network, weights, inputs, fitted.forward(inputs)),
        linear_strength=dict(zip(prepared.panel.targets, regressions.linear.strength, strict=True)),
        combination=fitted.combination,
        training=measure_training_errors(selected),
        validation=validation.scores(),
    )
    result = write_scores(run, contract, environment, metrics, test, table)
    with run.log_and_continue("computing fitted values"):
        rows = make_fitted_rows(selected, select_series(result.per_series))
        run.write_table(run.fitted, rows)
        result.fitted = remove_time_zones(rows)
    return fitted, result


def calibrate_members(
    prepared: Prepared, regressions: Regressions, members: Members, board: Scoreboard
) -> tuple[Fitted, Calibration | None, Fitted]:
    """Choose the combination and the intervals on the validation set, which is scored with networks that never saw it.

    Returns the forecasters of the test set, which were refitted on the validation set if the config says so, the intervals, and
    the forecasters before the refit.
    """
    from forecast.forecasters.network.keras_builder import load_keras

    def load(stage: TrainingStage) -> list[Forward]:
        return [load_keras(prepared.network, member.at(stage)).predict_on_batch for member in members.values()]

    selected = Fitted(prepared, load("selected"), regressions).choose_combination()
    calibration = score_validation(selected, board)
    is_refitted = any(member.scored is not member.selected for member in members.values())
    networks = load("scored") if is_refitted else selected.members
    fitted = replace(selected, members=networks, regressions=refit_regressions(prepared, regressions, "scored"), computed={})
    return fitted, calibration, selected


def write_scores(
    run: Run, contract: Contract, environment: Environment, metrics: Metrics, board: Scoreboard, table: PredictionTable
) -> TrainingResult:
    """Write the metrics, and the errors by series and by cutoff. Return the result, whose other fields are set later."""
    per_series, cutoffs = board.per_series(), board.losses()
    run.write_table(run.per_series, per_series)
    run.write_table(run.cutoffs, cutoffs)
    run.write(run.metrics_file, metrics)
    predictions = remove_time_zones(table.select_series(select_series(per_series)))
    return TrainingResult(run, contract, environment, metrics, per_series, remove_time_zones(cutoffs), predictions)


def _reader_difference(network: Network, members: list[Weights], inputs: dict[str, Array], by_keras: Array) -> float:
    """Return the `relative_difference` of NumPy's forecasts from Keras' forecasts of the same windows.

    Rounding explains a difference if float32 is as far from float64 in NumPy alone: a network may amplify rounding errors.

    Raises:
        RuntimeError: the readers differ by more than rounding, which is a bug.
    """
    by_numpy = combine_by_median([partial(forward, network, member) for member in members])(inputs)
    difference = relative_difference(by_numpy, by_keras)
    if difference <= READER_TOLERANCE:
        return difference
    exact = combine_by_median([partial(forward, network, _in_float64(member)) for member in members])(_in_float64(inputs))
    rounding = relative_difference(by_numpy, exact)
    if not difference <= ROUNDING_MARGIN * rounding:
        raise RuntimeError(f"NumPy and Keras forecasts differ by {difference:.1e} of the largest forecast.")
    message = "the network amplifies rounding errors: its forecasts are accurate only to %.1e of the largest forecast."
    log.warning(message, difference)
    return difference


def _in_float64(arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name: values.astype(np.float64) if values.dtype == np.float32 else values for name, values in arrays.items()}


def write_certificate(result: TrainingResult, fitted: Fitted) -> None:
    """Write the leak certificate, and warn of every leak."""
    checks = certify(fitted)
    result.certificate = Certificate.of(checks)
    result.run.write(result.run.leakage, result.certificate)
    for check in checks:
        if not check.passed:
            log.warning("LEAK: %s %s (cutoff %s). The metrics cannot be trusted.", check.subject, check.result, check.cutoff)
        elif check.doubtful:
            log.warning("%s %s", check.subject, check.result)


def explain(result: TrainingResult, fitted: Fitted, weights: Weights) -> None:
    """Write the importance of each input, and the gradient norms of a network and of a simple RNN of the same sizes.

    weights: those of the network.
    """
    from forecast.forecasters.network.gradients import measure_gradient_norms
    from forecast.forecasters.network.keras_builder import build_keras, load_keras

    run, prepared, config = result.run, fitted.prepared, fitted.prepared.config
    result.importance = measure_importance(prepared, fitted.forward)
    if result.importance:
        run.write(run.importance, result.importance)
    width = max(layer.units for layer in config.model.stack) * len(prepared.panel.targets) * prepared.network.lookback
    windows = prepared.limit_horizon(prepared.windows["validation"])
    inputs = windows.sample_evenly(max(1, min(MAX_PROBED_WINDOWS, MAX_PROBED_STATES // width))).inputs()
    trained = load_keras(prepared.network, weights)
    layers = [layer.model_copy(update={"cell": "simple_rnn"}) for layer in config.model.stack]
    simple = config.model_copy(update={"model": config.model.model_copy(update={"layers": layers})})
    network = describe_network(simple, prepared.scaler)
    norms = measure_gradient_norms(trained, prepared.network, inputs)
    simple_norms = measure_gradient_norms(build_keras(network, simple.model, config.seed), network, inputs)
    result.gradients = Gradients(network=_replace_infinite(norms), simple_rnn=_replace_infinite(simple_norms))
    run.write(run.gradients, result.gradients)


def _replace_infinite(norms: Array) -> list[float | None]:
    """Return numbers that JSON can hold: an exploding gradient becomes None."""
    return [float(norm) if np.isfinite(norm) else None for norm in norms]


def write_diagnosis(result: TrainingResult, prepared: Prepared) -> None:
    """Write the problems of the training."""
    run = result.run
    assert isinstance(result.metrics, TrainingMetrics)
    result.evidence = Evidence(
        config=prepared.config,
        metrics=result.metrics,
        history=read_history(run) if run.history_file.exists() else None,  # An interrupted process may have begun it.
        train_windows=len(prepared.network_windows["train"]),
        gradients=result.gradients.network if result.gradients else None,
        continued=result.parent is not None,
    )
    run.write(run.diagnosis, Diagnoses(problems=find_problems(result.evidence)))
