"""Fingerprints: what a training began with, so small that a run keeps it, and so exact that one changed bit shows."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping

import numpy as np


def fingerprint(arrays: Mapping[str, np.ndarray]) -> dict:
    """As plain JSON values: a digest of all arrays, for equality, and the norm of each, which tells how far apart others are.

    >>> fingerprint({"kernel": np.array([3.0, 4.0])})["norms"]
    {'kernel': 5.0}
    """
    told = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        told.update(f"{name} {array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    norms = {name: float(np.linalg.norm(np.nan_to_num(array).ravel().astype(np.float64))) for name, array in arrays.items()}
    return {"sha256": told.hexdigest(), "norms": norms}


def apart(one: object, other: object, place: str = "") -> tuple[float, str]:
    """The largest relative difference of two JSON documents, and where it is; infinite where they are not built the same.

    >>> apart({"mae": 1.0, "windows": 13}, {"mae": 1.1, "windows": 13})
    (0.0909..., 'mae')
    """
    return max(_differences(one, other, place), key=lambda found: found[0], default=(0.0, place))


def _differences(one: object, other: object, place: str) -> Iterator[tuple[float, str]]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in dict.fromkeys([*one, *other]):
            below = f"{place}/{key}" if place else str(key)
            yield from _differences(one[key], other[key], below) if key in one and key in other else [(math.inf, below)]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, pair in enumerate(zip(one, other, strict=True)):
            yield from _differences(*pair, f"{place}/{number}")
    elif _is_number(one) and _is_number(other):
        yield _relative(float(one), float(other)), place
    else:
        yield 0.0 if one == other else math.inf, place


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _relative(one: float, other: float) -> float:
    if one == other or (math.isnan(one) and math.isnan(other)):
        return 0.0
    found = abs(one - other) / max(abs(one), abs(other))
    return found if math.isfinite(found) else math.inf
