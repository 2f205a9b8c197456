"""The search space: ranges of values, and the config for each draw from them."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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

LAYERS = "model.layers"  # How often `model.units` is repeated.
DEFAULT_SPANS: dict[str, dict[str, Any]] = {
    LAYERS: {"int": [1, 3]},
    "model.units": {"int": [32, 256], "step": 32},
    "model.dropout": {"float": [0.0, 0.5]},
    "training.learning_rate": {"float": [1e-4, 1e-2], "log": True},
}
# Keys that do not change the windows of the validation set, so that errors on it can be compared.
SEARCHABLE = (
    "model.",
    "training.",
    "scaling.",
    "windows.lookback",
    "windows.stride",
    "data.calendar",
    "data.past_covariates",
    "data.known_covariates",
    "data.static_",
)
# Keys that change the unit of the validation loss, which pruning compares.
OTHER_UNITS = ("data.", "scaling.", "training.loss", "model.quantiles", "model.decoder")
NOT_TRAINED = ("tuning.", "backtest.", "intervals", "tracking", "data.path")  # Keys that do not change a network.
MAX_COMBINATIONS, MAX_LAYERS = 1000, 100


@dataclass(frozen=True)
class Search:
    """The spans of a config, and the configs of trials."""

    config: Config  # From `read_and_resolve`.
    panel: Panel

    @property
    def tuning(self) -> TuningConfig:
        """Return the settings of the search."""
        return self.config.tuning

    @property
    def spans(self) -> dict[str, dict[str, Any]]:
        """Return the values to search, by key."""
        return self.tuning.search or DEFAULT_SPANS

    def check(self) -> None:
        """Check that the ends of every span, and every choice, can be trained and are scored on the same windows.

        Raises:
            ConfigError, DataError: one cannot be trained, or two are scored on different windows.
        """
        self._check_keys()
        if self.tuning.sampler == "grid":
            self._combinations()
        first_values: dict[str, str] = {}  # The first value that is scored on some windows, by their description.
        lowest = {key: self._ends(key)[0] for key in self.spans}
        for key in self.spans:
            for value in self._ends(key):
                config = self.config_of(lowest | {key: value})
                prepared = prepare_panel(*read_and_resolve(config, self.panel_of(config)))
                first_values.setdefault(digest_scored_windows(prepared), f"{key}={value}")
                if len(first_values) > 1:
                    problem = f"{' and '.join(first_values.values())} are scored on different windows of the validation set."
                    raise ConfigError(problem, "Do not search keys that change these windows.", self._locate(key))

    def _check_keys(self) -> None:
        for key in self.spans:
            if find_field(tuple(key.split("."))) and (not key.startswith(SEARCHABLE) or key == "training.seeds"):
                problem = f"`{key}` cannot be searched."
                raise ConfigError(problem, f"Search only keys that begin with {first_few(SEARCHABLE, 20)}.", self._locate(key))
        if LAYERS in self.spans:
            sizes = self.spans.get("model.units", {"choice": [self.config.model.units]}).get("choice", [])
            if not all(type(count) is int and 1 <= count <= MAX_LAYERS for count in self._ends(LAYERS)):
                problem = f"{LAYERS} must be a number of layers from 1 to {MAX_LAYERS}."
                raise ConfigError(problem, "For example, use {int: [1, 3]}.", self._locate(LAYERS))
            if any(isinstance(size, list) and len(size) > 1 for size in sizes):
                problem = f"{LAYERS} repeats one size, but model.units has several."
                raise ConfigError(problem, "Use one size, or search model.units too.", self._locate(LAYERS))
        is_backtest = self.tuning.objective == "backtest"
        if self.tuning.executions_per_trial > 1 and (self.config.training.seeds or is_backtest):
            several = "a backtest" if is_backtest else "training.seeds"
            problem = f"tuning.executions_per_trial is above 1, but {several} already trains several networks."
            raise ConfigError(problem, "Set it to 1.", self.config.locate("tuning.executions_per_trial"))
        if is_backtest and self.config.splits.align != "dates":
            remedy = "Set it, or use objective: validation."
            raise ConfigError("objective: backtest needs splits.align: dates.", remedy, self.config.locate("tuning.objective"))

    def _locate(self, key: str) -> str:
        return self.config.locate(f"tuning.search.{key}")

    def _ends(self, key: str) -> list[Any]:
        span = self.distributions()[key]
        return list(span.choices) if "choice" in self.spans[key] else [span.low, span.high]

    def distributions(self) -> dict[str, Any]:
        """Return the spans as distributions of Optuna."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        distributions: dict[str, CategoricalDistribution | FloatDistribution | IntDistribution] = {}
        for key, span in self.spans.items():
            log_scale, step = span.get("log", False), span.get("step")
            low, high = span.get("int") or span.get("float") or (0, 0)
            if "choice" in span:
                distributions[key] = CategoricalDistribution([_category(value) for value in span["choice"]])
            elif "int" in span:
                distributions[key] = IntDistribution(low, high, log_scale, step or 1)
            else:
                distributions[key] = FloatDistribution(float(low), float(high), log_scale, step)
        return distributions

    def waiting(self) -> list[dict[str, Any]]:
        """Return the parameters to try first: the whole grid, or those of the config if they lie within the spans."""
        if self.tuning.sampler == "grid":
            return self._combinations()
        params = {key: self._param_of_config(key) for key in self.spans}
        is_within = all(_contains(distribution, params[key]) for key, distribution in self.distributions().items())
        return [params] if is_within else []

    def _param_of_config(self, key: str) -> object:
        """Return the value of the config as a parameter of a trial."""
        if key == LAYERS:
            return len(self.config.model.units)
        value: Any = self.config.model_dump()
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None  # A section may be null.
        if "choice" in self.spans[key]:
            return _category(value)
        return value[0] if isinstance(value, list) and len(set(value)) == 1 else value

    def _combinations(self) -> list[dict[str, Any]]:
        """Return every combination of choices and steps.

        Raises:
            ConfigError: a span has no steps, or the combinations are too many.
        """
        values = []
        for key, span in self.distributions().items():
            if "choice" in self.spans[key]:
                values.append(self._ends(key))
            elif span.log or not span.step:
                problem = f"sampler: grid needs a `choice` or a `step` for {key}."
                raise ConfigError(problem, "Add `step`, or use another sampler.", self._locate(key))
            else:
                count = int((span.high - span.low) / span.step + 1e-9) + 1
                values.append([round(span.low + number * span.step, 12) for number in range(count)])
        if math.prod(map(len, values)) > MAX_COMBINATIONS:
            raise ConfigError(f"the grid has more than {MAX_COMBINATIONS} combinations.", "Use sampler: random.", "tuning.search")
        return [dict(zip(self.spans, choice, strict=True)) for choice in itertools.product(*values)]

    @property
    def trials(self) -> int:
        """Return the number of trials."""
        return len(self._combinations()) if self.tuning.sampler == "grid" else self.tuning.trials

    @property
    def prunes(self) -> bool:
        """Return whether trials may end early. The losses of all must have one unit and one validation set."""
        is_one_unit = not any(key.startswith(OTHER_UNITS) for key in self.spans)
        return self.tuning.pruner != "none" and self.tuning.objective == "validation" and is_one_unit

    def config_of(self, params: Mapping[str, Any]) -> Config:
        """Return the config of a trial.

        Raises:
            ConfigError: the parameters make no valid config.
        """
        values: dict[str, Any] = {
            key: parse_yaml_value(value) if "choice" in self.spans[key] and isinstance(value, str) else value
            for key, value in params.items()
        }
        units: Any = values.get("model.units", self.config.model.units)
        if LAYERS in values or not isinstance(units, list):
            size = units[0] if isinstance(units, list) else units
            values["model.units"] = [size] * values.pop(LAYERS, len(self.config.model.units))
        return change_config(self.config, values)

    def panel_of(self, config: Config) -> Panel | None:
        """Return the data of a config if it has been read."""
        return self.panel if config.data == self.config.data else None

    def identity(self) -> dict[str, Any]:
        """Return JSON values that are equal for all processes that may join a study."""
        ignored = tuple(part for part in NOT_TRAINED if part != "backtest." or self.tuning.objective == "validation")
        settings = {key: value for key, value in non_default_values(self.config).items() if not key.startswith(ignored)}
        tuning = {name: getattr(self.tuning, name) for name in ("objective", "executions_per_trial", "pruner", "sampler")}
        identity = {**settings, **tuning, "search": self.spans, "data": self.panel.sha256}
        return dict(json.loads(json.dumps(identity, default=str, sort_keys=True)))


def _category(value: object) -> bool | float | str:
    """Return a choice as Optuna takes it: numbers and truth values as they are, other values as YAML."""
    return value if isinstance(value, (bool, int, float)) else format_yaml_line(value)


def _contains(distribution: Any, value: object) -> bool:
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except ValueError:
        return False
