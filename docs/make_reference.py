"""Write the reference pages and the JSON Schemas of docs/ from the code: python docs/make_reference.py"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from typer.testing import CliRunner

import forecast
from forecast.config import Config, Section, describe, find_item, find_section
from forecast.evaluation import TrainingMetrics
from forecast.search.grid import ExperimentConfig

FOLDER = Path(__file__).parent
INTRODUCTION = """# Configuration reference

Keys without a default are required. You can set any key on the command line, as in
`forecast train config.yaml --set training.epochs=5`. Lengths in steps can also be durations. With hourly data,
`horizon: 7d` is the same as 168.

Editors can complete the keys with [config.schema.json](config.schema.json). In VS Code, start the file with
`# yaml-language-server: $schema=config.schema.json`.

`docs/make_reference.py` generates this page from `forecast/config/schema.py` and `forecast/search/grid.py`.
"""


def pages() -> dict[Path, str]:
    """Return the text of each file that is generated from the code."""
    texts = {
        "commands.md": commands(),
        "configuration-reference.md": reference(),
        "config.schema.json": json.dumps(forecast.schema(), indent=2) + "\n",
        "metrics.schema.json": json.dumps(TrainingMetrics.model_json_schema(), indent=2) + "\n",
    }
    return {FOLDER / name: text for name, text in texts.items()}


def commands() -> str:
    """Return the command reference, as Typer writes it."""
    from typer.cli import app

    arguments = ["forecast.cli.app", "utils", "docs", "--name", "forecast", "--title", "Command reference"]
    return CliRunner().invoke(app, arguments, catch_exceptions=False).stdout


def reference() -> str:
    """Return the configuration reference: a table for each section."""
    top = {name: field for name, field in Config.model_fields.items() if find_section(field.annotation) is None}
    pages = [INTRODUCTION, _table("Top level", "", top)]
    pages += [
        _section(name, section) for name, field in Config.model_fields.items() if (section := find_section(field.annotation))
    ]
    pages.append(_table("Experiment file", ExperimentConfig.__doc__, ExperimentConfig.model_fields))
    return "\n".join(pages)


def _section(name: str, section: type[Section]) -> str:
    return _table(f"`{name}:`", section.__doc__ or "", section.model_fields)


def _table(title: str, text: str, fields: dict[str, FieldInfo]) -> str:
    introduction = f"{text}\n\n" if text else ""
    rows = "\n".join(_rows("", fields))
    return f"## {title}\n\n{introduction}| key | default | meaning |\n| --- | --- | --- |\n{rows}\n"


def _rows(prefix: str, fields: dict[str, FieldInfo]) -> list[str]:
    rows = []
    for name, field in fields.items():
        rows.append(f"| `{prefix}{name}` | {_default(field)} | {describe(field)}{_choices(field)} |")
        if inner := find_section(field.annotation) or find_item(field.annotation):
            rows += _rows(f"{prefix}{name}.", inner.model_fields)
    return rows


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if isinstance(field.default, Section):
        return "as below"
    return (
        "null"
        if field.default is None
        else f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"
    )


def _choices(field: FieldInfo) -> str:
    kinds = [field.annotation, *get_args(field.annotation)]
    choices = next((get_args(kind) for kind in kinds if get_origin(kind) is Literal), ())
    return (
        f" {'Any' if get_origin(field.annotation) is list else 'One'} of {', '.join(f'`{choice}`' for choice in choices)}."
        if len(choices) > 1
        else ""
    )


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
