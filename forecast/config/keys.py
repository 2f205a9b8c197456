"""Find and compare keys of the schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

from pydantic.fields import FieldInfo

from forecast.config.schema import Config, Section


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a config file, for completion in editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema(), "title": "forecast config"}


def non_default_values(section: Section, prefix: str = "") -> dict[str, object]:
    """Return the keys of a config, dotted, that are not at their default, with their values."""
    values: dict[str, object] = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            values |= non_default_values(value, f"{prefix}{name}.")
        elif field.is_required() or value != field.default:
            is_stack = isinstance(value, list) and value and isinstance(value[0], Section)
            values[prefix + name] = [item.model_dump(exclude_defaults=True) for item in value] if is_stack else value
    return values


def list_keys(section: type[Section] = Config, prefix: str = "") -> Iterator[str]:
    """Yield every key that is a value, dotted."""
    for name, field in section.model_fields.items():
        if inner := find_section(field.annotation):
            yield from list_keys(inner, f"{prefix}{name}.")
        else:
            yield prefix + name


def differing_sections(first: Config, second: Config) -> list[str]:
    """Return the sections in which two configs differ, among those that decide what is trained."""
    sections = [name for name in Config.model_fields if name not in {"backtest", "tuning", "tracking"}]
    return [name for name in sections if getattr(first, name) != getattr(second, name)]


def find_field(path: tuple[str | int, ...], root: type[Section] = Config) -> FieldInfo | None:
    """Return the field that a path such as ("training", "epochs") names, or None."""
    section: type[Section] | None = root
    field = None
    for name in path:
        if isinstance(name, str):
            field = section.model_fields.get(name) if section else None
            section = find_section(field.annotation) or find_item(field.annotation) if field else None
    return field


def describe(field: FieldInfo) -> str:
    """Return the meaning of a key or section on one line."""
    section = find_section(field.annotation)
    return " ".join((field.description or (section.__doc__ if section else None) or "").split())


def find_section(annotation: object) -> type[Section] | None:
    """Return the section class in a field's annotation (`X` or `X | None`), or None if the field is a value."""
    choices = [annotation, *getattr(annotation, "__args__", ())]
    return next((choice for choice in choices if isinstance(choice, type) and issubclass(choice, Section)), None)


def find_item(annotation: object) -> type[Section] | None:
    """Return the section class of the items in a field's annotation, if the field is a list of sections."""
    return next((find_section(get_args(choice)[0]) for choice in _split(annotation) if get_origin(choice) is list), None)


def _split(annotation: object) -> list[object]:
    """Return the choices of an annotation, without what is annotated to them."""
    plain = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    return [plain, *(item for choice in get_args(plain) for item in _split(choice))]
