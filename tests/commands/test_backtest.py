"""Backtests: every fold is fitted on its own past, and what is tested was not trained on."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from forecast.cli.app import app
from forecast.commands.backtest import backtest
from forecast.commands.predict import predict
from forecast.config.schema import SplitsConfig
from forecast.data.panel import Panel
from forecast.data.rows import StaticCovariates
from forecast.errors import ConfigError, RunError
from forecast.runs.run import Run
from forecast.windows.splits import Fold, make_splits


def panel_of(*spans: tuple[str, int]) -> Panel:
    """Monthly series that begin at a month and have so many rows."""
    stamps = [pd.date_range(begin, periods=rows, freq="MS") for begin, rows in spans]
    rows = sum(map(len, stamps))
    names = [f"s{number}" for number in range(len(spans))]
    return Panel(
        series_ids=names,
        offsets=np.cumsum([0, *map(len, stamps)]),
        timestamps=stamps[0].append(stamps[1:]),
        values=np.zeros((rows, 1)),
        filled=np.zeros((rows, 1), dtype=bool),
        targets=["y"],
        freq="MS",
        columns=["y"],
        known_channels=0,
        calendar=[],
        source="",
        static=StaticCovariates(np.empty((len(spans), 0)), np.empty((len(spans), 0), dtype=object)),
    )


def borders(panel: Panel, fold: Fold, **config: object) -> list[list[int]]:
    return make_splits(panel, SplitsConfig(validation=20, test=20, **config), fold).borders.tolist()


def test_folds_move_on_and_train_on_all_before():
    panel = panel_of(("2010-01-01", 100), ("2010-01-01", 100))
    assert borders(panel, Fold(8, test_rows=6)) == [[0, 68, 88, 94], [100, 168, 188, 194]]
    assert borders(panel, Fold(16)) == [[0, 76, 96, 100], [100, 176, 196, 200]], "no fold reaches beyond the test part"
    assert borders(panel, Fold(8, test_rows=6, sliding=True)) == [[8, 68, 88, 94], [108, 168, 188, 194]]


def test_no_series_trains_on_dates_that_another_is_tested_on():
    """The second series begins within the first one's validation part, and the third ends early."""
    panel = panel_of(("2010-01-01", 100), ("2015-07-01", 34), ("2010-01-01", 85))
    for moved in (0, 5, 12):
        own = borders(panel, Fold(moved, test_rows=6))
        assert own[0] == [0, 60 + moved, 80 + moved, 86 + moved]
        assert own[1] == [100, 100 + max(0, moved - 6), 114 + moved, 120 + moved]
        assert own[2] == [134, 194 + moved, min(214 + moved, 219), min(220 + moved, 219)]
    apart = borders(panel, Fold(5, test_rows=6), align="ends")
    assert apart[1] == [100, 105, 119, 125], "each from its own end"


@pytest.mark.slow
def test_every_cutoff_of_the_test_part_is_tested_once(sales):
    folds = pd.read_csv(Run(sales / "backtest").folds, parse_dates=["trained_until", "first_cutoff", "last_cutoff"])
    assert folds.windows.tolist() == [8, 8, 9]
    ours, theirs = (pd.read_csv(sales / name / "predictions.csv") for name in ("backtest", "run"))
    assert ours.cutoff.tolist() == theirs.cutoff.tolist()
    assert ours.actual.tolist() == theirs.actual.tolist()
    assert (folds.trained_until < folds.first_cutoff - pd.DateOffset(months=23)).all(), "the validation part lies between"
    assert (folds.first_cutoff.iloc[1:].to_numpy() > folds.last_cutoff.iloc[:-1].to_numpy()).all()
    assert folds.trained_until.is_monotonic_increasing


@pytest.mark.slow
def test_rows_after_a_fold_change_nothing_in_it(sales, tmp_path):
    table = pd.read_csv(sales / "data.csv")
    table.loc[180 - 27 + 18 :, "sales"] += 1000.0  # after all that fold 1 and 2 are scored on
    table.to_csv(tmp_path / "data.csv", index=False)
    (tmp_path / "config.yaml").write_text((sales / "config.yaml").read_text())
    backtest(tmp_path / "config.yaml", tmp_path / "backtest")
    ours, theirs = (pd.read_csv(path / "backtest" / "predictions.csv") for path in (sales, tmp_path))
    early = ours.cutoff <= "2018-12-01"  # the last cutoff of fold 2, whose targets end in March 2019
    columns = ["forecast", "linear", "q0.1", "q0.975"]
    pd.testing.assert_frame_equal(ours[early][columns], theirs[early][columns])
    assert not np.allclose(ours[~early].forecast, theirs[~early].forecast)


