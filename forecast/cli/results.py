"""Print the result of a command, as one JSON document or as lines for people."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from forecast.cli.options import PrintOptions
from forecast.cli.streams import echo
from forecast.errors import RunError

if TYPE_CHECKING:
    from forecast.runs import Run


def print_result(as_json: bool, document: object, lines: Iterable[str]) -> None:
    """Print a document of JSON values, dataclasses, tables and paths; or the lines that describe it."""
    for line in [json.dumps(document, default=_to_json)] if as_json else lines:
        echo(line)


def _to_json(value: Any) -> object:
    if dataclasses.is_dataclass(value):
        return vars(value)
    if hasattr(value, "columns"):  # A table. Its rows become objects.
        return json.loads(value.to_json(orient="records", date_format="iso", double_precision=15))
    return str(value)  # A path or a timestamp.


def open_in_browser(page: Path) -> None:
    """Open a page in the browser of the user.

    Raises:
        RunError: there is no page.
    """
    import webbrowser

    if not page.is_file():
        raise RunError("there is no report.", "Write it with: forecast report RUN", str(page))
    if not webbrowser.open(page.resolve().as_uri()):
        echo(f"warning: no browser was found. Open {page} yourself.", err=True)


def print_scores(run: Run, printing: PrintOptions, fail_if_worse_than: str | None = None, open_page: bool = False) -> None:
    """Print the metrics of a run, and exit with 3 if the network is worse than the baseline `fail_if_worse_than`."""
    from forecast.cli.output import describe_backtest, describe_training
    from forecast.evaluation import TrainingMetrics, is_worse_than

    metrics = run.metrics
    lines = describe_training(run, metrics) if isinstance(metrics, TrainingMetrics) else describe_backtest(run, metrics)
    document = {"run": run.directory, **metrics.to_json()}
    print_result(printing.as_json, document, [str(run.directory)] if printing.quiet else lines)
    if open_page and run.report.exists():
        open_in_browser(run.report)
    if fail_if_worse_than and fail_if_worse_than not in metrics.compared:
        problem = f"--fail-if-worse-than: {fail_if_worse_than} was not scored."
        raise RunError(problem, f"Add it to `baselines`, or choose one of {', '.join(metrics.compared)}.", str(run.directory))
    if fail_if_worse_than and is_worse_than(metrics, fail_if_worse_than):
        echo(f"The forecast is worse than {fail_if_worse_than} (--fail-if-worse-than).", err=True)
        raise typer.Exit(3)


def locate_output(run: Run, output: Path | None, data: Path | None) -> Path:
    """Return the file for a forecast, in the run unless `output` names another.

    Raises:
        RunError: it would replace the data, another file of the run, or something that is not a file.
    """
    path = output or run.locate_forecast(data)
    target = Path(os.path.realpath(path))
    if data and target == Path(os.path.realpath(data)):
        raise RunError("--output would replace --data.", "Choose another file.", str(path))
    if target.parent == Path(os.path.realpath(run.directory)) and path != run.locate_forecast(data):
        raise RunError("--output points into the run directory.", "Choose another folder.", str(path))
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise RunError("--output is not a regular file.", "Choose another name.", str(path))
    return path
