"""What a finished run knows, read from its files and checked: all that forecasting, planning and exporting need."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from forecast.config import MAX_CATEGORY_LENGTH, Config, ConfigInSteps, DataConfig, resolve_durations
from forecast.data import Contract
from forecast.errors import DAMAGED, DataError, InternalError, RunError, did_you_mean, first_few
from forecast.evaluation import Evidence, Intervals, Metrics, TrainingMetrics, method_of, quantiles_of
from forecast.forecasters.combination import combine_by_median
from forecast.forecasters.network.architectures import describe_network
from forecast.forecasters.network.description import KNOWN, Network
from forecast.forecasters.network.numpy_runtime import forward as numpy_forward
from forecast.runs.documents import Gradients
from forecast.runs.run import Run
from forecast.runs.tables import read_history
from forecast.windows import Forward, Scaler, Windows, make_imputations, make_last_windows, scale_panel

if TYPE_CHECKING:
    import pandas as pd

    from forecast.data import Panel

MOST_BYTES_OF_A_NUMBER = 32
FAR = 5  # deviations of a static number from the mean of the training series
MOST_HORIZONS = 100  # that are rolled out; errors have added up long before
RECENT_WINDOWS = 32  # that a run keeps of each series: the last one is continued, an export is checked on all
log = logging.getLogger(__name__)
RUNTIMES = ("numpy", "keras")  # what can compute a network; they forecast the same, and Keras takes seconds to start


@dataclass(frozen=True)
class Trained:
    """All that forecasting needs, read from a run and checked."""

    config: ConfigInSteps
    contract: Contract
    scaler: Scaler
    network: Network
    members: list[dict[str, np.ndarray]]  # the weights of one network, or of several whose median is the forecast
    horizon: int  # steps to forecast; more than the network's own are rolled out
    intervals: Intervals | None = None

    @property
    def known(self) -> int:
        """Number of covariates that are known over the horizon, those of the calendar included."""
        return self.network.inputs.get(KNOWN, [0, 0])[1]

    @property
    def known_steps(self) -> int:
        """Number of steps after the cutoff whose known covariates decide the forecast of `horizon` steps.

        It is the horizon, except that a parallel decoder computes each segment from the known covariates of all its steps:

            segment 4, horizon 6   | 1 2 3 4 | 5 6 7 8 |     known_steps 8
        """
        segment = self.config.model.segment or 1
        if not self.known or self.config.model.decoder != "parallel":
            return self.horizon
        blocks, rest = divmod(self.horizon, self.network.horizon)
        return blocks * self.network.horizon + min(-(-rest // segment) * segment, self.network.horizon)

    def forward(self, runtime: str) -> Forward:
        """The network as a function, computed by one of `RUNTIMES`.

        Raises:
            RunError: there is no such runtime, or Keras is not installed.
        """
        if runtime == "numpy":
            return combine_by_median([partial(numpy_forward, self.network, weights) for weights in self.members])
        if runtime != "keras":
            raise RunError(f"there is no runtime `{runtime}`.", did_you_mean(runtime, RUNTIMES))
        from forecast.forecasters.network.keras_builder import load_keras

        return combine_by_median([load_keras(self.network, weights).predict_on_batch for weights in self.members])

    def forecast(self, windows: Windows, forward: Forward) -> tuple[np.ndarray, np.ndarray | None]:
        """Return forecasts `(windows, horizon, targets)` of `continuing_windows`, in the units of the file, and their quantiles
        `(windows, horizon, targets, quantiles)`, which are NaN beyond the horizon that was trained.

        Raises:
            RunError: the forecasts are not finite.
        """
        made = windows.forecast_with(forward, self.network.horizon)[:, : self.horizon]
        forecasts = self.scaler.undo(self.network.point(made), windows.series)
        if not np.isfinite(forecasts).all():
            raise RunError("the network forecasts values too large to be numbers.", "Look for odd values in the last rows.")
        if not self.intervals:
            return forecasts, None
        quantiles = self.scaler.undo_quantiles(self.intervals.apply(made, windows.series), windows.series)
        if np.isinf(quantiles).any():
            raise RunError("the intervals reach beyond all numbers.", "Look for odd values in the last rows.")
        return forecasts, quantiles

    def reaching(self, steps: int | None) -> Trained:
        """To forecast so many steps, None for the horizon that was trained.

        Raises:
            RunError: they are too many, or columns are unknown in between.
        """
        own, past = self.config.windows.horizon, self.config.data.past_covariates
        steps = own if steps is None else steps
        if steps < 1:
            raise RunError(f"{steps} steps are nothing to forecast.", "Ask for 1 or more.")
        if steps <= own:
            return replace(self, horizon=steps)
        if steps > MOST_HORIZONS * own:
            raise RunError(f"{steps} steps are more than {MOST_HORIZONS} horizons of {own}.", "Train with a longer horizon.")
        if self.network.quantiles:
            found = f"{steps} steps are more than the {own} that this network forecasts quantiles of."
            raise RunError(found, f"Forecast at most {own} steps, or train without model.quantiles.")
        if past:
            found = (
                f"{steps} steps are more than the {own} that this network forecasts at once, and `{past[0]}` is unknown between."
            )
            raise RunError(found, f"Forecast at most {own} steps, or train without past covariates.")
        return replace(self, horizon=steps)

    def of(self, panel: Panel, new_series: bool = False) -> Trained:
        """With the scalers of the panel's series, in their order; a new one is fitted on its own rows, all before the forecast.

        Raises:
            DataError: a series is unknown to the run, and `new_series` does not allow it.
        """
        known = set(self.scaler.series_ids)
        new = [number for number, name in enumerate(panel.series_ids) if name not in known]
        if new and not new_series:
            first = panel.series_ids[new[0]]
            hint = f"{did_you_mean(first, self.scaler.series_ids)} Or allow it: --new-series."
            raise DataError(f"series '{first}' was not in the training data.", hint, panel.source)
        scaler = self.scaler
        if new:
            names = first_few([panel.series_ids[number] for number in new])
            log.warning(
                "%s: %d series were not in the training data: %s; scaled by their own rows.", panel.source, len(new), names
            )
            scaler = scaler.extend(panel.select(np.array(new)), self.config.scaling)
        far = np.argwhere(np.abs((panel.static.numbers - scaler.static.offset) / scaler.static.scale) > FAR)
        if len(far):
            series, column = far[0]
            name, value = self.config.data.static_covariates[column], panel.static.numbers[series, column]
            usual = f"{scaler.static.offset[column]:g}, deviation {scaler.static.scale[column]:g}"
            log.warning("%s: `%s` is %g, far from all in training (mean %s).", panel.source, name, value, usual)
        known_texts = zip(self.config.data.static_categories, scaler.static.vocabulary, panel.static.categories.T, strict=True)
        for name, texts, column in known_texts:
            if unseen := sorted(set(column) - set(texts)):
                told = first_few([f"'{text}'" for text in unseen])
                log.warning("%s: `%s` %s was not in the training data; taken as the average of all.", panel.source, name, told)
        places = {name: number for number, name in enumerate(self.scaler.series_ids)}
        intervals = self.intervals and self.intervals.select([places.get(name) for name in panel.series_ids])
        return replace(self, scaler=scaler.select(panel.series_ids), intervals=intervals)


def read_trained(run: Run) -> Trained:
    """Read what `train` left in a run; nothing in it is executed, and nothing is believed unchecked.

    It costs no import of pandas, so that a damaged run is refused at once.

    Raises:
        ConfigError, RunError: the run is damaged, or its files do not belong together.
    """
    contract = read_contract(run)
    config = _read_resolved_config(run, contract.freq)
    scaler = Scaler.from_json(run.read_json(run.scaler), str(run.scaler))
    targets, columns = config.data.target, config.data.channels
    described = run.read_json(run.network)
    network = Network.from_json(described, str(run.network))
    if described["version"] > 1:  # the first runs had no checksums
        run.check_sealed()
    expected = describe_network(config, scaler)
    if network != expected:
        raise RunError("this is not the network that the config describes.", DAMAGED, str(run.network))
    static = len(config.data.static_covariates), len(config.data.static_categories)
    same = scaler.columns == columns and scaler.targets == len(targets) and scaler.transform == config.scaling.transform
    same = same and (len(scaler.static.offset), len(scaler.static.vocabulary)) == static
    if not same or set(contract.columns) != set(config.data.values):
        raise RunError("config, contract and scaler do not belong together.", DAMAGED, str(run.directory))
    intervals = None
    quantiles = len(quantiles_of(config))
    if quantiles and (run.intervals.exists() or described["version"] > 2):  # earlier runs had none
        shape = len(scaler.series_ids), config.windows.horizon, len(targets)
        arrays = run.read_arrays(run.intervals, math.prod(shape) * quantiles)
        intervals = Intervals.from_arrays(arrays, shape, config, str(run.intervals))
    members = read_members(run, config, expected)
    return Trained(config, contract, scaler, expected, members, config.windows.horizon, intervals)


def _read_resolved_config(run: Run, freq: str) -> ConfigInSteps:
    """Return the config of a run with every duration in steps. Earlier versions wrote `data.max_gap` as it stood.

    Raises:
        ConfigError, RunError: the config or the freq is damaged.
    """
    try:
        return resolve_durations(run.read_config(), freq)
    except ValueError:
        raise RunError(f"{freq!r} is not a pandas frequency.", DAMAGED, str(run.contract)) from None


def read_metrics(run: Run) -> Metrics:
    """Read the metrics of a finished backtest, or of a training, which are `TrainingMetrics`.

    Raises:
        RunError: the file is damaged.
    """
    return run.read(run.metrics, Metrics if run.folds.exists() else TrainingMetrics)


def read_contract(run: Run) -> Contract:
    """Return the contract of a run.

    Raises:
        RunError: the file is damaged.
    """
    return run.read(run.contract, Contract)


def read_training_rows(run: Run, config: DataConfig) -> Panel:
    """Return the panel of a run's training data, read anew on the grid on which the run had it resampled.

    Raises:
        DataError, RunError: the file cannot be read, or the contract is damaged.
    """
    contract = read_contract(run)
    from forecast.data import Grid, read_panel

    return read_panel(config, grid=Grid.from_origin(contract.resample_origin))


def read_members(run: Run, config: Config, network: Network) -> list[dict[str, np.ndarray]]:
    """The weights of each seed's network, in the order of `Config.seeds`.

    Raises:
        RunError: the file is damaged, or not of this network and these seeds.
    """
    weights = run.read_arrays(run.weights, network.parameters * len(config.seeds))
    members = [weights]
    if config.training.seeds:
        prefixes = [member_prefix(seed) for seed in config.seeds]
        members = [
            {name.removeprefix(prefix): weights.pop(name) for name in list(weights) if name.startswith(prefix)}
            for prefix in prefixes
        ]
        members[0] |= weights  # what belongs to none is found below
    for member in members:
        network.check_weights(member, str(run.weights))
    return members


def member_prefix(seed: int) -> str:
    """What the names of weights begin with where a run has several networks."""
    return f"seed_{seed}/"


def read_rows_of(run: Run, trained: Trained, data: str | Path | None, keep_partial: bool = False) -> Panel:
    """The rows to continue: those of `data`, which has the columns of the training data, or what `recent_rows` kept of that.

    keep_partial: of resampled rows, also a first or last step that they cover in part.

    Raises:
        DataError, RunError: the file cannot be read, is damaged, or of another run.
    """
    if not data:
        _verify_recent(run, trained)
    from forecast.data import (
        Grid,
        check_freq,
        read_panel,  # these load pandas, after the file has been verified
    )

    check_freq(trained.contract.freq, "freq", str(run.contract))
    if data:
        grid = Grid.from_origin(trained.contract.resample_origin)
        grid = replace(grid, keep_partial=grid.keep_partial or keep_partial)
        panel = read_panel(trained.config.data.model_copy(update={"freq": trained.contract.freq}), data, grid)
        return named_as_trained(panel, trained)
    panel = _read_recent(run, trained.config.data, trained.contract.freq, trained.contract.timezone)
    if panel.series_ids != trained.scaler.series_ids or str(panel.timestamps.max()) != trained.contract.last_timestamp:
        raise RunError("these are not the rows that the contract and the scaler are of.", DAMAGED, str(run.recent))
    return panel


def check_recent(run: Run, panel: Panel, config: DataConfig) -> None:
    """Read the last rows of a panel back from the run, before anything is trained that could not be opened without them.

    Raises:
        InternalError: they cannot be read, or are of other series or timestamps.
    """
    zone = str(panel.timestamps.tz) if panel.timestamps.tz else None
    try:
        again = _read_recent(run, config, panel.freq, zone)
    except DataError as error:
        raise InternalError(f"the last rows of the data cannot be read back: {error}") from error
    if again.series_ids != panel.series_ids or str(again.timestamps.max()) != str(panel.timestamps.max()):
        raise InternalError("the last rows of the data have different series or timestamps when they are read back.")


def _read_recent(run: Run, config: DataConfig, freq: str, timezone: str | None) -> Panel:
    """Read the rows that a run kept. config: of the data that it was trained on."""
    from forecast.data import read_panel

    return read_panel(
        DataConfig(
            path=str(run.recent),
            timestamp=["timestamp"],
            target=config.target,
            past_covariates=config.past_covariates,
            known_covariates=config.known_covariates,
            static_covariates=config.static_covariates,
            static_categories=config.static_categories,
            calendar=config.calendar,
            series_id=["series_id"],
            freq=freq,
            timezone=timezone,
        )
    )


def named_as_trained(panel: Panel, trained: Trained) -> Panel:
    """A file that is one series names it; whatever it is called now, it is the run's only one."""
    data, known = trained.config.data, trained.scaler.series_ids
    return replace(panel, series_ids=known) if not (data.series_id or data.wide) and len(known) == 1 else panel


