"""`quick`: from a data file to a run with its report, in one step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from forecast.commands.init import init
from forecast.commands.train import train
from forecast.data import Data
from forecast.runs import Run

if TYPE_CHECKING:
    from forecast.forecasters.network.callbacks import Progress


def quick(
    data: Data,
    output: str | Path | None = None,
    target: str | None = None,
    horizon: int | None = None,
    force: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> Run:
    """Write a config that trains fast for a data file, in the current folder, and train it.

    data, output, target, horizon, force: as for `init`.

    Raises:
        ForecastError: as `init` and `train` raise.
    """
    return train(init(data, output, target, horizon, force, "quick"), on_progress=on_progress)
