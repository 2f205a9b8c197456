"""The status of a run: running, finished, failed or interrupted; and its log."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from forecast.errors import ForecastError, RunError
from forecast.runs.documents import State, Status
from forecast.storage import PARTIAL_PREFIX, lock_directory, translate_write_errors

log = logging.getLogger("forecast")


def describe_state(status: Status, directory: Path) -> str:
    """Return what happened to a run that has not finished, as the end of a sentence. The process of a running one has a lock."""
    if status.state != "running":
        return "was interrupted" if status.state == "interrupted" else status.state
    process = f"process {status.pid} on {status.host!s:.100}"
    try:
        with lock_directory(directory) as is_locked:
            return "was killed" if is_locked else f"is still running, or was killed ({process})"
    except RunError:
        return f"is still running ({process})"


class _LogFile(logging.FileHandler):
    """A log file that ignores a full disk, which the next file that has to be written reports."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        pass

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


@contextlib.contextmanager
def record_status(write_status: Callable[[State, str], None], log_path: Path) -> Iterator[None]:
    """While open, a run is running and this package's log goes to its log file; at the end, its status says how it went."""
    write_status("running", "")  # Before the log, so that the directory is known to be a run.
    with translate_write_errors(log_path):
        handler = _LogFile(log_path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    with contextlib.ExitStack() as stack:
        stack.callback(handler.close)
        stack.callback(log.removeHandler, handler)
        stack.push(lambda _, error, traceback: _record_end(write_status, log_path, error))
        yield


def _record_end(write_status: Callable[[State, str], None], log_path: Path, error: BaseException | None) -> None:
    """Write the final status, and to the log why a run failed. A bug gets its traceback there, and a note that names the log."""
    if error is None:
        write_status("finished", "")
        return
    is_bug = isinstance(error, Exception) and not isinstance(error, (ForecastError, MemoryError))
    log.error("%s: %s", type(error).__name__, error, exc_info=error if is_bug else None)
    if is_bug:
        final_path = Path(*(part.removeprefix(PARTIAL_PREFIX) for part in log_path.parts))
        error.add_note(f"The log of the run is {final_path}.")
    is_interrupted = isinstance(error, KeyboardInterrupt)
    with contextlib.suppress(RunError):  # The user should read the first error, not that the status cannot be written either.
        write_status("interrupted" if is_interrupted else "failed", "" if is_interrupted else str(error))
