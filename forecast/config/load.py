"""Read a YAML file and overrides into a `Config`, or raise one error that names every mistake and where it is."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from forecast.config.keys import describe, find_field, find_item, find_section
from forecast.config.schema import Config, Section
from forecast.config.yaml12 import Loader, parse_yaml_value
from forecast.errors import ConfigError, did_you_mean, nearest, suggest_file
from forecast.storage import COMPRESSED

DATA_SUFFIXES = (".csv", ".tsv", ".parquet", ".pq", ".xlsx", *COMPRESSED)
MAX_DEPTH = 20  # Levels of nesting in a YAML file.

Kind = TypeVar("Kind", bound=Section)
Locations = dict[str, str]  # Of each key, dotted: `file:line:column`, or the option that set it. The file itself has the key "".


def load_config(
    path: str | Path, overrides: Mapping[str, object] | None = None, origins: Mapping[str, str] | None = None
) -> Config:
    """Read a YAML file into a `Config`; `overrides` such as `{"training.epochs": 5}` win over the file.

    origins: where each override was set, if not by an option of the command line.

    Raises:
        ConfigError: the file cannot be read, or keys or values are wrong; the error names all of them.
    """
    path = Path(path)
    values, locations, errors = read_yaml(path)
    values.setdefault("name", name_after_file(path))
    _resolve_data_path(values, path.parent)
    for key, value in (overrides or {}).items():
        _override(values, key, value)
        locations[key] = (origins or {}).get(key) or f"--set {key}={value}"
    _resolve_data_path(values, Path())
    config = validate_section(Config, values, locations, errors)
    config._locations.update(locations)
    return config


def change_config(config: Config, values: Mapping[str, object]) -> Config:
    """Return a config with other values of some keys, which are dotted.

    Raises:
        ConfigError: a value is not valid.
    """
    sections: dict[str, Any] = config.model_dump()
    for key, value in values.items():
        _override(sections, key, value)
    locations = {key: f"{key}={value}" for key, value in values.items()}
    changed = validate_section(Config, sections, locations, [])
    changed._locations.update(config._locations | locations)
    return changed


def name_after_file(path: Path) -> str:
    """Return the name of a file as the name of a run."""
    return re.sub(r"[^\w.-]", "-", path.stem).lstrip("-.") or "run"


def validate_section(kind: type[Kind], values: dict[str, Any], locations: Locations, errors: list[ConfigError]) -> Kind:
    """Return the values of a file as a section of a kind.

    Raises:
        ConfigError: values are wrong, or `read_yaml` found errors; the error names all of them.
    """
    try:
        section = kind.model_validate(values)
    except ValidationError as error:
        items = [item for item in error.errors() if item["type"] != "invalid_key"]  # `read_yaml` reports these.
        unknown = [item["loc"] for item in items if item["type"] == "extra_forbidden"]
        items = [item for item in items if item["type"] != "missing" or not _is_misspelt(item["loc"], unknown)]
        errors = errors + [_explain(item, locations, kind) for item in items]
    if errors:
        raise ConfigError.combine(errors)
    return section


def read_yaml(path: Path) -> tuple[dict[str, Any], Locations, list[ConfigError]]:
    """Return the values of a YAML file, the location of each key, and errors about keys.

    Raises:
        ConfigError: the file cannot be read.
    """
    locations: Locations = {"": str(path)}
    errors: list[ConfigError] = []
    _refuse_other_files(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        loader = Loader(text)
        _check_plain(text, path)
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode) or not node.tag.endswith(":map"):
            raise ConfigError("the file is not a mapping of keys to values.", "Start from a file in configs/.", str(path))
        _collect_locations(node, "", str(path), locations, errors)
        return loader.construct_document(node), locations, errors
    except FileNotFoundError:
        remedy = suggest_file(path, (".yaml", ".yml")) or "Check the path, or write a config with: forecast init DATA"
        raise ConfigError("the config file does not exist.", remedy, str(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the file cannot be read ({error}).", "Use a YAML file in UTF-8.", str(path)) from None
    except yaml.YAMLError as error:
        location, problem = str(path), str(error)
        if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
            location, problem = _format_location(path, error.problem_mark), error.problem or problem
        remedy = "Check the indentation, colons and quotes near this position."
        raise ConfigError(f"the file is not valid YAML: {problem}.", remedy, location) from None


def _refuse_other_files(path: Path) -> None:
    """Refuse data and directories, which users take for a config.

    Raises:
        ConfigError: `path` is one of them.
    """
    if path.suffix.lower() in DATA_SUFFIXES and path.is_file():
        raise ConfigError("this is a data file, not a config.", f"Write a config for it with: forecast init {path}", str(path))
    if (config := path / "config.yaml").is_file():
        raise ConfigError("this is a run directory, not a config.", f"Its config is {config}.", str(path))


def _resolve_data_path(values: dict[str, Any], folder: Path) -> None:
    """Make `data.path` absolute, as a path that starts at `folder`."""
    if isinstance(data := values.get("data"), dict) and isinstance(data.get("path"), str) and data["path"]:
        data["path"] = os.path.abspath(folder / os.path.expanduser(data["path"]))


def parse_overrides(options: list[str]) -> dict[str, object]:
    """Parse the `--set key=value` options of the command line as overrides; values are read as YAML.

    >>> parse_overrides(["training.epochs=5", "model.units=[64, 32]"])
    {'training.epochs': 5, 'model.units': [64, 32]}

    Raises:
        ConfigError: options are wrong; the error names all of them.
    """
    overrides: dict[str, object] = {}
    errors: list[ConfigError] = []
    for option in options:
        key, equals, text = option.partition("=")
        if not equals or not key.strip():
            errors.append(
                ConfigError(f"--set {option} is not of the form KEY=VALUE.", "For example, use --set training.epochs=5.")
            )
            continue
        try:
            overrides[key.strip()] = parse_yaml_value(text)
        except yaml.YAMLError:
            remedy = "Quote it for the shell: --set model.units='[64, 32]'."
            errors.append(ConfigError(f"--set {option}: the value is not valid YAML.", remedy))
    if errors:
        raise ConfigError.combine(errors)
    return overrides


def _format_location(path: str | Path, mark: yaml.Mark) -> str:
    return f"{path}:{mark.line + 1}:{mark.column + 1}"


def _check_plain(text: str, path: Path) -> None:
    """Refuse aliases and deep nesting, with which a small text takes hours to read, and tags, which name types."""
    depth = 0
    for event in yaml.parse(text):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        tag = getattr(event, "tag", None)
        problem = f"uses the YAML tag {tag!r:.60}" if tag else None
        problem = "uses a YAML alias" if isinstance(event, yaml.AliasEvent) else problem
        problem = "is nested too deeply for a config" if depth > MAX_DEPTH else problem
        if problem:
            mark = event.start_mark
            location = _format_location(path, mark) if isinstance(mark, yaml.Mark) else str(path)
            raise ConfigError(f"the file {problem}.", "Write plain keys and values.", location)


def _collect_locations(node: yaml.Node, prefix: str, file: str, locations: Locations, errors: list[ConfigError]) -> None:
    for key, value in node.value if isinstance(node, yaml.MappingNode) else []:
        name, location = f"{prefix}{key.value}", _format_location(file, key.start_mark)
        if not isinstance(key, yaml.ScalarNode) or not key.tag.endswith(":str"):
            errors.append(ConfigError(f"the key `{key.value}` is not text.", "Keys must be names such as `windows`.", location))
        if name in locations:
            problem = f"`{name}` is set twice, first at {locations[name]}."
            errors.append(ConfigError(problem, "Remove one of the two.", location))
        locations[name] = location
        _collect_locations(value, name + ".", file, locations, errors)


def _override(values: dict[str, Any], key: str, value: object) -> None:
    """Set a key, which is dotted, and make the sections around it if need be."""
    *sections, name = key.split(".")
    for section in sections:
        if not isinstance(values.get(section), dict):
            values[section] = {}
        values = values[section]
    values[name] = value


def _is_misspelt(missing: tuple[str | int, ...], unknown: list[tuple[str | int, ...]]) -> bool:
    """Return whether an unknown key of the same section resembles a missing one, so that one error about them is enough."""
    return any(key[:-1] == missing[:-1] and nearest(str(key[-1]), [str(missing[-1])]) for key in unknown)


def _suggest_key(path: tuple[str | int, ...], root: type[Section]) -> str:
    """Return a hint for an unknown key: a similar name in its section, or the same name in another section."""
    field, name = find_field(path[:-1], root), str(path[-1])
    section = (find_section(field.annotation) or find_item(field.annotation) if field else None) or root
    sections = {key: find_section(field.annotation) for key, field in root.model_fields.items()}
    elsewhere = [f"{key}.{name}" for key, inner in sections.items() if inner and name in inner.model_fields]
    if elsewhere and not nearest(name, section.model_fields):
        return f"Did you mean `{elsewhere[0]}`?"
    return did_you_mean(name, section.model_fields)


def _explain(item: Mapping[str, Any], locations: Locations, root: type[Section]) -> ConfigError:
    """Return an error of pydantic as a `ConfigError`."""
    path, problem = tuple(item["loc"]), _describe_expected(item)
    if not path:  # The error is about several sections.
        return ConfigError(f"{problem}.", "Set one of the two to null, or leave it out.", locations.get("", ""))
    names = [part for part in path if isinstance(part, str)]
    key, outer = ".".join(names), [".".join(names[:count]) for count in range(len(names), -1, -1)]
    location = next((locations[name] for name in outer if name in locations), "")
    if item["type"] == "extra_forbidden":
        return ConfigError(f"unknown key `{key}`.", _suggest_key(path, root), location)
    field = find_field(path, root)
    remedy = f"{key.rpartition('.')[2]}: {describe(field)}" if field else ""
    if item["type"] == "missing":
        return ConfigError(f"`{key}` is missing.", remedy, location)
    if item["type"] == "value_error" and field and find_section(field.annotation):  # The message names the keys.
        return ConfigError(f"`{key}`: {problem}.", f"Correct the section `{key}`. `forecast schema` lists all keys.", location)
    if key == "model.cell" and (cell := re.fullmatch("bi[-_]?(directional)?[-_]?(lstm|gru)", str(item["input"]).lower())):
        remedy = f"For a bidirectional network, set cell: {cell[2]} and bidirectional: true."
    return ConfigError(f"`{key}` is {item['input']!r}. {problem[:1].upper()}{problem[1:]}.", remedy, location)


def _describe_expected(item: Mapping[str, Any]) -> str:
    """Return what pydantic expected, as a clause."""
    kind, message = item["type"], str(item["msg"]).removeprefix("Value error, ")
    if kind == "value_error":
        return message
    if kind.endswith(("too_short", "too_long")):
        return f"it must have {message.split(' should have ')[-1].split(' after ')[0]}"
    if kind in {"model_type", "model_attributes_type", "dict_type"}:
        return "it must be a section with keys"
    return f"it must be {message.removeprefix('Input should be ')}"
