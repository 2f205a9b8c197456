"""Print the result of a command: one JSON document, the directory alone, or lines for people."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

import typer

from forecast.cli.options import PrintOptions
from forecast.cli.streams import echo
from forecast.errors import log_and_continue

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from forecast.runs import Run, RunDirectory, RunGroup

Record = dict[str, Any]  # A JSON object.


def print_json(document: object) -> None:
    """Print one JSON document."""
    echo(json.dumps(document))


def print_lines(lines: Iterable[str]) -> None:
    """Print lines of text."""
    for line in lines:
        echo(line)


def print_scores(
    run: Run, describe: Callable[[Run, Any], Iterable[str]], printing: PrintOptions, fail_if_worse_than: str | None
) -> None:
    """Print the metrics of a run, and exit with 3 if the network is worse than the baseline `fail_if_worse_than`."""
    from forecast.evaluation import is_worse_than
    from forecast.runs import read_metrics

    metrics = read_metrics(run)
    print_result(run, metrics.to_json, describe(run, metrics), printing)
    if fail_if_worse_than and is_worse_than(metrics, fail_if_worse_than):
        echo(f"The network is worse than {fail_if_worse_than} (--fail-if-worse-than).", err=True)
        raise typer.Exit(3)


def print_result(run: RunDirectory, document: Callable[[], Record], lines: Iterable[str], printing: PrintOptions) -> None:
    """Print the directory that a command has written, and what is in it."""
    if printing.as_json:
        print_json({"run": str(run.directory), **document()})
    elif printing.quiet:
        echo(str(run.directory))
    else:
        shown: list[str] = []
        with log_and_continue("showing the result", "Please report it."):  # The result itself is on disk.
            shown.extend(lines)
        print_lines(shown)


def to_records(table: pd.DataFrame) -> list[Record]:
    """Return the rows of a table as JSON objects."""
    text = table.to_json(orient="records", date_format="iso", double_precision=15)
    return cast("list[Record]", json.loads(text))


def read_records(group: RunGroup, path: Path) -> list[Record]:
    """Return the rows of a table that a group of runs holds, as JSON objects."""
    return to_records(group.read_table(path, {}, optional={"run": str}))
