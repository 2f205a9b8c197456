"""`reproduce`: train a run again from what it recorded, and say at which stage, if any, the two part."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from forecast.contracts import contract
from forecast.environment import environment
from forecast.errors import DAMAGED, RunError, first_few
from forecast.files import sha256_of
from forecast.fingerprints import apart
from forecast.preparation import fingerprint_of, prepare_panel, read_checked
from forecast.runs import Run
from forecast.training import check_trainable, read_parent, train

if TYPE_CHECKING:
    import pandas as pd

    from forecast.config import Config
    from forecast.models.fitting import Progress

TOLERANCE = 1e-3  # relative; other machines and versions add numbers up in another order
ABOUT = {"forecast", "python", "cpu", "threads", "devices", "backend", "packages"}  # of an environment, what can change numbers
EPOCH = ["loss", "val_loss", "learning_rate"]  # of a row of the history
TINY = float(np.finfo(np.float32).tiny)
Verdict = Literal["equal", "within tolerance", "differs", "not recorded"]


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
    if run_dir and Path(run_dir).exists():
        raise RunError("this directory exists.", "Choose another --run-dir.", str(run_dir))
    config, parent = run.read_config(), read_parent(run)
    parent = parent and replace(parent, forced=True)  # it is compared with itself, not with its parent
    if data:
        own = config.data.model_copy(update={"path": str(data)})
        config = config.model_copy(update={"data": own})
    config, panel = read_checked(config)
    prepared = prepare_panel(config, panel, parent.trained.scaler if parent else None)
    known = run.read_json(run.fingerprints) if run.fingerprints.exists() else {}
    stages = [_versions(run), _data(run, contract(prepared.panel))]
    stages.append(_compared("windows", known.get("windows"), fingerprint_of(prepared), tolerance))
    if any(stage.verdict == "differs" for stage in stages[1:]):
        return stages
    with tempfile.TemporaryDirectory() as folder:
        again = train(config, run_dir or Path(folder) / run.name, parent=parent, panel=panel, on_progress=on_progress)
        stages.extend(_trained(run, again, config, known.get("initial_weights"), tolerance))
    return stages


def verdict_of(stages: list[Stage]) -> Verdict:
    """The worst of all stages but the versions, whose difference alone changes nothing."""
    found = {stage.verdict for stage in stages if stage.name != "versions"}
    return next(verdict for verdict in ("differs", "within tolerance", "equal", "not recorded") if verdict in found)


def _versions(run: Run) -> Stage:
    before, now = run.read_json(run.environment), environment()
    changed = []
    for name in ABOUT:
        old, new = before.get(name), now[name]
        if isinstance(old, dict) and isinstance(new, dict):
            parts = dict.fromkeys([*old, *new])
            changed += [f"{part} {old.get(part)} became {new.get(part)}" for part in parts if old.get(part) != new.get(part)]
        elif old != new and name in before:
            changed.append(f"{name} {old} became {new}")
    return Stage("versions", "differs", first_few(sorted(changed), 9)) if changed else Stage("versions", "equal")


def _data(run: Run, now: dict) -> Stage:
    before = run.read_json(run.contract)
    if before["sha256"] != now["sha256"]:
        keys = [key for key in ("rows", "series", "freq", "first_timestamp", "last_timestamp") if before[key] != now[key]]
        told = first_few([f"{key} {before[key]} became {now[key]}" for key in keys], 9) or "the same rows, with other cells"
        return Stage("data", "differs", f"the file changed: {told}")
    read = [{key: value for key, value in one.items() if key in {"rows", "series", "columns", "freq"}} for one in (before, now)]
    return _compared("data", *read, tolerance=0.0)


def _compared(name: str, before: object, now: object, tolerance: float) -> Stage:
    """A stage that both runs tell as JSON."""
    if not before:
        return Stage(name, "not recorded")
    if before == now:
        return Stage(name, "equal")
    far, place = apart(_norms(before), _norms(now))
    if far == 0:
        return Stage(name, "differs", "in the order of its numbers")
    return _apart(name, far, f"{place}" + (f" by {far:.1e} of its size" if math.isfinite(far) else ""), tolerance)


def _norms(told: object) -> object:
    """A document without the digests of its fingerprints, which cannot say how far apart two are."""
    if not isinstance(told, dict):
        return told
    return told["norms"] if "norms" in told else {key: _norms(value) for key, value in told.items()}


def _apart(name: str, far: float, found: str, tolerance: float) -> Stage:
    return Stage(name, "within tolerance" if far <= tolerance else "differs", found)


def _trained(run: Run, again: Run, config: Config, initial: dict | None, tolerance: float) -> Iterator[Stage]:
    """The stages from the first weight on."""
    yield _compared("initial weights", initial, again.read_json(again.fingerprints)["initial_weights"], tolerance)
    if run.history.exists():  # of intervals alone there is none
        yield _epochs(run, again, config, tolerance)
    yield _weights(run, again, tolerance)
    yield _compared("metrics", run.read_json(run.metrics), again.read_json(again.metrics), tolerance)


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
                return _apart("epochs", far, f"{place}: {name} {row[name]:.6g} became {other[name]:.6g}", tolerance)
    return Stage("epochs", "equal", f"{len(before)} of them")


def _history(run: Run) -> pd.DataFrame:
    try:
        return run.read_pieces(run.history).set_index(["seed", "epoch"])[EPOCH].astype(float)
    except (KeyError, ValueError) as error:
        raise RunError(f"is no history of a training ({error}).", DAMAGED, str(run.history)) from None


def _weights(run: Run, again: Run, tolerance: float) -> Stage:
    if sha256_of(run.weights) == sha256_of(again.weights):
        return Stage("weights", "equal")
    numbers = again.read_json(again.metrics)["parameters"]
    before, now = (one.read_arrays(one.weights, numbers) for one in (run, again))
    if {name: array.shape for name, array in before.items()} != {name: array.shape for name, array in now.items()}:
        return Stage("weights", "differs", "there are others")
    far = {name: np.linalg.norm(array - now[name]) / max(np.linalg.norm(array), TINY) for name, array in before.items()}
    name = max(far, key=far.get)
    return _apart("weights", float(far[name]), f"{name} by {far[name]:.1e} of its size", tolerance)
