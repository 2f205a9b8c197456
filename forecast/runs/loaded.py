"""A finished run, read and verified: everything that forecasting, planning, exporting and diagnosing need.

Functions that read a run raise a `RunError` if it is damaged, and a `ConfigError` if its config is.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from forecast.config import Config, ConfigInSteps, resolve_durations
from forecast.data import Contract
from forecast.errors import DAMAGED, DataError, RunError, did_you_mean, first_few
from forecast.evaluation import Evidence, Intervals, TrainingMetrics, method_of, quantiles_of
from forecast.forecasters.baselines import SIMPLE, forecast_baselines
from forecast.forecasters.combination import NETWORK, Combination, combine_by_median
from forecast.forecasters.network.architectures import describe_network
from forecast.forecasters.network.description import KNOWN, Array, Network
from forecast.forecasters.network.numpy_runtime import forward as numpy_forward
from forecast.forecasters.regressions import Regressions, get_shapes
from forecast.runs.documents import Gradients
from forecast.runs.run import Run
from forecast.runs.tables import read_history
from forecast.windows import Forward, Scaler, Windows

if TYPE_CHECKING:
    from forecast.data import Panel

MAX_DEVIATIONS = 5  # Distance of a static number from the mean of the training series, in their deviations, that is usual.
MAX_HORIZONS = 100  # Horizons to roll out. Errors have added up long before.
# Networks trained on the training set only, networks that are scored, and those that forecast: `training.refit`.
TrainingStage = Literal["selected", "scored", "final"]
RUNTIMES = ("numpy", "keras")  # Both forecast the same, but Keras takes seconds to start.
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """A trained network with its scaling, read from a run and checked.

    members: the weights of one network, or of several whose median is the forecast.
    horizon: steps to forecast. More than the network's own are rolled out.
    """

    config: ConfigInSteps
    contract: Contract
    scaler: Scaler
    network: Network
    members: list[dict[str, Array]]
    horizon: int
    intervals: Intervals | None = None
    combination: Combination | None = None
    regressions: Regressions | None = None

    @property
    def known_channels(self) -> int:
        """Return the number of covariates that are known over the horizon, those of the calendar included."""
        return self.network.inputs.get(KNOWN, [0, 0])[1]

    @property
    def known_steps(self) -> int:
        """Return the number of steps after the cutoff whose known covariates decide the forecast of `horizon` steps.

        It is the horizon, except that a parallel decoder computes each segment from the known covariates of all its steps:

            segment 4, horizon 6   | 1 2 3 4 | 5 6 7 8 |     known_steps 8
        """
        segment = self.config.model.segment or 1
        if not self.known_channels or self.config.model.decoder != "parallel":
            return self.horizon
        blocks, rest = divmod(self.horizon, self.network.horizon)
        return blocks * self.network.horizon + min(-(-rest // segment) * segment, self.network.horizon)

    def forward(self, runtime: str) -> Forward:
        """Return the network as a function that one of `RUNTIMES` computes.

        Raises:
            RunError: there is no such runtime, or Keras is not installed.
        """
        if runtime == "numpy":
            return combine_by_median([partial(numpy_forward, self.network, weights) for weights in self.members])
        if runtime != "keras":
            raise RunError(f"there is no runtime `{runtime}`.", did_you_mean(runtime, RUNTIMES))
        from forecast.forecasters.network.keras_builder import load_keras

        return combine_by_median([load_keras(self.network, weights).predict_on_batch for weights in self.members])

    def forecast(self, windows: Windows, forward: Forward, panel: Panel | None = None) -> tuple[Array, Array | None]:
        """Return the forecasts `(windows, horizon, targets)` of `make_continuing_windows` and their quantiles, in original units.

        panel: the rows of the windows, for the other members of a combination; None forecasts with the network alone.
        The quantiles `(windows, horizon, targets, quantiles)` are NaN beyond the horizon that was trained.

        Raises:
            RunError: the forecasts are not finite.
        """
        outputs = windows.forecast_with(forward, self.network.horizon)[:, : self.horizon]
        if self.combination and panel:
            names = [name for name in self.combination.members if name != NETWORK]
            windows_ahead = replace(windows, horizon=self.horizon)
            rows = panel, self.scaler, windows_ahead, self.regressions, self.combination.season_length
            points, alone = forecast_baselines(names, *rows), self.network.point(outputs)
            outputs = self.combination.shift(outputs, alone, points, self.scaler, windows.series)
        forecasts = self.scaler.undo(self.network.point(outputs), windows.series)
        if not np.isfinite(forecasts).all():
            raise RunError("the forecasts are too large to represent.", "Check the last rows for unusual values.")
        if not self.intervals:
            return forecasts, None
        quantiles = self.scaler.undo_quantiles(self.intervals.apply(outputs, windows.series), windows.series)
        if np.isinf(quantiles).any():
            raise RunError("the interval bounds are too large to represent.", "Check the last rows for unusual values.")
        return forecasts, quantiles

    def with_horizon(self, steps: int | None) -> Trained:
        """Return the same network for another number of steps, None for the horizon that was trained.

        Raises:
            RunError: they are too many, or columns are unknown in between.
        """
        horizon, past = self.config.windows.horizon, self.config.data.past_covariates
        steps = horizon if steps is None else steps
        if steps < 1:
            raise RunError(f"--steps must be 1 or more, not {steps}.", "Use a positive number of steps, or leave it out.")
        if steps > MAX_HORIZONS * horizon:
            problem = f"{steps} steps exceed the limit of {MAX_HORIZONS} times the horizon ({horizon})."
            raise RunError(problem, "Train with a longer horizon.")
        if steps > horizon and (self.network.quantiles or past):
            problem = f"at most {horizon} steps, not {steps}"
            if self.network.quantiles:
                problem = f"this network can forecast quantiles for {problem}."
            else:
                problem = f"this network can forecast {problem}, because `{past[0]}` is unknown after the cutoff."
            cause = "model.quantiles" if self.network.quantiles else "past covariates"
            raise RunError(problem, f"Forecast at most {horizon} steps, or train without {cause}.")
        return replace(self, horizon=steps)

    def for_panel(self, panel: Panel, new_series: bool = False) -> Trained:
        """Return the same network with the scalers of the panel's series, in their order.

        new_series: allow series that the run does not know, and fit their scalers on their own rows, all before the forecast.

        Raises:
            DataError: a series is unknown to the run, and `new_series` does not allow it.
        """
        numbers, scaler = {name: number for number, name in enumerate(self.scaler.series_ids)}, self.scaler
        if new := [number for number, name in enumerate(panel.series_ids) if name not in numbers]:
            names = [panel.series_ids[number] for number in new]
            if not new_series:
                hint = f"{did_you_mean(names[0], numbers)} To forecast it anyway, add --new-series."
                raise DataError(f"series '{names[0]}' was not in the training data.", hint, panel.source)
            message = "%s: series that were not in the training data are scaled using their own rows (%d in total): %s."
            log.warning(message, panel.source, len(names), first_few(names))
            scaler = scaler.extend(panel.select(np.array(new)), self.config.scaling)
        self._warn_of_unusual_series(panel, scaler)
        intervals = self.intervals and self.intervals.select([numbers.get(name) for name in panel.series_ids])
        return replace(self, scaler=scaler.select(panel.series_ids), intervals=intervals)

    def _warn_of_unusual_series(self, panel: Panel, scaler: Scaler) -> None:
        """Warn of static numbers far from those of the training series, and of static categories that they lack."""
        data, static = self.config.data, scaler.static
        far = np.argwhere(np.abs((panel.static.numbers - static.offset) / static.scale) > MAX_DEVIATIONS)
        for series, column in far[:1]:
            name, value = data.static_covariates[column], panel.static.numbers[series, column]
            usual = f"{static.offset[column]:g}, standard deviation {static.scale[column]:g}"
            log.warning("%s: `%s` is %g, which is far from all values in training (mean %s).", panel.source, name, value, usual)
        for name, vocabulary, texts in zip(data.static_categories, static.vocabulary, panel.static.categories.T, strict=True):
            if unseen := [f"'{text}'" for text in sorted(set(texts) - set(vocabulary))]:
                message = (
                    "%s: categories of `%s` that were not in the training data are treated as the average of all categories: %s."
                )
                log.warning(message, panel.source, name, first_few(unseen))


def read_trained(run: Run, stage: TrainingStage = "final") -> Trained:
    """Read the networks of a run at a stage. Nothing in the run is executed, and nothing is used unchecked."""
    contract = read_contract(run)
    config = _read_config_in_steps(run, contract)
    scaler = Scaler.from_json(run.read_json(run.scaler), str(run.scaler))
    document = run.read_json(run.network)
    network, expected = Network.from_json(document, str(run.network)), describe_network(config, scaler)
    version: int = document["version"]
    if version > 1:  # Runs of version 1 have no checksums.
        run.check_sealed()
    if network != expected:
        raise RunError("this is not the network that the config describes.", DAMAGED, str(run.network))
    _check_files_belong_together(run, config, contract, scaler)
    horizon, quantiles, intervals = config.windows.horizon, len(quantiles_of(config)), None
    if quantiles and (run.intervals.exists() or version > 2):  # Runs of earlier versions may have none.
        shape = len(scaler.series_ids), horizon, len(config.data.target)
        arrays = run.read_arrays(run.intervals, math.prod(shape) * quantiles)
        intervals = Intervals.from_arrays(arrays, shape, config, str(run.intervals))
    combination = _read_combination(run, config)
    members, regressions = _read_forecasters(run, config, expected, combination, stage)
    return Trained(config, contract, scaler, expected, members, horizon, intervals, combination, regressions)


def _read_combination(run: Run, config: ConfigInSteps) -> Combination | None:
    """Return the combination that the config of a run asks for."""
    if config.combine == "none":
        return None
    combination = run.read(run.combination, Combination)
    if set(combination.weights) - {NETWORK, *SIMPLE, *config.baselines}:
        raise RunError("this file names a member that does not exist.", DAMAGED, str(run.combination))
    return combination


def _read_forecasters(
    run: Run, config: ConfigInSteps, network: Network, combination: Combination | None, stage: TrainingStage
) -> tuple[list[dict[str, Array]], Regressions | None]:
    """Return the weights of each seed's network, and the regressions if a combination may need them, at a stage."""
    count = network.parameters * len(config.seeds)
    count_regressions = 2 * sum(map(math.prod, get_shapes(config).values()))  # In float32 numbers.
    if stage == "final" or not run.scored.exists():
        members = _split_members(run.read_arrays(run.weights, count), config, network, run.weights)
        path, arrays = run.linear, run.read_arrays(run.linear, count_regressions) if combination else {}
    else:
        path, arrays = run.scored, run.read_arrays(run.scored, 2 * count + count_regressions)
        members = _split_members(pop_prefixed(arrays, f"{stage}/"), config, network, path)
        arrays = pop_prefixed(arrays, "linear/")
    if not combination:
        return members, None
    try:
        return members, Regressions.from_arrays(arrays, config, combination.season_length)
    except ValueError as error:
        raise RunError(f"{error}.", DAMAGED, str(path)) from None


