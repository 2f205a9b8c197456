"""The error boundary: every error becomes a message on stderr and an exit code."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import typer
from typer.core import TyperGroup

from forecast.cli.streams import OutputError, echo, escape_controls
from forecast.errors import ForecastError, nearest

MAX_LINES, MAX_LINE_LENGTH = 100, 1000  # Longer messages are truncated.


class ErrorBoundary(TyperGroup):
    """Turns every error into a message on stderr and exit code 1. Only --debug shows tracebacks. The help groups the commands."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands under their headings, in the order in which they are defined."""
        commands: dict[str, Any] = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        width = max(map(len, commands))
        for heading, names in groupby(commands, lambda name: commands[name].rich_help_panel):
            with formatter.section(heading):
                texts = [(name.ljust(width), commands[name].get_short_help_str(formatter.width - width - 6)) for name in names]
                formatter.write_dl(texts)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the options before the command. Without a command, show the help."""
        with _explain_usage_errors():
            return super().parse_args(ctx, args or ["--help"])

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            with _explain_usage_errors():
                return super().invoke(ctx)
        except (typer.Exit, typer.Abort, OutputError, BrokenPipeError):
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


@contextlib.contextmanager
def _explain_usage_errors() -> Iterator[None]:
    try:
        yield
    except typer.TyperException as error:
        echo(_sanitize(f"error: {_explain_usage(error)}"), err=True)
        raise typer.Exit(error.exit_code) from None


def _explain_usage(error: typer.TyperException) -> str:
    """Return the message of a mistake on the command line, and what to do next.

    An unknown option that is the name of a config key is answered with --set.
    """
    context: Any = getattr(error, "ctx", None)
    option: str = getattr(error, "option_name", "")
    message = error.format_message().removeprefix("Invalid value: ").split(" (Possible options:")[0]
    message = f"{message[:1].lower()}{message[1:]}" + "." * message[-1].isalnum()
    remedy = f"See: {context.command_path if context else 'forecast'} --help"
    if message.startswith("no such option"):
        from forecast.config import list_keys

        name = option.lstrip("-").replace("-", "_")
        options = [name for parameter in context.command.params for name in parameter.opts]
        keys = [f"--set {key}=VALUE" for key in list_keys() if key.rpartition(".")[2] == name]
        if option == "--horizon" and "--steps" in options:
            remedy = "Use --steps."
        elif keys and "--set" in options:
            remedy = f"To change the config, use: {' or '.join(keys)}"
        elif similar := nearest(option, options):
            remedy = f"Did you mean `{similar}`?"
    elif "unexpected extra argument" in message and "--data" in [name for item in context.command.params for name in item.opts]:
        remedy = "To name a data file, use: --data FILE"
    elif message.startswith("missing argument"):
        remedy = f"{context.get_usage()}\n  {remedy}"
    return f"{message}\n  {remedy}"


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
    """Escape characters that could control the terminal, and truncate a long message."""
    lines = escape_controls(text).split("\n")
    shown = [line if len(line) <= MAX_LINE_LENGTH else f"{line[:MAX_LINE_LENGTH]}..." for line in lines[:MAX_LINES]]
    return "\n".join(shown + ([f"... and {len(lines) - MAX_LINES} more lines"] if len(lines) > MAX_LINES else []))
