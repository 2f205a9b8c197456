"""`reproduce`: train a run again with its config, seed and data, and name the first stage at which the results differ."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
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
)
from forecast.storage import PARTIAL_PREFIX, sha256_of
from forecast.training import OnProgress, check_can_train, check_inputs_outside

if TYPE_CHECKING:
    import pandas as pd

    from forecast.config import Config

TOLERANCE = 1e-3  # Relative. Other machines and versions add numbers up in another order.
RECORDED = {"forecast", "python", "cpu", "threads", "devices", "backend", "packages"}  # `Environment` fields that change numbers.
SIZES = ("rows", "series", "freq", "first_timestamp", "last_timestamp")  # Fields of `Contract` that show how a file changed.
EPOCH = ["loss", "val_loss", "learning_rate"]  # Columns of the history.
Verdict = Literal["not recorded", "equal", "within tolerance", "differs"]
ORDER: tuple[Verdict, ...] = get_args(Verdict)  # The worst last.


@dataclass(frozen=True)
class Stage:
    """One stage of a training that was done twice. detail: the difference, if there is one."""

    name: str
    verdict: Verdict
    detail: str = ""


def reproduce(
    run: Run | str | Path,
    data: str | Path | None = None,
    run_dir: str | Path | None = None,
    tolerance: float = TOLERANCE,
    on_progress: OnProgress | None = None,
) -> list[Stage]:
    """Train again with the config, seed and data of a finished run, and compare stage by stage, in the order of training.

    data: the path of the run's data, if it differs from the path in the config. run_dir: stores the second training, which is
    removed otherwise. tolerance: largest relative difference at which numbers count as equal.

    Returns the stages: versions, data, windows, initial weights, epochs, weights, metrics. The first one that differs shows the
    cause. Nothing is trained if data or windows differ.

    Raises:
        ConfigError, DataError, RunError: the run is unfinished or damaged, or its data cannot be read.
    """
    check_can_train()
    run = run if isinstance(run, Run) else Run.open(run)
    if run_dir and Path(run_dir).exists():
        raise RunError("this directory already exists.", "Choose another --run-dir.", str(run_dir))
    check_inputs_outside(run_dir, {"the run to reproduce": run.directory})
    config, parent = run.read_config(), read_parent(run)
    parent = parent and replace(parent, even_if_worse=True)  # It is compared with itself, not with its parent.
    config = change_config(config, {"tracking": []} | ({"data.path": str(data)} if data else {}))
    if not run.scored.exists():  # Earlier versions did not refit.
        config = change_config(config, {"training.refit": False})
    config, panel = read_and_resolve(config)
    prepared = prepare_with_parent(parent, config, panel)
    recorded = run.read(run.fingerprints, Fingerprints) if run.fingerprints.exists() else Fingerprints()
    stages = [_compare_versions(run), _compare_data(run, make_contract(prepared.panel))]
    stages.append(_compare_arrays("windows", recorded.windows, fingerprint_inputs(prepared), tolerance))
    if any(stage.verdict == "differs" for stage in stages[1:]):
        return stages
    with tempfile.TemporaryDirectory() as folder:
        new_dir = run_dir or Path(folder) / (PARTIAL_PREFIX + run.name)
        if parent:
            again = continue_training(config, parent, panel, new_dir, on_progress=on_progress)
        else:
            again = train(config, new_dir, on_progress=on_progress, panel=panel)
        stages.extend(_compare_trainings(run, again, config, recorded.initial_weights, tolerance))
    return stages


def verdict_of(stages: list[Stage]) -> Verdict:
    """Return the worst verdict of all stages but the versions, which alone change nothing."""
    return max((stage.verdict for stage in stages if stage.name != "versions"), key=ORDER.index)


def _compare_versions(run: Run) -> Stage:
    before, now = run.read(run.environment, Environment), inspect_environment()
    changed = []
    for name in before.model_fields_set & RECORDED:
        old, new = getattr(before, name), getattr(now, name)
        pairs = {key: (old.get(key), new.get(key)) for key in old | new} if isinstance(old, dict) else {name: (old, new)}
        changed += _describe_changes(pairs)
    if changed:
        return Stage("versions", "differs", first_few(sorted(changed), 9))
    return Stage("versions", "equal" if before.model_fields_set >= RECORDED else "not recorded")


def _describe_changes(pairs: dict[str, tuple[object, object]]) -> list[str]:
    return [f"{name} changed from {old} to {new}" for name, (old, new) in pairs.items() if old != new]


def _compare_data(run: Run, now: Contract) -> Stage:
    before = read_contract(run)
    if before.sha256 != now.sha256:
        changes = _describe_changes({key: (getattr(before, key), getattr(now, key)) for key in SIZES})
        change = first_few(changes, 9) or "the number of rows is the same, but some values differ"
        return Stage("data", "differs", f"the file changed: {change}")
    old, new = (contract.model_dump(include={"rows", "series", "columns", "freq"}) for contract in (before, now))
    return _judge("data", *compare_documents(old, new), tolerance=0.0)


def _compare_arrays(name: str, before: Fingerprint | None, now: Fingerprint, tolerance: float) -> Stage:
    """Compare a stage of which both runs have a fingerprint."""
    return _judge(name, *compare_fingerprints(before, now), tolerance) if before else Stage(name, "not recorded")


def _judge(name: str, difference: float, path: str, tolerance: float, detail: str = "") -> Stage:
    """Return the stage for the largest relative difference, and the path at which it is."""
    if difference == 0:
        return Stage(name, "equal")
    detail = detail or (f"{path} has a relative difference of {difference:.1e}" if math.isfinite(difference) else path)
    return Stage(name, "within tolerance" if difference <= tolerance else "differs", detail)


def _compare_trainings(
    run: Run, again: Run, config: Config, initial: dict[int, Fingerprint], tolerance: float
) -> Iterator[Stage]:
    """Yield the stages from the first weight on. initial: fingerprints of the initial weights of the run, by seed."""
    now = again.read(again.fingerprints, Fingerprints).initial_weights
    if initial and initial.keys() != now.keys():
        old, new = (", ".join(map(str, seeds)) for seeds in (initial, now))
        yield Stage("initial weights", "differs", f"the seeds changed from {old} to {new}")
    elif now:  # An update of the intervals alone has none.
        stages = [_compare_arrays("initial weights", initial.get(seed), weights, tolerance) for seed, weights in now.items()]
        yield max(stages, key=lambda stage: ORDER.index(stage.verdict))
    if again.history_file.exists():
        yield _compare_epochs(run, again, config, tolerance) if run.history_file.exists() else Stage("epochs", "not recorded")
    yield _compare_weights(run, again, tolerance)
    before, after = (side.read(side.metrics_file, TrainingMetrics).to_json() for side in (run, again))
    yield _judge("metrics", *compare_documents(before, _drop_new_keys(before, after)), tolerance)


def _drop_new_keys(before: object, now: object) -> object:
    """Return a JSON document without the keys that an earlier one lacks, since later versions measure more.

    >>> _drop_new_keys({"test": {"mae": 1.0}}, {"test": {"mae": 1.0, "bias": 0.1}, "verdict": ""})
    {'test': {'mae': 1.0}}
    """
    if isinstance(before, dict) and isinstance(now, dict):
        return {key: _drop_new_keys(before[key], value) for key, value in now.items() if key in before}
    return now


def _compare_epochs(run: Run, again: Run, config: Config, tolerance: float) -> Stage:
    """Compare the first epoch that differs by more than the tolerance, or else the first that differs at all."""
    before, now = (_read_epochs(side) for side in (run, again))
    if list(before.index) != list(now.index):
        return Stage("epochs", "differs", f"the number of epochs changed from {len(before)} to {len(now)}")
    old, new = (table.to_dict("records") for table in (before, now))
    differences = [compare_documents(*pair) for pair in zip(old, new, strict=True)]
    rows = (row for threshold in (tolerance, 0.0) for row, (size, _) in enumerate(differences) if size > threshold)
    if (row := next(rows, None)) is None:
        return Stage("epochs", "equal", f"{len(before)} of them")
    (seed, epoch), (difference, column) = before.index[row], differences[row]
    name = f"epoch {epoch}" + (f" of seed {seed}" if config.training.seeds else "")
    detail = f"{name}: {column} changed from {old[row][column]:.6g} to {new[row][column]:.6g}"
    return _judge("epochs", difference, column, tolerance, detail)


def _read_epochs(run: Run) -> pd.DataFrame:
    table = read_history(run).set_index(["seed", "epoch"])[EPOCH]
    if table.index.has_duplicates:
        raise RunError("this file contains an epoch twice.", DAMAGED, str(run.history_file))
    return table


def _compare_weights(run: Run, again: Run, tolerance: float) -> Stage:
    if sha256_of(run.weights) == sha256_of(again.weights):
        return Stage("weights", "equal")
    count = again.read(again.metrics_file, TrainingMetrics).parameters
    before, now = (fingerprint_arrays(side.read_arrays(side.weights, count)) for side in (run, again))
    return _compare_arrays("weights", before, now, tolerance)
