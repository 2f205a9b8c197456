"""The documentation is true: keys, commands, files and configs that it names exist, and the other way round."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import pandas as pd
import pytest
import typer
import yaml
from typer.testing import CliRunner

from docs import make_packages
from forecast import __version__
from forecast.cli.app import app
from forecast.commands.train import train
from forecast.config.load import load_config
from forecast.config.yaml12 import Loader
from forecast.runs.layout import Entry, RunDirectory
from forecast.search.grid import read_experiment

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
CONFIGS = sorted([*(ROOT / "configs").glob("*.yaml"), *(ROOT / "configs" / "course").glob("*.yaml")])
EXPERIMENTS = sorted((ROOT / "configs" / "experiments").glob("*.yaml"))
BLOCK = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
COMMANDS = {command.name or command.callback.__name__.replace("_", "-"): command for command in app.registered_commands}
MADE = {"commands.md", "configuration-reference.md"}  # by docs/make_reference.py
PAGES = [ROOT / "README.md", *sorted(page for page in (ROOT / "docs").glob("*.md") if page.name not in MADE)]
FEWER = {  # Epochs, baselines, folds and trials than the pages have. The results differ, but the commands work alike.
    "train": ["--set", "training.epochs=1", "--set", "baselines=[]"],
    "backtest": ["--set", "training.epochs=1", "--folds", "1"],
    "experiment": ["--set", "training.epochs=1"],
    "tune": ["--set", "training.epochs=1", "--trials", "1"],
}


def test_references_are_current():
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "docs" / "make_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for path, text in module.pages().items():
        assert path.read_text() == text, "run: python docs/make_reference.py"


def test_the_page_on_the_code_is_current():
    assert make_packages.PAGE.read_text() == make_packages.page(), "run: python -m docs.make_packages"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_shipped_configs_load_and_say_what_to_expect(path):
    config = load_config(path)
    header = path.read_text().split("\n\n")[0]
    assert Path(config.data.path).exists() or "The data is not shipped" in header
    assert f"forecast train {path.relative_to(ROOT)}" in header
    assert re.search(r"Expected: test M[AS]E [\d.]+", header)
    assert re.search(r"About \d+ s on 2 cores", header)
    assert str(path.relative_to(ROOT)) in README


@pytest.mark.parametrize(("name", "page"), [("airline", "README.md"), ("classic", "docs/tutorial.md")])
def test_the_header_of_a_config_and_the_table_of_a_page_agree(name, page):
    header, table = (ROOT / "configs" / f"{name}.yaml").read_text(), (ROOT / page).read_text()
    table = table[table.index(f"{name}-1: Beats") :]
    patterns = {
        "this network": r"test MAE ([\d.]+)",
        r"seasonal naive \(12\)": r"seasonal naive(?:'s)? ([\d.]+\d)",
        "linear": r"linear ([\d.]+\d)",
    }
    for row, pattern in patterns.items():
        if found := re.search(pattern, header):
            assert found[1] == re.search(rf"^{row} +([\d.]+)", table, re.MULTILINE)[1], row


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.name)
def test_shipped_experiments_load_and_say_what_to_expect(path):
    assert read_experiment(path).cells
    header = path.read_text().split("\n\n")[0]
    assert f"forecast experiment configs/experiments/{path.name}" in header
    assert re.search(r"Expected: .*validation MASE [\d.]+", header)
    assert re.search(r"About \d+ s on 2 cores", header)
    assert f"configs/experiments/{path.name}" in README


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_configs_fit_the_schema(path):
    text = path.read_text()
    schema = json.loads((ROOT / "docs" / "config.schema.json").read_text())
    wrong = jsonschema.Draft202012Validator(schema).iter_errors(yaml.load(text, Loader))  # noqa: S506
    assert [error.message for error in wrong] == []


def executable(page: Path) -> list[tuple[str, str]]:
    return [
        (language, text) for language, text in BLOCK.findall(page.read_text()) if language in ("console", "python", "sh", "yaml")
    ]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """What the pages take for granted: configs, data, a file of one's own, newer rows, and runs, one of them cut short."""
    for name in ("configs", "data"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for path in (tmp_path / "configs" / "experiments").iterdir():
        keep_two_runs(path)
    monkeypatch.chdir(tmp_path)
    days = pd.date_range("2023-01-01", periods=500)
    sales = pd.DataFrame({"date": days, "sales": 100 + days.day_of_week * 10 + days.day_of_year / 10})
    for name in ("sales.csv", "orders.csv"):
        sales.to_csv(name, index=False)
    monkeypatch.setattr("webbrowser.open", lambda url: True)
    airline = pd.read_csv("data/airline.csv", parse_dates=["month"])
    next_year = airline[-12:].assign(month=airline.month + pd.DateOffset(years=1), passengers=airline.passengers + 30)
    pd.concat([airline, next_year]).to_csv("new.csv", index=False)
    return tmp_path


@pytest.fixture(scope="module")
def shared() -> dict[tuple[str, ...], Path]:
    """Runs that pages have trained, by the arguments of `forecast`. Other pages with the same command copy them."""
    return {}


def cut_short(run_dir: str) -> None:
    def stop(progress: object) -> None:
        if progress.epoch == 1 and progress.done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(load_config("configs/airline.yaml", {"training.epochs": 2}), run_dir, on_progress=stop)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if executable(page)], ids=lambda page: page.name)
