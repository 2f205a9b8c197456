"""`compare`: rank runs that were scored on the same windows, and test the lead of the best for significance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from forecast.config import Config, non_default_values
from forecast.errors import DAMAGED, RunError, check_installed, did_you_mean
from forecast.evaluation import MODEL, Metrics, TrainingMetrics, choose_loss_metric, compare_losses, method_of
from forecast.reports import COLOURS
from forecast.runs import Run, read_cutoffs

METRICS = ("mae", "rmse", "mase", "rmsse", "wape", "smape", "mape", "mae_scaled", "mse_scaled")
IGNORED_KEYS = ("name", "seed", "backtest.", "tuning.", "tracking")  # They do not explain a difference between results.


def compare(runs: Sequence[str | Path | Run], sort: str = "mae", plot: str | Path | None = None) -> pd.DataFrame:
    """Return a leaderboard of runs or backtests, sorted by the metric `sort`, such as mae, with the best first.

    Its columns: run, the metrics over all windows, the coverage of each interval, parameters, seconds, each config key in which
    the runs differ, and `worse_by` (fraction by which the MASE, or the MAE if seasons differ, exceeds that of the first run) with
    `low`, `high` (95% confidence interval) and `p_value`.

    plot: PNG file to draw.

    Raises:
        RunError: the runs were scored on different data or cutoffs, one is unfinished, or there is no such metric.
    """
    if plot:
        _check_plot(Path(plot))
    if sort not in METRICS:
        raise RunError(f"there is no metric `{sort}` to sort by.", did_you_mean(sort, METRICS))
    if len(runs) < 2:
        remedy = "".join(f" To see one: forecast show {run}" for run in runs)
        raise RunError("a comparison needs two runs or more.", f"Specify several runs.{remedy}")
    check_installed("Comparing runs", ["scipy"])
    opened = [run if isinstance(run, Run) else Run.open_scored(run) for run in runs]
    metrics, configs = [run.metrics for run in opened], [run.read_config() for run in opened]
    _check_same_windows(opened, metrics)
    table = pd.DataFrame([_make_row(*row) for row in zip(opened, configs, metrics, strict=True)])
    settings = [non_default_values(config) for config in configs]
    for key in dict.fromkeys(key for keys in settings for key in keys if not key.startswith(IGNORED_KEYS)):
        values = [keys.get(key, "(default)") for keys in settings]
        if any(value != values[0] for value in values):
            table[key] = pd.Series(values, dtype=object)
    order = table[sort].fillna(np.inf).to_numpy().argsort(kind="stable")
    table = table.iloc[order].reset_index(drop=True)
    differences = _compare_with_first([opened[number] for number in order], int(configs[0].windows.horizon))
    table = table.join(pd.DataFrame(differences, columns=["worse_by", "low", "high", "p_value"]))
    if plot:
        _draw(table, sort, opened[0], Path(plot))
    return table


def _check_plot(path: Path) -> None:
    if path.suffix != ".png":
        raise RunError("--plot is not the name of a PNG file.", "For example, use compared.png.", str(path))
    if path.exists() and not (path.is_file() and path.read_bytes()[:4] == b"\x89PNG"):
        raise RunError("--plot would replace a file that is not a PNG picture.", "Choose another name.", str(path))


def _check_same_windows(runs: list[Run], metrics: list[Metrics]) -> None:
    first = metrics[0].test
    for run, test in zip(runs, [run_metrics.test for run_metrics in metrics], strict=True):
        if test.scored_on is None:
            raise RunError(
                "this run was scored by an earlier version, which did not record its data.", "Train it again.", str(run.directory)
            )
        if test.scored_on != first.scored_on:
            counts = f"{test.windows} windows instead of {first.windows}"
            raise RunError(
                f"this run was scored on different data or cutoffs than {runs[0].directory} ({counts}),"
                " so their errors cannot be compared.",
                "Use the same data, splits, target and horizon in both.",
                str(run.directory),
            )


def _make_row(run: Run, config: Config, metrics: Metrics) -> dict[str, object]:
    total, intervals = metrics.test.forecast.total, metrics.test.intervals.get(method_of(config))
    return {
        "run": str(run.directory),
        **{name: getattr(total, name) for name in METRICS},
        **{f"coverage_{level}": scores.coverage for level, scores in (intervals.levels if intervals else {}).items()},
        "parameters": metrics.parameters if isinstance(metrics, TrainingMetrics) else None,
        "seconds": run.seconds,
    }


def _compare_with_first(runs: list[Run], horizon: int) -> list[tuple[float | None, ...]]:
    """Return for each run the fraction by which its error exceeds that of the first, the interval of it, and the p-value."""
    tables = [read_cutoffs(run) for run in runs]
    for run, table in zip(runs, tables, strict=True):
        if table.cutoff.tolist() != tables[0].cutoff.tolist():  # Other columns depend on the baselines of a run.
            raise RunError("the cutoffs do not match metrics.json.", DAMAGED, str(run.cutoffs))
    # Another season or training set gives MASE another scale.
    same_scale = all(np.allclose(table.mase_naive, tables[0].mase_naive) for table in tables)
    column = f"{choose_loss_metric(tables[0]) if same_scale else 'mae'}_{MODEL}"
    best, counts = tables[0][column].to_numpy(), tables[0].windows.to_numpy()
    rows: list[tuple[float | None, ...]] = [(0.0, None, None, None)]
    for table in tables[1:]:
        comparison = compare_losses(table[column].to_numpy(), best, counts, horizon)
        lead = comparison.skill, comparison.high, comparison.low
        rows.append((*(None if value is None else -value for value in lead), comparison.p_value))
    return rows


def _draw(table: pd.DataFrame, metric: str, run: Run, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1 + 0.4 * len(table)), layout="constrained")
    axis = figure.subplots()
    axis.barh(table.run, table[metric].astype(float), color=COLOURS["forecast"][0])
    axis.invert_yaxis()
    axis.set(xlabel=f"{metric} on the test set")
    axis.spines[["top", "right"]].set_visible(False)
    run.write_figure(path, figure)
