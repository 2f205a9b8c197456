"""Compute jobs in this process, in several, or on a Ray cluster."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import logging
import multiprocessing
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from forecast.errors import ForecastError, RunError, check_installed
from forecast.runs import THREADS

CONNECT_TIMEOUT = 10.0  # Seconds to wait for a Ray cluster.
POLL_SECONDS = 1.0  # Between two checks whether the parent process or the pool is alive.
SCRIPT_REMEDY = "In a script, call this under `if __name__ == '__main__':`, since each process reads the script first."
log = logging.getLogger(__name__)
Job = tuple[str, tuple[Any, ...]]  # The name of the job, and the arguments of the function.
Result = tuple[str, Any]  # The name of the job, and the result of the function, or a ForecastError.


class LostError(RunError):
    """The process or the node that computed a job ended before it. Another attempt may succeed."""


@dataclass(frozen=True)
class Finished:
    """A job that ended, and the progress of all jobs."""

    name: str
    done: int  # Jobs that ended, including this one.
    jobs: int
    value: float | None  # Its error on the validation set, None if it has none.
    why: str  # Why it has no error.
    best: str  # The job with the smallest error.
    best_value: float | None
    metric: str
    seconds_left: float  # An estimate.


@dataclass(frozen=True)
class Workers:
    """The processes, or the Ray cluster, that compute jobs.

    count: number of processes that share the cores of this machine; with 1, this process. On Ray, all cores of the cluster work.
    engine: "local", or "ray" for the cluster at `address`. If `address` is None, a cluster is started on this machine.
    """

    count: int = 1
    engine: str = "local"
    address: str | None = None

    def __post_init__(self) -> None:
        if self.engine not in ("local", "ray"):
            raise RunError(f"there is no engine `{self.engine}`.", "Choose local or ray.")
        if self.engine == "ray":
            check_installed("--engine ray", ["ray"], "ray")
        elif self.address:
            raise RunError("--address needs a Ray cluster.", "Add --engine ray.")
        if self.count > 1:
            check_installed("--workers", ["pebble"])

    def compute(self, function: Callable[..., Any], next_job: Callable[[], Job | None]) -> Iterator[Result]:
        """Compute `function(*arguments)` for every job, and yield the name and the result of each when it ends.

        next_job: called whenever a worker is free. None means that there is no job, at least until another ends.
        A ForecastError, such as LostError, is a result. Any other error ends the computation.
        """
        if self.engine == "ray":
            return _on_ray(function, next_job, self.address)
        return _in_this_process(function, next_job) if self.count == 1 else _in_processes(function, next_job, self.count)


def _in_this_process(function: Callable[..., Any], next_job: Callable[[], Job | None]) -> Iterator[Result]:
    while job := next_job():
        yield job[0], _catch_forecast_error(function, *job[1])


def _catch_forecast_error(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except ForecastError as error:
        return error


def _new_pool(count: int) -> Any:
    from pebble import ProcessPool

    threads = max(1, (os.cpu_count() or 1) // count)
    context = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork.
    return ProcessPool(count, initializer=_begin_worker, initargs=(threads, os.getpid()), context=context)


def _in_processes(function: Callable[..., Any], next_job: Callable[[], Job | None], count: int) -> Iterator[Result]:
    from pebble import ProcessExpired

    pool, has_worked = _new_pool(count), False
    waiting: list[Job] = []
    pending: dict[concurrent.futures.Future[Any], Job] = {}
    try:
        while True:
            while len(waiting) + len(pending) < count and (job := next_job()):
                waiting.append(job)
            if not (waiting or pending):
                return
            with contextlib.suppress(RuntimeError):  # The pool may have ended.
                while waiting:
                    pending[pool.schedule(_catch_forecast_error, (function, *waiting[0][1]))] = waiting[0]
                    del waiting[0]
            done = concurrent.futures.wait(pending, POLL_SECONDS, concurrent.futures.FIRST_COMPLETED).done
            ended = not pool.active
            for future in list(pending) if ended else done:
                job, error = pending.pop(future), future.exception() if future.done() else BrokenProcessPool()
                has_worked = has_worked or not isinstance(error, BrokenProcessPool)
                if isinstance(error, BrokenProcessPool):  # The job may not have begun.
                    waiting.append(job)
                elif isinstance(error, ProcessExpired):
                    yield job[0], LostError("its process was killed.", "Memory may be short: use fewer --workers.")
                else:
                    yield job[0], future.result()
            if ended:  # All of its processes were killed at once.
                if not has_worked:
                    raise RunError("no process could begin.", SCRIPT_REMEDY, "workers")
                pool.stop()
                pool.join()
                pool, has_worked = _new_pool(count), False
    finally:
        pool.stop()
        pool.join()


def _begin_worker(threads: int, parent: int) -> None:
    """Prepare a new process: give it its share of the cores, and let it end when its parent ends."""
    os.environ.update(dict.fromkeys(THREADS, str(threads)))
    flags = f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent answers Ctrl-C.
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    """End this process when its parent has ended, since a second call may use the same directory."""
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os._exit(1)


def _connect(address: str | None) -> None:
    """Join the cluster at an address, or start one on this machine.

    Raises:
        RunError: no cluster answers.
    """
    import ray

    try:
        if address and (match := re.fullmatch(r"(?:ray://)?([^/:]+):(\d+)", address)):  # Ray itself tries for minutes.
            socket.create_connection((match[1], int(match[2])), timeout=CONNECT_TIMEOUT).close()
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:
        raise RunError(
            f"no Ray cluster answers ({error}).", "Start one with `ray start --head`.", f"--address {address}"
        ) from None


def _on_ray(function: Callable[..., Any], next_job: Callable[[], Job | None], address: str | None) -> Iterator[Result]:
    import ray

    resources: Callable[[], dict[str, float]] = ray.cluster_resources
    started = not ray.is_initialized()
    if started:
        _connect(address)
    try:
        remote = ray.remote(num_cpus=1, max_retries=0)(_on_node)
        # Large arguments go to each node once. Each is stored beside its reference, so that its id stays unique.
        stored: dict[int, tuple[Any, Any]] = {}

        def _store(argument: Any) -> Any:
            if not dataclasses.is_dataclass(argument):
                return argument
            if id(argument) not in stored:
                stored[id(argument)] = ray.put(argument), argument
            return stored[id(argument)][0]

        pending: dict[Any, str] = {}
        while True:
            cores = int(resources().get("CPU", 1))  # Nodes may come and go.
            while len(pending) < max(1, cores) and (job := next_job()):
                pending[remote.remote(function, *map(_store, job[1]))] = job[0]
            if not pending:
                return
            (done, *_), _ = ray.wait(list(pending))
            name = pending.pop(done)
            try:
                yield name, ray.get(done)
            except ray.exceptions.RayTaskError:  # A bug of the function.
                raise
            except ray.exceptions.RayError as error:
                yield name, LostError(f"its node was lost ({type(error).__name__}).", "The logs of the cluster say more.")
    finally:
        if started:
            ray.shutdown()


def _on_node(function: Callable[..., Any], *arguments: Any) -> Any:
    """Compute a job on one core of a node."""
    os.environ.update(dict.fromkeys(THREADS, "1"))
    return _catch_forecast_error(function, *arguments)
