"""`predict`: a run forecasts the steps after the last row, of its own data or of newer rows."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from forecast.config import DataConfig
from forecast.data import Panel, compare, read_panel
from forecast.errors import DataError, did_you_mean
from forecast.models.description import Network
from forecast.repairs import told
from forecast.runs import Run
from forecast.scaling import Scaler, check_scaled, check_transform
from forecast.windows import Windows

log = logging.getLogger(__name__)


def predict(run: Run | str | Path, data: str | Path | None = None) -> pd.DataFrame:
    """Forecast the `horizon` steps after the last row of every series.

    run: a finished run or its directory; it needs neither its config file nor its data any more.
    data: newer rows, with the columns of the training data; None continues the training data.

    Returns a row per series, step and target: series_id, timestamp, step, target, forecast (in the units of the file).

    Raises:
        RunError: the run is unfinished or damaged.
        DataError: `data` cannot be read, is shorter than the lookback, or holds a series that the run does not know.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    config = run.read_config()
    known = run.read_contract()
    scaler = Scaler.from_json(run.read_json(run.scaler))
    network = Network.from_json(run.read_json(run.network))
    if data is None:
        panel = read_panel(_recent_config(config.data, known), run.recent)
    else:
        panel = read_panel(config.data.model_copy(update={"freq": known["freq"]}), data)
        for sentence in told(panel.record) + compare(panel, known):
            log.warning("%s: %s", data, sentence)
    ends = panel.filled[panel.offsets[1:] - 1].any(axis=1)
    if ends.any():
        log.warning("%s: %d series end with a filled value, from which the forecast starts.", data or run.name, int(ends.sum()))
    _check_continues(panel, scaler, network.past[0], str(data or run.recent))
    windows, series = _last_windows(panel, scaler, network)
    weights = run.read_weights()
    from forecast.models.fitting import forecast_windows
    from forecast.models.keras_builder import load_keras

    forecasts = scaler.undo(forecast_windows(load_keras(network, weights), windows), series)  # (series, horizon, targets)
    return _table(panel, forecasts)


def _recent_config(config: DataConfig, known: dict) -> DataConfig:
    """How `recent_rows` are written, whatever the training data looked like."""
    return DataConfig(
        path=config.path,
        timestamp=["timestamp"],
        target=config.target,
        series_id="series_id",
        freq=known["freq"],
        timezone=known["timezone"],
    )


def recent_rows(panel: Panel, lookback: int) -> pd.DataFrame:
    """The last `lookback` rows of each series: series_id, timestamp, and each target."""
    kept = np.concatenate(
        [np.arange(max(first, end - lookback), end) for first, end in zip(panel.offsets[:-1], panel.offsets[1:], strict=True)]
    )
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


def _last_windows(panel: Panel, scaler: Scaler, network: Network) -> tuple[Windows, np.ndarray]:
    """The window that ends each series, without targets; and the scaler's index of each series."""
    index = {name: number for number, name in enumerate(scaler.series_ids)}
    known = np.array([index[name] for name in panel.series_ids])
    scaled = scaler.apply(panel.values, known[panel.series])
    check_scaled(panel, scaled)
    lookback, horizon = network.past[0], network.layers[-1].shape[0]
    future = np.full((0, len(panel.targets)), np.nan, dtype=np.float32)
    return Windows(scaled, future, panel.offsets[1:], np.arange(len(known)), lookback, horizon), known


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
