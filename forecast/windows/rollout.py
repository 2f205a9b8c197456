"""Forecast further than a network does at once: each forecast is taken for what happened, and the next starts from there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Forward = Callable[[dict[str, np.ndarray]], np.ndarray]  # A network's scaled inputs -> (windows, steps, targets).


def roll_out(forward: Forward, inputs: dict[str, np.ndarray], horizon: int, block: int) -> np.ndarray:
    """Forecast `horizon` steps of some windows with a network that forecasts `block` steps at once.

    All channels but the targets must be known over the horizon.
    """
    past, lookback, forecasts = inputs["past"], inputs["past"].shape[1], []
    known = inputs.get("known", np.zeros((len(past), horizon, 0), np.float32))
    # The known covariates of steps behind the horizon, which fill the last block, change no forecast that is returned: those
    # steps lie in segments of their own (`Trained.known_steps`).
    known = np.pad(known, [(0, 0), (0, -horizon % block), (0, 0)], mode="edge")
    for begin in range(0, horizon, block):
        ahead = known[:, begin : begin + block]
        forecasts.append(forward(inputs | {"past": past} | ({"known": ahead} if ahead.shape[2] else {})))
        if begin + block < horizon:
            happened = np.concatenate([forecasts[-1], ahead], axis=2)
            past = np.concatenate([past, happened], axis=1)[:, -lookback:]
    steps = np.concatenate(forecasts, axis=1)
    return steps if steps.shape[1] == horizon else steps[:, :horizon].copy()  # A view would keep what is beyond the horizon.
