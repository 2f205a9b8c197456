"""What a finished run knows, read from its files and checked: all that forecasting, planning and exporting need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import ValidationError

from forecast.config import Config, DataConfig
from forecast.contracts import Contract
from forecast.errors import DataError, RunError, did_you_mean
from forecast.models.description import KNOWN, Network, describe_network
from forecast.models.numpy_runtime import forward as numpy_forward
from forecast.runs import DAMAGED, Run
from forecast.scaling import Scaler, check_scaled, check_transform
from forecast.windows import Windows, last_windows

if TYPE_CHECKING:
    import pandas as pd

    from forecast.data import Panel

MOST_BYTES_OF_A_NUMBER = 32
RECENT_WINDOWS = 32  # that a run keeps of each series: the last one is continued, an export is checked on all
RUNTIMES = ("numpy", "keras")  # what can compute a network; they forecast the same, and Keras takes seconds to start
Forward = Callable[[dict[str, np.ndarray]], np.ndarray]  # a network's scaled inputs -> (windows, horizon, targets)


@dataclass(frozen=True)
class Trained:
    """All that forecasting needs, read from a run and checked."""

    config: Config
    contract: Contract
    scaler: Scaler
    network: Network
    weights: dict[str, np.ndarray]

    @property
    def known(self) -> int:
        """Number of covariates that are known over the horizon, those of the calendar included."""
        return self.network.inputs.get(KNOWN, [0, 0])[1]

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

    def forecast(self, windows: Windows, forward: Forward) -> np.ndarray:
        """Forecasts `(windows, horizon, targets)` of `continuing_windows`, in the units of the file.

        Raises:
            RunError: they are not finite.
        """
        forecasts = self.scaler.undo(windows.forecast_by(forward), windows.series)
        if not np.isfinite(forecasts).all():
            raise RunError("the network forecasts values too large to be numbers.", "Look for odd values in the last rows.")
        return forecasts


def read_trained(run: Run) -> Trained:
    """Read what `train` left in a run; nothing in it is executed, and nothing is believed unchecked.

    It costs no import of pandas, so that a damaged run is refused at once.

    Raises:
        ConfigError, RunError: the run is damaged, or its files do not belong together.
    """
    try:
        contract = Contract.model_validate(run.read_json(run.contract))
    except ValidationError:
        raise RunError("this is no data contract.", DAMAGED, str(run.contract)) from None
    config = run.read_config()
    lookback, horizon = config.windows.lookback, config.windows.horizon
    if isinstance(lookback, str) or isinstance(horizon, str):  # training writes durations as steps
        raise RunError("windows.lookback and windows.horizon are not both in steps.", DAMAGED, str(run.config))
    scaler = Scaler.from_json(run.read_json(run.scaler), str(run.scaler))
    targets, columns = config.data.target, config.data.channels
    described = run.read_json(run.network)
    network = Network.from_json(described, str(run.network))
    if described["version"] > 1:  # the first runs had no checksums
        run.check_sealed()
    past, forecast = (lookback, len(columns)), (horizon, len(targets))
    expected = describe_network(config.model, past, forecast, config.data.known_channels)
    if network != expected:
        raise RunError("this is not the network that the config describes.", DAMAGED, str(run.network))
    same = scaler.columns == columns and scaler.targets == len(targets) and scaler.transform == config.scaling.transform
    if not same or set(contract.columns) != set(config.data.values):
        raise RunError("config, contract and scaler do not belong together.", DAMAGED, str(run.directory))
    weights = run.read_weights(network.parameters)
    network.check_weights(weights, str(run.weights))
    return Trained(config, contract, scaler, expected, weights)


def read_rows_of(run: Run, trained: Trained, data: str | Path | None) -> Panel:
    """The rows to continue: those of `data`, which has the columns of the training data, or what `recent_rows` kept of that.

    Raises:
        DataError, RunError: the file cannot be read, is damaged, or of another run.
    """
    from forecast.data import read_panel
    from forecast.timestamps import check_freq

    check_freq(trained.contract.freq, "freq", str(run.contract))
    if data:
        return read_panel(trained.config.data.model_copy(update={"freq": trained.contract.freq}), data)
    ids, config = trained.scaler.series_ids, trained.config.data
    names, rows = [*ids, *config.values], kept_rows(trained.network.lookback, trained.network.forecast[0], trained.known)
    width = 100 + 8 * max(map(len, names)) + MOST_BYTES_OF_A_NUMBER * len(config.values)
    run.verify(run.recent, most=(len(ids) * rows + 1) * width)
    kept = DataConfig(
        path=str(run.recent),
        timestamp=["timestamp"],
        target=config.target,
        past_covariates=config.past_covariates,
        known_covariates=config.known_covariates,
        calendar=config.calendar,
        series_id=["series_id"],
        freq=trained.contract.freq,
        timezone=trained.contract.timezone,
    )
    panel = read_panel(kept)
    if panel.series_ids != ids or str(panel.timestamps.max()) != trained.contract.last_timestamp:
        raise RunError("these are not the rows that the contract and the scaler are of.", DAMAGED, str(run.recent))
    return panel


def kept_rows(lookback: int, horizon: int, known: int) -> int:
    """How many rows of a series give `RECENT_WINDOWS` windows; with covariates that are known ahead, of which they are known."""
    return lookback + RECENT_WINDOWS - 1 + (horizon if known else 0)


def recent_rows(panel: Panel, lookback: int, horizon: int) -> pd.DataFrame:
    """The last rows of each series: series_id, timestamp, targets and covariates."""
    import pandas as pd

    rows = kept_rows(lookback, horizon, panel.known)
    kept = np.concatenate([np.arange(max(first, end - rows), end) for first, end in pairwise(panel.offsets)])
    columns = {"series_id": np.array(panel.series_ids)[panel.series[kept]], "timestamp": panel.timestamps[kept]}
    return pd.DataFrame(columns | {name: panel.values[kept, i] for i, name in enumerate(panel.file_columns)})


def continuing_windows(
    panel: Panel, trained: Trained, ahead: np.ndarray | None = None, most: int = 1, before: int = 0
) -> Windows:
    """The last windows of each series; their `series` is the scaler's index of it.

    ahead: known covariates of the steps after each series' end, `(series, horizon, known)` in units of the file.
    most: windows of each series; before: steps before its end at which the last one's targets begin.

    Raises:
        DataError: a series is unknown to the run or shorter than the lookback, or a value cannot be scaled.
    """
    scaler, lookback = trained.scaler, trained.network.lookback
    unknown = [name for name in panel.series_ids if name not in set(scaler.series_ids)]
    if unknown:
        hint = f"{did_you_mean(unknown[0], scaler.series_ids)} Or allow it: --new-series."
        raise DataError(f"series '{unknown[0]}' was not in the training data.", hint, panel.source)
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
    if ahead is not None:
        unseen = np.zeros((*ahead.shape[:2], len(panel.columns) - panel.known))  # targets and past covariates yet to come
        ahead = scaler.apply(np.concatenate([unseen, ahead], axis=2), scaler_index)[..., -panel.known :]
    windows = last_windows(panel, scaled, lookback, trained.network.forecast[0], ahead, most, before)
    return replace(windows, series=scaler_index[windows.series])
