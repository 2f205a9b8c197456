"""`reproduce`: train a run again from what it recorded, and say at which stage, if any, the two part."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from forecast.commands.train import check_outside, check_trainable, train
from forecast.config import change_config
from forecast.data import make_contract
from forecast.errors import DAMAGED, RunError, first_few
from forecast.forecasters.preparation import read_checked
from forecast.runs import (
    Run,
    apart,
    distance,
    environment,
    fingerprint,
    fingerprint_of,
    prepare_after,
    read_parent,
    read_training_rows,
)
from forecast.storage import PARTIAL_PREFIX, sha256_of

if TYPE_CHECKING:
    import pandas as pd

    from forecast.config import Config
    from forecast.forecasters.network.callbacks import Progress

TOLERANCE = 1e-3  # relative; other machines and versions add numbers up in another order
ABOUT = {"forecast", "python", "cpu", "threads", "devices", "backend", "packages"}  # of an environment, what can change numbers
EPOCH = ["loss", "val_loss", "learning_rate"]  # of a row of the history
Verdict = Literal["not recorded", "equal", "within tolerance", "differs"]
ORDER: tuple[Verdict, ...] = get_args(Verdict)  # the worst last


@dataclass(frozen=True)
class Stage:
    """One stage of a training that was done twice; `found` says what differs."""

    name: str
    verdict: Verdict
    found: str = ""


def reproduce(
    run: Run | str | Path,
    data: str | Path | None = None,
    run_dir: str | Path | None = None,
    tolerance: float = TOLERANCE,
    on_progress: Callable[[Progress], None] | None = None,
) -> list[Stage]:
    """Train again with the config, seed and data of a finished run, and compare stage by stage, in the order of training.

    data: where the run's data are now, if not where its config says. run_dir: keeps the second training, which is else removed.
    tolerance: relative difference of numbers up to which a stage is within tolerance.

    Returns the stages: versions, data, windows, initial weights, epochs, weights, metrics; the first that differs is where to
    look. Nothing is trained if data or windows differ.

    Raises:
        ConfigError, DataError, RunError: the run is unfinished or damaged, or its data cannot be read.
    """
    check_trainable()
    run = run if isinstance(run, Run) else Run.open(run)
    check_outside(run_dir, run)
    if run_dir and Path(run_dir).exists():
        raise RunError("this directory exists.", "Choose another --run-dir.", str(run_dir))
    config, parent = run.read_config(), read_parent(run)
    parent = parent and replace(parent, even_if_worse=True)  # it is compared with itself, not with its parent
    config = change_config(config, {"tracking": []} | ({"data.path": str(data)} if data else {}))
    config, panel = read_checked(config, read_training_rows(run, config.data))
    prepared = prepare_after(parent, config, panel)
    known = run.read_json(run.fingerprints) if run.fingerprints.exists() else {}
    known = known if isinstance(known, dict) else {}
    stages = [_versions(run), _data(run, make_contract(prepared.panel))]
    stages.append(_fingerprinted("windows", known.get("windows"), fingerprint_of(prepared), tolerance))
    if any(stage.verdict == "differs" for stage in stages[1:]):
        return stages
    with tempfile.TemporaryDirectory() as folder:
        again = train(
            config, run_dir or Path(folder) / (PARTIAL_PREFIX + run.name), parent=parent, panel=panel, on_progress=on_progress
        )
        stages.extend(_trained(run, again, config, known.get("initial_weights"), tolerance))
    return stages


def verdict_of(stages: list[Stage]) -> Verdict:
    """The worst of all stages but the versions, whose difference alone changes nothing."""
    found = {stage.verdict for stage in stages if stage.name != "versions"}
    return max(found, key=ORDER.index)


def _versions(run: Run) -> Stage:
    before, now = run.read_json(run.environment), environment()
    before = before if isinstance(before, dict) else {}
    changed = []
    for name in ABOUT:
        old, new = before.get(name), now[name]
        if isinstance(old, dict) and isinstance(new, dict):
            parts = dict.fromkeys([*old, *new])
            changed += [f"{part} {old.get(part)} became {new.get(part)}" for part in parts if old.get(part) != new.get(part)]
        elif old != new and name in before:
            changed.append(f"{name} {old} became {new}")
    if changed:
        return Stage("versions", "differs", first_few(sorted(changed), 9))
    return Stage("versions", "equal" if before.keys() >= ABOUT else "not recorded")


def _data(run: Run, now: dict) -> Stage:
    before = run.read_json(run.contract)
    before = before if isinstance(before, dict) else {}
    if before.get("sha256") != now["sha256"]:
        keys = [key for key in ("rows", "series", "freq", "first_timestamp", "last_timestamp") if before.get(key) != now[key]]
        told = first_few([f"{key} {before.get(key)} became {now[key]}" for key in keys], 9) or "the same rows, with other cells"
        return Stage("data", "differs", f"the file changed: {told}")
    read = [{key: value for key, value in one.items() if key in {"rows", "series", "columns", "freq"}} for one in (before, now)]
    return _compared("data", *read, tolerance=0.0)


def _compared(name: str, before: object, now: object, tolerance: float) -> Stage:
    """A stage that both runs tell as JSON."""
    if before == now:
        return Stage(name, "equal")
    return _apart(name, *apart(before, now), tolerance)


def _fingerprinted(name: str, before: dict | None, now: dict, tolerance: float) -> Stage:
    """A stage of which both runs have a fingerprint."""
    if not before:
        return Stage(name, "not recorded")
    try:
        far, place = distance(before, now)
    except (KeyError, TypeError, IndexError):
        return Stage(name, "not recorded", "its fingerprint is damaged")
    return _apart(name, far, place, tolerance) if far else Stage(name, "equal")


def _apart(name: str, far: float, place: str, tolerance: float) -> Stage:
    told = f"{place} by {far:.1e} of its size" if math.isfinite(far) else place
    return Stage(name, _verdict(far, tolerance), told)


def _verdict(far: float, tolerance: float) -> Verdict:
    """Of two that are not equal."""
    return "within tolerance" if far <= tolerance else "differs"


def _trained(run: Run, again: Run, config: Config, initial: dict | None, tolerance: float) -> Iterator[Stage]:
    """The stages from the first weight on."""
    now = again.read_json(again.fingerprints)["initial_weights"]
    if initial and initial.keys() != now.keys():
        yield Stage("initial weights", "differs", f"seeds {', '.join(initial)} became {', '.join(now)}")
    elif now:  # of intervals alone there are none
        found = [_fingerprinted("initial weights", (initial or {}).get(seed), own, tolerance) for seed, own in now.items()]
        yield max(found, key=lambda stage: ORDER.index(stage.verdict))
    if not run.history.exists() and again.history.exists():
        yield Stage("epochs", "not recorded")
    elif again.history.exists():
        yield _epochs(run, again, config, tolerance)
    yield _weights(run, again, tolerance)
    before = run.read_json(run.metrics)
    yield _compared("metrics", before, _recorded(before, again.read_json(again.metrics)), tolerance)


def _recorded(before: object, now: object) -> object:
    """Return a JSON document without the keys that an earlier one lacks; versions come to measure more.

    >>> _recorded({"test": {"mae": 1.0}}, {"test": {"mae": 1.0, "bias": 0.1}, "verdict": ""})
    {'test': {'mae': 1.0}}
    """
    if isinstance(before, dict) and isinstance(now, dict):
        return {key: _recorded(before[key], value) for key, value in now.items() if key in before}
    return now


def _epochs(run: Run, again: Run, config: Config, tolerance: float) -> Stage:
    before, now = (_history(one) for one in (run, again))
    for fine in (tolerance, 0.0):
        for seed, epoch in before.index.union(now.index, sort=False):
            place = f"epoch {epoch}" + (f" of seed {seed}" if config.training.seeds else "")
            if (seed, epoch) not in before.index or (seed, epoch) not in now.index:
                return Stage("epochs", "differs", f"{place} is there once only")
            row, other = before.loc[(seed, epoch)].to_dict(), now.loc[(seed, epoch)].to_dict()
            far, name = apart(row, other)
            if far > fine:
                told = f"{place}: {name} {row[name]:.6g} became {other[name]:.6g}"
                return Stage("epochs", _verdict(far, tolerance), told)
    return Stage("epochs", "equal", f"{len(before)} of them")


def _history(run: Run) -> pd.DataFrame:
    try:
        table = run.read_pieces(run.history).set_index(["seed", "epoch"])[EPOCH].astype(float)
        if table.index.has_duplicates:
            raise ValueError("an epoch is there twice")
        return table
    except (KeyError, ValueError) as error:
        raise RunError(f"is no history of a training ({error}).", DAMAGED, str(run.history)) from None


def _weights(run: Run, again: Run, tolerance: float) -> Stage:
    if sha256_of(run.weights) == sha256_of(again.weights):
        return Stage("weights", "equal")
    numbers = again.read_json(again.metrics)["parameters"]
    before, now = (fingerprint(one.read_arrays(one.weights, numbers)) for one in (run, again))
    return _fingerprinted("weights", before, now, tolerance)
