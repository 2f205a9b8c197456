"""`show`: describe a run, how it ended and how good it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from forecast.config import non_default_values
from forecast.evaluation import Metrics
from forecast.runs import Run, Status, describe_state


@dataclass(frozen=True)
class Summary:
    """A run at a glance. state: as a clause. metrics: None unless it finished. settings: keys that differ from the defaults."""

    run: Run
    status: Status
    state: str
    metrics: Metrics | None
    settings: dict[str, object]


def show(run: Run | str | Path) -> Summary:
    """Return the state, the metrics and the settings of a training run or backtest, finished or not.

    Raises:
        RunError: there is no run here, or it is damaged.
    """
    opened = run if isinstance(run, Run) else Run(run)
    if not opened.status.is_file() or opened.runs.is_dir():
        Run.open(opened.directory)  # It explains what is here instead.
    status = opened.read_status()
    if status.state == "finished":
        Run.open_scored(opened.directory)
        return Summary(opened, status, "finished", opened.metrics, _read_settings(opened))
    settings = _read_settings(opened) if opened.config.is_file() else {}
    return Summary(opened, status, describe_state(status, opened.directory), None, settings)


def _read_settings(run: Run) -> dict[str, object]:
    return non_default_values(run.read_config())
