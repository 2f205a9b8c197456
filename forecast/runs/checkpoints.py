"""Checkpoints of a training in its run: networks that are done, and where the one that is being trained stands."""

from __future__ import annotations

import json
import logging
import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING

import numpy as np

from forecast.errors import BEGIN_ANEW, RunError
from forecast.runs.fingerprints import fingerprint
from forecast.runs.run import Run

if TYPE_CHECKING:
    from forecast.forecasters.network.callbacks import Checkpoint, CheckpointStore

MOST_NUMBERS = 10**9  # of a checkpoint
STATE = "state"  # the array that holds, as bytes of JSON, what is no array
Fitted = tuple[int, dict[str, np.ndarray]]  # the epoch that a network keeps, and its weights
log = logging.getLogger(__name__)


class Interrupts:
    """While open, the first Ctrl-C (or SIGTERM, where that means the same) is noted, for training to end after its step.

    The next one ends it where it is. Signals that somebody else answers, or ignores, are left alone.
    """

    def __init__(self) -> None:
        self.asked = False
        self.taken: list[int] = []

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():  # others cannot answer signals
            numbers = (signal.SIGINT, signal.SIGTERM)
            self.taken = [number for number in numbers if signal.getsignal(number) is signal.default_int_handler]
        for number in self.taken:
            signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number in self.taken:
            signal.signal(number, signal.default_int_handler)
        if self.asked and error[0] is None:  # after the last step
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        log.warning("stopping after this step, to go on later; once more stops at once.")


class Checkpoints:
    """One file, replaced as a whole, so that a process may be killed at any moment. Without a run, nothing is kept."""

    def __init__(self, run: Run | None):
        self.run = run
        self.done: dict[int, Fitted] = {}  # by seed
        self.interrupts = Interrupts()
        self._seed: int | None = None  # whose checkpoint was found
        self._arrays: dict[str, np.ndarray] = {}
        self._state: dict = {}
        if run is not None and run.checkpoint.exists():
            self._read(run)
        elif run is not None:
            run.cut_history({})

    def _read(self, run: Run) -> None:
        arrays = run.read_arrays(run.checkpoint, MOST_NUMBERS)
        try:
            self._understand(arrays)
        except (KeyError, ValueError, TypeError, AttributeError):
            raise RunError("this is no checkpoint.", BEGIN_ANEW, str(run.checkpoint)) from None
        epochs = dict.fromkeys(self.done, None) | {self._seed: self._state["epoch"]}
        run.cut_history(epochs)

    def _understand(self, arrays: dict[str, np.ndarray]) -> None:
        self._state = json.loads(arrays.pop(STATE).tobytes())
        self._seed = self._state["seed"]
        self._arrays = {name: values for name, values in arrays.items() if not name.startswith("done/")}
        for seed, epoch in self._state["done"].items():
            prefix = f"done/{seed}/"
            weights = {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}
            self.done[int(seed)] = epoch, weights

    def begin(self, seed: int, weights: dict[str, np.ndarray]) -> None:
        """Keep the fingerprint of what a seed's network begins with."""
        if self.run:
            known = self.run.read_json(self.run.fingerprints)
            known["initial_weights"][str(seed)] = fingerprint(weights)
            self.run.write_json(self.run.fingerprints, known)

    def keeper(self, seed: int) -> CheckpointStore | None:
        """What takes the checkpoints of a seed's network, and knows where it stood."""
        from forecast.forecasters.network.callbacks import Checkpoint, CheckpointStore

        run, state = self.run, self._state
        if run is None:
            return None
        resumed = (
            Checkpoint(state["epoch"], state.get("batch", 0), self._arrays, state["callbacks"]) if seed == self._seed else None
        )

        def keep(checkpoint: Checkpoint) -> None:
            done = {seed: epoch for seed, (epoch, _) in self.done.items()}
            state = {"seed": seed, "epoch": checkpoint.epoch, "batch": checkpoint.batch}
            state |= {"callbacks": checkpoint.state, "done": done}
            arrays = {f"done/{seed}/{name}": values for seed, (_, own) in self.done.items() for name, values in own.items()}
            told = np.frombuffer(json.dumps(state).encode(), dtype=np.uint8)
            run.write_arrays(run.checkpoint, checkpoint.arrays | arrays | {STATE: told})

        return CheckpointStore(keep, resumed, lambda: self.interrupts.asked)
