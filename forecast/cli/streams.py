"""Standard streams that serve every environment: closed ones, full ones, and encodings that lack characters."""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

MARKS = {"✔": "+", "✘": "x", "⚠": "!", "·": "-"}  # Characters that stand for the marks where an encoding lacks them.


class OutputError(Exception):
    """Standard output cannot be written, for example because its disk is full."""


def echo(text: str = "", err: bool = False, end: str = "\n") -> None:
    """Print a text to stdout or stderr at once.

    Raises:
        OutputError: stdout cannot be written. Nothing is raised where stderr cannot be.
    """
    stream = sys.stderr if err else sys.stdout
    stream.write(text + end)
    stream.flush()


def prepare_streams() -> None:
    """Replace the standard streams by ones to which every command can write, whatever the caller did with them.

    A closed stream leads nowhere, so that no file that is opened later takes its number and gets what libraries print.
    Characters that an encoding lacks are spelled out. A write to stderr never fails.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)  # The lowest free number, which is that of the stream.
            os.set_inheritable(descriptor, True)
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, os.fdopen(descriptor, mode, encoding="utf-8", closefd=False))
    codecs.register_error("spelled", _spell)
    sys.stdout = _guarded(sys.stdout, _refuse)
    sys.stderr = _guarded(sys.stderr, lambda error: None)


def _guarded(stream: TextIO, on_error: Callable[[OSError], None]) -> io.TextIOWrapper:
    """Return a stream like another one, whose failures are answered by `on_error`."""
    buffer = io.BufferedWriter(_Guard(stream, on_error))
    return io.TextIOWrapper(buffer, stream.encoding, "spelled", line_buffering=bool(stream.line_buffering))


class _Guard(io.RawIOBase):
    """Bytes on their way to a stream. After the first failure, which `on_error` may raise, they go nowhere."""

    def __init__(self, stream: TextIO, on_error: Callable[[OSError], None]):
        self._stream = stream  # Closes its descriptor when nobody refers to it.
        self._raw: io.RawIOBase | BinaryIO = getattr(stream.buffer, "raw", stream.buffer)
        self._on_error, self._failed = on_error, False

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the number of the stream."""
        return self._raw.fileno()

    def isatty(self) -> bool:
        """Tell a terminal from a file or pipe."""
        return self._raw.isatty()

    def write(self, data: ReadableBuffer) -> int | None:
        """Write to the stream and return how many bytes it took."""
        if not self._failed:
            try:
                return self._raw.write(data)
            except OSError as error:
                self._failed = True
                self._on_error(error)
        return memoryview(data).nbytes


def _refuse(error: OSError) -> None:
    if isinstance(error, BrokenPipeError):  # The reader has seen enough, which typer takes for the end of the command.
        raise error
    remedy = "Files that the command wrote are complete. Redirect its output elsewhere."
    raise OutputError(f"standard output cannot be written ({error.strerror}).\n  {remedy}") from None


def _spell(error: UnicodeError) -> tuple[str, int]:
    r"""Spell what an encoding lacks: marks by a similar character, others by their code, such as \u4e1c.

    >>> codecs.register_error("spelled", _spell)
    >>> "✔ 3 €".encode("ascii", "spelled")
    b'+ 3 \\u20ac'
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(MARKS.get(c) or c.encode("ascii", "backslashreplace").decode() for c in lacking), error.end
