"""The documentation is true: keys, commands, files and configs that it names exist, and the other way round."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import tomllib
from pathlib import Path

import jsonschema
import pytest
import yaml

from forecast.cli import app
from forecast.grids import read_experiment
from forecast.loading import load_config
from forecast.runs import Run
from forecast.yaml12 import Loader

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
EXPERIMENTS = sorted((ROOT / "configs" / "experiments").glob("*.yaml"))
BLOCKS = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)  # a config, an experiment, and the part of a config that tunes
COMMANDS = {command.callback.__name__.replace("_", "-") for command in app.registered_commands}


def test_config_reference_and_schema_are_current():
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "docs" / "make_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text() == module.reference(), "run: python docs/make_reference.py"
    assert module.SCHEMA.read_text() == module.schema_text(), "run: python docs/make_reference.py"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_shipped_configs_load_and_say_what_to_expect(path):
    config = load_config(path)
    header = path.read_text().split("\n\n")[0]
    assert Path(config.data.path).exists() or "The data is not shipped" in header
    assert f"forecast train configs/{path.name}" in header
    assert re.search(r"Expected: test M[AS]E [\d.]+", header)
    assert re.search(r"About \d+ s on 2 cores", header)
    assert f"configs/{path.name}" in README


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.name)
def test_shipped_experiments_load_and_say_what_to_expect(path):
    assert read_experiment(path).cells
    header = path.read_text().split("\n\n")[0]
    assert f"forecast experiment configs/experiments/{path.name}" in header
    assert re.search(r"Expected: .*validation MASE [\d.]+", header)
    assert re.search(r"About \d+ s on 2 cores", header)
    assert f"configs/experiments/{path.name}" in README


@pytest.mark.parametrize("path", [*CONFIGS, ROOT / "README.md"], ids=lambda path: path.name)
def test_configs_fit_the_schema(path):
    text = path.read_text() if path.suffix == ".yaml" else BLOCKS[0]
    schema = json.loads((ROOT / "docs" / "config.schema.json").read_text())
    wrong = jsonschema.Draft202012Validator(schema).iter_errors(yaml.load(text, Loader))  # noqa: S506
    assert [error.message for error in wrong] == []


def command_lines() -> list[str]:
    blocks = re.findall(r"```\n(.*?)```", README, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith(("forecast ", "make "))]


@pytest.mark.parametrize("line", command_lines())
def test_readme_commands_exist(line):
    program, command, *arguments = shlex.split(line, comments=True)
    if program == "make":
        assert f"\n{command}:" in (ROOT / "Makefile").read_text()
    else:
        assert command in COMMANDS
        assert all((ROOT / argument).exists() for argument in arguments if argument.startswith("configs/"))


def test_readme_names_every_command():
    assert all(f"forecast {command} " in README for command in COMMANDS)


def test_readme_names_every_file_of_a_run():
    paths = {name: path for name, path in vars(Run("x")).items() if isinstance(path, Path) and name != "directory"}
    for path in paths.values():
        named = path.relative_to("x").parts[0]
        assert f"`{named}" in README, named


def test_readme_config_loads(tmp_path):
    config, experiment, tuning = BLOCKS
    (tmp_path / "config.yaml").write_text(config)
    assert load_config(tmp_path / "config.yaml").windows.model_dump() == yaml.safe_load(config)["windows"] | {"stride": 1}
    (tmp_path / "experiment.yaml").write_text(experiment.replace("../airline.yaml", str(ROOT / "configs" / "airline.yaml")))
    assert len(read_experiment(tmp_path / "experiment.yaml").cells) == 2 * 3 * 2 * 3
    (tmp_path / "config.yaml").write_text(config + tuning)
    assert len(load_config(tmp_path / "config.yaml").tuning.search) == 4


def test_links_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "data" / "README.md"]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_dependencies_have_reasons():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {name: needs for name, needs in project["optional-dependencies"].items() if name != "dev"}
    page = (ROOT / "docs" / "dependencies.md").read_text()
    named = {re.match(r"[\w-]+", need)[0] for needs in (project["dependencies"], *extras.values()) for need in needs} - {
        "forecast"
    }
    assert "tensorflow" in named
    assert all(re.search(rf"^\|.*\b{name}\b", page, re.MULTILINE) for name in named)


def test_constraints_hold_names_and_versions_only():
    first, *rest = (ROOT / "constraints.txt").read_text().splitlines()
    assert first == "-c constraints-predict.txt"
    lines = rest + (ROOT / "constraints-predict.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9a-zA-Z.+]+", line) for line in lines)
    assert len({line.partition("==")[0].lower() for line in lines}) == len(lines)
