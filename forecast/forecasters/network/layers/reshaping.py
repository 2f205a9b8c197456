"""Operations that select, join, cut and repeat values. `ops` is `numpy` or `keras.ops`."""

from __future__ import annotations

from types import ModuleType

from forecast.forecasters.network.layers.interface import Tensor, add


def select_channels(ops: ModuleType, x: Tensor, first: int, count: int) -> Tensor:
    """Return `count` channels, from the channel `first` on."""
    return x[..., first : first + count]


def concat(ops: ModuleType, *parts: Tensor) -> Tensor:
    """Return the channels of all inputs, side by side."""
    return ops.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]


def select_last_step(ops: ModuleType, x: Tensor) -> Tensor:
    """Return the channels of the last step."""
    return x[:, -1]


def sum_inputs(ops: ModuleType, x: Tensor, y: Tensor) -> Tensor:
    """Return the sum of two inputs."""
    return add(x, y)


def repeat_vector(ops: ModuleType, x: Tensor, steps: int) -> Tensor:
    """Repeat a vector at each of so many steps."""
    return ops.repeat(x[:, None], steps, axis=1)


def cut_segments(ops: ModuleType, x: Tensor, length: int, pad: str) -> Tensor:
    """Make each segment of `length` steps one step. The first or the last step fills an incomplete segment on the left or right.

    Steps a b c d e with length 2, padded on the left: aa bc de.
    """
    steps, channels = x.shape[1:]
    missing = -steps % length
    if missing and pad == "left":
        x = ops.concatenate([ops.repeat(x[:, :1], missing, axis=1), x], axis=1)
    elif missing:
        x = ops.concatenate([x, ops.repeat(x[:, -1:], missing, axis=1)], axis=1)
    return ops.reshape(x, (-1, (steps + missing) // length, length * channels))


def join_segments(ops: ModuleType, x: Tensor, horizon: int, targets: int) -> Tensor:
    """Return the steps of a forecast from its segments `(segments, length * targets)`, without those after the horizon."""
    segments, width = x.shape[1:]
    return ops.reshape(x, (-1, segments * width // targets, targets))[:, :horizon]


def split_channels(ops: ModuleType, x: Tensor) -> Tensor:
    """Make each channel of each window a window, window by window."""
    return ops.reshape(ops.transpose(x, (0, 2, 1)), (-1, x.shape[1], 1))


def repeat_windows(ops: ModuleType, x: Tensor, count: int) -> Tensor:
    """Repeat a window for each of its channels, in the order of `split_channels`."""
    return ops.repeat(x, count, axis=0)


def join_channels(ops: ModuleType, x: Tensor, count: int) -> Tensor:
    """Undo `split_channels`."""
    return ops.transpose(ops.reshape(x, (-1, count, x.shape[1])), (0, 2, 1))


def repeat_targets(ops: ModuleType, x: Tensor, count: int) -> Tensor:
    """Repeat each target for each quantile, side by side."""
    return ops.repeat(x, count, axis=-1)


def sort_quantiles(ops: ModuleType, x: Tensor, quantiles: list[float]) -> Tensor:
    """Return the quantiles of each target, sorted so that none crosses another (Chernozhukov et al. 2010)."""
    horizon, width = x.shape[1:]
    return ops.sort(ops.reshape(x, (-1, horizon, width // len(quantiles), len(quantiles))), axis=-1)
