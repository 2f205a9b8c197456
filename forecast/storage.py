"""Files that survive: written whole or not at all, on disk before they count, and a directory for one process at a time."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path

from forecast.errors import ResourceError, RunError

Watch = Callable[[Path, float], object]  # takes a file and the share of it that was read
_watch: ContextVar[Watch | None] = ContextVar("watch", default=None)  # whoever shows it is far from whoever reads
PARTIAL_PREFIX = ".part-"  # start of the names of files and directories that are not whole yet


def sha256_of(path: str | Path) -> str:
    """The checksum of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def watch_reading(by: Watch | None) -> Iterator[None]:
    """While open, somebody is told how far files are read."""
    before = _watch.set(by)
    try:
        yield
    finally:
        _watch.reset(before)


def report_read(path: Path, share: float) -> None:
    """So much of a file was read."""
    if watching := _watch.get():
        watching(path, share)


def format_csv(rows: Sequence[Mapping[str, object]], header: bool) -> str:
    r"""Rows of equal keys as the text of a CSV file; nothing where there are none.

    >>> format_csv([{"epoch": 1, "loss": 0.5}], header=True)
    'epoch,loss\n1,0.5\n'
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, rows[0].keys() if rows else (), lineterminator="\n")
    if header and rows:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


@contextlib.contextmanager
def translate_write_errors(path: Path) -> Iterator[None]:
    """What goes wrong while `path` is written is told as an error of the run.

    Raises:
        ResourceError: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise ResourceError(
            f"cannot be written ({error.strerror}).", "Check the folder, its permissions and the disk.", str(path)
        ) from None


@contextlib.contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place when all went well, and is gone when not.

    A process that is killed leaves at most the temporary file, whose name nobody reads; a power failure leaves the old content or
    the new, since both the file and the name are on disk before this returns.

    Raises:
        ResourceError: it cannot be written.
    """
    with translate_write_errors(path):
        handle, name = tempfile.mkstemp(prefix=f"{PARTIAL_PREFIX}{path.name}-", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o644)  # mkstemp lets only its owner read
            _to_disk(temporary)
            os.replace(temporary, path)
            _to_disk(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def remove_partial_files(*folders: Path) -> None:
    """Remove what processes that were killed left half-written in these folders.

    Raises:
        ResourceError: it cannot be removed.
    """
    for folder in folders:
        with translate_write_errors(folder):
            for path in folder.glob(f"{PARTIAL_PREFIX}*"):
                if path.is_file():
                    path.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    folder = path.is_dir()
    if sys.platform == "win32" and folder:  # which cannot be asked for that there
        return
    handle = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError:
        if not folder:  # some file systems know it of files only
            raise
    finally:
        os.close(handle)


@contextlib.contextmanager
def lock_directory(directory: Path) -> Iterator[None]:
    """Nobody else works in this directory; a process that is killed lets go of it.

    Raises:
        RunError: another process does.
    """
    if sys.platform == "win32":  # which cannot lock a directory
        yield
        return
    import fcntl

    with translate_write_errors(directory):
        handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        found = "another process is at work in this directory."
        raise RunError(found, "Wait for it, or work in another directory.", str(directory)) from None
    except OSError:  # a file system without locks
        pass
    try:
        yield
    finally:
        os.close(handle)


def is_process_alive(pid: int) -> bool:
    """Whether a process of this machine runs; of Windows, where nobody can be asked, all do."""
    if sys.platform == "win32":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True