def _check_files_belong_together(run: Run, config: ConfigInSteps, contract: Contract, scaler: Scaler) -> None:
    data, static = config.data, scaler.static
    if (
        scaler.columns != data.channels
        or scaler.targets != len(data.target)
        or scaler.transform != config.scaling.transform
        or len(static.offset) != len(data.static_covariates)
        or len(static.vocabulary) != len(data.static_categories)
        or set(contract.columns) != set(data.values)
    ):
        raise RunError("the config, the contract and the scaler do not belong together.", DAMAGED, str(run.directory))


def _read_config_in_steps(run: Run, contract: Contract) -> ConfigInSteps:
    """Return the config of a run with every duration in steps. Earlier versions wrote `data.max_gap` as it stood."""
    try:
        return resolve_durations(run.read_config(), contract.freq)
    except ValueError:
        raise RunError(f"{contract.freq!r} is not a pandas frequency.", DAMAGED, str(run.contract)) from None


def _split_members(weights: dict[str, Array], config: Config, network: Network, path: Path) -> list[dict[str, Array]]:
    """Return the weights of each seed's network, in the order of `Config.seeds`."""
    members = [pop_prefixed(weights, make_member_prefix(config, seed)) for seed in config.seeds]
    members[0] |= weights  # `check_weights` refuses those that belong to no seed.
    for member in members:
        network.check_weights(member, str(path))
    return members


