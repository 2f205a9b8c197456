"""The config: every YAML key once, with its default, unit and meaning, and how a file becomes a `Config`."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError

from forecast.errors import ConfigError, did_you_mean

DURATION = re.compile(r"([1-9][0-9]{0,8})\s*(s|min|h|d|w|mo|y)")


def _one_or_list(value: object) -> object:
    """`target: sales` and `units: 50` may be written without brackets."""
    return [value] if isinstance(value, (str, int)) else value


def _yes_or_no(value: object) -> object:
    """YAML 1.2 reads yes/no/on/off as text; where a key is true or false, they say what they say."""
    words = {"yes": True, "on": True, "no": False, "off": False}
    return words.get(value.lower(), value) if isinstance(value, str) else value


def _border(value: object) -> object:
    """A part's size: a fraction of the rows, a number of steps, or the date at which it starts."""
    if isinstance(value, float) and 0 < value < 1 or type(value) is int and value >= 1:
        return value
    if isinstance(value, str) and DURATION.fullmatch(value):
        return value
    return _date(
        value,
        "a fraction between 0 and 1, a number of steps (1 or more), a duration such as 30d, or a first date such as 2015-01-31",
    )


def _steps(value: object) -> object:
    """A number of steps, or a duration that becomes one when the freq is known."""
    duration = isinstance(value, str) and DURATION.fullmatch(value)
    if duration or type(value) is int and 1 <= value <= 10**9:
        return value
    raise ValueError("it must be a number of steps (1 or more) or a duration such as 7d, 36h, 6mo or 1y")


def _date(value: object, expected: str = "a date such as 2015-01-31 or 2015-01-31 06:00") -> str:
    try:
        moment = datetime.datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(f"it must be {expected}") from None
    if moment.tzinfo:
        raise ValueError("it must be a local time, without a UTC offset")
    return str(moment)


def _low_high(value: list[float]) -> list[float]:
    if not value[0] < value[1]:
        raise ValueError("the first number must be below the second")
    return value


