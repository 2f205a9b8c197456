"""The status of a run: running, with signs of life of its process, then finished, failed or interrupted; and its log."""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from forecast.errors import ForecastError, RunError
from forecast.runs.documents import Kind, State, Status
from forecast.storage import PARTIAL_PREFIX, is_process_alive, translate_write_errors

HEARTBEAT = 10.0  # Seconds between signs of life of a running training.
MAX_SILENCE = 6 * HEARTBEAT  # Seconds without a sign of life after which a process is no longer believed to run.
log = logging.getLogger("forecast")


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def make_status(state: State, kind: Kind = "training", why: str = "") -> Status:
    """Return the status of this moment. A running one names this process. why: the reason of a failure."""
    status = Status(state=state, at=_now())
    if kind != "training":
        status.kind = kind
    if why:
        status.why = why
    if state == "running":
        status.pid, status.host, status.heartbeat = os.getpid(), socket.gethostname(), _now()
    return status


def describe_state(status: Status) -> str:
    """Return what happened to a run that has not finished, as the end of a sentence."""
    if status.state != "running":
        return {"failed": "failed", "interrupted": "was interrupted"}.get(status.state, status.state)
    is_local = status.pid is not None and 0 < status.pid < 2**31 and status.host == socket.gethostname()
    if is_local and not is_process_alive(status.pid or 0):
        return "was killed"
    process = f"process {status.pid}" if is_local else f"on {status.host!s:.100}"
    try:
        heartbeat = datetime.datetime.fromisoformat(status.heartbeat or "")
        silence = (datetime.datetime.now(datetime.UTC) - heartbeat).total_seconds()
    except (TypeError, ValueError):
        return f"is still running ({process})" if is_local else "is still running, or was killed"
    if silence < MAX_SILENCE:
        return f"is still running ({process})"
    return f"was killed, or has stopped for a while ({process}, last heard of at {status.heartbeat:.100})"


@contextlib.contextmanager
def _send_heartbeats(write: Callable[[Status], None], status: Status) -> Iterator[None]:
    """While open, write the status again and again, so that others see that the process lives."""
    stopped, lock = threading.Event(), threading.Lock()

    def beat() -> None:
        while not stopped.wait(HEARTBEAT):
            with lock, contextlib.suppress(RunError):  # The next file that has to be written reports a full disk.
                if not stopped.is_set():
                    write(status.model_copy(update={"heartbeat": _now()}))

    threading.Thread(target=beat, daemon=True).start()
    try:
        yield
    finally:
        stopped.set()
        with lock:  # No sign of life comes after the final status.
            pass


class _LogFile(logging.FileHandler):
    """A log file that ignores a full disk, which the next file that has to be written reports."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        pass

    def close(self) -> None:
        """Write the rest if that is possible."""
        with contextlib.suppress(OSError):
            super().close()


@contextlib.contextmanager
def _log_to(path: Path) -> Iterator[None]:
    """While open, write the log of this package to a file as well."""
    with translate_write_errors(path):
        handler = _LogFile(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()


@contextlib.contextmanager
def record_status(write: Callable[[Status], None], kind: Kind, log_path: Path) -> Iterator[None]:
    """While open, a run is running and this package's log goes to its log file; at the end, its status says how it went."""
    status = make_status("running", kind)
    write(status)  # Before the log, so that the directory is known to be a run.
    with contextlib.ExitStack() as stack:
        stack.enter_context(_log_to(log_path))
        stack.push(lambda _, error, traceback: _end(write, kind, log_path, error))
        stack.enter_context(_send_heartbeats(write, status))
        yield


def _end(write: Callable[[Status], None], kind: Kind, log_path: Path, error: BaseException | None) -> None:
    """Write the final status, and to the log why a run failed. A bug gets its traceback there, and a note that names the log."""
    if error is None:
        write(make_status("finished", kind))
        return
    is_bug = isinstance(error, Exception) and not isinstance(error, (ForecastError, MemoryError))
    log.error("%s: %s", type(error).__name__, error, exc_info=error if is_bug else None)
    if is_bug:
        final_path = Path(*(part.removeprefix(PARTIAL_PREFIX) for part in log_path.parts))
        error.add_note(f"The log of the run is {final_path}.")
    state: State = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
    with contextlib.suppress(RunError):  # The user should read the first error, not that the status cannot be written either.
        write(make_status(state, kind, str(error) if state == "failed" else ""))
