"""The file of an experiment: a base config, and what is varied."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from forecast.config import (
    Config,
    Name,
    Section,
    Seeds,
    Text,
    find_field,
    find_section,
    load_config,
    name_after_file,
    read_yaml,
    validate_section,
)
from forecast.errors import ConfigError

MOST_CELLS = 10_000
LONGEST_NAME = 120  # characters of a run's folder
CASE = "case"  # the factor that `cases` are the values of


class ExperimentConfig(Section):
    """An experiment: every combination of the grid's values, in every case, with every seed."""

    name: Name = Field("experiment", description="name of its folder in runs/; when not given, the file's name")
    base: Text = Field(description="config to start from; a relative path starts at this file's folder")
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(
        {}, description="keys of the config, such as `model.cell`, each with a list of values"
    )
    cases: dict[Name, dict[str, Any]] = Field({}, description="named sets of keys, such as `{small: {model.units: [16]}}`")
    seeds: Seeds | None = Field(None, description="each combination is trained with each of them; null: with that of the base")


@dataclass(frozen=True)
class Cell:
    """One run of an experiment."""

    name: str  # of its folder, such as gru,lookback=12,seed=1
    factors: dict[str, object]  # what was chosen of each factor: the case, and the grid's keys
    seed: int
    config: Config


@dataclass(frozen=True)
class Experiment:
    """An experiment's name, the config that it starts from, and all its runs."""

    name: str
    base: Path
    cells: list[Cell]


def read_experiment(path: str | Path, overrides: Mapping[str, object] | None = None) -> Experiment:
    """Read the file of an experiment and make the config of every run. overrides: of the base config; those of the grid win.

    Raises:
        ConfigError: the file, or any of the configs, cannot be used; all that is wrong is told at once.
    """
    path = Path(path)
    values, places, wrong = read_yaml(path)
    values.setdefault("name", name_after_file(path))
    plan = validate_section(ExperimentConfig, values, places, wrong)
    _check(plan, places)
    base = path.parent / os.path.expanduser(plan.base)
    if not base.is_file():
        raise ConfigError(f"there is no file {base}.", "base: the config to start from.", places["base"])
    cells, errors = [], {}
    for case, chosen, seed in _combinations(plan):
        told = {key: f"{places[f'cases.{case}.{key}']}: {key}={value}" for key, value in plan.cases.get(case, {}).items()}
        told |= {key: f"{places[f'grid.{key}']}: {key}={value}" for key, value in chosen.items()}
        own = plan.cases.get(case, {}) | chosen | ({} if seed is None else {"seed": seed})
        try:
            config = load_config(base, {**(overrides or {}), **_with_path(own, path.parent)}, told)
        except ConfigError as error:
            errors[str(error)] = error  # a base that is wrong is so in every cell
            continue
        if config.training.seeds and plan.seeds:
            found = "training.seeds trains an ensemble in every run already."
            raise ConfigError(found, "Leave it out of the base, or `seeds` out of here.", places["seeds"])
        factors = ({CASE: case} if plan.cases else {}) | chosen
        cells.append(Cell(_name(factors, seed), factors, config.seed, config))
    if errors:
        raise ConfigError.combine(list(errors.values()))
    return Experiment(plan.name, base, _with_different_names(cells))


def _check(plan: ExperimentConfig, places: Mapping[str, str]) -> None:
    """The grid, the cases and the seeds do not speak of the same keys, and are not too many."""
    for key, values in plan.grid.items():
        place = places[f"grid.{key}"]
        if len({repr(value) for value in values}) < len(values):
            raise ConfigError(f"`{key}` has a value twice.", "Each should be there once.", place)
        for case, own in plan.cases.items():
            if key in own:
                raise ConfigError(f"`{key}` is in the grid and in the case {case}.", "Leave it out of one of the two.", place)
    for own, place in [(plan.grid, "grid"), *((own, f"cases.{case}") for case, own in plan.cases.items())]:
        for key, value in own.items():
            found = find_field(tuple(key.split(".")))
            section = find_section(found.annotation) if found else None
            if section and any(isinstance(each, dict) for each in (value if place == "grid" else [value])):
                name = next(iter(section.model_fields))
                remedy = f"Name its keys, such as `{key}.{name}`: a whole section would take the rest back to the defaults."
                raise ConfigError(f"`{key}` is a section.", remedy, places[f"{place}.{key}"])
            if key in ("seed", "training.seeds"):
                raise ConfigError(f"`{key}` is varied here.", "Use `seeds` for that.", places[f"{place}.{key}"])
    count = math.prod(map(len, [*plan.grid.values(), plan.cases or [None], plan.seeds or [None]]))
    if count > MOST_CELLS:
        raise ConfigError(f"these are {count} runs, more than {MOST_CELLS}.", "Vary less at once.", places[""])


def _combinations(plan: ExperimentConfig) -> itertools.product:
    """Every case, choice of the grid's values, and seed; each None, empty or None where there are none."""
    choices = (dict(zip(plan.grid, values, strict=True)) for values in itertools.product(*plan.grid.values()))
    return itertools.product(plan.cases or [None], choices, plan.seeds or [None])


def _with_path(own: Mapping[str, object], folder: Path) -> dict[str, object]:
    """A path to data that stands in the experiment starts at its folder."""
    return {
        key: os.path.abspath(folder / os.path.expanduser(value)) if key == "data.path" and isinstance(value, str) else value
        for key, value in own.items()
    }


def _name(factors: Mapping[str, object], seed: int | None) -> str:
    parts = [
        text if key == CASE else f"{key.rpartition('.')[2]}={text}"
        for key, value in factors.items()
        for text in [re.sub(r"[^\w.-]+", "-", str(value)).strip("-")]
    ]
    return ",".join([*parts, *([] if seed is None else [f"seed={seed}"])]) or "run"


def _with_different_names(cells: list[Cell]) -> list[Cell]:
    """Names that are alike, or too long for a folder, end in a few digits that tell them apart."""
    alike = {name for name, times in Counter(cell.name for cell in cells).items() if times > 1 or len(name) > LONGEST_NAME}

    def renamed(cell: Cell) -> str:
        if cell.name not in alike:
            return cell.name
        digest = hashlib.sha256(repr((cell.factors, cell.seed)).encode()).hexdigest()[:8]
        return f"{cell.name[:LONGEST_NAME]}-{digest}"

    return [Cell(renamed(cell), cell.factors, cell.seed, cell.config) for cell in cells]
