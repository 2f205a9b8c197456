"""Pages for a browser: one file each, which loads nothing from elsewhere. assets/page.html says how each element looks."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from forecast.evaluation import format_number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_ROWS_IN_VIEW = 12  # Longer tables can be searched.
ASSETS = Path(__file__).parent / "assets"  # uPlot (MIT, github.com/leeoniya/uPlot) as released, and our own files.


@dataclass(frozen=True)
class Text:
    """A paragraph. style: a class of page.css, or code for lines as they are."""

    text: str
    style: Literal["", "note", "verdict", "code"] = ""


@dataclass(frozen=True)
class Items:
    """A list of texts, each with a name or ""."""

    items: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Picture:
    """A picture as SVG."""

    svg: str

    @classmethod
    def from_figure(cls, figure: Figure) -> Picture:
        """Return the picture of a matplotlib figure."""
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
        return cls(file.getvalue()[file.getvalue().index("<svg") :])


@dataclass(frozen=True)
class Table:
    """Rows with a caption. With a `name`, unique in its page, the table scrolls, and a long one can be searched."""

    rows: pd.DataFrame
    caption: str
    name: str = ""

    @property
    def is_searchable(self) -> bool:
        """Return whether the page has a field that searches the first column."""
        return bool(self.name) and len(self.rows) > MAX_ROWS_IN_VIEW

    def headings(self) -> list[str]:
        """Return the names of the columns as text."""
        return [str(column).replace("_", " ") for column in self.rows.columns]

    def cells(self) -> list[list[str]]:
        """Return the cells as text, row by row."""
        spreads = [spread_of(column) for _, column in self.rows.items()]
        rows = self.rows.astype(object).to_numpy()
        return [list(map(_format_cell, row, spreads)) for row in rows]


@dataclass(frozen=True)
class Line:
    """A row of numbers in a chart, NaN where there is none. colour: a variable of page.css. The edge of a band is not drawn."""

    label: str
    values: np.ndarray
    colour: str
    kind: Literal["line", "dots", "bars", "edge"] = "line"
    strong: bool = False
    dashed: bool = False


@dataclass(frozen=True)
class Chart:
    """Lines over ascending x. name: unique in its page. description: the content in words, for those who cannot see it.

    bands: pairs of lines, by number, with the shade between them, up to 1. time: x is in seconds since 1970. zero: the axis of
    the lines begins at zero, as it does for bars.
    """

    name: str
    title: str
    description: str
    x: np.ndarray
    lines: Sequence[Line]
    x_label: str
    y_label: str
    bands: Sequence[tuple[int, int, float]] = ()
    time: bool = False
    log: bool = False
    zero: bool = False

    def spec(self) -> dict[str, Any]:
        """Return what page.js draws, as plain JSON values."""
        lines = [{**vars(line), "values": _round_values(line.values, self.log)} for line in self.lines]
        return {**vars(self), "x": _round_values(self.x, log=False), "lines": lines}


Element = Text | Items | Picture | Table | Chart


@dataclass(frozen=True)
class Section:
    """A heading and what follows it."""

    heading: str
    elements: Sequence[Element]

    @property
    def id(self) -> str:
        """Return the anchor of the heading."""
        return self.heading.lower().replace(" ", "-")


def render_page(name: str, kind: str, summary: Sequence[Element], sections: Sequence[Section] = ()) -> str:
    """Return a whole HTML document. kind: what the page is about, for its title."""
    from jinja2 import Environment, FileSystemLoader

    elements = [*summary, *(element for section in sections for element in section.elements)]
    has_script = any(isinstance(element, Chart) or isinstance(element, Table) and element.is_searchable for element in elements)
    styles, scripts = ["page.css", "uPlot.min.css"][: 1 + has_script], ["uPlot.iife.min.js", "page.js"] if has_script else []
    environment = Environment(loader=FileSystemLoader(ASSETS), autoescape=True)
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return environment.get_template("page.html").render(
        name=name,
        kind=kind,
        summary=summary,
        sections=sections,
        styles=[(ASSETS / style).read_text("utf-8") for style in styles],
        scripts=[(ASSETS / script).read_text("utf-8") for script in scripts],
    )


def _round_values(values: np.ndarray, log: bool) -> list[float | int | None]:
    """Return values for JSON, with null for NaN.

    They are rounded to a ten-thousandth of their range, or with `log` to four digits: more than can be seen.
    """
    values = np.asarray(values)
    if np.issubdtype(values.dtype, np.integer):
        return [int(value) for value in values]
    if log:
        return [float(f"{value:.4g}") if math.isfinite(value) else None for value in values.tolist()]
    finite = values[np.isfinite(values)]
    size = max(np.ptp(finite), np.abs(finite).max() * 1e-9) if finite.size else 0.0
    digits = 4 - math.floor(math.log10(size)) if size else 0
    return [round(value, digits) if math.isfinite(value) else None for value in values.tolist()]


def spread_of(values: pd.Series) -> float:
    """Return the distance between the smallest and the largest finite number; 0 for text."""
    finite = values[np.isfinite(values)] if pd.api.types.is_float_dtype(values) else ()
    return float(np.ptp(finite)) if len(finite) else 0.0


def _format_cell(value: object, spread: float) -> str:
    if value is None or value is pd.NA or isinstance(value, float) and value != value:
        return ""
    return format_number(value, spread) if isinstance(value, float) else format_timestamp(value)


def format_timestamp(value: object) -> str:
    """Format a timestamp without a time of midnight. Other values stay as they are."""
    return str(value).removesuffix(" 00:00:00")
