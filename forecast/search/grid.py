"""The file of an experiment: a base config, and the settings to vary."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
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

MAX_CELLS = 10_000
MAX_NAME = 120  # Characters of the name of a run.
CASE = "case"  # The factor whose values are the names of `cases`.


class ExperimentConfig(Section):
    """An experiment: every combination of the grid's values, in every case, with every seed."""

    name: Name = "experiment"
    """Name of the experiment's folder in runs/. By default, it is the name of the file."""
    base: Text
    """Config to start from. A relative path is relative to the folder of the experiment file."""
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    """Keys of the config, such as `model.cell`, each with a list of values."""
    cases: dict[Name, dict[str, Any]] = {}
    """Named sets of keys, such as `{small: {model.units: [16]}}`."""
    seeds: Seeds | None = None
    """Seeds with which to train each combination. With null, each is trained once, with the seed of the base config."""


@dataclass(frozen=True)
class Cell:
    """One run of an experiment."""

    name: str  # Name of its folder, such as gru,lookback=12,seed=1.
    factors: dict[str, object]  # The value of each factor: of the case, and of the keys of the grid.
    seed: int
    config: Config


@dataclass(frozen=True)
class Experiment:
    """An experiment's name, the config that it starts from, and all its runs."""

    name: str
    base: Path
    cells: list[Cell]


def read_experiment(path: str | Path, overrides: Mapping[str, object] | None = None) -> Experiment:
    """Read the file of an experiment and make the config of every run. The grid wins over `overrides` of the base config.

    Raises:
        ConfigError: the file, or any of the configs, cannot be used. The error lists all problems.
    """
    path = Path(path)
    values, lines, wrong = read_yaml(path)
    values.setdefault("name", name_after_file(path))
    plan = validate_section(ExperimentConfig, values, lines, wrong)
    _check_factors(plan, lines)
    base = path.parent / os.path.expanduser(plan.base)
    if not base.is_file():
        raise ConfigError(f"the base config {base} does not exist.", "Set `base` to an existing config.", lines["base"])
    cells, errors = [], {}
    for case, choice, seed in _combine(plan):
        settings = {key: (value, lines[f"cases.{case}.{key}"]) for key, value in plan.cases.get(case or "", {}).items()}
        settings |= {key: (value, lines[f"grid.{key}"]) for key, value in choice.items()}
        locations = {key: f"{line}: {key}={value}" for key, (value, line) in settings.items()}
        varied = {key: _resolve_path(key, value, path.parent) for key, (value, _) in settings.items()}
        varied |= {} if seed is None else {"seed": seed}
        try:
            config = load_config(base, {**(overrides or {}), **varied}, locations)
        except ConfigError as error:
            errors[str(error)] = error  # A mistake in the base is the same in every cell.
            continue
        if config.training.seeds and plan.seeds:
            problem = "training.seeds already trains several networks in every run."
            raise ConfigError(problem, "Remove it from the base, or remove `seeds` here.", lines["seeds"])
        factors = ({CASE: case} if plan.cases else {}) | choice
        cells.append(Cell(_name_cell(factors, seed), factors, config.seed, config))
    if errors:
        raise ConfigError.combine(list(errors.values()))
    counts = Counter(cell.name for cell in cells)
    return Experiment(plan.name, base, [_make_unique(cell, counts[cell.name]) for cell in cells])


def _check_factors(plan: ExperimentConfig, lines: Mapping[str, str]) -> None:
    """Check that grid, cases and seeds vary different keys, and that the combinations are not too many.

    Raises:
        ConfigError: they do not.
    """
    for key, values in plan.grid.items():
        if len({repr(value) for value in values}) < len(values):
            raise ConfigError(f"`{key}` lists the same value twice.", "Remove one of them.", lines[f"grid.{key}"])
    factors = [(key, values, f"grid.{key}") for key, values in plan.grid.items()]
    factors += [(key, [value], f"cases.{case}.{key}") for case in plan.cases for key, value in plan.cases[case].items()]
    for key, values, location in factors:
        field = find_field(tuple(key.split(".")))
        section = find_section(field.annotation) if field else None
        if location.startswith("cases.") and key in plan.grid:
            problem, remedy = f"`{key}` is in the grid and in a case.", "Remove it from one of the two."
        elif section and any(isinstance(value, dict) for value in values):
            name = next(iter(section.model_fields))
            problem = f"`{key}` is a section."
            remedy = f"Vary its keys instead, such as `{key}.{name}`. Its other keys keep their values."
        elif key in ("seed", "training.seeds"):
            problem, remedy = f"`{key}` cannot be varied in `grid` or `cases`.", "Use `seeds` instead."
        else:
            continue
        raise ConfigError(problem, remedy, lines[location])
    count = math.prod(map(len, [*plan.grid.values(), plan.cases or [None], plan.seeds or [None]]))
    if count > MAX_CELLS:
        raise ConfigError(f"the experiment has {count} runs. The maximum is {MAX_CELLS}.", "Vary fewer values.", lines[""])


def _combine(plan: ExperimentConfig) -> Iterator[tuple[str | None, dict[str, Any], int | None]]:
    """Yield every case (None without cases), choice of the grid's values, and seed (None without seeds)."""
    choices = (dict(zip(plan.grid, values, strict=True)) for values in itertools.product(*plan.grid.values()))
    cases: Iterable[str | None] = plan.cases or [None]
    seeds: Iterable[int | None] = plan.seeds or [None]
    return itertools.product(cases, choices, seeds)


def _resolve_path(key: str, value: object, folder: Path) -> object:
    """Return the value of a key. A relative path to data starts at the folder of the experiment's file."""
    return os.path.abspath(folder / os.path.expanduser(value)) if key == "data.path" and isinstance(value, str) else value


def _name_cell(factors: Mapping[str, object], seed: int | None) -> str:
    texts = {key: re.sub(r"[^\w.-]+", "-", str(value)).strip("-") for key, value in factors.items()}
    parts = [text if key == CASE else f"{key.rpartition('.')[2]}={text}" for key, text in texts.items()]
    return ",".join([*parts, *([] if seed is None else [f"seed={seed}"])]) or "run"


def _make_unique(cell: Cell, count: int) -> Cell:
    """Let a name end in a digest if several cells have it or if it is too long for a folder."""
    if count == 1 and len(cell.name) <= MAX_NAME:
        return cell
    digest = hashlib.sha256(repr((cell.factors, cell.seed)).encode()).hexdigest()[:8]
    return replace(cell, name=f"{cell.name[:MAX_NAME]}-{digest}")
