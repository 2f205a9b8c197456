"""`predict`: a run forecasts the steps after the last row, of its own data or of newer rows."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from forecast.config import Config, DataConfig
from forecast.data import Panel, compare, read_panel
from forecast.errors import DataError, RunError, did_you_mean
from forecast.models.description import Network
from forecast.models.numpy_runtime import forward
from forecast.repairs import told
from forecast.runs import Run
from forecast.scaling import Scaler, check_scaled, check_transform
from forecast.windows import Windows

log = logging.getLogger(__name__)
RECENT_WINDOWS = 32  # that a run keeps of each series: the last one is continued, an export is checked on all
MOST_RECENT = 2 * 10**9  # bytes of recent.csv


RUNTIMES = ("numpy", "keras")  # what can compute a network; they agree to 1e-5, and Keras takes seconds to start
Forward = Callable[[np.ndarray], np.ndarray]  # scaled past (windows, lookback, channels) -> (windows, horizon, targets)


@dataclass(frozen=True)
class Trained:
    """All that forecasting needs, read from a run and checked."""

    config: Config
    known: dict  # the contract
    scaler: Scaler
    network: Network
    weights: dict[str, np.ndarray]

    def forward(self, runtime: str) -> Forward:
        """The network as a function, computed by one of `RUNTIMES`."""
        if runtime == "numpy":
            return partial(forward, self.network, self.weights)
        if runtime != "keras":
            raise RunError(f"there is no runtime `{runtime}`.", did_you_mean(runtime, RUNTIMES))
        from forecast.models.keras_builder import load_keras

        return load_keras(self.network, self.weights).predict_on_batch


def read_trained(run: Run) -> Trained:
    """Read what `train` left in a run; nothing in it is executed, and nothing is believed unchecked.

    Raises:
        RunError: the run is damaged, or its files do not belong together.
    """
    network = Network.from_json(description := run.read_json(run.network), str(run.network))
    run.check_origin(description["version"])
    weights = run.read_weights(network.parameters)
    network.check_weights(weights, str(run.weights))
    config, scaler = run.read_config(), Scaler.from_json(run.read_json(run.scaler), str(run.scaler))
    columns, size = config.data.target, (config.windows.horizon, len(config.data.target))
    if scaler.columns != columns or network.channels != len(columns) or network.forecast != size:
        raise RunError("config, scaler and network do not belong together.", "Train again.", str(run.directory))
    return Trained(config, run.read_contract(), scaler, network, weights)


def predict(run: Run | str | Path, data: str | Path | None = None, runtime: str = "numpy") -> pd.DataFrame:
    """Forecast the `horizon` steps after the last row of every series, all series in one pass.

    run: a finished run or its directory; it needs neither its config file nor its data any more.
    data: newer rows, with the columns of the training data; None continues the training data.
    runtime: what computes the network, numpy or keras.

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
        panel = read_panel(trained.config.data.model_copy(update={"freq": trained.known["freq"]}), data)
        for sentence in told(panel.record) + compare(panel, trained.known):
            log.warning("%s: %s", data, sentence)
    ends = panel.filled[panel.offsets[1:] - 1].any(axis=1)
    if ends.any():
        log.warning("%s: %d series end with a filled value, from which the forecast starts.", data or run.name, int(ends.sum()))
    _check_continues(panel, trained.scaler, trained.network.lookback, str(data or run.recent))
    windows, series = last_windows(panel, trained)
    forecasts = trained.scaler.undo(windows.forecast_by(forward), series)  # (series, horizon, targets)
    return _table(panel, forecasts)


def recent_panel(run: Run, trained: Trained) -> Panel:
    """What `recent_rows` kept of the data."""
    run.read(run.recent, most=MOST_RECENT)
    config = DataConfig(
        path=str(run.recent),
        timestamp=["timestamp"],
        target=trained.config.data.target,
        series_id="series_id",
        freq=trained.known["freq"],
        timezone=trained.known["timezone"],
    )
    return read_panel(config)


def recent_rows(panel: Panel, lookback: int) -> pd.DataFrame:
    """The last rows of each series, enough for `RECENT_WINDOWS` windows: series_id, timestamp, and each target."""
    rows = lookback + RECENT_WINDOWS - 1
    kept = np.concatenate([np.arange(max(first, end - rows), end) for first, end in pairwise(panel.offsets)])
    columns = {"series_id": np.array(panel.series_ids)[panel.series[kept]], "timestamp": panel.timestamps[kept]}
    return pd.DataFrame(columns | {name: panel.values[kept, i] for i, name in enumerate(panel.targets)})


def _check_continues(panel: Panel, scaler: Scaler, lookback: int, place: str) -> None:
    """Every series is known to the run and long enough for one window, and its values can be transformed."""
    known = set(scaler.series_ids)
    unknown = [name for name in panel.series_ids if name not in known]
    if unknown:
        raise DataError(
            f"series '{unknown[0]}' was not in the training data.", did_you_mean(unknown[0], scaler.series_ids), place
        )
    short = int(np.argmin(np.diff(panel.offsets)))
    rows = int(np.diff(panel.offsets)[short])
    if rows < lookback:
        raise DataError(
            f"series '{panel.series_ids[short]}' has {rows} rows, but the network looks back on {lookback}.",
            f"Give at least the last {lookback} rows before the forecast.",
            place,
        )
    check_transform(panel, scaler.transform)


def last_windows(panel: Panel, trained: Trained, most: int = 1) -> tuple[Windows, np.ndarray]:
    """The last windows of each series, at `most` so many, without targets; and the scaler's index of each window's series."""
    index = {name: number for number, name in enumerate(trained.scaler.series_ids)}
    known = np.array([index[name] for name in panel.series_ids])
    scaled = trained.scaler.apply(panel.values, known[panel.series])
    check_scaled(panel, scaled)
    lookback, (horizon, targets) = trained.network.lookback, trained.network.forecast
    spans = pairwise(panel.offsets)
    first = [np.arange(max(begin + lookback, end + 1 - most), end + 1) for begin, end in spans]
    series = np.repeat(np.arange(len(first)), [len(rows) for rows in first])
    future = np.full((0, targets), np.nan, dtype=np.float32)
    return Windows(scaled, future, np.concatenate(first), series, lookback, horizon), known[series]


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
