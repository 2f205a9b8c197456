"""`predict`: a run forecasts the steps after the last row, of its own data or of newer rows."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import ValidationError

from forecast.config import Config, DataConfig
from forecast.data import Contract, Panel, compare, read_panel
from forecast.errors import DataError, RunError, did_you_mean, first_few
from forecast.models.description import Network, describe_network
from forecast.models.numpy_runtime import forward as numpy_forward
from forecast.repairs import told
from forecast.runs import DAMAGED, Run
from forecast.scaling import Scaler, check_scaled, check_transform
from forecast.timestamps import check_freq, in_steps
from forecast.windows import Windows, last_windows

log = logging.getLogger(__name__)
RECENT_WINDOWS = 32  # that a run keeps of each series: the last one is continued, an export is checked on all
RUNTIMES = ("numpy", "keras")  # what can compute a network; they forecast the same, and Keras takes seconds to start
Forward = Callable[[np.ndarray], np.ndarray]  # scaled past (windows, lookback, channels) -> (windows, horizon, targets)


@dataclass(frozen=True)
class Trained:
    """All that forecasting needs, read from a run and checked."""

    config: Config
    contract: Contract
    scaler: Scaler
    network: Network
    weights: dict[str, np.ndarray]

    def forward(self, runtime: str) -> Forward:
        """The network as a function, computed by one of `RUNTIMES`.

        Raises:
            RunError: there is no such runtime, or Keras is not installed.
        """
        if runtime == "numpy":
            return partial(numpy_forward, self.network, self.weights)
        if runtime != "keras":
            raise RunError(f"there is no runtime `{runtime}`.", did_you_mean(runtime, RUNTIMES))
        from forecast.models.keras_builder import load_keras

        return load_keras(self.network, self.weights).predict_on_batch

    def forecast(self, windows: Windows, series: np.ndarray, forward: Forward) -> np.ndarray:
        """Forecasts `(windows, horizon, targets)` in the units of the file; `series`: the scaler's index of each window's.

        Raises:
            RunError: they are not finite.
        """
        forecasts = self.scaler.undo(windows.forecast_by(forward), series)
        if not np.isfinite(forecasts).all():
            raise RunError("the network forecasts values too large to be numbers.", "Look for odd values in the last rows.")
        return forecasts


def read_trained(run: Run) -> Trained:
    """Read what `train` left in a run; nothing in it is executed, and nothing is believed unchecked.

    Raises:
        ConfigError, RunError: the run is damaged, or its files do not belong together.
    """
    try:
        contract = Contract.model_validate(run.read_json(run.contract))
    except ValidationError:
        raise RunError("this is no data contract.", DAMAGED, str(run.contract)) from None
    check_freq(contract.freq, "freq", str(run.contract))
    config = in_steps(run.read_config(), contract.freq)
    scaler = Scaler.from_json(run.read_json(run.scaler), str(run.scaler))
    targets = config.data.target
    described = run.read_json(run.network)
    network = Network.from_json(described, str(run.network))
    if described["version"] > 1:  # the first runs had no checksums
        run.check_sealed()
    expected = describe_network(config.model, (config.windows.lookback, len(targets)), (config.windows.horizon, len(targets)))
    if network != expected:
        raise RunError("this is not the network that the config describes.", DAMAGED, str(run.network))
    if scaler.columns != targets or set(contract.columns) != set(targets) or scaler.transform != config.scaling.transform:
        raise RunError("config, contract and scaler do not belong together.", DAMAGED, str(run.directory))
    weights = run.read_weights(network.parameters)
    network.check_weights(weights, str(run.weights))
    return Trained(config, contract, scaler, expected, weights)


def predict(
    run: Run | str | Path, data: str | Path | None = None, runtime: str = "numpy", new_series: bool = False
) -> pd.DataFrame:
    """Forecast the `horizon` steps after the last row of every series, all series in one pass.

    run: a finished run or its directory; it needs neither its config file nor its data any more.
    data: newer rows, with the columns of the training data; None continues the training data.
    runtime: what computes the network, numpy or keras.
    new_series: whether `data` may hold series that the run does not know; each is scaled by the rows that are given of it.

    Returns a row per series, step and target: series_id, timestamp, step, target, forecast (in the units of the file).

    Raises:
        RunError: the run is unfinished or damaged.
        DataError: `data` cannot be read, is shorter than the lookback, or holds a series that the run does not know.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    trained = read_trained(run)
    forward = trained.forward(runtime)
    if data is None:
        panel = recent_panel(run, trained)
    else:
        panel = read_panel(trained.config.data.model_copy(update={"freq": trained.contract.freq}), data)
        for sentence in told(panel.record) + compare(panel, trained.contract):
            log.warning("%s: %s", data, sentence)
    ends = panel.filled[panel.offsets[1:] - 1].any(axis=1)
    if ends.any():
        log.warning("%s: %d series end with a filled value, from which the forecast starts.", data or run.name, int(ends.sum()))
    if new_series:
        trained = _acquainted(trained, panel, str(data))
    windows, series = continuing_windows(panel, trained)
    return _table(panel, trained.forecast(windows, series, forward))


