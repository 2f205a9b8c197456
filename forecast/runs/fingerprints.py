"""Fingerprints of arrays: small enough to keep in a run, and exact enough to reveal a single changed bit."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping

import numpy as np

from forecast.forecasters.preparation import Prepared
from forecast.runs.documents import SIGNS, Fingerprint
from forecast.windows import Windows

CHUNK = 2**17  # Numbers that are sketched at once.
TINY = float(np.finfo(np.float32).tiny)


def fingerprint_arrays(arrays: Mapping[str, np.ndarray]) -> Fingerprint:
    """Return a digest of all arrays, and a sketch of each array of floats, which tells how much another array differs.

    A sketch holds the norm of the array and its products with random signs, which are the same for every array of its size. The
    mean of the squares of the products of a difference estimates its squared norm (Achlioptas 2003).
    """
    digest, integers, sketches = hashlib.sha256(), hashlib.sha256(), {}
    for name, array in sorted(arrays.items()):
        array = np.ascontiguousarray(array)
        content = f"{name} {array.dtype} {array.shape}".encode(), array.data
        for part in content:
            digest.update(part)
        if array.dtype.kind == "f":
            sketches[name] = _sketch(array.ravel())
        else:
            for part in content:
                integers.update(part)
    return Fingerprint(sha256=digest.hexdigest(), integers=integers.hexdigest(), sketches=sketches)


def fingerprint_inputs(prepared: Prepared) -> Fingerprint:
    """Return the fingerprint of everything that networks see and are scored on."""
    arrays: dict[str, np.ndarray] = {}
    networks = prepared.network_windows
    parts: list[tuple[str, Windows]] = [*prepared.windows.items(), ("train", networks["train"])]
    if len(networks["validation"]) != len(prepared.windows["validation"]):  # They have gaps.
        parts.append(("network validation", networks["validation"]))
    for part, windows in parts:
        arrays |= {f"{part}/first": windows.first, f"{part}/series": windows.series}
    arrays |= {"past": windows.past, "known": windows.known_covariates, "future": networks["train"].future}  # For all parts.
    return fingerprint_arrays(arrays | {f"static/{name}": values for name, values in windows.static.items()})


def _sketch(values: np.ndarray) -> list[float]:
    rng, squares, products = np.random.default_rng(0), 0.0, np.zeros(SIGNS)
    for start in range(0, len(values), CHUNK):
        chunk = np.nan_to_num(values[start : start + CHUNK]).astype(np.float64)
        signs = rng.integers(0, 2, (SIGNS, len(chunk)), dtype=np.int8) * 2 - 1
        squares, products = squares + float(chunk @ chunk), products + signs @ chunk
    return [math.sqrt(squares), *products.tolist()]


def compare_fingerprints(before: Fingerprint, after: Fingerprint) -> tuple[float, str]:
    """Return about how much arrays differ, as a fraction of their norm, and the name of those that differ most.

    The difference is infinite where there are different arrays, or different whole numbers in them.

    >>> before, after = (fingerprint_arrays({"kernel": np.array([3.0, last])}) for last in (4.0, 4.5))
    >>> compare_fingerprints(before, after)
    (0.1, 'kernel')
    """
    if before.sha256 == after.sha256:
        return 0.0, ""
    if before.integers != after.integers or before.sketches.keys() != after.sketches.keys():
        return math.inf, "which windows or weights there are"
    differences = []
    for name, (norm, *products) in before.sketches.items():
        distance = np.sqrt(np.mean(np.square(np.subtract(products, after.sketches[name][1:]))))
        differences.append((float(distance / max(norm, TINY)), name))
    return max(differences, default=(math.inf, "their order"))


def compare_documents(before: object, after: object) -> tuple[float, str]:
    """Return the largest relative difference of two JSON documents, and its path. It is infinite where their shapes differ.

    >>> compare_documents({"mae": 1.0, "windows": 13}, {"mae": 1.1, "windows": 13})
    (0.0909..., 'mae')
    """
    old, new = dict(_flatten(before)), dict(_flatten(after))
    differences = [
        (_compare_values(old[path], new[path]) if path in old and path in new else math.inf, path) for path in {**old, **new}
    ]
    return max(differences, key=lambda difference: difference[0], default=(0.0, ""))


def _flatten(document: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Yield the path and the value of every leaf of a JSON document."""
    if isinstance(document, (Mapping, list)):
        for key, value in document.items() if isinstance(document, Mapping) else enumerate(document):
            yield from _flatten(value, f"{path}/{key}" if path else str(key))
    else:
        yield path, document


def _compare_values(before: object, after: object) -> float:
    if before == after:
        return 0.0
    if not isinstance(before, (int, float)) or not isinstance(after, (int, float)):
        return math.inf
    if math.isnan(before) and math.isnan(after):
        return 0.0
    difference = abs(before - after) / max(abs(before), abs(after))
    return difference if math.isfinite(difference) else math.inf
