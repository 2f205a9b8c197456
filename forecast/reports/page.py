"""Pages for a browser: one file each, which loads nothing from elsewhere."""

from __future__ import annotations

import html
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from forecast.evaluation import format_number
from forecast.runs import RunGroup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST_LABEL = 60  # characters beside a picture
UNSEARCHED = 12  # rows of a table that are seen at once
ASSETS = Path(__file__).parent / "assets"  # uPlot (MIT; github.com/leeoniya/uPlot) as released, our own script and style
# Nothing is loaded from anywhere, whatever stands in a page.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True)
class Line:
    """One row of numbers in a chart, NaN where there is none. colour: a variable of page.css; edge: of a band, not drawn."""

    label: str
    values: np.ndarray
    colour: str
    kind: Literal["line", "dots", "bars", "edge"] = "line"
    strong: bool = False
    dashed: bool = False


@dataclass(frozen=True)
class Chart:
    """Lines over x, which ascends. told: what it shows, in words, for those who cannot see it.

    bands: pairs of lines between which is shaded, by their places, and how darkly, up to 1. time: x is in seconds since 1970.
    zero: the axis of the lines begins at zero, as it does for bars.
    """

    title: str
    told: str
    x: np.ndarray
    lines: list[Line]
    x_label: str
    y_label: str
    bands: Sequence[tuple[int, int, float]] = ()
    time: bool = False
    log: bool = False
    zero: bool = False


