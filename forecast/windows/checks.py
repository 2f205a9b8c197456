"""Check that the data is long enough: every set has windows, and series without a training window are skipped or refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from forecast.config import ConfigInSteps
from forecast.errors import ConfigError, format_count
from forecast.windows.splits import SUBSETS, Splits, Subset, subset_name
from forecast.windows.windows import Windows

if TYPE_CHECKING:
    from forecast.data import Panel


def drop_short_series(panel: Panel, splits: Splits, config: ConfigInSteps) -> tuple[Panel, Splits]:
    """Leave out series without a window, and record them and those that are only scored, as `data.short_series` says.

    Raises:
        ConfigError: the policy is error and a series has no training window, or no series has one.
    """
    needed = config.windows.lookback + config.windows.horizon + (panel.padding > 0)  # The cutoff is no row that was added.
    begin, train_end, _, end = splits.borders.T
    trained = train_end - begin >= needed
    policy = config.data.short_series
    if not trained.all() and (policy == "error" or not trained.any()):
        raise _describe_short_series(panel, train_end - begin, config)
    scored = trained | (end - begin >= needed) | (policy == "pad")
    from forecast.data import Repair

    record = list(panel.record)  # Other panels may share the record.
    for name, chosen in (
        ("series too short for a window, left out", ~scored),
        (f"series without a training window{', only scored' * (policy == 'skip')}", scored & ~trained),
    ):
        if chosen.any():
            examples = [panel.series_ids[series] for series in np.flatnonzero(chosen)[:3]]
            record.append(Repair(kind=name, policy=policy, rows=int(chosen.sum()), first=examples))
    panel = replace(panel, record=record)
    if scored.all():
        return panel, splits
    selected = panel.select(np.flatnonzero(scored))
    shift = selected.offsets[:-1] - panel.offsets[:-1][scored]
    return selected, Splits(splits.borders[scored] + shift[:, None])


def _describe_short_series(panel: Panel, training_rows: np.ndarray, config: ConfigInSteps) -> ConfigError:
    """Return the error about the series with the fewest training rows, with the largest lookback that would do."""
    lookback, horizon = config.windows.lookback, config.windows.horizon
    training_rows = training_rows - panel.padding
    series_id, rows = panel.series_ids[int(np.argmin(training_rows))], int(training_rows.min())
    count = int((training_rows < lookback + horizon).sum())
    affected = f" ({count} of {len(training_rows)} series have no training window)" if count > 1 else ""
    hint = "Use smaller splits.validation and splits.test, a shorter horizon, or more data"
    if panel.padding:
        problem = f"no series has more training rows than the horizon, which is {horizon}."
        return ConfigError(problem, f"{hint}.", config.locate("windows.horizon"))
    if rows > horizon:
        hint = f"Use at most {rows - horizon} ({rows} - horizon {horizon}), or a longer training set"
    return ConfigError(
        f"windows.lookback is {lookback}, but series '{series_id}' has {format_count(rows, 'training row')}{affected}.",
        f"{hint}, or set data.short_series: pad.",
        config.locate("windows.lookback"),
    )


def check_subsets(panel: Panel, splits: Splits, config: ConfigInSteps) -> None:
    """Check that the validation and the test set have at least one window, in some series.

    Raises:
        ConfigError: a set is too small; the remedy names the smallest size that would do.
    """
    horizon, lengths = config.windows.horizon, np.diff(splits.borders, axis=1)
    for column, subset in enumerate(SUBSETS):
        series = int(np.argmax(lengths[:, column]))
        rows = int(lengths[series, column])
        if subset != "train" and rows < horizon:
            raise ConfigError(
                f"the {subset_name(subset)} of series '{panel.series_ids[series]}' has {format_count(rows, 'row')}, fewer than"
                f" the horizon of {horizon}, so it has no window. The series ends at"
                f" {panel.timestamps[splits.borders[series, 3] - 1]}.",
                f"Set splits.{subset} to {horizon} steps or more, or to an earlier date, or use a shorter horizon.",
                config.locate(f"splits.{subset}"),
            )


def check_windows_measured(windows: Mapping[Subset, Windows], config: ConfigInSteps) -> None:
    """Check that every subset has a window that holds no filled value from its cutoff on.

    Raises:
        ConfigError: a subset has none.
    """
    for subset, windows_of_subset in windows.items():
        if len(windows_of_subset) == 0:
            raise ConfigError(
                f"every window of the {subset_name(subset)} contains filled values, so none is left to train on or score.",
                "Use a shorter horizon, another part of the data, or data with fewer gaps.",
                config.locate("windows.horizon"),
            )
