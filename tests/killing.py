"""Kill a real training, see what is left, go on, and compare with one that was not killed.

    python tests/killing.py CONFIG FOLDER writes STRIDE     at every STRIDE-th write (1: at each)
    python tests/killing.py CONFIG FOLDER moments COUNT     at so many random moments

Prints a JSON line per kill. The training is forked from a process that has loaded TensorFlow and computed nothing yet, so that a
kill costs two seconds and not ten.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import matplotlib.pyplot  # noqa: F401  loaded before the fork, as are those below
import numpy as np
import scipy.stats  # noqa: F401

from forecast.commands.predict import predict
from forecast.commands.train import resume_training, train
from forecast.config.load import load_config
from forecast.errors import RunError
from forecast.forecasters.network import callbacks, fitting, keras_builder  # noqa: F401
from forecast.runs.run import Run
from forecast.storage import PARTIAL_PREFIX

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.chmod", "os.truncate"}  # audit events; the first argument is a path
PASSING = {"status.json", "environment.json", "log.txt", "history.csv", "checkpoint.safetensors", "fingerprints.json"}
PASSING |= {"report.html"}  # it names the run and the seconds


def writes(event: str, arguments: tuple, directory: str) -> bool:
    """Whether an audit event changes something in the directory."""
    if event == "open":
        path, _, flags = arguments
        changes = isinstance(path, str | os.PathLike) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        return bool(changes) and str(path).startswith(directory)
    return event in CHANGES and str(arguments[0]).startswith(directory)


def run_in_child(work: Callable[[], object], directory: Path, kill_at: int = -1, seconds: float | None = None) -> int:
    """Do the work in a child process, which is killed at the n-th write into the directory, or after so many seconds.

    Returns how many writes there were, or -1 if it was killed.
    """
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        seen = 0

        def count(event: str, given: tuple) -> None:
            nonlocal seen
            if writes(event, given, str(directory)):
                seen += 1
                if seen == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            callbacks.MIN_SECONDS_BETWEEN_EPOCHS = 0.0
            sys.addaudithook(count)
            work()
            os.write(writer, str(seen).encode())
        finally:
            os._exit(0)  # without what the parent would do at its end
    os.close(writer)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    told = os.read(reader, 100)
    os.close(reader)
    _, status = os.waitpid(child, 0)
    return -1 if os.WIFSIGNALED(status) else int(told)  # of a child that failed by itself, nothing is told


def inconsistent(run: Run, whole: Run) -> list[str]:
    """What a reader could take for a result and is none."""
    wrong = []
    for path in run.directory.rglob("*"):
        name = path.relative_to(run.directory)
        if path.is_dir() or path.name.startswith(PARTIAL_PREFIX):
            continue
        if path.suffix == ".json":
            json.loads(path.read_text())
        if path.name not in PASSING and path.read_bytes() != (whole.directory / name).read_bytes():
            wrong.append(str(name))
    try:
        opened = Run.open(run.directory)
    except RunError:
        return wrong
    same = predict(opened).equals(predict(whole))
    return wrong if same and not run.checkpoint.exists() else [*wrong, "an unfinished run was opened"]


def main(config_file: str, folder: str, how: str, number: str) -> None:
    """Kill as often as asked for."""
    config, base = load_config(config_file), Path(folder)
    whole = Run(base / "whole")
    base.mkdir(parents=True)
    began = time.perf_counter()
    total = run_in_child(partial(train, config, whole.directory), whole.directory)
    lasts = time.perf_counter() - began
    if how == "writes":
        kills = [{"kill_at": at} for at in range(1, total + 1, int(number))]
    else:
        moments = np.arange(int(number)) + np.random.default_rng().uniform(size=int(number))  # spread over all of it
        kills = [{"seconds": moment * lasts / int(number)} for moment in moments]
    for kill in kills:
        run = Run(base / "killed")
        killed = run_in_child(partial(train, config, run.directory), run.directory, **kill) == -1
        wrong = inconsistent(run, whole) if run.directory.exists() else []
        begun = run.config.is_file() and run.status.is_file()
        again = partial(resume_training, run.directory) if begun else partial(train, config, run.directory, force=True)
        checkpoint = run.checkpoint.exists()
        if not run.finished:
            run_in_child(again, run.directory)
        left = [path.name for path in run.directory.rglob("*") if path.name.startswith(PARTIAL_PREFIX)]
        same = run.finished and not inconsistent(run, whole)
        same = same and all(name.read_bytes() == other.read_bytes() for name, other in zip(kept(run), kept(whole), strict=True))
        told = {"of": total, "killed": killed, "wrong": wrong, "resumed": begun, "checkpoint": checkpoint}
        print(json.dumps(kill | told | {"same": bool(same), "left": left}), flush=True)  # noqa: T201
        shutil.rmtree(run.directory)


def kept(run: Run) -> list[Path]:
    """What must be the same to the last bit, beside all that `inconsistent` compares."""
    return [run.weights, run.fingerprints]


if __name__ == "__main__":
    main(*sys.argv[1:])
