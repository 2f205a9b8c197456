"""What is shown while a command works, on stderr."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import typer

from forecast.files import watched

if TYPE_CHECKING:
    from pathlib import Path

    from rich.progress import Progress as Bar

    from forecast.models.callbacks import Progress
    from forecast.workers import Finished


STARTING = "starting Keras"


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Shows on a terminal how far a file is read that takes a while."""
    bars: list[Bar] = []

    def show(path: Path, share: float) -> None:
        if not bars and share < 1:
            bars.append(_bar())
            bars[0].start()
            bars[0].add_task(f"reading {path.name}", total=1.0)
        for bar in bars:
            bar.update(bar.task_ids[0], completed=share)
        if share == 1:
            close()

    def close() -> None:
        while bars:
            bars.pop().stop()

    try:
        with watched(show if sys.stderr.isatty() else None):
            yield
    finally:
        close()


def _bar() -> Bar:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    left = [TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn()]
    return Progress(TextColumn("{task.description}"), BarColumn(), *left, console=Console(stderr=True), transient=True)


@contextlib.contextmanager
def progress(quiet: bool) -> Iterator[Callable[[Progress], None] | None]:
    """What shows progress on stderr: a bar on a terminal, otherwise a line per epoch."""
    if quiet:
        with watched(None):
            yield None
    elif not sys.stderr.isatty():
        yield _print_epoch
    else:
        with _bar() as bar, watched(lambda path, share: _update_reading(bar, task, path, share)):
            task = bar.add_task(STARTING, total=None)
            yield lambda progress: _update_bar(bar, task, progress)


def _update_reading(bar: Bar, task: Any, path: Path, share: float) -> None:
    under_way = share < 1
    bar.update(
        task, description=f"reading {path.name}" if under_way else STARTING, total=1.0 if under_way else None, completed=share
    )


def _print_epoch(progress: Progress) -> None:
    if progress.done == 1:
        loss = "" if progress.epoch == 0 else f"  loss {progress.loss:.5f}"
        epoch = f"{_member(progress)}epoch {progress.epoch}/{progress.epochs}"
        typer.echo(f"{epoch}{loss}  val_loss {progress.val_loss:.5f}  {progress.seconds:.1f}s", err=True)


def _member(progress: Progress) -> str:
    fold = f"fold {progress.fold}/{progress.folds}  " if progress.folds > 1 else ""
    return fold + (f"network {progress.member}/{progress.members}  " if progress.members > 1 else "")


def _update_bar(bar: Bar, task: Any, progress: Progress) -> None:
    text = (
        f"{_member(progress)}epoch {progress.epoch}/{progress.epochs}  loss {progress.loss:.5f}  val_loss {progress.val_loss:.5f}"
    )
    bar.update(task, description=text, total=progress.epochs, completed=max(0.0, progress.epoch - 1 + progress.done))


def print_finished(finished: Finished) -> None:
    """A line for a run or a trial that ended."""
    told = finished.why if finished.value is None else f"{finished.metric} {finished.value:.4g}"
    best = "" if finished.best_value is None else f"  best {finished.best_value:.4g} {finished.best}"
    left = f"  about {_time(finished.seconds_left)} left" if finished.done < finished.jobs else ""
    typer.echo(f"{finished.done}/{finished.jobs}  {finished.name}  {told}{best}{left}", err=True)


def _time(seconds: float) -> str:
    """A time in the unit that fits.

    >>> _time(7.2), _time(200), _time(9000)
    ('7 s', '3 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
