"""The house: who may import whom, what may be loaded when, and that names agree across config, commands and functions."""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path

import pytest

import forecast
from forecast.cli.app import app
from forecast.runs.layout import Entry, RunDirectory

PACKAGE = Path(forecast.__file__).parent

# Packages and top-level modules in import order: each imports only from itself and from those before it.
PACKAGES = (
    "errors",
    "storage",
    "documents",
    "config",
    "data",
    "windows",
    "forecasters",
    "evaluation",
    "runs",
    "reports",
    "training",
    "commands",
    "search",
    "cli",
    "__main__",
)
MAX_FILES = 14  # Modules in a package, besides its `__init__`. `commands` has one for each command.
MIN_INSIDE = 0.25  # Share of imports that stay inside their package.
ALWAYS_INSIDE = {"tensorflow", "jax", "matplotlib", "sklearn", "safetensors", "rich", "pyarrow"}
KERAS_MODULES = ("backend", "batches", "callbacks", "fitting", "gradients", "keras_builder", "keras_layers")
KERAS_AT_THE_TOP = {f"forecasters.network.{name}" for name in KERAS_MODULES}
NOT_PATHS = {  # The name of a run's file, but in a message or of another file.
    ("commands.backtest", "report.html"),
    ("commands.export", "series.csv"),
    ("forecasters.network.callbacks", "checkpoint.safetensors"),
    ("commands.train", "report.html"),
    ("config.load", "config.yaml"),
}
# They load neither pandas nor NumPy; nor does config.
LIGHT = {"errors", "storage", "documents", "runs.layout", "runs.run", "runs.status", "cli.app", "cli.streams", "__main__"}


def modules() -> dict[str, ast.Module]:
    """Return the syntax tree of each module by its name below `forecast`; that of a package is its `__init__`."""
    files = {path: path.relative_to(PACKAGE).with_suffix("").parts for path in PACKAGE.rglob("*.py")}
    names = {path: ".".join(parts).removesuffix(".__init__") for path, parts in files.items()}
    return {name: ast.parse(path.read_text()) for path, name in names.items() if name != "__init__"}


MODULES = modules()


def imports(nodes: list[ast.stmt]) -> set[str]:
    """Return the names of the modules that statements import."""
    imported = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            imported |= {name if name.removeprefix("forecast.") in MODULES else node.module for name in names}
    return imported


def top_level(tree: ast.Module) -> list[ast.stmt]:
    return [node for statement in tree.body for node in (statement.body if isinstance(statement, ast.With) else [statement])]


def arrows() -> set[tuple[str, str]]:
    """Return every pair of a module and a module of ours that it imports, at whatever level."""
    return {
        (name, imported.removeprefix("forecast."))
        for name, tree in MODULES.items()
        for imported in imports([node for node in ast.walk(tree) if isinstance(node, ast.stmt)])
        if imported.startswith("forecast.")
    }


ARROWS = arrows()


def package_of(module: str) -> str:
    return module.partition(".")[0]


def test_packages_are_those_of_the_list():
    assert {package_of(name) for name in MODULES} == set(PACKAGES)


def test_packages_import_only_from_packages_before_them():
    back = {(a, b) for a, b in ARROWS if PACKAGES.index(package_of(b)) > PACKAGES.index(package_of(a))}
    assert not back


def test_modules_do_not_import_each_other_in_circles():
    graph = {name: {b for a, b in ARROWS if a == name} for name in MODULES}
    assert list(graphlib.TopologicalSorter(graph).static_order())


def test_imports_stay_inside_packages():
    inside = [package_of(a) == package_of(b) for a, b in ARROWS]
    assert sum(inside) / len(inside) >= MIN_INSIDE


@pytest.mark.parametrize("package", [name for name in PACKAGES if (PACKAGE / name).is_dir() and name != "commands"])
def test_a_package_has_few_files(package):
    assert len(list((PACKAGE / package).glob("[!_]*.py"))) <= MAX_FILES


def test_heavy_libraries_are_imported_inside_functions():
    loads_keras = {"keras"} | {f"forecast.{module}" for module in KERAS_AT_THE_TOP}
    heavy = set()
    for name, tree in MODULES.items():
        loaded = imports(top_level(tree))
        forbidden = ALWAYS_INSIDE | (set() if name in KERAS_AT_THE_TOP else loads_keras)
        if name in LIGHT or package_of(name) == "config":
            forbidden |= {"numpy", "pandas"}
        heavy |= {(name, library) for library in forbidden & (loaded | {module.split(".")[0] for module in loaded})}
    assert not heavy


def test_every_command_is_a_public_function():
    combined = {"config", "quick"}  # What load_config(path).to_yaml() and train(init(data, effort="quick")) give.
    commands = {command.callback.__name__ for command in app.registered_commands} - combined
    assert commands <= set(forecast.__all__)
    assert all(callable(getattr(forecast, command)) for command in commands)


def test_public_names_do_not_hide_modules():
    assert not set(forecast.__all__) & {path.stem for path in PACKAGE.iterdir()}


def test_file_names_of_a_run_stand_in_runs_only():
    entries = [entry for entry in vars(RunDirectory).values() if isinstance(entry, Entry)]
    files = {path.name for entry in entries if (path := Path(entry.path)).suffix}
    texts = {
        (name, node.value.rpartition("/")[2])
        for name, tree in MODULES.items()
        for node in ast.walk(tree)
        if name != "runs.layout" and isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert not {(name, text) for name, text in texts if text in files} - NOT_PATHS
