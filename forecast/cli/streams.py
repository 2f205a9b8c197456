"""Standard streams that work even if they are closed or full, or if their encoding lacks characters."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer
    from rich.console import Console
    from rich.table import Table

MAX_WIDTH = 10_000  # Characters in a line.
USUAL_WIDTH = 80  # Characters, if a terminal does not report its width.
COLOURS = {  # Styles of patterns on a terminal.
    r"^\s*✔|\b[Bb]eats\b": "green",
    r"^\s*⚠|^warning:|\b[Ii]s not distinguishable from\b": "yellow",
    r"^\s*✘|\b[Ll]oses to\b": "red",
    r"^error:": "bold red",
    r"^Next:.*": "bold",
}
_bar_consoles: list[Console] = []  # Of the progress bars that are shown.
MARKS = {"✔": "+", "✘": "x", "⚠": "!", "·": "-"}  # Replacements where an encoding lacks the mark.


class OutputError(Exception):
    """Standard output cannot be written, for example because its disk is full."""


def echo(text: str = "", err: bool = False, end: str = "\n") -> None:
    """Print a text to stdout or stderr at once, in colours on a terminal, unless NO_COLOR is set.

    Raises:
        OutputError: stdout cannot be written. A failure of stderr is ignored.
    """
    stream = sys.stderr if err else sys.stdout
    if stream.isatty():
        from rich.text import Text

        width = _measure_width(stream)
        coloured = Text.from_ansi("\n".join(_wrap(line, width) for line in text.split("\n")))
        for pattern, style in COLOURS.items():
            coloured.highlight_regex(re.compile(pattern, re.MULTILINE), style)
        console = _bar_consoles[-1] if err and _bar_consoles else _make_console(stream)
        console.print(coloured, end=end, soft_wrap=True)
    else:
        stream.write(escape_controls(text) + end)
    stream.flush()


@contextlib.contextmanager
def printing_above(console: Console) -> Iterator[None]:
    """Print texts for stderr on the console of a progress bar, which moves down to make room."""
    _bar_consoles.append(console)
    try:
        yield
    finally:
        _bar_consoles.remove(console)


def _measure_width(stream: TextIO) -> int:
    with contextlib.suppress(OSError, ValueError):  # It has no descriptor, or is no terminal.
        return os.get_terminal_size(stream.fileno()).columns or USUAL_WIDTH
    return USUAL_WIDTH


def _wrap(line: str, width: int) -> str:
    """Break a long line between words. Tables, long words such as paths, and lines with a command to copy stay whole.

    >>> print(_wrap("  Use a longer test set, or a backtest.", 25))
      Use a longer test set,
      or a backtest.
    >>> print(_wrap("To resume: forecast train --resume runs/airline-1", 25))
    To resume: forecast train --resume runs/airline-1
    """
    if len(line) <= width or "  " in line.strip() or ": forecast " in line:
        return line
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def escape_controls(text: str) -> str:
    r"""Escape characters that could control the terminal. A text may quote any file.

    >>> escape_controls("a\x1b[2J\n")
    'a\\x1b[2J\n'
    """
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)


def render_lines(table: Table) -> list[str]:
    """Return the lines of a table as stdout shows them."""
    console = _make_console(sys.stdout)
    with console.capture() as capture:
        console.print(table)
    return [line.rstrip() for line in capture.get().splitlines()]


def _make_console(stream: TextIO) -> Console:
    """Return a console of rich that writes to a stream. It breaks no lines, so that paths can be copied."""
    from rich.console import Console

    return Console(file=stream, width=MAX_WIDTH, markup=False, emoji=False, highlight=False)


def prepare_streams() -> None:
    """Replace the standard streams so that every command can use them, even if they are closed, full or not UTF-8.

    A closed stream is opened on the null device, so that no file opened later takes its number and receives printed text.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)  # The lowest free number, which is that of the stream.
            os.set_inheritable(descriptor, True)
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, os.fdopen(descriptor, mode, encoding="utf-8", closefd=False))
    codecs.register_error("spell", _spell)
    sys.stdout = _guard(sys.stdout, _refuse)
    sys.stderr = _guard(sys.stderr, lambda error: None)


def _guard(stream: TextIO, on_error: Callable[[OSError], None]) -> io.TextIOWrapper:
    buffer = io.BufferedWriter(_Guard(stream, on_error))
    return io.TextIOWrapper(buffer, stream.encoding, "spell", line_buffering=bool(stream.line_buffering))


class _Guard(io.FileIO):
    """The file of a stream. The first failed write calls `on_error`, which may raise. Later writes are discarded."""

    def __init__(self, stream: TextIO, on_error: Callable[[OSError], None]):
        super().__init__(stream.fileno(), "w", closefd=False)
        self._stream = stream  # Closes its descriptor when nothing refers to it.
        self._on_error = on_error

    def write(self, data: ReadableBuffer) -> int:
        """Write to the stream and return the number of bytes that it accepted."""
        try:
            return super().write(data)
        except OSError as error:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())  # Python writes buffered text again when it exits.
            os.close(null)
            self._on_error(error)
            return memoryview(data).nbytes


def _refuse(error: OSError) -> None:
    if isinstance(error, BrokenPipeError):  # The reader has stopped, as `head` does. Typer ends the command.
        raise error
    remedy = "Files that the command wrote are complete. Redirect its output elsewhere."
    raise OutputError(f"cannot write to standard output ({error.strerror}).\n  {remedy}") from None


def _spell(error: UnicodeError) -> tuple[str, int]:
    r"""Replace marks by a similar ASCII character, and other characters that an encoding lacks by their code.

    >>> codecs.register_error("spell", _spell)
    >>> "✔ 3 €".encode("ascii", "spell")
    b'+ 3 \\u20ac'
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(MARKS.get(c) or c.encode("ascii", "backslashreplace").decode() for c in lacking), error.end
