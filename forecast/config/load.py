"""How a YAML file and overrides become a `Config`, or an error that tells every mistake with its place."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from forecast.config.schema import Config, Section, find_field, find_section
from forecast.config.yaml12 import Loader, parse_yaml_value
from forecast.errors import ConfigError, did_you_mean, nearest

MAX_DEPTH = 20  # levels of nesting in a YAML file


Kind = TypeVar("Kind", bound=Section)


def load_config(
    path: str | Path, overrides: Mapping[str, object] | None = None, origin: Mapping[str, str] | None = None
) -> Config:
    """Read a YAML file into a `Config`; `overrides` such as `{"training.epochs": 5}` win over the file.

    origin: where each override stands, if it is not an option of the command line.

    Raises:
        ConfigError: the file cannot be read, or keys or values are wrong; all of them are told at once.
    """
    path = Path(path)
    values, places, wrong = read_yaml(path)
    values.setdefault("name", name_after_file(path))
    _resolve_path(values, path.parent)
    for key, value in (overrides or {}).items():
        _override(values, places, key, value, (origin or {}).get(key) or f"--set {key}={value}")
    _resolve_path(values, Path())
    config = validate_section(Config, values, places, wrong)
    config._places.update(places)
    return config


def change_config(config: Config, values: Mapping[str, object]) -> Config:
    """A config with other values of some keys, which are dotted.

    Raises:
        ConfigError
    """
    whole: dict[str, Any] = config.model_dump()
    places: dict[str, str] = {}
    for key, value in values.items():
        _override(whole, places, key, value, f"{key}={value}")
    other = validate_section(Config, whole, places, [])
    other._places.update(config._places | places)
    return other


def name_after_file(path: Path) -> str:
    """What is called after a file."""
    return re.sub(r"[^\w.-]", "-", path.stem).lstrip("-.") or "run"


def validate_section(kind: type[Kind], values: dict[str, Any], places: Mapping[str, str], wrong: list[ConfigError]) -> Kind:
    """The values of a file as a section of a kind.

    Raises:
        ConfigError: all that is wrong with them, after what `read_yaml` found wrong.
    """
    try:
        section = kind.model_validate(values)
    except ValidationError as error:
        items = [item for item in error.errors() if item["type"] != "invalid_key"]  # told before
        unknown = [item["loc"] for item in items if item["type"] == "extra_forbidden"]
        meant = {(*loc[:-1], nearest(str(loc[-1]), _section_at(loc, kind).model_fields)) for loc in unknown}
        # A key that is misspelt is not told to be missing, too.
        wrong = wrong + [_explain(item, places, kind) for item in items if item["type"] != "missing" or item["loc"] not in meant]
    if wrong:
        raise ConfigError.combine(wrong)
    return section


def read_yaml(path: Path) -> tuple[dict[str, Any], dict[str, str], list[ConfigError]]:
    """The values of a YAML file, the `file:line:column` of each key by dotted path, and what is wrong with the keys as text.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        near = nearest(path.name, [sibling.name for sibling in path.parent.glob("*.y*ml")])
        raise ConfigError("no such config file.", f"Did you mean `{near}`?" if near else "Check the path.", str(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read ({error}).", "Give a YAML text file in UTF-8.", str(path)) from None
    return _parse(text, path)


def _resolve_path(values: dict[str, Any], folder: Path) -> None:
    """Make `data.path` absolute: what the file says starts at its folder, what the command line says at the current one."""
    if isinstance(data := values.get("data"), dict) and isinstance(data.get("path"), str) and data["path"]:
        data["path"] = os.path.abspath(folder / os.path.expanduser(data["path"]))


def parse_overrides(options: list[str]) -> dict[str, object]:
    """The command line's `--set key=value` texts as overrides; values are read as YAML.

    >>> parse_overrides(["training.epochs=5", "model.units=[64, 32]"])
    {'training.epochs': 5, 'model.units': [64, 32]}
    """
    overrides, wrong = {}, []
    for option in options:
        key, equals, text = option.partition("=")
        if not equals or not key.strip():
            wrong.append(ConfigError(f"--set {option} has no key and value.", "Write for example --set training.epochs=5."))
            continue
        try:
            overrides[key.strip()] = parse_yaml_value(text)
        except yaml.YAMLError:
            remedy = "Quote it for the shell: --set model.units='[64, 32]'."
            wrong.append(ConfigError(f"--set {option}: the value is not YAML.", remedy))
    if wrong:
        raise ConfigError.combine(wrong)
    return overrides


def _parse(text: str, path: Path) -> tuple[dict[str, Any], dict[str, str], list[ConfigError]]:
    try:
        loader = Loader(text)
        _check_plain(text, path)
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode) or not node.tag.endswith(":map"):
            raise ConfigError(
                "is not a mapping of keys to values.",
                "Start from a file in configs/.",
                str(path),
            )
        places, wrong = {"": str(path)}, []
        _collect_places(node, "", str(path), places, wrong)
        return loader.construct_document(node), places, wrong
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigError(f"is not YAML: {problem}.", "Check indentation, colons and quotes near this place.", place) from None


def _check_plain(text: str, path: Path) -> None:
    """No aliases or deep nesting, by which a small text takes hours to read, and no tags, which name types.

    Raises:
        ConfigError: with its place.
    """
    depth = 0
    for event in yaml.parse(text):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        tag = getattr(event, "tag", None)
        found = "uses a YAML alias" if isinstance(event, yaml.AliasEvent) else f"uses the YAML tag {tag!r:.60}" if tag else None
        found = "is nested too deep to be a config" if depth > MAX_DEPTH else found
        if found:
            mark = event.start_mark
            raise ConfigError(f"{found}.", "Write plain keys and values.", f"{path}:{mark.line + 1}:{mark.column + 1}")


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


def _override(values: dict[str, Any], places: dict[str, str], key: str, value: object, place: str) -> None:
    section, *rest = key.split(".")
    if not rest:
        values[section] = value
    else:
        if not isinstance(values.get(section), dict):
            values[section] = {}
        _override(values[section], {}, ".".join(rest), value, place)
    places[key] = place


def _section_at(location: tuple[str | int, ...], root: type[Section]) -> type[Section]:
    """The section that a key is in."""
    field = find_field(location[:-1], root)
    return find_section(field.annotation) if field else root


def _nearest_key(location: tuple[str | int, ...], root: type[Section]) -> str:
    """A hint for an unknown key: a near name in its section, or the same name in another section."""
    section, name = _section_at(location, root), str(location[-1])
    sections = {home: find_section(field.annotation) for home, field in root.model_fields.items()}
    elsewhere = [f"{home}.{name}" for home, inner in sections.items() if inner and name in inner.model_fields]
    if elsewhere and not nearest(name, section.model_fields):
        return f"Did you mean `{elsewhere[0]}`?"
    return did_you_mean(name, section.model_fields)


def _explain(item: Mapping[str, Any], places: Mapping[str, str], root: type[Section]) -> ConfigError:
    """One pydantic error in this project's words."""
    location = tuple(part for part in item["loc"])
    if not location:  # about several sections
        return ConfigError(f"{_expected(item)}.", "Set one of the two to null, or leave it out.", places.get("", ""))
    key = ".".join(str(part) for part in location if not isinstance(part, int))
    parent = ".".join(str(part) for part in location[:-1])
    place = places.get(key) or places.get(parent) or places.get("", "")
    if item["type"] == "extra_forbidden":
        return ConfigError(f"unknown key `{key}`.", _nearest_key(location, root), place)
    field = find_field(location, root)
    section = find_section(field.annotation) if field else None
    meaning = (field.description if field else None) or (section.__doc__.rstrip(".") if section else "")
    remedy = f"{location[-1] if isinstance(location[-1], str) else location[-2]}: {meaning}." if meaning else ""
    if item["type"] == "missing":
        return ConfigError(f"`{key}` is missing.", remedy, place)
    if section and item["type"] == "value_error":  # about several keys: what they are stands in the message
        return ConfigError(f"`{key}`: {_expected(item)}.", f"Change these keys of `{key}`; `forecast schema` lists all.", place)
    return ConfigError(f"`{key}` is {item['input']!r}; {_expected(item)}.", remedy, place)


def _expected(item: Mapping[str, Any]) -> str:
    kind, message = item["type"], item["msg"].removeprefix("Value error, ")
    if kind == "value_error":
        return message
    if kind in {"too_short", "too_long", "string_too_short", "string_too_long"}:
        return f"it should have {message.split(' should have ')[-1].split(' after ')[0]}"
    if kind in {"model_type", "model_attributes_type", "dict_type"}:
        return "it should be a section with keys of its own"
    return f"it should be {message.removeprefix('Input should be ')}"