def _verify_recent(run: Run, trained: Trained) -> None:
    """The rows that the run kept are as training left them, and not more than it can have kept."""
    ids, config = trained.scaler.series_ids, trained.config.data
    rows = kept_rows(trained.network.lookback, trained.config.windows.horizon, trained.known)
    width = 100 + 8 * max(map(len, [*ids, *config.values])) + 8 * MAX_CATEGORY_LENGTH * len(config.static_categories)
    width += MOST_BYTES_OF_A_NUMBER * len([*config.values, *config.static_covariates])
    run.verify(run.recent, (len(ids) * rows + 1) * width)


def kept_rows(lookback: int, horizon: int, known: int) -> int:
    """How many rows of a series, at most, give `RECENT_WINDOWS` windows and tell what is known ahead of them and of the end."""
    return lookback + RECENT_WINDOWS - 1 + (2 * horizon if known else 0)


def recent_rows(panel: Panel, config: ConfigInSteps) -> pd.DataFrame:
    """The last rows of each series: series_id, timestamp, targets, covariates and what is static."""
    import pandas as pd

    rows = kept_rows(config.windows.lookback, config.windows.horizon, panel.known_channels)
    kept = np.concatenate([np.arange(max(first, end - rows), end) for first, end in pairwise(panel.offsets)])
    columns = {"series_id": np.array(panel.series_ids)[panel.series[kept]], "timestamp": panel.timestamps[kept]}
    columns |= {name: panel.values[kept, i] for i, name in enumerate(panel.file_columns)}
    table = pd.DataFrame(columns)
    if panel.future_covariates is not None:
        told = panel.future_covariates.groupby(level=0).head(config.windows.horizon).rename_axis(["series_id", "timestamp"])
        table = pd.concat([table, told[told.index.isin(panel.series_ids, level=0)].reset_index()])
    static = np.column_stack([panel.static.numbers.astype(object), panel.static.categories])
    of_row = pd.Index(panel.series_ids).get_indexer(table.series_id)
    return table.assign(**dict(zip(config.data.static, static[of_row].T, strict=True)))


