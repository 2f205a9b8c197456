"""Where jobs are computed: in this process, in several, or on a Ray cluster."""

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

SECONDS_TO_ANSWER = 10.0  # for a Ray cluster
WATCH = 1.0  # seconds between two looks whether the parent lives
log = logging.getLogger(__name__)
Job = tuple[str, tuple[Any, ...]]  # its name, and the arguments of the function
Result = tuple[str, Any]  # the job's name, and what the function returned, or a ForecastError


class LostError(RunError):
    """The process or the node that computed a job ended under it; it may be worth another try."""


@dataclass(frozen=True)
class Finished:
    """A job that ended, and where all of them stand."""

    name: str
    done: int  # jobs, this one included
    jobs: int
    value: float | None  # its error on the validation part, None where there is none
    why: str  # there is none
    best: str  # the job with the smallest
    best_value: float | None
    metric: str
    seconds_left: float  # about


@dataclass(frozen=True)
class Workers:
    """How many jobs are computed at once, and where.

    count: of processes, each with its share of this machine's cores; 1 is this very process. Of a Ray cluster, all cores work.
    engine: local, or ray, on the cluster at `address`; None starts one on this machine.
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
            raise RunError("--address is that of a Ray cluster.", "Add --engine ray.")
        if self.count > 1:
            check_installed("--workers", ["pebble"])

    def each(self, function: Callable[..., Any], next_job: Callable[[], Job | None]) -> Iterator[Result]:
        """Compute `function(*arguments)` of every job, and yield its name and what came of it as it comes.

        next_job: called whenever there is room for another job; None where there is none, at least until one ends.
        A ForecastError is yielded, LostError among them; any other error ends it all.
        """
        if self.engine == "ray":
            return _on_ray(function, next_job, self.address)
        return _here(function, next_job) if self.count == 1 else _in_processes(function, next_job, self.count)


def _here(function: Callable[..., Any], next_job: Callable[[], Job | None]) -> Iterator[Result]:
    while job := next_job():
        yield job[0], _tried(function, *job[1])


def _tried(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except ForecastError as error:
        return error


def _in_processes(function: Callable[..., Any], next_job: Callable[[], Job | None], count: int) -> Iterator[Result]:
    from pebble import ProcessExpired, ProcessPool

    threads = max(1, (os.cpu_count() or 1) // count)
    context = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork

    def new_pool() -> ProcessPool:
        return ProcessPool(count, initializer=_begin_worker, initargs=(threads, os.getpid()), context=context)

    pool, waiting, pending, worked = new_pool(), [], {}, False
    try:
        while True:
            while len(waiting) + len(pending) < count and (job := next_job()):
                waiting.append(job)
            if not (waiting or pending):
                return
            with contextlib.suppress(RuntimeError):  # the pool has ended meanwhile
                while waiting:
                    pending[pool.schedule(_tried, (function, *waiting[0][1]))] = waiting[0]
                    del waiting[0]
            done = concurrent.futures.wait(pending, WATCH, concurrent.futures.FIRST_COMPLETED).done
            ended = not pool.active
            for future in list(pending) if ended else done:
                job, error = pending.pop(future), future.exception() if future.done() else BrokenProcessPool()
                worked = worked or not isinstance(error, BrokenProcessPool)
                if isinstance(error, BrokenProcessPool):  # which tells nothing of this job: it may not have begun
                    waiting.append(job)
                elif isinstance(error, ProcessExpired):
                    yield job[0], LostError("its process was killed.", "Memory may be short: use fewer --workers.")
                else:
                    yield job[0], future.result()
            if ended:  # all of its processes were killed at once
                if not worked:
                    remedy = (
                        "In a script, call this under `if __name__ == '__main__':`, since each process reads the script first."
                    )
                    raise RunError("no process could begin.", remedy, "workers")
                pool.stop()
                pool.join()
                pool, worked = new_pool(), False
    finally:
        pool.stop()
        pool.join()


def _begin_worker(threads: int, parent: int) -> None:
    """Before anything else in a new process: its share of the cores, and an end when its parent ends."""
    os.environ.update(dict.fromkeys(THREADS, str(threads)))
    flags = f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    """Without a parent nobody wants the result; and a second call may want the folder."""
    while os.getppid() == parent:
        time.sleep(WATCH)
    os._exit(1)


def _connect(address: str | None) -> None:
    """Join the cluster at an address, or start one on this machine.

    Raises:
        RunError: none answers.
    """
    import ray

    try:
        if address and (place := re.fullmatch(r"(?:ray://)?([^/:]+):(\d+)", address)):  # Ray itself would try for minutes
            socket.create_connection((place[1], int(place[2])), timeout=SECONDS_TO_ANSWER).close()
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:
        raise RunError(
            f"no Ray cluster answers ({error}).", "Start one with `ray start --head`.", f"--address {address}"
        ) from None


def _on_ray(function: Callable[..., Any], next_job: Callable[[], Job | None], address: str | None) -> Iterator[Result]:
    import ray

    started = not ray.is_initialized()
    if started:
        _connect(address)
    try:
        remote = ray.remote(num_cpus=1, max_retries=0)(_on_node)
        placed: dict[int, tuple[Any, Any]] = {}  # large arguments, which go to each node once; and themselves, lest ids recur

        def place(argument: Any) -> Any:
            if not dataclasses.is_dataclass(argument):
                return argument
            if id(argument) not in placed:
                placed[id(argument)] = ray.put(argument), argument
            return placed[id(argument)][0]

        pending: dict[Any, str] = {}
        while True:
            cores = int(ray.cluster_resources().get("CPU", 1))  # nodes may come and go
            while len(pending) < max(1, cores) and (job := next_job()):
                pending[remote.remote(function, *map(place, job[1]))] = job[0]
            if not pending:
                return
            (done, *_), _ = ray.wait(list(pending))
            name = pending.pop(done)
            try:
                yield name, ray.get(done)
            except ray.exceptions.RayTaskError:  # our own mistake
                raise
            except ray.exceptions.RayError as error:
                yield name, LostError(f"its node was lost ({type(error).__name__}).", "The logs of the cluster say more.")
    finally:
        if started:
            ray.shutdown()


def _on_node(function: Callable[..., Any], *arguments: Any) -> Any:
    """A job on a core of a node."""
    os.environ.update(dict.fromkeys(THREADS, "1"))
    return _tried(function, *arguments)
