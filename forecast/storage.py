"""Write files completely or not at all, and lock directories, so that runs survive crashes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path

from forecast.errors import ResourceError, RunError

Watcher = Callable[[Path, float], object]  # Takes a file and the share of it that was read.
_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)  # A progress bar is set far from where files are read.
_stage_watcher: ContextVar[Callable[[str], object] | None] = ContextVar("stage_watcher", default=None)
COMPRESSED = {".gz", ".bz2", ".xz"}  # Suffixes of compressed files.
PARTIAL_PREFIX = ".part-"  # Start of the names of files and directories that are not complete yet.


def name_without_suffix(path: Path) -> str:
    """Return the name of a file without its suffix, and without that of a compression.

    >>> name_without_suffix(Path("data/sales.csv.gz")), name_without_suffix(Path("sales.2024.csv"))
    ('sales', 'sales.2024')
    """
    return Path(path.stem).stem if path.suffix.lower() in COMPRESSED else path.stem


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


@contextlib.contextmanager
def watch_stages(watcher: Callable[[str], object]) -> Iterator[None]:
    """Call `watcher` with the name of each stage of a training that begins in this context."""
    token = _stage_watcher.set(watcher)
    try:
        yield
    finally:
        _stage_watcher.reset(token)


def report_stage(stage: str) -> None:
    """Report to the watcher, if there is one, that a stage begins."""
    if watcher := _stage_watcher.get():
        watcher(stage)


@contextlib.contextmanager
def translate_write_errors(path: Path) -> Iterator[None]:
    """Raise a `ResourceError` in place of what the system raises while `path` is written.

    Raises:
        ResourceError: `path` cannot be written.
    """
    try:
        yield
    except OSError as error:
        remedy = "Check that the folder exists and is writable, and that the disk has free space."
        raise ResourceError(f"cannot write to this path ({error.strerror}).", remedy, str(path)) from None


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
            for path in filter(Path.is_file, folder.glob(f"{PARTIAL_PREFIX}*")):
                path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk. Some systems can wait for files only."""
    is_folder = path.is_dir()
    with contextlib.suppress(OSError) if is_folder else contextlib.nullcontext():
        handle = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def lock_directory(directory: Path) -> Iterator[bool]:
    """Lock a directory against other processes. The lock ends with the context, or when the process is killed.

    Yields whether it is locked: Windows and some file systems cannot lock directories.

    Raises:
        RunError: another process has locked it.
    """
    if sys.platform == "win32":
        yield False
        return
    import fcntl

    with translate_write_errors(directory):
        handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_locked = True
    except BlockingIOError:
        os.close(handle)
        problem = "another process is using this directory."
        raise RunError(problem, "Wait until it ends, or use another directory.", str(directory)) from None
    except OSError:
        is_locked = False
    try:
        yield is_locked
    finally:
        os.close(handle)


def is_process_alive(pid: int) -> bool:
    """Return whether a process of this machine is running; on Windows, which cannot be asked, always True."""
    try:
        if sys.platform != "win32":
            os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # The process belongs to another user.
        pass
    return True
