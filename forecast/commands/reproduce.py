"""`reproduce`: train a run again from what it recorded, and say at which stage, if any, the two part."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from forecast.commands.train import continue_training, train
from forecast.config import change_config
from forecast.data import Contract, make_contract
from forecast.errors import DAMAGED, RunError, first_few
from forecast.evaluation import TrainingMetrics
from forecast.forecasters.preparation import read_and_resolve
from forecast.runs import (
    Environment,
    Fingerprint,
    Fingerprints,
    Run,
    compare_documents,
    compare_fingerprints,
    fingerprint_arrays,
    fingerprint_inputs,
    inspect_environment,
    prepare_with_parent,
    read_contract,
    read_history,
    read_parent,
    read_training_panel,
)
from forecast.storage import PARTIAL_PREFIX, sha256_of
from forecast.training import check_can_train, check_not_inside

if TYPE_CHECKING:
    import pandas as pd

    from forecast.config import Config
    from forecast.forecasters.network.callbacks import Progress

TOLERANCE = 1e-3  # relative; other machines and versions add numbers up in another order
# Fields of `Environment` that can change numbers.
RECORDED = {
    "forecast",
    "python",
    "cpu",
    "threads",
    "devices",
    "backend",
    "packages",
}  # Fields of `Environment` that can change numbers.
SIZES = ("rows", "series", "freq", "first_timestamp", "last_timestamp")  # Fields of `Contract` that show how a file changed.
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
    check_can_train()
    run = run if isinstance(run, Run) else Run.open(run)
    check_not_inside(run_dir, run)
    if run_dir and Path(run_dir).exists():
        raise RunError("this directory exists.", "Choose another --run-dir.", str(run_dir))
    config, parent = run.read_config(), read_parent(run)
    parent = parent and replace(parent, even_if_worse=True)  # it is compared with itself, not with its parent
    config = change_config(config, {"tracking": []} | ({"data.path": str(data)} if data else {}))
    config, panel = read_and_resolve(config, read_training_panel(run, config.data))
    prepared = prepare_with_parent(parent, config, panel)
    recorded = run.read(run.fingerprints, Fingerprints) if run.fingerprints.exists() else Fingerprints()
    stages = [_versions(run), _data(run, make_contract(prepared.panel))]
    stages.append(_fingerprinted("windows", recorded.windows, fingerprint_inputs(prepared), tolerance))
    if any(stage.verdict == "differs" for stage in stages[1:]):
        return stages
    with tempfile.TemporaryDirectory() as folder:
        new_dir = run_dir or Path(folder) / (PARTIAL_PREFIX + run.name)
        if parent:
            again = continue_training(config, parent, panel, new_dir, on_progress=on_progress)
        else:
            again = train(config, new_dir, on_progress=on_progress, panel=panel)
        stages.extend(_trained(run, again, config, recorded.initial_weights, tolerance))
    return stages


def verdict_of(stages: list[Stage]) -> Verdict:
    """The worst of all stages but the versions, whose difference alone changes nothing."""
    found = {stage.verdict for stage in stages if stage.name != "versions"}
    return max(found, key=ORDER.index)


def _versions(run: Run) -> Stage:
    before, now = run.read(run.environment, Environment), inspect_environment()
    changed = []
    for name in before.model_fields_set & RECORDED:
        old, new = getattr(before, name), getattr(now, name)
        if isinstance(old, dict):
            parts = dict.fromkeys([*old, *new])
            changed += [f"{part} {old.get(part)} became {new.get(part)}" for part in parts if old.get(part) != new.get(part)]
        elif old != new:
            changed.append(f"{name} {old} became {new}")
    if changed:
        return Stage("versions", "differs", first_few(sorted(changed), 9))
    return Stage("versions", "equal" if before.model_fields_set >= RECORDED else "not recorded")


def _data(run: Run, now: Contract) -> Stage:
    before = read_contract(run)
    if before.sha256 != now.sha256:
        pairs = {key: (getattr(before, key), getattr(now, key)) for key in SIZES}
        changes = [f"{key} {old} became {new}" for key, (old, new) in pairs.items() if old != new]
        told = first_few(changes, 9) or "the same rows, with other cells"
        return Stage("data", "differs", f"the file changed: {told}")
    read = (contract.model_dump(include={"rows", "series", "columns", "freq"}) for contract in (before, now))
    return _compared("data", *read, tolerance=0.0)


def _compared(name: str, before: object, now: object, tolerance: float) -> Stage:
    """A stage that both runs tell as JSON."""
    if before == now:
        return Stage(name, "equal")
    return _apart(name, *compare_documents(before, now), tolerance)


def _fingerprinted(name: str, before: Fingerprint | None, now: Fingerprint, tolerance: float) -> Stage:
    """A stage of which both runs have a fingerprint."""
    if not before:
        return Stage(name, "not recorded")
    far, place = compare_fingerprints(before, now)
    return _apart(name, far, place, tolerance) if far else Stage(name, "equal")


def _apart(name: str, far: float, place: str, tolerance: float) -> Stage:
    told = f"{place} by {far:.1e} of its size" if math.isfinite(far) else place
    return Stage(name, _verdict(far, tolerance), told)


def _verdict(far: float, tolerance: float) -> Verdict:
    """Of two that are not equal."""
    return "within tolerance" if far <= tolerance else "differs"


def _trained(run: Run, again: Run, config: Config, initial: dict[int, Fingerprint], tolerance: float) -> Iterator[Stage]:
    """The stages from the first weight on."""
    now = again.read(again.fingerprints, Fingerprints).initial_weights
    if initial and initial.keys() != now.keys():
        before, after = (", ".join(map(str, seeds)) for seeds in (initial, now))
        yield Stage("initial weights", "differs", f"seeds {before} became {after}")
    elif now:  # of intervals alone there are none
        found = [_fingerprinted("initial weights", initial.get(seed), own, tolerance) for seed, own in now.items()]
        yield max(found, key=lambda stage: ORDER.index(stage.verdict))
    if not run.history.exists() and again.history.exists():
        yield Stage("epochs", "not recorded")
    elif again.history.exists():
        yield _epochs(run, again, config, tolerance)
    yield _weights(run, again, tolerance)
    before, after = (each.read(each.metrics, TrainingMetrics).to_json() for each in (run, again))
    yield _compared("metrics", before, _recorded(before, after), tolerance)


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
            far, name = compare_documents(row, other)
            if far > fine:
                told = f"{place}: {name} {row[name]:.6g} became {other[name]:.6g}"
                return Stage("epochs", _verdict(far, tolerance), told)
    return Stage("epochs", "equal", f"{len(before)} of them")


def _history(run: Run) -> pd.DataFrame:
    table = read_history(run).set_index(["seed", "epoch"])[EPOCH]
    if table.index.has_duplicates:
        raise RunError("holds an epoch twice.", DAMAGED, str(run.history))
    return table


def _weights(run: Run, again: Run, tolerance: float) -> Stage:
    if sha256_of(run.weights) == sha256_of(again.weights):
        return Stage("weights", "equal")
    numbers = again.read(again.metrics, TrainingMetrics).parameters
    before, now = (fingerprint_arrays(one.read_arrays(one.weights, numbers)) for one in (run, again))
    return _fingerprinted("weights", before, now, tolerance)
