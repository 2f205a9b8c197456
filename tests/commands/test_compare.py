"""Runs that were scored on the same are ranked, others are refused."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest
from typer.testing import CliRunner

from forecast.cli.app import app
from forecast.cli.output import describe_comparison
from forecast.commands.compare import compare
from forecast.commands.train import train
from forecast.config.load import load_config
from forecast.errors import RunError
from forecast.runs.run import Run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def worse(sales, tmp_path_factory):
    """A network of the same windows that has hardly learned anything, and one more baseline."""
    overrides = {"training.epochs": 1, "model.linear_skip": False, "model.units": [2], "baselines": ["theta"]}
    return train(load_config(sales / "config.yaml", overrides), tmp_path_factory.mktemp("worse") / "run")


def test_the_best_comes_first_with_what_makes_the_difference(sales, worse, tmp_path):
    table = compare([worse, sales / "run"], plot=tmp_path / "compared.png")
    assert table.run.tolist() == [str(sales / "run"), str(worse.directory)]
    assert table.worse_by.tolist() == pytest.approx([0.0, table.mase[1] / table.mase[0] - 1])
    assert table.low[1] < table.worse_by[1] < table.high[1]
    assert table.p_value[1] < 0.01, "25 cutoffs of a horizon of 3 tell that the second has not learned"
    assert table["model.units"].tolist() == [[4], [2]]
    assert table["training.epochs"].tolist() == [2, 1]
    assert "training.batch_size" not in table, "which both have"
    assert table.coverage_80.between(0, 1).all()
    assert (tmp_path / "compared.png").stat().st_size > 1000


def test_a_tiny_lead_is_no_negative_zero():
    first = {"run": "a", "mae": 1e9, "rmse": 2e9, "mase": 1.0, "parameters": 9, "seconds": 1.0}
    first |= {"worse_by": 0.0, "low": None, "high": None, "p_value": None}
    second = first | {"run": "b", "mae": 1e9 + 10, "worse_by": -1e-5, "low": -1e-5, "high": 1e-5, "p_value": 0.5}
    table = pd.DataFrame([first, second])
    _, *lines, _ = describe_comparison(table)
    assert ["1,000,000,000" in lines[0], "1,000,000,010" in lines[1]] == [True, True]
    assert " 0.0% (0..0) " in lines[1]


def test_any_metric_ranks(sales, worse):
    assert compare([worse, sales / "run"], sort="rmse").rmse.is_monotonic_increasing
    with pytest.raises(RunError, match=r"no metric `rms` to sort by.\s+Did you mean `rmse`"):
        compare([worse], sort="rms")


def test_where_mase_is_undefined_the_runs_are_compared_by_mae(sales, worse, tmp_path):
    copies = [shutil.copytree(folder, tmp_path / str(number)) for number, folder in enumerate([sales / "run", worse.directory])]
    for copy in map(Run, copies):
        losses = pd.read_csv(copy.cutoffs)
        losses.loc[:, losses.columns.str.startswith("mase")] = float("nan")
        losses.to_csv(copy.cutoffs, index=False)
    table = compare(copies)
    assert table.worse_by[1] == pytest.approx(table.mae[1] / table.mae[0] - 1)


def test_a_backtest_of_the_same_cutoffs_is_ranked_too(sales):
    assert len(compare([sales / "run", sales / "backtest"])) == 2


@pytest.mark.parametrize(
    "overrides", [{"splits.test": 24}, pytest.param({"windows.horizon": 2}, marks=pytest.mark.exhaustive)], ids=str
)
def test_other_cutoffs_are_refused(sales, overrides, tmp_path):
    other = train(load_config(sales / "config.yaml", {"training.epochs": 1} | overrides), tmp_path / "other")
    with pytest.raises(RunError, match="was scored on different data or cutoffs"):
        compare([sales / "run", other])


def test_other_data_is_refused(sales, tmp_path):
    table = pd.read_csv(sales / "data.csv")
    table.loc[170, "sales"] += 0.001  # In the test set.
    table.to_csv(tmp_path / "data.csv", index=False)
    (tmp_path / "config.yaml").write_text((sales / "config.yaml").read_text())
    with pytest.raises(RunError, match="was scored on different data or cutoffs"):
        compare([sales / "run", train(tmp_path / "config.yaml", tmp_path / "run")])


DAMAGES = {
    "no losses": lambda run: run.cutoffs.unlink(),
    "fewer losses": lambda run: run.cutoffs.write_text("\n".join(run.cutoffs.read_text().splitlines()[:5])),
    "losses of garbage": lambda run: run.cutoffs.write_bytes(b"\xff\x00"),
    "no scores": lambda run: run.metrics_file.write_text("{}"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_runs_are_refused(sales, damage, tmp_path):
    shutil.copytree(sales / "run", tmp_path / "run")
    damage(Run(tmp_path / "run"))
    for runs in ([sales / "run", tmp_path / "run"], [tmp_path / "run", sales / "run"]):
        with pytest.raises(RunError, match="The run is damaged"):
            compare(runs)


def test_a_plot_replaces_nothing_but_a_plot(sales, tmp_path):
    (tmp_path / "other.png").write_text("not a picture")
    messages = {"data.csv": "not the name of a PNG file", "other.png": "would replace a file that is not a PNG picture"}
    for name, message in messages.items():
        with pytest.raises(RunError, match=message):
            compare([sales / "run"], plot=tmp_path / name)


def test_the_command(sales, worse):
    runs = [str(sales / "run"), str(worse.directory)]
    shown = CliRunner().invoke(app, ["compare", *runs])
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.splitlines()[1].startswith(f"1  {runs[0]}")
    assert "training.epochs: 1" in shown.stdout
    rows = json.loads(CliRunner().invoke(app, ["compare", *runs, "--json", "--sort", "mase"]).stdout)
    assert [row["run"] for row in rows] == runs
