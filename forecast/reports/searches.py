"""Pages and pictures of many runs: an experiment, or a search for hyperparameters."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from forecast.errors import format_count
from forecast.evaluation import format_number
from forecast.reports.page import Link, Picture, Section, Table, Text, render_page
from forecast.reports.palette import COLOURS
from forecast.runs import Run, RunGroup
from forecast.storage import replace_file

if TYPE_CHECKING:
    import optuna
    from matplotlib.figure import Figure

MAX_LABEL = 60  # Characters beside a picture.


def write_experiment_page(
    folder: RunGroup, name: str, metric: str, leaderboard: pd.DataFrame, settings: pd.DataFrame, effects: pd.DataFrame
) -> None:
    """Write the result of an experiment: the best setting, the effect of each factor, all settings and all runs.

    metric: by which runs are ranked. leaderboard: a row per run. settings: a row per setting, best first. effects: a row per
    value of a factor.
    """
    sections = []
    if len(effects):
        caption = (
            f"Mean {metric} on the validation set over all other factors and seeds. The seed spread is the standard deviation"
        )
        table = Table(effects, f"{caption} over the seeds of one setting.")
        sections.append(Section("Effect of each factor", [Picture.from_figure(_draw_effects(effects, metric)), table]))
    caption = f"{metric}: mean, lowest and highest of the seeds on the validation set; mean on the test set."
    sections.append(Section("Settings", [Table(settings, caption)]))
    caption = "All runs. `forecast compare` tests whether the difference between two of them is significant."
    sections.append(Section("Runs", [Table(leaderboard.dropna(axis="columns", how="all"), caption)]))
    note = "Ranked by the error on the validation set. The error on the test set did not affect the ranking."
    summary = [Text(_describe_best(settings, metric), "verdict"), Text(note, "note")]
    folder.write_text(folder.report, render_page(name, "experiment", summary, sections))


def _describe_best(settings: pd.DataFrame, metric: str) -> str:
    """Return the best setting in a sentence, and whether its lead is larger than the spread of its seeds."""
    best, second = settings.iloc[0], settings["mean"].get(1, np.nan)
    if pd.isna(best["mean"]):
        return "No run finished."
    setting = ", ".join(f"{factor} {best[factor]}" for factor in settings.columns[: settings.columns.get_loc("mean")])
    sentence = f"Best: {setting}, {metric} {format_number(best['mean'])} on the validation set."
    if pd.isna(second):
        return sentence
    is_within = best.runs > 1 and second - best["mean"] < best.high - best.low
    note = ", which is within the spread of the best setting's seeds" if is_within else ""
    return f"{sentence} The second-best setting has {format_number(second)}{note}."


def _draw_effects(effects: pd.DataFrame, metric: str) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1 + 0.35 * len(effects)), layout="constrained")
    axis = figure.subplots()
    labels = (effects.factor + ": " + effects.value.map(str)).str.slice(0, MAX_LABEL)
    axis.errorbar(effects["mean"], labels, xerr=effects.seed_spread.fillna(0), fmt="o", color=COLOURS["forecast"][0], capsize=3)
    axis.invert_yaxis()
    axis.set(xlabel=f"mean {metric} on the validation set (bars: seeds)")
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25, axis="x")
    return figure


def write_index_page(path: Path, table: pd.DataFrame) -> None:
    """Write a page that compares runs and leads to their reports. table: from `list_runs`."""
    folder = path.resolve().parent
    runs = [Run(name) for name in table.run]
    links = [Link(run.name, _quote(run.report, folder)) if run.report.is_file() else run.name for run in runs]
    labels = {"mae": "MAE", "mase": "MASE", "wape": "WAPE", "best_baseline": "best baseline", "at": "last change"}
    columns = ["run", "gain", "MASE", "best baseline", "data", "target", "horizon", "MAE", "WAPE", "kind", "state", "last change"]
    shares = {name: table[name].map("{:z.1%}".format, na_action="ignore") for name in ("gain", "wape")}
    shown = table.assign(run=pd.Series(links, dtype=object), **shares).rename(columns=labels)[columns]
    caption = "Errors on the test set. Compare only runs on the same data."
    caption += " Gain: how much smaller the error is than that of the best baseline."
    better, scored = int((table.gain > 0).sum()), int(table.mae.notna().sum())
    verdict = f"{format_count(len(table), 'run')}. Better than the best baseline of the test set: {better} of {scored}."
    summary = [Text(verdict, "verdict")]
    with replace_file(path) as temporary:
        page = render_page("Runs", "forecast", summary, [Section("All runs", [Table(shown, caption, "runs")])])
        temporary.write_text(page, encoding="utf-8")


def _quote(page: Path, folder: Path) -> str:
    """Return the link from a folder to a page. Encoded, a name of a run cannot be the scheme of a URL."""
    return quote(Path(os.path.relpath(page.resolve(), folder)).as_posix())


def write_study_page(
    folder: RunGroup, name: str, title: str, verdict: str, trials: pd.DataFrame, figures: Mapping[str, Figure]
) -> None:
    """Write the result of a search: the best trial and its verdict on the test set, pictures, and all trials."""
    summary = [Text(title, "verdict"), Text(f"Test set, used only for scoring: {verdict}")]
    sections = [Section(heading.capitalize(), [Picture.from_figure(figure)]) for heading, figure in figures.items()]
    ranked = trials.sort_values("error", kind="stable").dropna(axis="columns", how="all")
    caption = "All trials, the smallest error first. Trials without an error ended early."
    sections.append(Section("Trials", [Table(ranked, caption)]))
    folder.write_text(folder.report, render_page(name, "search", summary, sections))


def draw_study(study: optuna.Study) -> dict[str, Figure]:
    """Draw the error of each trial, the importance of the parameters, and the errors over the values of each parameter."""
    import matplotlib as mpl
    from optuna.visualization import matplotlib as plots

    pictures: dict[str, Callable[..., Any]] = {"history": plots.plot_optimization_history, "slice": plots.plot_slice}
    if len({trial.value for trial in study.trials if trial.state.name == "COMPLETE"}) > 1:
        pictures["importance"] = plots.plot_param_importances
    figures = {}
    with warnings.catch_warnings(), mpl.rc_context({"backend": "agg"}):
        warnings.simplefilter("ignore")  # The pictures are experimental, and some axes have no extent.
        for name, draw in pictures.items():
            figures[name] = np.ravel(draw(study))[0].figure
            mpl.pyplot.close(figures[name])
    return figures
