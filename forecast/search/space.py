"""What a search looks for: spans of values, and how what is drawn from them becomes a config."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forecast.config import (
    Config,
    TuningConfig,
    change_config,
    find_field,
    format_yaml_line,
    non_default_values,
    parse_yaml_value,
)
from forecast.data import Panel
from forecast.errors import ConfigError, first_few
from forecast.forecasters.preparation import digest_scored_windows, prepare_panel, read_and_resolve

if TYPE_CHECKING:
    import optuna

LAYERS = "model.layers"  # how often `model.units` is repeated
DEFAULT: dict[str, dict[str, Any]] = {
    LAYERS: {"int": [1, 3]},
    "model.units": {"int": [32, 256], "step": 32},
    "model.dropout": {"float": [0.0, 0.5]},
    "training.learning_rate": {"float": [1e-4, 1e-2], "log": True},
}
# What leaves the windows of the validation part as they are, so that errors on it can be compared.
SEARCHABLE = (
    "model.",
    "training.",
    "scaling.",
    "windows.lookback",
    "windows.stride",
    "data.calendar",
    "data.past_covariates",
    "data.known_covariates",
    "data.static_covariates",
    "data.static_categories",
)
# What makes another validation loss, which pruning compares.
OTHER_UNITS = ("data.", "scaling.", "training.loss", "model.quantiles", "model.decoder")
BESIDE = ("tuning.", "backtest.", "intervals", "tracking", "data.path")  # what no network is trained by
MOST_COMBINATIONS, MOST_LAYERS = 1000, 100


@dataclass(frozen=True)
class Search:
    """What is searched: the spans of a config, and how the parameters of a trial become one."""

    config: Config  # as `read_and_resolve` returns it
    panel: Panel

    @property
    def tuning(self) -> TuningConfig:
        """Its settings."""
        return self.config.tuning

    @property
    def spans(self) -> dict[str, dict[str, Any]]:
        """Where it looks, by key."""
        return self.tuning.search or DEFAULT

    def check(self) -> None:
        """Both ends of every span, and every choice, can be trained, and are scored on the same windows.

        Raises:
            ConfigError, DataError
        """
        self._check_keys()
        if self.tuning.sampler == "grid":
            self._combinations()
        if self.tuning.objective == "backtest":
            self._check_backtest()
        scored: dict[str, str] = {}  # on what, and the first value that is
        lowest = {key: self._ends(key)[0] for key in self.spans}
        for key in self.spans:
            for value in self._ends(key):
                config = self.config_of(lowest | {key: value})
                prepared = prepare_panel(*read_and_resolve(config, self.panel_of(config)))
                scored.setdefault(digest_scored_windows(prepared), f"{key}={value}")
                if len(scored) > 1:
                    one, other = scored.values()
                    found = f"{one} and {other} are scored on different windows of the validation part."
                    raise ConfigError(found, "Leave out what changes them.", self._place(key))

    def _check_keys(self) -> None:
        for key in self.spans:
            if find_field(tuple(key.split("."))) and (not key.startswith(SEARCHABLE) or key == "training.seeds"):
                found = f"`{key}` cannot be searched: errors on the validation part would not be of the same windows."
                raise ConfigError(found, f"Search keys that begin with {first_few(SEARCHABLE, 20)}.", self._place(key))
        layers = self._ends(LAYERS) if LAYERS in self.spans else []
        if "float" in self.spans.get(LAYERS, {}) or any(
            type(count) is not int or not 1 <= count <= MOST_LAYERS for count in layers
        ):
            found = f"{LAYERS} is a number of layers, from 1 to {MOST_LAYERS}."
            raise ConfigError(found, "Write for example {int: [1, 3]}.", self._place(LAYERS))
        if self.tuning.executions_per_trial > 1 and self.config.training.seeds:
            found = "tuning.executions_per_trial: every trial trains all training.seeds already."
            raise ConfigError(found, "Use one of the two.", self.config.locate("tuning.executions_per_trial"))
        units = self.spans.get("model.units", {"choice": [self.config.model.units]})
        if LAYERS in self.spans and any(isinstance(size, list) and len(size) > 1 for size in units.get("choice", [])):
            found = f"{LAYERS} repeats one size, but model.units has several."
            raise ConfigError(found, "Give one, or search numbers in model.units, too.", self._place(LAYERS))

    def _check_backtest(self) -> None:
        for key, wanted in {"splits.align": "dates", "tuning.executions_per_trial": 1}.items():
            section, name = key.split(".")
            if getattr(getattr(self.config, section), name) != wanted:
                found = f"objective: backtest needs {key}: {wanted}."
                raise ConfigError(found, "Set it so, or use objective: validation.", self.config.locate("tuning.objective"))

    def _place(self, key: str) -> str:
        return self.config.locate(f"tuning.search.{key}".rstrip("."))

    def _ends(self, key: str) -> list[Any]:
        span = self.spans[key]
        return [_category(value) for value in span["choice"]] if "choice" in span else span.get("int") or span["float"]

    def distributions(self) -> dict[str, optuna.distributions.BaseDistribution]:
        """The spans as Optuna knows them."""
        from optuna import distributions as kinds

        found: dict[str, kinds.BaseDistribution] = {}
        for key, span in self.spans.items():
            log_scale, step = span.get("log", False), span.get("step")
            if "choice" in span:
                found[key] = kinds.CategoricalDistribution(self._ends(key))
            elif "int" in span:
                found[key] = kinds.IntDistribution(*span["int"], log=log_scale, step=step or 1)
            else:
                found[key] = kinds.FloatDistribution(*map(float, span["float"]), log=log_scale, step=step)
        return found

    def waiting(self) -> list[dict[str, Any]]:
        """What is tried in any case: of a grid all, else the config as it stands, where it lies within the spans."""
        if self.tuning.sampler == "grid":
            return self._combinations()
        own = {key: self._own(key) for key in self.spans}
        return [own] if all(_lies_within(own[key], span) for key, span in self.spans.items()) else []

    def _own(self, key: str) -> object:
        """What the config has, as a parameter of a trial."""
        if key == LAYERS:
            return len(self.config.model.units)
        value: Any = self.config.model_dump()
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None  # a section that is null
        if "choice" in self.spans[key]:
            return _category(value)
        return value[0] if isinstance(value, list) and len(set(value)) == 1 else value

    def _combinations(self) -> list[dict[str, Any]]:
        """Every combination of choices and steps.

        Raises:
            ConfigError: a span has no steps.
        """
        values = []
        for key, kind in self.distributions().items():
            if "choice" in self.spans[key]:
                values.append(self._ends(key))
            elif getattr(kind, "log", False) or kind.step is None:
                found = f"sampler: grid needs a `choice` or a `step` for {key}."
                raise ConfigError(found, "Add `step`, or use another sampler.", self._place(key))
            else:
                count = int((kind.high - kind.low) / kind.step + 1e-9) + 1
                values.append([round(kind.low + number * kind.step, 12) for number in range(count)])
        if math.prod(map(len, values)) > MOST_COMBINATIONS:
            raise ConfigError(
                f"the grid has more than {MOST_COMBINATIONS} combinations.", "Use sampler: random.", "tuning.search"
            )
        return [dict(zip(self.spans, chosen, strict=True)) for chosen in itertools.product(*values)]

    @property
    def trials(self) -> int:
        """How many there are to be."""
        return len(self._combinations()) if self.tuning.sampler == "grid" else self.tuning.trials

    @property
    def prunes(self) -> bool:
        """Whether trials end early: where the losses of all are in the same units, and are of one validation part."""
        alike = not any(key.startswith(OTHER_UNITS) for key in self.spans)
        return self.tuning.pruner != "none" and self.tuning.objective == "validation" and alike

    def config_of(self, params: Mapping[str, Any]) -> Config:
        """The config of a trial.

        Raises:
            ConfigError
        """
        values = {
            key: parse_yaml_value(value) if "choice" in self.spans[key] and isinstance(value, str) else value
            for key, value in params.items()
        }
        units = values.get("model.units", self.config.model.units)
        if LAYERS in values or not isinstance(units, list):
            size = units[0] if isinstance(units, list) else units
            values["model.units"] = [size] * values.pop(LAYERS, len(self.config.model.units))
        return change_config(self.config, values)

    def panel_of(self, config: Config) -> Panel | None:
        """The data, if those that the config describes have been read."""
        return self.panel if config.data == self.config.data else None

    def identity(self) -> str:
        """What must be equal in all processes that join a study."""
        beside = tuple(part for part in BESIDE if part != "backtest." or self.tuning.objective == "validation")
        told = {key: value for key, value in non_default_values(self.config).items() if not key.startswith(beside)}
        kept = {name: getattr(self.tuning, name) for name in ("objective", "executions_per_trial", "pruner", "sampler")}
        return json.dumps({**told, **kept, "search": self.spans, "data": self.panel.sha256}, default=str, sort_keys=True)


def _category(value: object) -> object:
    """A choice as Optuna takes it: what is neither number nor truth value becomes the text that YAML reads it from."""
    return value if isinstance(value, (bool, int, float)) else format_yaml_line(value)


def _lies_within(value: object, span: Mapping[str, Any]) -> bool:
    if "choice" in span:
        return value in [_category(choice) for choice in span["choice"]]
    (kind,) = {"int", "float"} & set(span)
    low, high = span[kind]
    number = type(value) is int or kind == "float" and type(value) is float
    return (
        number
        and low <= value <= high
        and (not span.get("step") or math.isclose((value - low) / span["step"], round((value - low) / span["step"])))
    )
