"""Where jobs are computed: in this process, in several, or on a Ray cluster; one that loses its process is tried once more."""

from __future__ import annotations

import concurrent.futures
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from forecast.errors import ForecastError, RunError, check_installed

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
TRIES = 2  # of a job whose process ends under it
WATCH = 1.0  # seconds between two looks whether the parent lives
NODE_TRIES = 3  # of a job on Ray, whose nodes may come and go
log = logging.getLogger(__name__)
Job = tuple[Any, ...]  # the arguments of the function
Result = tuple[str, Any]  # the job's name, and what the function returned, or a ForecastError
Lost = Callable[[str, int | None], object]  # told of the job's name and its process


@dataclass(frozen=True)
class Workers:
    """How many jobs run at once, and where.

    count: of processes, each with its share of this machine's cores; 1 is this very process. Of Ray, each has one core.
    engine: local, or ray, on the cluster at `address`; None starts one on this machine.
    """

    count: int = 1
    engine: Literal["local", "ray"] = "local"
    address: str | None = None

    def __post_init__(self) -> None:
        if self.engine == "ray":
            check_installed("--engine ray", ["ray"], "ray")
        elif self.engine != "local":
            raise RunError(f"there is no engine `{self.engine}`.", "Choose local or ray.")
        elif self.address:
            raise RunError("--address is that of a Ray cluster.", "Add --engine ray.")
        if self.count > 1:
            check_installed("--workers", ["pebble"], "train")

    def each(
        self, function: Callable[..., Any], jobs: Mapping[str, Job], on_lost: Lost = lambda name, pid: None
    ) -> Iterator[Result]:
        """Compute `function(*job)` of every job, and yield its name and what came of it as it comes.

        A ForecastError is yielded; another error ends it all. on_lost: called when a process was killed with a job in it.
        """
        if self.engine == "ray":
            return _on_ray(function, jobs, self.address)
        return _here(function, jobs) if self.count == 1 else _in_processes(function, jobs, self.count, on_lost)

    def seconds_left(self, seconds: list[float], jobs: int) -> float:
        """About how long so many jobs will take, from how long others took."""
        return sum(seconds) / len(seconds) * jobs / self.count


def _here(function: Callable[..., Any], jobs: Mapping[str, Job]) -> Iterator[Result]:
    for name, job in jobs.items():
        yield name, _tried(function, *job)


def _tried(function: Callable[..., Any], *job: Any) -> Any:
    try:
        return function(*job)
    except ForecastError as error:
        return error


def _in_processes(function: Callable[..., Any], jobs: Mapping[str, Job], count: int, on_lost: Lost) -> Iterator[Result]:
    from pebble import ProcessExpired, ProcessPool

    threads = max(1, (os.cpu_count() or 1) // count)
    context = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
    pool = ProcessPool(count, initializer=_begin_worker, initargs=(threads, os.getpid()), context=context)
    try:
        tries = dict.fromkeys(jobs, 1)
        pending = {pool.schedule(_tried, (function, *job)): name for name, job in jobs.items()}
        while pending:
            for future in concurrent.futures.wait(pending, return_when=concurrent.futures.FIRST_COMPLETED).done:
                name = pending.pop(future)
                error = future.exception()
                if not isinstance(error, ProcessExpired):
                    yield name, future.result()
                    continue
                log.info("%s: its process ended with code %s", name, error.exitcode)
                on_lost(name, error.pid)
                if tries[name] < TRIES:
                    tries[name] += 1
                    pending[pool.schedule(_tried, (function, *jobs[name]))] = name
                else:
                    found = f"{name}: its process was killed {TRIES} times, the last time with code {error.exitcode}."
                    yield name, RunError(found, "Memory may be short: use fewer --workers, or a smaller training.batch_size.")
    except concurrent.futures.process.BrokenProcessPool:
        remedy = "In a script, call this under `if __name__ == '__main__':`, since each process reads the script first."
        raise RunError("no process could begin.", remedy, "workers") from None
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


def _on_ray(function: Callable[..., Any], jobs: Mapping[str, Job], address: str | None) -> Iterator[Result]:
    import ray

    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise RunError(
            f"no Ray cluster answers ({error}).", "Start one with `ray start --head`.", f"--address {address}"
        ) from None
    try:
        remote = ray.remote(num_cpus=1, max_retries=NODE_TRIES - 1)(_on_node)
        jobs_of = Counter(id(argument) for job in jobs.values() for argument in job)
        shared: dict[int, Any] = {}  # what several jobs take, such as their data, goes to each machine once

        def placed(argument: Any) -> Any:
            if jobs_of[id(argument)] == 1:
                return argument
            if id(argument) not in shared:
                shared[id(argument)] = ray.put(argument)
            return shared[id(argument)]

        pending = {remote.remote(function, *map(placed, job)): name for name, job in jobs.items()}
        while pending:
            (done, *_), _ = ray.wait(list(pending))
            name = pending.pop(done)
            try:
                yield name, ray.get(done)
            except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError, ray.exceptions.ObjectLostError):
                found = f"{name}: its node was lost {NODE_TRIES} times."
                yield name, RunError(found, "Memory may be short on the cluster; its logs say more.")
    finally:
        ray.shutdown()


def _on_node(function: Callable[..., Any], *job: Any) -> Any:
    """A job on a core of a node."""
    os.environ.update(dict.fromkeys(THREADS, "1"))
    return _tried(function, *job)
