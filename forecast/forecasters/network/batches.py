"""Batches of windows for Keras."""

from __future__ import annotations

import math

import numpy as np

from forecast.forecasters.network.backend import keras
from forecast.forecasters.network.description import Array
from forecast.windows import Windows


class Batches(keras.utils.PyDataset):
    """Windows, copied one batch at a time; `rng` draws a new order each epoch, without it they come in time order.

    evenly: an epoch has as many windows of each series, drawn with replacement where a series has too few.
    """

    def __init__(self, windows: Windows, batch_size: int, rng: np.random.Generator | None = None, evenly: bool = False):
        super().__init__()
        self.windows, self.batch_size, self.rng, self.evenly = windows, batch_size, rng, evenly
        self.order = np.arange(len(windows))
        self.skipped = 0  # Batches of this epoch that were trained before.
        self.on_epoch_end()

    @property
    def count(self) -> int:
        """The batches of a whole epoch."""
        return self.skipped + len(self)

    def __len__(self) -> int:
        return math.ceil(len(self.order) / self.batch_size)

    def __getitem__(self, batch: int) -> tuple[dict[str, Array], Array]:
        chosen = self.order[batch * self.batch_size : (batch + 1) * self.batch_size]
        return self.windows.inputs(chosen), self.windows.targets(chosen)

    def on_epoch_end(self) -> None:
        """Draw the order of the next epoch."""
        if self.rng is None:
            return
        if not self.evenly:
            self.order = self.rng.permutation(len(self.windows))
            return
        series, begins, sizes = np.unique(self.windows.series, return_index=True, return_counts=True)  # in order of series
        turns = self.rng.permutation(np.arange(len(self.windows)) % len(series))
        self.order = begins[turns] + self.rng.integers(sizes[turns])

    def skip(self, batches: int) -> Batches:
        """Return the rest of this epoch after so many batches, in the same order."""
        rest = Batches(self.windows, self.batch_size)
        rest.order, rest.skipped = self.order[batches * self.batch_size :], batches
        return rest
