"""The error boundary: every error becomes a message on stderr and an exit code."""

from __future__ import annotations

import logging
from typing import Any

import typer
from typer.core import TyperGroup

from forecast.cli.streams import OutputError, echo
from forecast.errors import ForecastError

MAX_LINES = 100  # Lines of a message that are shown.
MAX_LINE_LENGTH = 1000


class ErrorBoundary(TyperGroup):
    """Turns every error into a message on stderr and exit code 1. Its traceback is shown with --debug only."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (typer.TyperException, typer.Exit, typer.Abort, OutputError, BrokenPipeError):
            raise  # Typer and `main` know what to do with these.
        except Exception as error:
            if ctx.obj:
                raise
            echo(_sanitize(_explain(error)), err=True)
            raise typer.Exit(1) from None


def set_debug(ctx: typer.Context, value: bool) -> None:
    """Remember whether the boundary lets tracebacks through."""
    ctx.find_root().obj = value


class WarningHandler(logging.Handler):
    """Shows the warnings of the library on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record if it is a warning."""
        if record.levelno == logging.WARNING:
            echo(_sanitize(f"warning: {record.getMessage()}"), err=True)


def _explain(error: Exception) -> str:
    """Return the message of a user's mistake, or the one that reports a bug and names the log of the run, if there is one."""
    if isinstance(error, ForecastError):
        return str(error)
    if isinstance(error, MemoryError):  # Training explains it in more detail.
        return "memory ran out.\n  Use less data at once, or a machine with more memory."
    notes = "".join(f"\n  {note}" for note in getattr(error, "__notes__", []))
    report = f"error: this is a bug in forecast ({type(error).__name__}: {error})."
    return f"{report}{notes}\n  --debug shows the traceback, please report it."


def _sanitize(text: str) -> str:
    """Escape what could control the terminal, and cut a message that is too long to read. Files may have put anything into it."""
    lines = ["".join(c if c.isprintable() else repr(c)[1:-1] for c in line) for line in text.split("\n")]
    shown = [line if len(line) <= MAX_LINE_LENGTH else f"{line[:MAX_LINE_LENGTH]}..." for line in lines[:MAX_LINES]]
    return "\n".join(shown + ([f"... and {len(lines) - MAX_LINES} more lines"] if len(lines) > MAX_LINES else []))
