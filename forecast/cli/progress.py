"""Show progress on stderr while a command works."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import typer

from forecast.cli.streams import echo, printing_above
from forecast.storage import watch_reading, watch_stages

if TYPE_CHECKING:
    from pathlib import Path

    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from forecast.forecasters.network.callbacks import Progress
    from forecast.search.workers import Finished


STAGES = {
    "reading": "reading the data",
    "regressions": "fitting the regressions",
    "training": "loading Keras",
    "scoring": "scoring the test set",
    "leaks": "checking for leaks",
    "explaining": "measuring the importance of the inputs",
    "plots": "drawing the plots",
}


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Show a progress bar on a terminal while a large file is read."""
    with contextlib.ExitStack() as stack:
        bars: list[Bar] = []

        def _show(path: Path, share: float) -> None:
            if share == 1:
                bars.clear()
                stack.close()
                return
            if not bars:
                bars.append(stack.enter_context(_show_bar()))
            _update_reading(bars[0], path, share)

        with watch_reading(_show if sys.stderr.isatty() else None):
            yield


@contextlib.contextmanager
def _show_bar() -> Iterator[Bar]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    times = [TimeElapsedColumn(), TextColumn("elapsed,"), TimeRemainingColumn(), TextColumn("remaining")]
    columns = [TextColumn("{task.description}"), BarColumn(), *times]
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar, printing_above(bar.console):
        yield bar


@contextlib.contextmanager
def progress(quiet: bool) -> Iterator[Callable[[Progress], None] | None]:
    """Yield a callback that shows progress on stderr: a bar on a terminal, otherwise a line per epoch."""
    if quiet:
        yield None
    elif not sys.stderr.isatty():
        yield _print_epoch
    else:
        with _show_bar() as bar, watch_reading(lambda path, share: _update_reading(bar, path, share)):
            task = bar.add_task("", total=None)
            with watch_stages(lambda stage: bar.update(task, description=f"{STAGES[stage]} ...", total=None)):
                yield lambda progress: _update_bar(bar, task, progress)


def _update_reading(bar: Bar, path: Path, share: float) -> None:
    """Show a line for a file while it is read."""
    description = f"reading {path.name}"
    tasks = [task.id for task in bar.tasks if task.description == description]
    if share == 1:
        for task in tasks:
            bar.remove_task(task)
    else:
        bar.update(tasks[0] if tasks else bar.add_task(description, total=1.0), completed=share)


def _print_epoch(progress: Progress) -> None:
    if progress.done == 1:
        echo(f"{_describe(progress)}  {progress.seconds:.1f}s", err=True)


def _describe(progress: Progress) -> str:
    """Return the fold, network and epoch of a training, and its losses. There is no loss before the first epoch."""
    fold = f"fold {progress.fold}/{progress.folds}  " if progress.folds > 1 else ""
    member = f"network {progress.member}/{progress.members}  " if progress.members > 1 else ""
    epoch = f"{'refit ' * progress.refit}epoch {progress.epoch}/{progress.epochs}"
    loss = "" if progress.epoch == 0 else f"  loss {progress.loss:.5f}"
    return f"{fold}{member}{epoch}{loss}  val_loss {progress.val_loss:.5f}"


def _update_bar(bar: Bar, task: TaskID, progress: Progress) -> None:
    completed = max(0.0, progress.epoch - 1 + progress.done)
    bar.update(task, description=_describe(progress), total=progress.epochs, completed=completed)


@contextlib.contextmanager
def search_progress(quiet: bool) -> Iterator[Callable[[Finished], None] | None]:
    """Yield a callback that prints each run or trial that ended. On Ctrl-C, explain how to continue."""
    try:
        yield None if quiet else _print_finished
    except KeyboardInterrupt:
        echo("Interrupted. Progress is saved; resume with the same command.", err=True)
        raise typer.Exit(130) from None


def _print_finished(finished: Finished) -> None:
    from forecast.evaluation import format_number

    outcome = finished.why if finished.value is None else f"{finished.metric} {format_number(finished.value)}"
    best = "" if finished.best_value is None else f"  best {format_number(finished.best_value)} {finished.best}"
    left = f"  about {timedelta(seconds=round(finished.seconds_left))} left" if finished.done < finished.jobs else ""
    echo(f"{finished.done}/{finished.jobs}  {finished.name}  {outcome}{best}{left}", err=True)