def test_every_block_of_a_page_runs(page, folder, shared):
    for language, text in executable(page):
        if language == "yaml":
            write_config(text)
        elif language == "python":
            exec(compile(text, page.name, "exec"), {})
        elif language == "sh":
            commands = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
            done = subprocess.run(
                ["bash", "-c", text], env=os.environ | {"PATH": commands}, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
        else:
            for line in re.findall(r"^\$ (.*)$", text, re.MULTILINE):
                run_line(line, shared)


@pytest.mark.slow
def test_the_notebook_runs(folder, monkeypatch):
    notebook = json.loads((ROOT / "docs" / "notebook.ipynb").read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == [*range(1, len(cells) + 1)], "run the whole notebook, then store it"
    assert all(cell["outputs"] and cell["outputs"][0]["output_type"] != "error" for cell in cells[1:])
    (folder / "docs").mkdir()
    monkeypatch.chdir(folder / "docs")
    namespace: dict[str, object] = {}
    for cell in cells:
        exec(compile("".join(cell["source"]), "notebook.ipynb", "exec"), namespace)


def keep_two_runs(experiment: Path) -> None:
    """Let an experiment train two of its cases, with the first value of each grid and one seed."""
    plan = yaml.load(experiment.read_text(), Loader)  # noqa: S506
    grid = {key: values[:1] for key, values in plan.get("grid", {}).items()}
    cases = dict(list(plan["cases"].items())[:2])
    experiment.write_text(yaml.safe_dump(plan | {"grid": grid, "cases": cases, "seeds": [1]}))


def write_config(text: str) -> None:
    """Its first line names the file."""
    path = Path(re.match(r"# (\S+\.yaml)\n", text)[1])
    path.write_text(text)
    if "\nbase:" in text:
        assert read_experiment(path).cells
        keep_two_runs(path)
    else:
        assert load_config(path).windows.lookback


def run_line(line: str, shared: dict[tuple[str, ...], Path]) -> None:
    line, _, target = line.partition(" > ")
    program, *arguments = shlex.split(line, comments=True)
    if "runs/airline-2" in arguments and not Path("runs/airline-2").exists():
        shutil.copytree("runs/airline-1", "runs/airline-2")
    if "runs/airline-3" in arguments:
        cut_short("runs/airline-3")
    if program == "make":
        assert f"\n{arguments[0]}:" in (ROOT / "Makefile").read_text()
        return
    assert program == "forecast"
    shipped = arguments[0] == "train" and len(arguments) == 2 and arguments[1].startswith("configs/")
    run = Path("runs", f"{Path(arguments[-1]).stem}-1").absolute()
    if shipped and tuple(arguments) in shared:
        shutil.copytree(shared[tuple(arguments)], run)
        return
    done = CliRunner().invoke(app, [*arguments, *FEWER.get(arguments[0], [])], catch_exceptions=False)
    allowed = (0, 3) if "--fail-if-worse-than" in arguments else (0,)
    assert done.exit_code in allowed, f"{line}\n{done.output}"
    if shipped:
        shared[tuple(arguments)] = Path(shutil.copytree(run, run.with_name(f"shared-{run.name}")))
    if target:
        Path(shlex.split(target, comments=True)[0]).write_text(done.stdout)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_commands_within_sentences_exist(page):
    commands = typer.main.get_command(app).commands
    for text in re.findall(r"`forecast ([a-z][^`]*)`", page.read_text()):
        command, *arguments = shlex.split(text)
        options = {option for own in commands[command].params for option in own.opts} | {"--help"}
        assert {argument for argument in arguments if argument.startswith("--")} <= options, text


def test_every_message_of_the_faq_is_one():
    code = "".join(path.read_text() for path in (ROOT / "forecast").rglob("*.py"))
    quoted = re.findall(r'^## .*?"(.*)"', (ROOT / "docs" / "faq.md").read_text(), re.MULTILINE)
    assert len(quoted) > 8
    assert [text for text in quoted if text not in code] == []


@pytest.mark.slow
def test_every_field_of_a_json_document_is_explained(sales, tmp_path):
    page = (ROOT / "docs" / "json-output.md").read_text()
    rows = re.findall(r"^\| (`.*?`) \| (.*) \|$", page, re.MULTILINE)
    explained = {name: set(re.findall(r"`(\w+)`", text)) for names, text in rows for name in re.findall(r"`([\w-]+)`", names)}
    explained["doctor"] = {"level", "subject", "text", "remedy"}
    run, config = sales / "run", sales / "config.yaml"
    lines = [f"{command} {run}" for command in ("show", "predict", "detect", "diagnose", "plan")]
    lines += [f"{command} {config}" for command in ("validate", "check-leaks")]
    lines += [
        f"compare {run} {run}",
        f"runs {sales}",
        "doctor",
        f"export {run} --to keras -o {tmp_path / 'made'}",
        f"reproduce {run}",
    ]
    for line in lines:
        document = json.loads(CliRunner().invoke(app, [*line.split(), "--json"], catch_exceptions=False).stdout)
        fields = document if isinstance(document, dict) else {name for row in document for name in row}
        assert set(fields) <= explained[line.split()[0]], line
    metrics = json.loads((run / "metrics.json").read_text())
    assert set(metrics) <= set(explained)
    schema = json.loads((ROOT / "docs" / "metrics.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(metrics)


@pytest.mark.slow
def test_the_pages_build_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", ROOT / "docs", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "tutorial.html").exists()
    assert "forecast init sales.csv -o sales.yaml --target revenue" in (tmp_path / "commands.html").read_text()
    pages = {path: Page(path.read_text()) for path in tmp_path.rglob("*.html")}
    for path, page in pages.items():
        assert "xref myst" not in path.read_text(), f"{path.name} has a link that leads nowhere"
        for link in page.links:
            file, _, anchor = link.partition("#")
            target = (path.parent / file).resolve() if file else path
            assert target.exists(), f"{path.name}: {link}"
            assert not anchor or anchor in pages[target].ids, f"{path.name}: {link}"


class Page(HTMLParser):
    """The local links of a page, and where links can lead within it."""

    def __init__(self, text: str):
        super().__init__()
        self.links, self.ids = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids.add(found.get("id"))
        link = (found.get("href") if tag in ("a", "link") else found.get("src")) or ""
        if link and not re.match(r"[a-z]+:|//", link):
            self.links.append(link.partition("?")[0])


def test_readme_names_every_command():
    assert all(f"forecast {command} " in README for command in COMMANDS)


def test_every_file_of_a_run_is_explained():
    page = (ROOT / "docs" / "run-directory.md").read_text()
    paths = [Path(entry.path) for entry in vars(RunDirectory).values() if isinstance(entry, Entry)]
    assert len(paths) > 30
    for path in paths:
        name = str(path) if path.suffix or path.name == "SHA256SUMS" else f"{path}/"  # Folders end in a slash.
        assert f"`{name}`" in page, name


def anchors(page: Path) -> set[str]:
    """What its headings are called in links."""
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere():
    written = [*PAGES, *(ROOT / "docs" / name for name in MADE), *ROOT.glob("*.md")]
    for page in [*written, ROOT / "data" / "README.md", ROOT / "benchmarks" / "README.md"]:
        for file, anchor in re.findall(r"\]\(([^)#:\s]*)#?([^):\s]*)\)", page.read_text()):
            target = page.parent / file if file else page
            assert target.exists(), f"{page.name}: {file}"
            assert not anchor or anchor in anchors(target), f"{page.name}: {file}#{anchor}"


def test_dependencies_have_reasons():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {name: needs for name, needs in project["optional-dependencies"].items() if name != "dev"}
    page = (ROOT / "docs" / "dependencies.md").read_text()
    named = {re.match(r"[\w-]+", need)[0] for needs in (project["dependencies"], *extras.values()) for need in needs}
    assert "tensorflow" in named
    assert all(re.search(rf"^\|.*\b{name}\b", page, re.MULTILINE) for name in named)


def test_badges_are_true():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    versions = [name.rpartition(" ")[2] for name in project["project"]["classifiers"] if "Python :: 3." in name]
    label = f"Python {versions[0]} to {versions[-1]}; license {project['project']['license']}; types checked by mypy"
    assert f'aria-label="{label}"' in (ROOT / "docs" / "badges.svg").read_text()
    assert project["tool"]["mypy"]["strict"]


def test_licence_version_and_authors_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == __version__
    assert citation["license"] == project["license"] == "Apache-2.0"
    assert citation["authors"] == project["authors"]
    assert "Apache License\n                           Version 2.0" in (ROOT / "LICENSE").read_text()


def test_constraints_hold_names_and_versions_only():
    first, *rest = (ROOT / "constraints.txt").read_text().splitlines()
    assert first == "-c constraints-predict.txt"
    lines = rest + (ROOT / "constraints-predict.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9a-zA-Z.+]+", line) for line in lines)
    assert len({line.partition("==")[0].lower() for line in lines}) == len(lines)
