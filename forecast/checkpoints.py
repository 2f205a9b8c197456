"""Checkpoints of a training in its run: networks that are done, and where the one that is being trained stands."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from forecast.runs import Run

if TYPE_CHECKING:
    from forecast.models.fitting import Checkpoint

MOST_NUMBERS = 10**9  # of a checkpoint
STATE = "state"  # the array that holds, as bytes of JSON, what is no array
Fitted = tuple[int, dict[str, np.ndarray]]  # the epoch that a network keeps, and its weights


class Checkpoints:
    """One file, replaced as a whole, so that a process may be killed at any moment. Without a run, nothing is kept."""

    def __init__(self, run: Run | None):
        self.run = run
        self.done: dict[int, Fitted] = {}  # by seed
        self._seed: int | None = None  # whose checkpoint was found
        self._arrays: dict[str, np.ndarray] = {}
        self._state: dict = {}
        if run is not None and run.checkpoint.exists():
            self._read(run)
        elif run is not None:
            run.cut_history({})

    def _read(self, run: Run) -> None:
        arrays = run.read_arrays(run.checkpoint, MOST_NUMBERS)
        self._state = json.loads(arrays.pop(STATE).tobytes())
        self._seed = self._state["seed"]
        self._arrays = {name: values for name, values in arrays.items() if not name.startswith("done/")}
        for seed, epoch in self._state["done"].items():
            prefix = f"done/{seed}/"
            weights = {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}
            self.done[int(seed)] = epoch, weights
        epochs = dict.fromkeys(map(int, self._state["done"]), None) | {self._seed: self._state["epoch"]}
        run.cut_history(epochs)

    def resumed(self, seed: int) -> Checkpoint | None:
        """Where the network of a seed stood, None where it had not begun."""
        from forecast.models.fitting import Checkpoint

        if seed != self._seed:
            return None
        return Checkpoint(self._state["epoch"], self._arrays, self._state["callbacks"])

    def keeper(self, seed: int) -> Callable[[Checkpoint], None] | None:
        """What takes the checkpoints of a seed's network."""
        run = self.run
        if run is None:
            return None

        def keep(checkpoint: Checkpoint) -> None:
            done = {seed: epoch for seed, (epoch, _) in self.done.items()}
            state = {"seed": seed, "epoch": checkpoint.epoch, "callbacks": checkpoint.state, "done": done}
            arrays = {f"done/{seed}/{name}": values for seed, (_, own) in self.done.items() for name, values in own.items()}
            told = np.frombuffer(json.dumps(state).encode(), dtype=np.uint8)
            run.write_arrays(run.checkpoint, checkpoint.arrays | arrays | {STATE: told})

        return keep