def write_experiment_page(
    folder: RunGroup,
    name: str,
    metric: str,
    leaderboard: pd.DataFrame,
    settings: pd.DataFrame,
    effects: pd.DataFrame,
) -> None:
    """Write what an experiment found: the best setting, the effect of each factor, all settings and all runs.

    metric: by which runs are ranked. leaderboard: a row per run. settings: a row per setting, best first. effects: a row per
    value of a factor.
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
        parts.append(table(effects, note))
    parts += [
        "<h2>Settings</h2>",
        table(settings, f"{metric}: mean, lowest and highest of the seeds on validation; mean on test."),
    ]
    runs = leaderboard.dropna(axis="columns", how="all")
    parts += ["<h2>Runs</h2>", table(runs, "Every run; `forecast compare` tells whether two differ by more than luck.")]
    folder.write_text(folder.report, page(f"{name}: experiment", parts))


def write_study_page(
    folder: RunGroup, name: str, title: str, verdict: str, trials: pd.DataFrame, figures: Mapping[str, Figure]
) -> None:
    """Write what a search found: its best trial and how that does on the test part, pictures, and all trials."""
    parts = [f"<h1>{html.escape(name)}</h1>", f"<p><strong>{html.escape(title)}</strong></p>"]
    parts.append(f"<p>On the test part, which chose nothing: {html.escape(verdict)}</p>")
    for heading, picture in figures.items():
        parts += [f"<h2>{heading.capitalize()}</h2>", _svg(picture)]
    ranked = trials.sort_values("error", kind="stable").dropna(axis="columns", how="all")
    parts += ["<h2>Trials</h2>", table(ranked, "Every trial, the smallest error first; those without one ended early.")]
    folder.write_text(folder.report, page(f"{name}: search", parts))


def _told(settings: pd.DataFrame, metric: str) -> str:
    """The best setting in a sentence, and whether its lead is larger than what another seed does."""
    best = settings.iloc[0]
    if pd.isna(best["mean"]):
        return "No run finished."
    factors = settings.columns[: settings.columns.get_loc("mean")]
    setting = ", ".join(f"{factor} {best[factor]}" for factor in factors)
    text = f"Best: {setting}, {metric} {format_number(best['mean'])} on the validation part"
    if len(settings) == 1 or pd.isna(settings["mean"].iloc[1]):
        return f"{text}."
    second = settings.iloc[1]
    apart = second["mean"] - best["mean"]
    if best.runs > 1 and apart < best.high - best.low:
        return f"{text}; the second, {format_number(second['mean'])}, lies within the spread of the best setting's seeds."
    return f"{text}; the second has {format_number(second['mean'])}."


def page(title: str, parts: Iterable[str]) -> str:
    """A whole HTML document of some HTML."""
    body = "\n".join(parts)
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><title>{html.escape(title)}</title>'
    head += f"<style>{_asset('page.css')}</style>"
    if "data-chart" in body or "data-filters" in body:
        head += f"<style>{_asset('uPlot.min.css')}</style><script>{_asset('uPlot.iife.min.js')}</script>"
        head += f"<script>{_asset('page.js')}</script>"
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n<main>\n{body}\n</main>\n</body></html>\n'


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def drawn(chart: Chart, name: str) -> str:
    """A chart; `name` is its own in the page."""
    lines = [{**vars(line), "values": _numbers(line.values, chart.log)} for line in chart.lines]
    spec = {**vars(chart), "x": _numbers(chart.x, False), "lines": lines}
    data = json.dumps(spec, separators=(",", ":")).replace("<", "\\u003c")  # no text ends the script that holds it
    told = html.escape(chart.told)
    return (
        f'<figure><figcaption><strong>{html.escape(chart.title)}</strong> <span class="note">{told}</span></figcaption>\n'
        f'<div data-chart="{name}" role="img" tabindex="0" aria-label="{html.escape(chart.title)}: {told}"></div>\n'
        f'<script type="application/json" id="{name}">{data}</script></figure>'
    )


def _numbers(values: np.ndarray, log: bool) -> list[float | int | None]:
    """As JSON: to a ten-thousandth of their range (log: of each), more than can be seen, and null for NaN; or whole numbers."""
    values = np.asarray(values)
    if np.issubdtype(values.dtype, np.integer):
        return values.tolist()
    if log:
        return [float(f"{value:.4g}") if math.isfinite(value) else None for value in values.tolist()]
    known = values[np.isfinite(values)]
    size = max(np.ptp(known), np.abs(known).max() * 1e-9) if known.size else 0.0
    digits = 4 - math.floor(math.log10(size)) if size else 0
    return [round(value, digits) if math.isfinite(value) else None for value in values.tolist()]


def spread_of(values: pd.Series) -> float:
    """Return how far apart the smallest and the largest finite number are; 0 for what is not a number."""
    if not pd.api.types.is_float_dtype(values):
        return 0.0
    finite = values[np.isfinite(values)]
    return float(np.ptp(finite)) if len(finite) else 0.0


def table(rows: pd.DataFrame, caption: str, name: str = "") -> str:
    """A table of rows; with a `name`, its own in the page, it scrolls and, if it is long, can be searched by its first column."""
    head = "".join(f"<th scope='col'>{html.escape(str(column).replace('_', ' '))}</th>" for column in rows.columns)
    spreads = [spread_of(rows.iloc[:, place]) for place in range(rows.shape[1])]
    cells = [
        [f"<td>{html.escape(_cell(value, spread))}</td>" for value, spread in zip(row, spreads, strict=True)]
        for row in rows.astype(object).to_numpy()
    ]
    body = "".join(f"<tr>{''.join(row)}</tr>\n" for row in cells)
    told, named = html.escape(caption), f' id="{name}"' if name else ""
    search = f'<label>Search: <input type="search" data-filters="{name}"></label>' if name and len(rows) > UNSEARCHED else ""
    return (
        f'<figure><figcaption class="note">{told}</figcaption>{search}\n'
        f'<div class="wide{" tall" if name else ""}" tabindex="0" role="region" aria-label="{told}">'
        f"<table{named}><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div></figure>"
    )


def _cell(value: object, spread: float) -> str:
    if value is None or value is pd.NA or isinstance(value, float) and value != value:
        return ""
    return format_number(value, spread) if isinstance(value, float) else moment(value)


def moment(value: object) -> str:
    """A timestamp as people write it: midnight goes without saying."""
    return str(value).removesuffix(" 00:00:00")


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
