"""The error boundary: every error becomes a message on stderr and an exit code."""

from __future__ import annotations

import logging
from typing import Any

import typer
from typer.core import TyperGroup

from forecast.cli.streams import OutputError, echo
from forecast.errors import ForecastError

MAX_LINES, MAX_LINE_LENGTH = 100, 1000  # Longer messages are truncated.


class ErrorBoundary(TyperGroup):
    """Turns every error into a message on stderr and exit code 1. Only --debug shows tracebacks."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (typer.TyperException, typer.Exit, typer.Abort, OutputError, BrokenPipeError):
            raise  # Typer and `main` handle these.
        except Exception as error:
            if ctx.obj:
                raise
            echo(_sanitize(f"error: {_explain(error)}"), err=True)
            raise typer.Exit(1) from None


def set_debug(ctx: typer.Context, value: bool) -> None:
    """Store for the boundary whether to show tracebacks."""
    ctx.find_root().obj = value


class WarningHandler(logging.Handler):
    """Shows the warnings of the library on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record if it is a warning."""
        if record.levelno == logging.WARNING:
            echo(_sanitize(f"warning: {record.getMessage()}"), err=True)


def _explain(error: Exception) -> str:
    """Return the message of a user's mistake, or a report of a bug with the notes of the error, which may name a log."""
    if isinstance(error, ForecastError):
        return str(error)
    if isinstance(error, MemoryError):  # Training explains it in more detail.
        return "memory ran out.\n  Use less data at once, or a machine with more memory."
    notes = "".join(f"\n  {note}" for note in getattr(error, "__notes__", []))
    bug = f"this is a bug in forecast ({type(error).__name__}: {error})."
    return f"{bug}{notes}\n  Please report it. --debug shows the traceback."


def _sanitize(text: str) -> str:
    """Escape characters that could control the terminal, and truncate a long message. It may quote any file."""
    lines = ["".join(c if c.isprintable() else repr(c)[1:-1] for c in line) for line in text.split("\n")]
    shown = [line if len(line) <= MAX_LINE_LENGTH else f"{line[:MAX_LINE_LENGTH]}..." for line in lines[:MAX_LINES]]
    return "\n".join(shown + ([f"... and {len(lines) - MAX_LINES} more lines"] if len(lines) > MAX_LINES else []))
