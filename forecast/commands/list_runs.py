"""`runs`: list the runs of a folder, with their state and their errors."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from forecast.errors import ForecastError, RunError, did_you_mean
from forecast.evaluation import find_best_baseline
from forecast.reports import write_index_page
from forecast.runs import Run, describe_state, read_contract
from forecast.storage import PARTIAL_PREFIX

ERRORS = ("mae", "rmse", "mase", "wape")
COLUMNS = ("run", "kind", "state", "at", "data", "target", "horizon", "windows", *ERRORS, "best_baseline", "gain", "why")


def list_runs(
    folder: str | Path = "runs", sort: str | None = None, text: str = "", html: str | Path | None = None
) -> pd.DataFrame:
    """Return a table of the runs in a folder, a row for each, the newest first.

    Its columns: run, kind, state, at (the last change), data, target, horizon, windows (of the test set), mae, rmse, mase, wape,
    best_baseline (the baseline that forecasts the test set best), gain (how much smaller the error is than that of this
    baseline, as a fraction), and why (the reason for a failure). Errors exist only for finished training runs and backtests.

    sort: one of the errors, or gain; the best first. text: keep only runs whose name, kind, state, data or target contains it.
    html: page to write. It compares the runs and links to their reports.

    Raises:
        RunError: there is no such folder or column, or `html` is not the name of a page.
    """
    folder = Path(folder)
    if sort and sort not in (*ERRORS, "gain"):
        raise RunError(f"there is no metric `{sort}` to sort by.", did_you_mean(sort, (*ERRORS, "gain")), "--sort")
    if html and Path(html).suffix != ".html":
        raise RunError("this is not the name of an HTML file.", "For example, use runs.html.", str(html))
    if not folder.is_dir():
        raise RunError("this directory does not exist.", "Train a run first: forecast train CONFIG", str(folder))
    if Run(folder).status.is_file():
        raise RunError("this is a run, not a folder of runs.", f"To see it: forecast show {folder}", str(folder))
    runs = [
        run
        for path in folder.iterdir()
        if not (path.name.startswith(PARTIAL_PREFIX) or path.is_symlink()) and (run := Run(path)).status.is_file()
    ]
    rows = [row for run in runs if text.lower() in _describe_briefly(row := _describe(run)).lower()]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table = table.sort_values(sort or "at", ascending=sort is not None and sort != "gain", kind="stable").reset_index(drop=True)
    if html:
        write_index_page(Path(html), table)
    return table


def _describe(run: Run) -> dict[str, object]:
    """Return the row of a run. A damaged one has the state `damaged`."""
    row: dict[str, object] = {"run": str(run.directory), "kind": "", "state": "damaged", "at": "", "data": "", "target": ""}
    try:
        status = run.read_status()
        was_killed = status.state == "running" and describe_state(status, run.directory) == "was killed"
        row |= {"kind": status.kind, "at": (status.at or "")[:16].replace("T", " ")}
        if status.state == "finished" and status.kind in ("training", "backtest"):
            row |= _describe_scores(run)
        return row | {"state": "killed" if was_killed else status.state, "why": status.why}
    except ForecastError as error:
        return row | {"why": error.problem}


def _describe_briefly(row: dict[str, object]) -> str:
    """Return the cells of a row that a filter looks at."""
    return " ".join([Path(str(row["run"])).name, *(str(row[name]) for name in ("kind", "state", "data", "target"))])


def _describe_scores(run: Run) -> dict[str, object]:
    """Return what a finished run forecasts, and its errors on the test set."""
    metrics, contract, config = run.metrics, read_contract(run), run.read_config()
    total, (best, comparison) = metrics.test.forecast.total, find_best_baseline(metrics)
    return {
        "data": Path(contract.path).name,
        "target": ", ".join(config.data.target),
        "horizon": config.windows.horizon,
        "windows": metrics.test.windows,
        **{name: getattr(total, name) for name in ERRORS},
        "best_baseline": metrics.test.labels[best],
        "gain": comparison.skill,
    }