@pytest.mark.slow
def test_a_run_that_is_never_refitted_is_its_own_test(sales, tmp_path):
    tested = backtest(sales / "run", tmp_path / "never", overrides={"backtest.refit": "never"})
    ours, theirs = (Run(path).read_json(Run(path).metrics_file)["test"] for path in (tested.directory, sales / "run"))
    assert ours["forecast"]["total"] == pytest.approx(theirs["forecast"]["total"])
    assert ours["scored_on"] == theirs["scored_on"]
    assert not tested.history_file.exists(), "nothing was trained"


@pytest.mark.slow
def test_stride_makes_the_test_part_fit(sales, tmp_path):
    overrides = {"backtest.folds": 2, "backtest.stride": 6, "backtest.refit": 2, "backtest.training_part": "sliding"}
    tested = backtest(sales / "config.yaml", tmp_path / "strided", overrides=overrides)
    folds = pd.read_csv(tested.folds)
    assert folds.windows.tolist() == [6, 6]
    assert folds.trained_until.nunique() == 1, "the second fold is the first one's network"
    assert len(pd.read_csv(tested.history_file).fold.unique()) == 1


@pytest.mark.slow
def test_what_cannot_be_tested_is_refused(sales, tmp_path):
    with pytest.raises(ConfigError, match="the test set has 25 cutoffs, too few for 26 folds"):
        backtest(sales / "config.yaml", tmp_path / "a", overrides={"backtest.folds": 26})
    with pytest.raises(ConfigError, match="Leave out backtest.stride"):
        backtest(sales / "run", tmp_path / "b", overrides={"backtest.refit": "never", "backtest.stride": 2})
    with pytest.raises(ConfigError, match="Leave out backtest.stride and all keys outside"):
        backtest(sales / "run", tmp_path / "c", overrides={"backtest.refit": "never", "splits.test": 30})
    with pytest.raises(ConfigError, match=r"5 folds with a stride of 40 need a test set of 202 rows: .*\n.*Use fewer folds"):
        backtest(sales / "config.yaml", tmp_path / "d", overrides={"backtest.folds": 5, "backtest.stride": 40})
    with pytest.raises(RunError, match="is a backtest, which keeps no network"):
        predict(sales / "backtest")
    with pytest.raises(RunError, match="the run directory contains the run to test"):
        backtest(sales / "run", sales / "run", force=True, overrides={"backtest.refit": "never"})
    with pytest.raises(RunError, match="the run directory contains the data"):
        backtest(sales / "config.yaml", sales, force=True)
    (tmp_path / "moved").mkdir()
    shutil.copytree(sales / "run", tmp_path / "moved" / "run")
    rows = pd.read_csv(sales / "data.csv").iloc[5:]
    rows.to_csv(tmp_path / "moved" / "data.csv", index=False)
    config = tmp_path / "moved" / "run" / "config.yaml"
    config.write_text(config.read_text().replace(str(sales / "data.csv"), str(tmp_path / "moved" / "data.csv")))
    Run(tmp_path / "moved" / "run").seal()
    with pytest.raises(RunError, match="the data file has changed since the run was trained"):
        backtest(tmp_path / "moved" / "run", tmp_path / "e", overrides={"backtest.refit": "never"})
    shutil.rmtree(tmp_path / "moved")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_command_and_its_exit_code(sales, tmp_path):
    def call(*words: object):
        return CliRunner().invoke(app, ["backtest", *map(str, words)])

    shown = call(sales / "run", "--refit", "never", "--folds", 2, "--run-dir", tmp_path / "a", "--fail-if-worse-than", "mean")
    assert shown.exit_code == 0, shown.output
    assert "all folds, 25 windows" in shown.stdout
    assert "Actual values within the 80% interval" in shown.stdout
    worse = call(sales / "run", "--refit", "never", "--run-dir", tmp_path / "b", "--json")
    assert json.loads(worse.stdout)["test"]["windows"] == 25
    unknown = call(sales / "run", "--fail-if-worse-than", "seasonal")
    assert unknown.exit_code == 1
    assert "Did you mean `seasonal_naive`?" in unknown.stderr


@pytest.mark.slow
def test_worse_than_it_may_be_is_exit_code_3(sales, tmp_path):
    steps = ["--set", "model.linear_skip=false", "--set", "training.epochs=1", "--run-dir", str(tmp_path / "run"), "--quiet"]
    shown = CliRunner().invoke(app, ["train", str(sales / "config.yaml"), *steps, "--fail-if-worse-than", "linear"])
    assert shown.exit_code == 3, shown.output
    assert "The forecast is worse than linear" in shown.stderr
    assert Run.open(tmp_path / "run").metrics_file.exists(), "and the run is there to be looked at"
