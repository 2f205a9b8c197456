"""The progress of a training run: one row of the history per epoch, and the checkpoint from which training can resume."""

from __future__ import annotations

import json
import logging
import math
import signal
import threading
from collections.abc import Iterable, Mapping
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

import numpy as np

from forecast.errors import BEGIN_ANEW, RunError
from forecast.forecasters.network.description import Array
from forecast.runs.documents import CheckpointState, Fingerprints
from forecast.runs.fingerprints import fingerprint_arrays
from forecast.runs.layout import explain_damage
from forecast.runs.loaded import pop_prefixed
from forecast.runs.run import Run
from forecast.storage import translate_write_errors

if TYPE_CHECKING:
    from forecast.forecasters.network.callbacks import Checkpoint, CheckpointStore

MAX_NUMBERS = 10**9  # Size of a checkpoint.
STATE = "state"  # Name of the array that holds the bytes of a `CheckpointState`.
Fitted = tuple[int, dict[str, Array]]  # The epoch that a network keeps, and its weights.
log = logging.getLogger(__name__)


def append_history(run: Run, row: Mapping[str, float]) -> None:
    """Add an epoch to history.csv; the first row brings the header."""
    with translate_write_errors(run.history_file):
        before = run.history_file.read_text(encoding="utf-8") if run.history_file.exists() else ""
    run.write_text(run.history_file, f"{before or _join(row)}{_join(row.values())}")


def _join(cells: Iterable[object]) -> str:
    return ",".join(map(str, cells)) + "\n"


def _cut_history(run: Run, last_epochs: Mapping[int, float]) -> None:
    """Remove the epochs after the last checkpoint. last_epochs: the last one of each seed."""
    if not run.history_file.exists() or not run.history_file.stat().st_size:
        return
    with explain_damage(run.history_file, IndexError):
        header, *rows = (line.split(",") for line in run.history_file.read_text(encoding="utf-8").splitlines())
        seed, epoch = header.index("seed"), header.index("epoch")
        rows = [row for row in rows if int(row[epoch]) <= last_epochs.get(int(row[seed]), -1)]
    run.write_text(run.history_file, "".join(map(_join, [header, *rows] if rows else [])))


class Interrupts:
    """Catches the first Ctrl-C while open, so that training ends after its step. The second one ends it at once.

    SIGTERM counts as well if it means the same. Signals that other code handles or ignores are left alone.
    """

    def __init__(self) -> None:
        self.requested = False
        self._signals: list[int] = []

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():  # Other threads cannot handle signals.
            numbers = (signal.SIGINT, signal.SIGTERM)
            self._signals = [number for number in numbers if signal.getsignal(number) is signal.default_int_handler]
        for number in self._signals:
            signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number in self._signals:
            signal.signal(number, signal.default_int_handler)
        if self.requested and error[0] is None:  # It came after the last step.
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        log.warning("stopping after this batch. Progress will be saved. Press Ctrl-C again to stop at once.")


class Checkpoints:
    """The checkpoint of a run: one file, replaced as a whole, so that a process may be killed at any moment.

    done: the best epoch and the weights of each network that is finished, by seed. Without a run, nothing is written.
    """

    def __init__(self, run: Run | None):
        self.run = run
        self.done: dict[int, Fitted] = {}
        self.interrupts = Interrupts()
        self._arrays: dict[str, Array] = {}
        self._state: CheckpointState | None = None
        if run and run.checkpoint.exists():
            self._read(run)
        if run:
            last_epochs = dict.fromkeys(self.done, math.inf)
            if self._state:
                last_epochs[self._state.seed] = self._state.epoch
            _cut_history(run, last_epochs)

    def _read(self, run: Run) -> None:
        self._arrays = run.read_arrays(run.checkpoint, MAX_NUMBERS)
        try:
            document = json.loads(self._arrays.pop(STATE, np.empty(0)).tobytes())  # Unlike strict JSON, it may hold Infinity.
            self._state = CheckpointState.model_validate(document, strict=False)
        except ValueError:
            raise RunError("this is not a checkpoint.", BEGIN_ANEW, str(run.checkpoint)) from None
        for seed, epoch in self._state.done.items():
            self.done[seed] = epoch, pop_prefixed(self._arrays, f"done/{seed}/")

    def record_initial_weights(self, seed: int, weights: dict[str, Array]) -> None:
        """Write the fingerprint of the initial weights of a seed's network."""
        if self.run:
            fingerprints = self.run.read(self.run.fingerprints, Fingerprints)
            fingerprints.initial_weights = {**fingerprints.initial_weights, seed: fingerprint_arrays(weights)}
            self.run.write(self.run.fingerprints, fingerprints)

    def open_store(self, seed: int) -> CheckpointStore | None:
        """Return the store of the checkpoints of a seed's network, with the one to resume from. None without a run."""
        from forecast.forecasters.network.callbacks import Checkpoint, CheckpointStore

        if self.run is None:
            return None
        state, resumed = self._state, None
        if state and state.seed == seed:
            resumed = Checkpoint(state.epoch, state.batch, self._arrays, state.callbacks)
        return CheckpointStore(partial(self._write, self.run, seed), resumed, lambda: self.interrupts.requested)

    def _write(self, run: Run, seed: int, checkpoint: Checkpoint) -> None:
        done = {seed: epoch for seed, (epoch, _) in self.done.items()}
        state = CheckpointState(seed=seed, epoch=checkpoint.epoch, batch=checkpoint.batch, callbacks=checkpoint.state, done=done)
        text = json.dumps(state.model_dump()).encode()
        arrays = {f"done/{seed}/{name}": values for seed, (_, weights) in self.done.items() for name, values in weights.items()}
        run.write_arrays(run.checkpoint, checkpoint.arrays | arrays | {STATE: np.frombuffer(text, dtype=np.uint8)})
