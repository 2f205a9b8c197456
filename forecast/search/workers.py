"""Run jobs in this process, in several processes, or on a Ray cluster."""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import signal
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

import pandas as pd

from forecast.errors import ForecastError, RunError, check_installed
from forecast.runs import THREADS

MAX_ATTEMPTS = 2  # Attempts at a job whose process or node is lost.
CONNECT_TIMEOUT = 10.0  # Seconds to wait for a Ray cluster.
POLL_SECONDS = 1.0  # Between two checks whether the parent process or the pool is alive.
log = logging.getLogger(__name__)
Job = tuple[str, tuple[Any, ...]]  # The name of the job, and the arguments of the function.
NextJob = Callable[[], Job | None]
Function = Callable[..., Any]


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

    @classmethod
    def from_errors(cls, name: str, why: str, errors: pd.Series, jobs: int, metric: str, seconds_left: float) -> Finished:
        """Return the progress after a job. errors: of the jobs that ended, by name, NaN for those without one."""
        scored = errors.dropna()
        best = str(scored.idxmin()) if len(scored) else ""
        value = float(scored[name]) if name in scored else None
        return cls(name, len(errors), jobs, value, why, best, float(scored[best]) if best else None, metric, seconds_left)


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
            raise RunError("--address works only with a Ray cluster.", "Add --engine ray.")
        if self.count > 1:
            check_installed("--workers", ["pebble"])

    def compute(self, function: Function, next_job: NextJob) -> Iterator[tuple[str, Any]]:
        """Compute `function(*arguments)` for every job, and yield the name and the result of each when it ends.

        next_job: called whenever a worker is free. None means that there is no job, at least until another ends.
        A ForecastError is a result; it is a LostError if every attempt was lost. Any other error ends the computation.
        """
        retries, attempts = deque[Job](), Counter[str]()
        for job, result in self._attempt(function, lambda: retries.popleft() if retries else next_job()):
            attempts[job[0]] += 1
            if isinstance(result, LostError) and attempts[job[0]] < MAX_ATTEMPTS:
                log.info("%s: %s It is computed once more.", job[0], result.problem)
                retries.append(job)
            else:
                yield job[0], result

    def _attempt(self, function: Function, next_job: NextJob) -> Iterator[tuple[Job, Any]]:
        if self.engine == "ray":
            return _compute_on_ray(function, next_job, self.address)
        return _compute_in_processes(function, next_job, self.count) if self.count > 1 else _compute_here(function, next_job)


def _compute_here(function: Function, next_job: NextJob) -> Iterator[tuple[Job, Any]]:
    while job := next_job():
        yield job, _return_forecast_error(function, *job[1])


def _return_forecast_error(function: Function, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except ForecastError as error:
        return error


def _compute_in_processes(function: Function, next_job: NextJob, count: int) -> Iterator[tuple[Job, Any]]:
    from pebble import ProcessExpired, ProcessPool

    threads = max(1, (os.cpu_count() or 1) // count)
    context = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork.
    pool: Any = ProcessPool(count, initializer=_begin_worker, initargs=(threads, os.getpid()), context=context)
    pending: dict[Future[Any], Job] = {}
    try:
        while pool.active:
            while len(pending) < count and (job := next_job()):
                pending[pool.schedule(_return_forecast_error, (function, *job[1]))] = job
            if not pending:
                return
            for future in wait(pending, POLL_SECONDS, FIRST_COMPLETED).done:
                job = pending.pop(future)
                is_lost = isinstance(future.exception(), ProcessExpired)
                remedy = "The process may have run out of memory. Use fewer --workers."
                yield job, LostError("its process was killed.", remedy) if is_lost else future.result()
        raise BrokenProcessPool
    except RuntimeError:  # All processes have ended, or the function has a bug.
        if pool.active:
            raise
        remedy = "Run the same command again. In a script, put the call under `if __name__ == '__main__':`."
        raise RunError("no process could start, or all were killed.", remedy, "workers") from None
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


def _compute_on_ray(function: Function, next_job: NextJob, address: str | None) -> Iterator[tuple[Job, Any]]:
    import ray

    get_resources: Callable[[], dict[str, float]] = ray.cluster_resources
    is_ours = not ray.is_initialized()
    if is_ours:
        _connect(address)
    remote = ray.remote(num_cpus=1, max_retries=0)(_compute_on_node)
    pending: dict[Any, Job] = {}
    try:
        while True:
            cores = int(get_resources().get("CPU", 1))  # Nodes may come and go.
            while len(pending) < max(1, cores) and (job := next_job()):
                pending[remote.remote(function, *job[1])] = job
            if not pending:
                return
            (done, *_), _ = ray.wait(list(pending))
            job = pending.pop(done)
            try:
                yield job, ray.get(done)
            except ray.exceptions.RayTaskError:  # A bug of the function.
                raise
            except ray.exceptions.RayError as error:
                yield job, LostError(f"its node was lost ({type(error).__name__}).", "See the logs of the cluster.")
    finally:
        if is_ours:
            ray.shutdown()


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
        problem = f"no Ray cluster responded ({error})."
        raise RunError(problem, "Start one with `ray start --head`.", f"--address {address}") from None


def _compute_on_node(function: Function, *arguments: Any) -> Any:
    """Compute a job on one core of a node."""
    os.environ.update(dict.fromkeys(THREADS, "1"))
    return _return_forecast_error(function, *arguments)
