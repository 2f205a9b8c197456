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

Watch = Callable[[Path, float], object]  # Takes a file and the share of it that was read.
_watch: ContextVar[Watch | None] = ContextVar("watch", default=None)  # It links distant code.
PARTIAL_PREFIX = ".part-"  # Start of the names of files and directories that are not complete.


def sha256_of(path: str | Path) -> str:
    """Return the checksum of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def watch_reading(watch: Watch | None) -> Iterator[None]:
    """While open, call `watch` with the progress of each file that is read."""
    before = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(before)


def report_read(path: Path, share: float) -> None:
    """Report which share of a file was read."""
    if watch := _watch.get():
        watch(path, share)


def format_csv(rows: Sequence[Mapping[str, object]], header: bool) -> str:
    r"""Return rows with equal keys as the text of a CSV file, "" if there are none.

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
    """Turn errors of the system into the message that `path` cannot be written.

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
    """Yield a temporary file that replaces `path` at the end, or is removed if an error occurs.

    A process that is killed leaves at most the temporary file, which is never read. A power failure leaves the old content or the
    new, because both the file and its name are on disk before this returns.

    Raises:
        ResourceError: it cannot be written.
    """
    with translate_write_errors(path):
        handle, name = tempfile.mkstemp(prefix=f"{PARTIAL_PREFIX}{path.name}-", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o644)  # By default, only its owner may read it.
            _flush_to_disk(temporary)
            os.replace(temporary, path)
            _flush_to_disk(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def remove_partial_files(*folders: Path) -> None:
    """Remove the temporary files that killed processes left in these folders.

    Raises:
        ResourceError: they cannot be removed.
    """
    for folder in folders:
        with translate_write_errors(folder):
            for path in folder.glob(f"{PARTIAL_PREFIX}*"):
                if path.is_file():
                    path.unlink(missing_ok=True)


def _flush_to_disk(path: Path) -> None:
    folder = path.is_dir()
    if sys.platform == "win32" and folder:  # Windows flushes no folders.
        return
    handle = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError:
        if not folder:  # Some file systems flush only files.
            raise
    finally:
        os.close(handle)


@contextlib.contextmanager
def lock_directory(directory: Path) -> Iterator[None]:
    """Keep other processes from working in a directory. The end of a process, even by a kill, releases its lock.

    Raises:
        RunError: another process works in it.
    """
    if sys.platform == "win32":  # Windows cannot lock a directory.
        yield
        return
    import fcntl

    with translate_write_errors(directory):
        handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        problem = "another process is at work in this directory."
        raise RunError(problem, "Wait for it, or work in another directory.", str(directory)) from None
    except OSError:  # The file system has no locks.
        pass
    try:
        yield
    finally:
        os.close(handle)


def is_process_alive(pid: int) -> bool:
    """Return whether a process of this machine runs. On Windows, which does not say, the answer is always True."""
    if sys.platform == "win32":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # It belongs to another user.
        return True
    return True