def continuing_windows(
    panel: Panel, trained: Trained, ahead: np.ndarray | None = None, most: int = 1, before: int = 0
) -> Windows:
    """The last windows of each series, for `trained.of(panel)`.

    ahead: known covariates of the steps after each series' end, `(series, known_steps, known)` in units of the file.
    most: windows of each series; before: steps before its end at which the last one's targets begin.

    Raises:
        DataError: a series is shorter than the lookback, or a value cannot be scaled.
    """
    scaler, lookback = trained.scaler, trained.network.lookback
    short = int(np.argmin(np.diff(panel.offsets)))
    rows = int(np.diff(panel.offsets)[short])
    if rows < lookback:
        raise DataError(
            f"series '{panel.series_ids[short]}' has {rows} rows, but the network looks back on {lookback}.",
            f"Give at least the last {lookback} rows before the forecast.",
            panel.source,
        )
    scaled = scale_panel(panel, scaler)
    if ahead is not None:
        unseen = np.zeros(
            (*ahead.shape[:2], len(panel.columns) - panel.known_channels)
        )  # targets and past covariates yet to come
        ahead = scaler.apply(np.concatenate([unseen, ahead], axis=2), np.arange(len(ahead)))[..., -panel.known_channels :]
    windows = make_last_windows(panel, scaled, lookback, trained.known_steps, ahead, most, before)
    imputations = make_imputations(trained.config.data, panel.freq)
    return replace(windows, static=scaler.static.apply(panel.static), imputations=imputations)


def read_evidence(run: Run) -> Evidence:
    """Read the figures of a finished training for `forecast.evaluation.diagnosis`.

    Raises:
        RunError: the run is damaged.
    """
    metrics, contract = run.read(run.metrics, TrainingMetrics), read_contract(run)
    config = _read_resolved_config(run, contract.freq)
    history = read_history(run) if run.history.exists() else None
    if history is not None and not set(history.seed) <= metrics.kept_epochs.keys():
        raise RunError("holds a seed of which metrics.json has no epoch.", DAMAGED, str(run.history))
    if config.intervals and metrics.test.intervals and method_of(config) not in metrics.test.intervals:
        raise RunError(f"holds no {method_of(config)} intervals.", DAMAGED, str(run.metrics))
    if "train" not in contract.parts:
        raise RunError("does not say how many windows the training set has.", DAMAGED, str(run.contract))
    return Evidence(
        config=config,
        metrics=metrics,
        history=history,
        train_windows=contract.parts["train"].windows,
        gradients=run.read(run.gradients, Gradients).network if run.gradients.exists() else None,
        continued=run.parent.exists(),
    )
