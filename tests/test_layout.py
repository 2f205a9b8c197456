"""The house: who may import whom, what may be loaded when, and that names agree across config, commands and functions."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import forecast
from forecast.cli.app import app
from forecast.config.schema import Config
from forecast.runs.run import Run

PACKAGE = Path(forecast.__file__).parent

# From top to bottom; a file imports only from rows above it.
ROWS = [
    ["errors"],
    ["yaml12", "values", "files", "streams"],
    ["config"],
    ["loading"],
    ["grids"],
    ["timestamps", "time_features"],
    ["tables"],
    ["repairs"],
    ["resampling"],
    ["data"],
    ["contracts"],
    ["splits", "sizing"],
    ["scaling"],
    ["windows"],
    ["metrics", "baselines", "intervals", "significance", "fingerprints"],
    ["runs"],
    ["models.backend", "models.description"],
    ["models.callbacks"],
    ["models.keras_builder", "models.numpy_runtime", "models.fitting", "models.architectures", "models.gradients"],
    ["trained", "evaluation", "checkpoints"],
    ["future"],
    ["prediction", "preparation"],
    ["plots", "pages", "diagnosis", "importance", "exports", "scoring", "leaks", "search"],
    ["reports", "workers", "tracking", "memory", "lineage"],
    ["environment"],
    ["training", "comparison", "detection"],
    ["studies", "backtesting", "experiments", "reproduction", "updating"],
    ["console"],
    ["tuning", "progress"],
    ["validation", "drafting"],
    ["cli"],
    ["__main__"],
]
ROW_OF = {name: row for row, names in enumerate(ROWS) for name in names}
ALWAYS_INSIDE = {"tensorflow", "jax", "matplotlib", "sklearn", "safetensors", "rich", "pyarrow"}
KERAS_AT_THE_TOP = {"models.backend", "models.callbacks", "models.keras_builder", "models.fitting", "models.gradients"}
NOT_PATHS = {  # the name of a run's file, but in a message or of another file
    ("backtesting", "report.html"),
    ("exports", "series.csv"),
    ("models.callbacks", "checkpoint.safetensors"),
    ("training", "report.html"),
}
LIGHT = {"errors", "yaml12", "files", "streams", "config", "loading", "runs", "cli", "__main__"}  # nor pandas or numpy


def modules() -> dict[str, ast.Module]:
    files = {path: ".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in PACKAGE.rglob("*.py")}
    return {name: ast.parse(path.read_text()) for path, name in files.items() if not name.endswith("__init__")}


MODULES = modules()


def imports(nodes: list[ast.stmt]) -> set[str]:
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "forecast":
            found |= {f"forecast.{alias.name}" for alias in node.names if not alias.name.startswith("__")}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
    return found


def top_level(tree: ast.Module) -> list[ast.stmt]:
    return [node for statement in tree.body for node in (statement.body if isinstance(statement, ast.With) else [statement])]


def test_every_module_has_a_row():
    assert set(MODULES) == set(ROW_OF)


@pytest.mark.parametrize("name", ROW_OF)
def test_imports_come_from_rows_above(name):
    everywhere = imports([node for node in ast.walk(MODULES[name]) if isinstance(node, ast.stmt)])
    ours = {module.removeprefix("forecast.") for module in everywhere if module.startswith("forecast.")}
    assert not {module for module in ours if ROW_OF[module] >= ROW_OF[name]}


@pytest.mark.parametrize("name", ROW_OF)
def test_heavy_libraries_are_imported_inside_functions(name):
    loaded = {module.split(".")[0] for module in imports(top_level(MODULES[name]))}
    forbidden = (
        ALWAYS_INSIDE | (set() if name in KERAS_AT_THE_TOP else {"keras"}) | ({"numpy", "pandas"} if name in LIGHT else set())
    )
    assert not loaded & forbidden
    if name not in KERAS_AT_THE_TOP:
        assert not {f"forecast.{module}" for module in KERAS_AT_THE_TOP} & imports(top_level(MODULES[name]))


def test_every_section_of_the_config_has_its_file():
    sections = {name for name, field in Config.model_fields.items() if name not in {"name", "seed"}}
    homes = {section: {"model": "models", "backtest": "backtesting"}.get(section, section) for section in sections}
    assert all((PACKAGE / f"{home}.py").exists() or (PACKAGE / home).is_dir() for home in homes.values())


def test_every_command_is_a_public_function():
    shows_a_config = {"config"}  # what load_config(path).to_yaml() gives
    commands = {command.callback.__name__ for command in app.registered_commands} - shows_a_config
    assert commands <= set(forecast.__all__)
    assert all(callable(getattr(forecast, command)) for command in commands)


def test_public_names_do_not_hide_modules():
    assert not set(forecast.__all__) & {path.stem for path in PACKAGE.iterdir()}


def test_file_names_of_a_run_stand_in_runs_only():
    files = {path.name for path in vars(Run("x")).values() if isinstance(path, Path) and path.suffix}
    texts = {
        (name, node.value.rpartition("/")[2])
        for name, tree in MODULES.items()
        for node in ast.walk(tree)
        if name != "runs" and isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert not {(name, text) for name, text in texts if text in files} - NOT_PATHS