def _name(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(r"\w[\w.-]*", value):
        raise ValueError("it must start with a letter or digit and hold only letters, digits, '.', '_' and '-'")
    return value


Columns = Annotated[list[str], BeforeValidator(_one_or_list), Field(min_length=1)]
YesNo = Annotated[bool, BeforeValidator(_yes_or_no)]
Border = Annotated[float | int | str, BeforeValidator(_border)]
Date = Annotated[str, BeforeValidator(_date)]
Units = Annotated[list[Annotated[int, Field(ge=1, le=10**5)]], BeforeValidator(_one_or_list), Field(min_length=1)]
Range = Annotated[list[float], Field(min_length=2, max_length=2), AfterValidator(_low_high)]
Name = Annotated[str, BeforeValidator(_name)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Text = Annotated[str, Field(min_length=1)]
Steps = Annotated[int | str, BeforeValidator(_steps)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """A mapping of the YAML file: unknown keys and wrong types are refused, never converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class ResampleConfig(Section):
    """One row per tick, made of all rows within it."""

    freq: Text = Field(description="length of the new step as a pandas frequency")
    how: Literal["mean", "sum", "first", "last", "min", "max"] = Field(description="what becomes of the rows within a step")


class DataConfig(Section):
    """Where the numbers are, how the file writes them, and what to do where it is not as it should be."""

    path: str = Field(
        min_length=1,
        description="CSV or Parquet file; a relative path starts at the config file's folder, or with --set at the current one",
    )
    timestamp: Columns = Field(
        description="name of the timestamp column, or those of year, month, day, hour, minute, second (as many as there are)"
    )
    target: Columns = Field(description="name of the column to forecast, or a list of names to forecast together")
    series_id: Text | None = Field(
        None, description="name of the column that tells the series apart; null: the file is one series"
    )
    freq: Text | None = Field(
        None, description="length of one step as a pandas frequency (h, D, MS, 15min); null: inferred from the spacing"
    )
    season_length: Steps | None = Field(
        None, description="season in steps, or 7d; for seasonal naive and MASE; null: from the freq (h: 24, D: 7, W: 52, MS: 12)"
    )
    delimiter: Text | None = Field(None, description="what separates the columns; null: the comma, semicolon, tab or | that fits")
    encoding: Text = Field("utf-8", description="of the text, such as utf-8, latin-1 or utf-16")
    decimal: Literal[".", ","] = Field(".", description="decimal point of the target columns")
    thousands: Literal[",", ".", " ", "'"] | None = Field(
        None, description="what groups digits in the target columns; null: nothing"
    )
    date_format: Text | None = Field(
        None,
        description="strptime format such as '%d/%m/%Y', unix or unix_ms; null: ISO, or day and month where no doubt is possible",
    )
    timezone: Text | None = Field(
        None, description="zone of the timestamps, such as Europe/London; null: none, or their one UTC offset"
    )
    resample: ResampleConfig | None = Field(
        None, description="`freq` and `how`, for rows at irregular times; null: rows stay as they are"
    )
    duplicates: Literal["error", "first", "last", "mean", "sum"] = Field("error", description="rows with the same timestamp")
    missing_timestamps: Literal["error", "fill"] = Field("error", description="fill: adds the rows, without values")
    missing_values: Literal["error", "interpolate", "forward", "season"] = Field(
        "error",
        description="empty cells; season: the value one season before. Windows are not trained or scored on filled values",
    )
    max_gap: Steps = Field(24, description="longest run of empty cells that is filled, in steps")

    @property
    def columns(self) -> list[str]:
        """Every column that is read."""
        return [*self.timestamp, *([self.series_id] if self.series_id else []), *self.target]


class SplitsConfig(Section):
    """How the rows are divided in time: train, then validation, then test; what is not in the last two is train."""

    validation: Border = Field(
        0.15, description="fraction of the rows, number of steps, duration, or first date; chooses epochs and ridge strength"
    )
    test: Border = Field(0.15, description="fraction of the rows, number of steps, duration, or first date; only ever scored")
    end: Date | None = Field(
        None, description="rows at or after this date are left out of all three parts; null: all rows are used"
    )


class ScalingConfig(Section):
    """What is done to each series before windows are cut; fitted on its training rows, undone in every result."""

    method: Literal["minmax", "standard", "robust", "none"] = Field(
        "minmax", description="minmax: to `range`; standard: mean 0 and deviation 1; robust: median and quartiles; none"
    )
    range: Range = Field([0.0, 1.0], description="where minmax puts the smallest and largest training value")
    transform: Literal["none", "log1p"] = Field(
        "none", description="log1p turns growth in percent into growth in steps; needs values above -1"
    )


class WindowsConfig(Section):
    """What a training sample looks like."""

    lookback: Steps = Field(description="past steps given to the network")
    horizon: Steps = Field(description="steps to predict")
    stride: Steps = Field(1, description="steps between the starts of the network's training windows; all else uses every window")


class ModelConfig(Section):
    """The network."""

    cell: Literal["lstm", "gru", "simple_rnn"] = Field("lstm", description="recurrent cell")
    bidirectional: YesNo = Field(False, description="read each window in both directions, which doubles the outputs of a layer")
    units: Units = Field([64], description="size of each stacked recurrent layer, first to last")
    dropout: Share = Field(0.0, description="fraction of each recurrent layer's outputs dropped in training")
    recurrent_dropout: Share = Field(0.0, description="fraction of the recurrent state dropped in training; turns cuDNN off")
    l2: float = Field(0.0, ge=0, le=1e6, description="penalty on the squared weights of the recurrent layers and the head")
    layer_norm: YesNo = Field(False, description="normalise the outputs of each recurrent layer")
    normalization: Literal["none", "last", "mean", "revin"] = Field(
        "mean",
        description="subtract each window's last value or mean; revin also divides by its deviation and learns an affine map",
    )
    linear_skip: YesNo = Field(
        True,
        description="add a ridge regression beside the recurrent stack, which then starts at zero and learns the rest",
    )


class EarlyStoppingConfig(Section):
    """When to stop, and that the best epoch's weights are kept."""

    patience: Count = Field(20, description="epochs without improvement of the validation loss before stopping")
    min_delta: float = Field(0.0, ge=0, le=1e6, description="smallest fall of the validation loss that counts, in scaled units")


class TrainingConfig(Section):
    """How the network learns."""

    epochs: Count = Field(100, description="passes over the training windows, at most")
    batch_size: Count = Field(32, description="windows in one step of the optimizer")
    learning_rate: float = Field(1e-3, gt=0, le=1e6, description="step size of the optimizer")
    optimizer: Literal["adam", "adamw", "rmsprop", "sgd"] = Field("adam", description="Keras optimizer")
    loss: Literal["mse", "mae", "huber"] = Field("mse", description="what training makes small, in scaled units")
    clipnorm: float | None = Field(1.0, gt=0, description="largest norm of a weight's gradient; null: gradients are not clipped")
    early_stopping: EarlyStoppingConfig | None = Field(
        EarlyStoppingConfig(), description="patience and min_delta; null: all epochs run and the last weights are kept"
    )
    schedule: Literal["constant", "step", "cosine", "plateau"] = Field(
        "constant",
        description="step: halved every 10 epochs after warm-up; cosine: to zero; plateau: halved when validation stalls",
    )
    warmup_epochs: int = Field(0, ge=0, le=10**9, description="epochs over which the learning rate rises to its value")
    accumulate_gradients: Count = Field(1, description="batches over which gradients are averaged before a step is taken")
    mixed_precision: YesNo = Field(False, description="recurrent layers compute in bfloat16; for GPUs")


class Config(Section):
    """A whole config file."""

    name: Name = Field("run", description="start of the run directory's name; when not given, the config file's name")
    seed: int = Field(1, ge=0, le=2**32 - 1, description="where every random draw starts: weights, dropout, order of windows")
    data: DataConfig
    splits: SplitsConfig = SplitsConfig()
    scaling: ScalingConfig = ScalingConfig()
    windows: WindowsConfig
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()

    _places: dict[str, str] = PrivateAttr(default_factory=dict)

    def place(self, key: str) -> str:
        """Where `key` was set: `file:line:column`, the option, or the file alone where the default holds."""
        return self._places.get(key) or self._places.get("", "")

    def to_yaml(self) -> str:
        """The resolved config, every default written out."""
        return yaml.dump(self.model_dump(), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def load_config(path: str | Path, overrides: Mapping[str, object] | None = None) -> Config:
    """Read a YAML file into a `Config`; `overrides` such as `{"training.epochs": 5}` win over the file.

    Raises:
        ConfigError: the file cannot be read, or keys or values are wrong; all of them are told at once.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        near = did_you_mean(path.name, [p.name for p in path.parent.glob("*.y*ml")]) if path.parent.is_dir() else ""
        raise ConfigError("no such config file.", near if near.startswith("Did") else "Check the path.", str(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read ({error}).", "Give a YAML text file in UTF-8.", str(path)) from None
    values, places = _parse(text, path)
    values.setdefault("name", re.sub(r"[^\w.-]", "-", path.stem).lstrip("-.") or "run")
    _resolve_path(values, path.parent)
    for key, value in (overrides or {}).items():
        _override(values, places, key, value)
    _resolve_path(values, Path())
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError.together([_explain(item, places) for item in error.errors()]) from None
    config._places.update(places)
    return config


def _resolve_path(values: dict[str, Any], folder: Path) -> None:
    """Make `data.path` absolute: what the file says starts at its folder, what the command line says at the current one."""
    if isinstance(data := values.get("data"), dict) and isinstance(data.get("path"), str) and data["path"]:
        data["path"] = os.path.abspath(folder / Path(data["path"]).expanduser())


def schema() -> dict:
    """The JSON Schema of a config file, for completion in editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema(), "title": "forecast config"}


def differences(config: Config) -> dict[str, object]:
    """The keys, dotted, that are not at their default, with their values."""
    found: dict[str, object] = {}

    def compare(section: Section, prefix: str) -> None:
        for name, field in type(section).model_fields.items():
            value = getattr(section, name)
            if isinstance(value, Section):
                compare(value, f"{prefix}{name}.")
            elif field.is_required() or value != field.default:
                found[prefix + name] = value

    compare(config, "")
    return found


def yaml_line(value: object) -> str:
    """A value as YAML on one line, quoted where `load_config` would take it for something else.

    >>> yaml_line(["a", "09", 1.5])
    "[a, '09', 1.5]"
    """
    return yaml.dump([value], Dumper=_Dumper, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6).strip()[
        1:-1
    ]


def parse_overrides(options: list[str]) -> dict[str, object]:
    """The command line's `--set key=value` texts as overrides; values are read as YAML.

    >>> parse_overrides(["training.epochs=5", "model.units=[64, 32]"])
    {'training.epochs': 5, 'model.units': [64, 32]}
    """
    overrides = {}
    for option in options:
        key, equals, text = option.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {option} has no key and value.", "Write for example --set training.epochs=5.")
        try:
            overrides[key.strip()] = yaml.load(text, Loader=_Loader)  # noqa: S506 - _Loader is a SafeLoader
        except yaml.YAMLError:
            raise ConfigError(
                f"--set {option}: the value is not YAML.", "Quote it for the shell: --set model.units='[64, 32]'."
            ) from None
    return overrides


def field_at(location: tuple[str | int, ...]) -> Any:
    """The pydantic field that a path such as ("training", "epochs") names, or None."""
    section: Any = Config
    field = None
    for name in location:
        if isinstance(name, int):
            continue
        if section is None or name not in section.model_fields:
            return None
        field = section.model_fields[name]
        section = section_of(field.annotation)
    return field


def section_of(annotation: object) -> type[Section] | None:
    """The section class in a field's annotation (`X` or `X | None`), or None where the field is a value."""
    choices = [annotation, *getattr(annotation, "__args__", ())]
    return next((c for c in choices if isinstance(c, type) and issubclass(c, Section)), None)


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2: `1e-3` is a number, `yes` and `2015-01-31` are text."""

    yaml_implicit_resolvers: dict = {}


def _number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int | float:
    whole = re.fullmatch(r"[-+]?[0-9]{1,300}", node.value)
    return int(node.value) if whole else float(node.value.replace(".inf", "inf").replace(".nan", "nan"))


_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^([-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan)$"),
    list("-+.0123456789"),
)
_Loader.add_constructor("tag:yaml.org,2002:int", _number)
_Loader.add_constructor("tag:yaml.org,2002:float", _number)


class _Dumper(yaml.SafeDumper):
    """Quotes exactly the text that `_Loader` would take for something else."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def _parse(text: str, path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """YAML text -> its values, and the `file:line:column` of each key by dotted path."""
    try:
        loader = _Loader(text)
        node = None if any(isinstance(e, yaml.AliasEvent) for e in yaml.parse(text)) else loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(
                "is not a mapping of keys to values, or uses YAML aliases.", "Start from a file in configs/.", str(path)
            )
        places, wrong = {"": str(path)}, []
        _collect_places(node, "", str(path), places, wrong)
        if wrong:
            raise ConfigError.together(wrong)
        return loader.construct_document(node), places
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigError(f"is not YAML: {problem}.", "Check indentation, colons and quotes near this place.", place) from None


def _collect_places(node: yaml.Node, prefix: str, file: str, places: dict[str, str], wrong: list[ConfigError]) -> None:
    for key, value in node.value if isinstance(node, yaml.MappingNode) else []:
        name = f"{prefix}{key.value}"
        place = f"{file}:{key.start_mark.line + 1}:{key.start_mark.column + 1}"
        if not isinstance(key, yaml.ScalarNode) or not key.tag.endswith(":str"):
            wrong.append(ConfigError(f"the key `{key.value}` is not text.", "Keys are names such as `windows`.", place))
        if name in places:
            wrong.append(ConfigError(f"`{name}` is given twice, first at {places[name]}.", "Remove one of the two.", place))
        places[name] = place
        _collect_places(value, name + ".", file, places, wrong)


def _override(values: dict[str, Any], places: dict[str, str], key: str, value: object) -> None:
    section, *rest = key.split(".")
    if not rest:
        values[section] = value
    else:
        if not isinstance(values.get(section), dict):
            values[section] = {}
        _override(values[section], {}, ".".join(rest), value)
    places[key] = f"--set {key}={value}"


def _nearest_key(location: tuple[str | int, ...]) -> str:
    """A hint for an unknown key: a near name in its section, or the same name in another section."""
    field = field_at(location[:-1])
    section = section_of(field.annotation) if field else Config
    name = str(location[-1])
    hint = did_you_mean(name, section.model_fields)
    sections = {home: section_of(field.annotation) for home, field in Config.model_fields.items()}
    elsewhere = [f"{home}.{name}" for home, inner in sections.items() if inner and name in inner.model_fields]
    return did_you_mean(elsewhere[0], elsewhere) if elsewhere and not hint.startswith("Did") else hint


def _explain(item: Mapping[str, Any], places: Mapping[str, str]) -> ConfigError:
    """One pydantic error in this project's words."""
    location = tuple(part for part in item["loc"])
    key = ".".join(str(part) for part in location if not isinstance(part, int))
    parent = ".".join(str(part) for part in location[:-1])
    place = places.get(key) or places.get(parent) or places.get("", "")
    if item["type"] == "extra_forbidden":
        return ConfigError(f"unknown key `{key}`.", _nearest_key(location), place)
    field = field_at(location)
    section = section_of(field.annotation) if field else None
    meaning = (field.description if field else None) or (section.__doc__.rstrip(".") if section else "")
    remedy = f"{location[-1] if isinstance(location[-1], str) else location[-2]}: {meaning}." if meaning else ""
    if item["type"] == "missing":
        return ConfigError(f"`{key}` is missing.", remedy, place)
    return ConfigError(f"`{key}` is {item['input']!r}; {_expected(item)}.", remedy, place)


def _expected(item: Mapping[str, Any]) -> str:
    kind, message = item["type"], item["msg"].removeprefix("Value error, ")
    if kind == "value_error":
        return message
    if kind in {"too_short", "too_long", "string_too_short"}:
        return f"it should have {message.split(' should have ')[-1].split(' after ')[0]}"
    if kind in {"model_type", "model_attributes_type", "dict_type"}:
        return "it should be a section with keys of its own"
    return f"it should be {message.removeprefix('Input should be ')}"
