"""Fingerprints: what a training began with, so small that a run keeps it, and so exact that one changed bit shows."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping

import numpy as np

from forecast.forecasters.preparation import Prepared

SIGNS = 16  # products of a sketch; an estimate from them is off by a fifth or so
PIECE = 2**17  # numbers that are sketched at once
TINY = float(np.finfo(np.float32).tiny)


def fingerprint(arrays: Mapping[str, np.ndarray]) -> dict:
    """As plain JSON values: a digest of all arrays, for equality, and of each array of floats a sketch, which tells how far apart
    others are: its norm, and its products with random signs, the same for every array of its size. Those of a difference are, in
    the mean of their squares, as large as its norm (Achlioptas 2003).
    """
    whole, exact, sketches = hashlib.sha256(), hashlib.sha256(), {}
    for name, array in sorted(arrays.items()):
        array, told = np.ascontiguousarray(array), f"{name} {array.dtype} {array.shape}".encode()
        for digest in (whole, exact) if array.dtype.kind != "f" else (whole,):
            digest.update(told)
            digest.update(array.data)
        if array.dtype.kind == "f":
            sketches[name] = _sketch(array.ravel())
    return {"sha256": whole.hexdigest(), "integers": exact.hexdigest(), "sketches": sketches}


def _sketch(values: np.ndarray) -> list[float]:
    rng, squares, products = np.random.default_rng(0), 0.0, np.zeros(SIGNS)
    for start in range(0, len(values), PIECE):
        piece = np.nan_to_num(values[start : start + PIECE]).astype(np.float64)
        signs = rng.integers(0, 2, (SIGNS, len(piece)), dtype=np.int8) * 2 - 1
        squares, products = squares + float(piece @ piece), products + signs @ piece
    return [math.sqrt(squares), *products.tolist()]


def distance(one: dict, other: dict) -> tuple[float, str]:
    """About how far two fingerprints' arrays are apart, as a fraction of their norm, and the name of those that are the farthest;
    infinite where there are other arrays, or other whole numbers in them.

    >>> one, other = (fingerprint({"kernel": np.array([3.0, last])}) for last in (4.0, 4.5))
    >>> distance(one, other)
    (0.1, 'kernel')
    """
    if one["sha256"] == other["sha256"]:
        return 0.0, ""
    mine, theirs = one["sketches"], other["sketches"]
    if one["integers"] != other["integers"] or mine.keys() != theirs.keys():
        return math.inf, "which windows or weights there are"
    found = [(_apart(mine[name], theirs[name]), name) for name in mine]
    return max(found, default=(math.inf, "their order"))


def _apart(mine: list[float], theirs: list[float]) -> float:
    apart = np.subtract(mine[1:], theirs[1:])
    return float(np.sqrt(np.mean(apart * apart)) / max(mine[0], TINY))


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


def fingerprint_of(prepared: Prepared) -> dict:
    """Of all that networks see and are scored on; see `fingerprint`."""
    arrays = {}
    for part, windows in prepared.windows.items():
        arrays |= {f"{part}/first": windows.first, f"{part}/series": windows.series}
    arrays |= {"past": windows.past, "known": windows.known_covariates, "future": windows.future}  # which the parts share
    return fingerprint(arrays | {f"static/{name}": values for name, values in windows.static.items()})
