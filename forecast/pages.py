"""Pages for a browser: one file each, which loads nothing from elsewhere."""

from __future__ import annotations

import html
import io
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import pandas as pd

from forecast.runs import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST_LABEL = 60  # characters beside a picture
STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: .3rem 0; }
th, td { padding: .2rem .7rem; border-bottom: 1px solid #8884; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
svg { max-width: 100%; height: auto; background: #fff; } .note { opacity: .8; }
"""


def write_experiment_page(
    folder: Run,
    name: str,
    metric: str,
    table: pd.DataFrame,
    settings: pd.DataFrame,
    effects: pd.DataFrame,
) -> None:
    """Write what an experiment found: the best setting, the effect of each factor, all settings and all runs.

    metric: by which runs are ranked. table: the leaderboard. settings: a row per setting, best first. effects: a row per value of
    a factor.
    """
    parts = [f"<h1>{html.escape(name)}</h1>", f"<p><strong>{html.escape(_told(settings, metric))}</strong></p>"]
    parts.append(
        '<p class="note">Ranked by the error on the validation part. The test part is shown beside it and chose nothing.</p>'
    )
    if len(effects):
        parts += ["<h2>What each factor does</h2>", _svg(_effects_figure(effects, metric))]
        note = (
            f"Mean {metric} on the validation part over all other factors and seeds; how far the seeds of one setting lie apart."
        )
        parts.append(_table(effects, note))
    parts += [
        "<h2>Settings</h2>",
        _table(settings, f"{metric}: mean, lowest and highest of the seeds on validation; mean on test."),
    ]
    runs = table.dropna(axis="columns", how="all")
    parts += ["<h2>Runs</h2>", _table(runs, "Every run; `forecast compare` tells whether two differ by more than luck.")]
    folder.write_text(folder.report, page(f"{name}: experiment", parts))


def write_study_page(
    folder: Run, name: str, title: str, verdict: str, table: pd.DataFrame, figures: Mapping[str, Figure]
) -> None:
    """Write what a search found: its best trial and how that does on the test part, pictures, and all trials."""
    parts = [f"<h1>{html.escape(name)}</h1>", f"<p><strong>{html.escape(title)}</strong></p>"]
    parts.append(f"<p>On the test part, which chose nothing: {html.escape(verdict)}</p>")
    for heading, figure in figures.items():
        parts += [f"<h2>{heading.capitalize()}</h2>", _svg(figure)]
    ranked = table.sort_values("error", kind="stable").dropna(axis="columns", how="all")
    parts += ["<h2>Trials</h2>", _table(ranked, "Every trial, the smallest error first; those without one ended early.")]
    folder.write_text(folder.report, page(f"{name}: search", parts))


def _told(settings: pd.DataFrame, metric: str) -> str:
    """The best setting in a sentence, and whether its lead is larger than what another seed does."""
    best = settings.iloc[0]
    if pd.isna(best["mean"]):
        return "No run finished."
    factors = settings.columns[: settings.columns.get_loc("mean")]
    text = (
        f"Best: {', '.join(f'{factor} {best[factor]}' for factor in factors)}, {metric} {best['mean']:.4g} on the validation part"
    )
    if len(settings) == 1 or pd.isna(settings["mean"].iloc[1]):
        return f"{text}."
    second = settings.iloc[1]
    apart = second["mean"] - best["mean"]
    if best.runs > 1 and apart < best.high - best.low:
        return f"{text}; the second, {second['mean']:.4g}, is no further away than seeds of the best from each other."
    return f"{text}; the second has {second['mean']:.4g}."


def page(title: str, parts: Iterable[str]) -> str:
    """A whole HTML document of some HTML."""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>'
    body = "\n".join(parts)
    return f'<!doctype html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n'


def _table(table: pd.DataFrame, caption: str) -> str:
    rows = [f"<th scope='col'>{html.escape(str(name).replace('_', ' '))}</th>" for name in table.columns]
    body = [[f"<td>{html.escape(_cell(value))}</td>" for value in row] for row in table.astype(object).to_numpy()]
    text = "".join(f"<tr>{''.join(row)}</tr>\n" for row in [rows, *body])
    return f'<div class="wide"><table><caption class="note">{html.escape(caption)}</caption>\n{text}</table></div>'


def _cell(value: object) -> str:
    if value is None or value is pd.NA or isinstance(value, float) and value != value:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _svg(figure: Figure) -> str:
    """A picture as part of a page."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def _effects_figure(effects: pd.DataFrame, metric: str) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1 + 0.35 * len(effects)), layout="constrained")
    axis = figure.subplots()
    labels = (effects.factor + ": " + effects.value.map(str)).str.slice(0, LONGEST_LABEL)
    axis.errorbar(effects["mean"], labels, xerr=effects.seed_spread.fillna(0), fmt="o", color="#d1495b", capsize=3)
    axis.invert_yaxis()
    axis.set(xlabel=f"mean {metric} on the validation part (bars: seeds)")
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25, axis="x")
    return figure