def pop_prefixed(arrays: dict[str, Array], prefix: str) -> dict[str, Array]:
    """Remove the arrays whose names begin with a prefix, and return them without it."""
    return {name.removeprefix(prefix): arrays.pop(name) for name in list(arrays) if name.startswith(prefix)}


def make_member_prefix(config: Config, seed: int) -> str:
    """Return the beginning of the names of a seed's weights, "" in a run with one network."""
    return f"seed_{seed}/" if config.training.seeds else ""


def read_contract(run: Run) -> Contract:
    """Return the contract of a run."""
    return run.read(run.contract, Contract)


def read_evidence(run: Run) -> Evidence:
    """Read the figures of a finished training for `forecast.evaluation.diagnosis`."""
    metrics, contract = run.read(run.metrics_file, TrainingMetrics), read_contract(run)
    config = _read_config_in_steps(run, contract)
    history = read_history(run) if run.history_file.exists() else None
    if history is not None and not set(history.seed) <= metrics.kept_epochs.keys():
        raise RunError("this file contains a seed for which metrics.json has no epoch.", DAMAGED, str(run.history_file))
    if config.intervals and metrics.test.intervals and method_of(config) not in metrics.test.intervals:
        raise RunError(f"this file contains no {method_of(config)} intervals.", DAMAGED, str(run.metrics_file))
    if "train" not in contract.parts:
        raise RunError("this file does not say how many windows the training set has.", DAMAGED, str(run.contract))
    return Evidence(
        config=config,
        metrics=metrics,
        history=history,
        train_windows=contract.parts["train"].windows,
        gradients=run.read(run.gradients, Gradients).network if run.gradients.exists() else None,
        continued=run.parent.exists(),
    )
