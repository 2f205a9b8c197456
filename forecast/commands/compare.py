"""`compare`: runs side by side, if they were scored on the same, and whether the best is more than lucky."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from forecast.config import non_default_values
from forecast.errors import DAMAGED, RunError, check_installed, did_you_mean
from forecast.evaluation import MODEL, Metrics, TrainingMetrics, choose_loss_metric, compare_losses, method_of
from forecast.runs import Run, read_cutoffs, read_metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METRICS = ("mae", "rmse", "mase", "rmsse", "wape", "smape", "mape", "mae_scaled", "mse_scaled")
UNTOLD = ("name", "seed", "backtest.", "tuning.", "tracking")  # differences between configs that are no reason for another result


def compare(runs: Sequence[str | Path | Run], sort: str = "mae", plot: str | Path | None = None) -> pd.DataFrame:
    """A leaderboard of runs or backtests, best first by `sort`, one of `METRICS`.

    Returns a row per run: run, the metrics over all windows, the coverage of each interval, parameters, seconds, a column for
    each config key in which the runs differ, and `worse_by` (fraction by which its MASE, or MAE where runs have another season,
    exceeds that of the first) with `low`, `high` (95% confidence interval) and `p_value`. plot: PNG to draw.

    Raises:
        RunError: they were scored on different data or cutoffs, are unfinished, or there is no such metric.
    """
    if plot:
        _check_plot(Path(plot))
    if sort not in METRICS:
        raise RunError(f"there is no metric `{sort}` to sort by.", did_you_mean(sort, METRICS))
    check_installed("Comparing runs", ["scipy"])
    opened = [run if isinstance(run, Run) else Run.open_scored(run) for run in runs]
    metrics = [read_metrics(run) for run in opened]
    _check_same(opened, metrics)
    whole = [run.read_config() for run in opened]
    configs = [non_default_values(config) for config in whole]
    keys = [key for key in dict.fromkeys(key for own in configs for key in own) if not key.startswith(UNTOLD)]
    differing = [key for key in keys if len({repr(own.get(key)) for own in configs}) > 1]
    rows = []
    for run, config, scores, own in zip(opened, whole, metrics, configs, strict=True):
        total, intervals = scores.test.forecast.total, scores.test.intervals.get(method_of(config))
        row = {"run": str(run.directory)} | {name: getattr(total, name) for name in METRICS}
        row |= {f"coverage_{level}": measured.coverage for level, measured in (intervals.levels if intervals else {}).items()}
        row |= {"parameters": scores.parameters if isinstance(scores, TrainingMetrics) else None, "seconds": run.seconds}
        row |= {key: own.get(key, "(default)") for key in differing}
        rows.append(row)
    table = pd.DataFrame(rows)
    order = table[sort].fillna(np.inf).argsort(kind="stable").to_numpy()
    compared = _against_best([opened[number] for number in order], whole[0].windows.horizon)
    table = table.iloc[order].reset_index(drop=True)
    table[["worse_by", "low", "high", "p_value"]] = compared
    if plot:
        opened[0].write_figure(Path(plot), _figure(table, sort))
    return table


def _check_plot(path: Path) -> None:
    """A picture replaces nothing but a picture."""
    if path.suffix != ".png":
        raise RunError("--plot is no name of a PNG file.", "Use for example compared.png.", str(path))
    if path.exists() and not (path.is_file() and path.read_bytes()[:4] == b"\x89PNG"):
        raise RunError("--plot would replace a file that is no picture.", "Choose another name.", str(path))


def _check_same(runs: list[Run], metrics: list[Metrics]) -> None:
    first = metrics[0].test
    for run, scores in zip(runs, [run_metrics.test for run_metrics in metrics], strict=True):
        if scores.scored_on is None:
            raise RunError("was scored by an earlier version, which does not say on what.", "Train it again.", str(run.directory))
        if scores.scored_on != first.scored_on:
            windows = f"{scores.windows} windows, there {first.windows}"
            raise RunError(
                f"was scored on other data or cutoffs than {runs[0].directory} ({windows}); no order of the two means anything.",
                "Use the same data, splits, target and horizon in both.",
                str(run.directory),
            )


def _against_best(runs: list[Run], horizon: int) -> list[tuple[float | None, ...]]:
    """Of each run: by which fraction its error exceeds that of the first, the interval of that, and the p-value."""
    tables = [read_cutoffs(run) for run in runs]
    for run, table in zip(runs, tables, strict=True):
        if table.columns.tolist() != tables[0].columns.tolist() or table.iloc[:, 0].tolist() != tables[0].iloc[:, 0].tolist():
            raise RunError("does not hold the cutoffs that the metrics are of.", DAMAGED, str(run.cutoffs))
    # MASE where it means the same in all: another season or training part gives it another scale.
    alike = all(np.allclose(table.mase_naive, tables[0].mase_naive) for table in tables)
    column = f"{choose_loss_metric(tables[0]) if alike else 'mae'}_{MODEL}"
    best, counts = tables[0][column].to_numpy(), tables[0].windows.to_numpy()
    found: list[tuple[float | None, ...]] = [(0.0, None, None, None)]
    for table in tables[1:]:
        against = compare_losses(table[column].to_numpy(), best, counts, horizon)
        low, high = (None, None) if against.low is None else (-against.high, -against.low)
        found.append((None if against.skill is None else -against.skill, low, high, against.p_value))
    return found


def _figure(table: pd.DataFrame, metric: str) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1 + 0.4 * len(table)), layout="constrained")
    axis = figure.subplots()
    axis.barh(table.run, table[metric].astype(float), color="#d1495b")
    axis.invert_yaxis()
    axis.set(xlabel=f"{metric} on the test part")
    axis.spines[["top", "right"]].set_visible(False)
    return figure
