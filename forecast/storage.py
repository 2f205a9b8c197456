"""Write files completely or not at all, and lock directories, so that runs survive crashes."""

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

Watcher = Callable[[Path, float], object]  # Takes a file and the share of it that was read.
_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)  # A progress bar is set far from where files are read.
PARTIAL_PREFIX = ".part-"  # Start of the names of files and directories that are not complete yet.


def sha256_of(path: str | Path) -> str:
    """Return the checksum of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def watch_reading(watcher: Watcher | None) -> Iterator[None]:
    """Call `watcher` with the progress of all files that are read in this context."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def report_read(path: Path, share: float) -> None:
    """Report to the watcher, if there is one, that a share of a file was read."""
    if watcher := _watcher.get():
        watcher(path, share)


def format_csv(rows: Sequence[Mapping[str, object]], header: bool) -> str:
    r"""Return rows of equal keys as the text of a CSV file, which is empty without rows.

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
    """Raise a `ResourceError` in place of what the system raises while `path` is written.

    Raises:
        ResourceError: `path` cannot be written.
    """
    try:
        yield
    except OSError as error:
        remedy = "Check the folder, its permissions and the disk."
        raise ResourceError(f"cannot be written ({error.strerror}).", remedy, str(path)) from None


@contextlib.contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside `path`, which replaces it after success and is removed after a failure.

    A process that is killed leaves at most the temporary file, whose name nobody reads. A power failure leaves the old content or
    the new, since both the file and the name are on disk before this returns.

    Raises:
        ResourceError: the file cannot be written.
    """
    with translate_write_errors(path):
        handle, name = tempfile.mkstemp(prefix=f"{PARTIAL_PREFIX}{path.name}-", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o644)  # `mkstemp` lets only its owner read it.
            _sync(temporary)
            os.replace(temporary, path)
            _sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def remove_partial_files(*folders: Path) -> None:
    """Remove the files in these folders that were not complete when their process was killed.

    Raises:
        ResourceError: a file cannot be removed.
    """
    for folder in folders:
        with translate_write_errors(folder):
            for path in folder.glob(f"{PARTIAL_PREFIX}*"):
                if path.is_file():
                    path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    is_folder = path.is_dir()
    if sys.platform == "win32" and is_folder:  # Windows cannot sync folders.
        return
    handle = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError:
        if not is_folder:  # Some file systems can sync files only.
            raise
    finally:
        os.close(handle)


@contextlib.contextmanager
def lock_directory(directory: Path) -> Iterator[None]:
    """Lock a directory against other processes. The lock ends with the context, or when the process is killed.

    Raises:
        RunError: another process has locked it.
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
        found = "another process is using this directory."
        raise RunError(found, "Wait until it ends, or use another directory.", str(directory)) from None
    except OSError:  # The file system has no locks.
        pass
    try:
        yield
    finally:
        os.close(handle)


def is_process_alive(pid: int) -> bool:
    """Return whether a process of this machine is running; on Windows, which cannot be asked, always True."""
    if sys.platform == "win32":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # The process belongs to another user.
        return True
    return True