def recent_panel(run: Run, trained: Trained) -> Panel:
    """What `recent_rows` kept of the data.

    Raises:
        DataError, RunError: the file is damaged, or of another run.
    """
    ids, data = trained.scaler.series_ids, trained.config.data
    rows = len(ids) * (trained.network.lookback + RECENT_WINDOWS)
    run.verify(run.recent, most=(rows + 1) * (100 + 8 * max(map(len, ids + data.target)) + 32 * len(data.target)))
    config = DataConfig(
        path=str(run.recent),
        timestamp=["timestamp"],
        target=data.target,
        series_id=["series_id"],
        freq=trained.contract.freq,
        timezone=trained.contract.timezone,
    )
    panel = read_panel(config)
    if panel.series_ids != ids or str(panel.timestamps.max()) != trained.contract.last_timestamp:
        raise RunError("these are not the rows that the contract and the scaler are of.", DAMAGED, str(run.recent))
    return panel


def recent_rows(panel: Panel, lookback: int) -> pd.DataFrame:
    """The last rows of each series, enough for `RECENT_WINDOWS` windows: series_id, timestamp, and each target."""
    rows = lookback + RECENT_WINDOWS - 1
    kept = np.concatenate([np.arange(max(first, end - rows), end) for first, end in pairwise(panel.offsets)])
    columns = {"series_id": np.array(panel.series_ids)[panel.series[kept]], "timestamp": panel.timestamps[kept]}
    return pd.DataFrame(columns | {name: panel.values[kept, i] for i, name in enumerate(panel.targets)})


def _acquainted(trained: Trained, panel: Panel, place: str) -> Trained:
    """With a scaler for the panel's new series, too: fitted on their rows, all of which lie before the forecast."""
    known = set(trained.scaler.series_ids)
    new = [number for number, name in enumerate(panel.series_ids) if name not in known]
    if not new:
        return trained
    names = first_few([panel.series_ids[number] for number in new])
    log.warning("%s: %d series were not in the training data: %s; scaled by their own rows.", place, len(new), names)
    return replace(trained, scaler=trained.scaler.extended(panel.only(np.array(new)), trained.config.scaling))


def continuing_windows(panel: Panel, trained: Trained, most: int = 1) -> tuple[Windows, np.ndarray]:
    """The last windows of each series, at `most` so many, and the scaler's index of each window's series.

    Raises:
        DataError: a series is unknown to the run or shorter than the lookback, or a value cannot be scaled.
    """
    scaler, lookback = trained.scaler, trained.network.lookback
    unknown = [name for name in panel.series_ids if name not in set(scaler.series_ids)]
    if unknown:
        hint = did_you_mean(unknown[0], scaler.series_ids)
        raise DataError(
            f"series '{unknown[0]}' was not in the training data.", f"{hint} Or allow it: --new-series.", panel.source
        )
    short = int(np.argmin(np.diff(panel.offsets)))
    rows = int(np.diff(panel.offsets)[short])
    if rows < lookback:
        raise DataError(
            f"series '{panel.series_ids[short]}' has {rows} rows, but the network looks back on {lookback}.",
            f"Give at least the last {lookback} rows before the forecast.",
            panel.source,
        )
    check_transform(panel, scaler.transform)
    index = {name: number for number, name in enumerate(scaler.series_ids)}
    scaler_index = np.array([index[name] for name in panel.series_ids])
    scaled = scaler.apply(panel.values, scaler_index[panel.series])
    check_scaled(panel, scaled)
    windows = last_windows(panel, scaled, lookback, trained.network.forecast[0], most)
    return windows, scaler_index[windows.series]


def _table(panel: Panel, forecasts: np.ndarray) -> pd.DataFrame:
    series, horizon, targets = forecasts.shape
    stamps = [panel.future(index, horizon) for index in range(series)]
    return pd.DataFrame(
        {
            "series_id": np.repeat(panel.series_ids, horizon * targets),
            "timestamp": stamps[0].append(stamps[1:]).repeat(targets),
            "step": np.tile(np.repeat(np.arange(1, horizon + 1), targets), series),
            "target": np.tile(panel.targets, series * horizon),
            "forecast": forecasts.ravel(),
        }
    )
