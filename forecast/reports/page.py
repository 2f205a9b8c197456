"""Pages for a browser: one file each, which loads nothing from elsewhere. assets/page.html says how each element looks."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from forecast.evaluation import format_number
from forecast.reports.palette import to_css

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXPLANATIONS = {
    "MAE": "Mean absolute error: the average distance between forecast and actual value, in the units of the data.",
    "RMSE": "Root mean squared error, in the units of the data. Large errors count more.",
    "MASE": "MAE divided by that of seasonal naive forecasts on the training set. A value below 1 is better than these.",
    "WAPE": "Sum of absolute errors divided by the sum of absolute actual values.",
    "bias": "Mean error. Positive: the forecasts are too high.",
    "windows": "Forecasts that were compared with actual values.",
    "cutoff": "The last timestamp that the forecast has seen.",
    "filled": "Share of cells that were missing and filled in.",
}
MAX_ROWS_IN_VIEW = 12  # Longer tables can be searched.
ASSETS = Path(__file__).parent / "assets"  # uPlot (MIT, github.com/leeoniya/uPlot) as released, and our own files.


@dataclass(frozen=True)
class Text:
    """A paragraph. style: a class of page.css, or code for lines as they are."""

    text: str
    style: Literal["", "note", "verdict", "code"] = ""


@dataclass(frozen=True)
class Card:
    """A figure that people should see first. tone: how good it is."""

    title: str
    value: str
    note: str
    tone: Literal["good", "fair", "bad", ""] = ""


@dataclass(frozen=True)
class Cards:
    """A row of cards."""

    cards: Sequence[Card]


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
class Link:
    """A cell that leads to another page of the same folder."""

    text: str
    href: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Table:
    """Rows with a caption. With a `name`, unique in its page, the table scrolls, and a long one can be searched.

    A click on a heading sorts the rows. On a phone, each row of a table without a name becomes a block.
    """

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

    def explain(self, heading: str) -> str:
        """Return the meaning of a heading, "" for one that needs no explanation."""
        return EXPLANATIONS.get(heading, "")

    def text_columns(self) -> list[bool]:
        """Return for each column whether it holds words, which are aligned left. It is false for the first column."""
        return [number > 0 and _holds_words(column) for number, (_, column) in enumerate(self.rows.items())]

    def cells(self) -> list[list[str | Link]]:
        """Return the cells as text or links, row by row."""
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
class Band:
    """The shade between two lines, by number. shade: opacity, up to 1."""

    label: str
    low: int
    high: int
    shade: float


@dataclass(frozen=True)
class Frame:
    """Values that some lines have instead, from a point of x on. lines: by number."""

    label: str
    start: int
    lines: dict[int, np.ndarray]


@dataclass(frozen=True)
class Chart:
    """Lines over ascending x. name: unique in its page. description: the content in words, for those who cannot see it.

    bands: intervals, whose lines are edges. unit: the smallest unit in which timestamps differ, if x is in seconds since 1970.
    zero: the axis of the lines begins at zero, as it does for bars. limit: the largest value at which this axis may end. spans:
    names of stretches of x, with the first x of each. view: where the visible part of x begins; an overview selects others.
    frames: what a slider shows instead of some lines.
    """

    name: str
    title: str
    description: str
    x: np.ndarray
    lines: Sequence[Line]
    x_label: str
    y_label: str
    bands: Sequence[Band] = ()
    unit: Literal["", "year", "month", "day", "minute", "second"] = ""
    log: bool = False
    zero: bool = False
    limit: float | None = None
    spans: Sequence[tuple[str, float]] = ()
    view: float | None = None
    frames: Sequence[Frame] = ()

    def spec(self) -> dict[str, Any]:
        """Return what page.js draws, as plain JSON values."""
        lines = [{**vars(line), "values": _round_values(line.values, self.log)} for line in self.lines]
        frames = [
            {"label": frame.label, "start": frame.start, "lines": {n: _round_values(v, self.log) for n, v in frame.lines.items()}}
            for frame in self.frames
        ]
        bands = [vars(band) for band in self.bands]
        return {**vars(self), "x": _round_values(self.x, log=False), "lines": lines, "bands": bands, "frames": frames}


Element = Text | Cards | Items | Picture | Table | Chart


@dataclass(frozen=True)
class Section:
    """A heading and what follows it. collapsed: shown only after a click."""

    heading: str
    elements: Sequence[Element]
    collapsed: bool = False

    @property
    def id(self) -> str:
        """Return the anchor of the heading."""
        return self.heading.lower().replace(" ", "-")


def render_page(name: str, kind: str, summary: Sequence[Element], sections: Sequence[Section] = ()) -> str:
    """Return a whole HTML document. kind: what the page is about, for its title."""
    from jinja2 import Environment, FileSystemLoader

    elements = [*summary, *(element for section in sections for element in section.elements)]
    has_script = any(isinstance(element, Chart | Table) for element in elements)
    styles, scripts = ["page.css", "uPlot.min.css"][: 1 + has_script], ["uPlot.iife.min.js", "page.js"] if has_script else []
    environment = Environment(loader=FileSystemLoader(ASSETS), autoescape=True)
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return environment.get_template("page.html").render(
        name=name,
        kind=kind,
        summary=summary,
        sections=sections,
        light=to_css(is_dark=False),
        dark=to_css(is_dark=True),
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


def _holds_words(column: pd.Series) -> bool:
    """Return whether a column holds words, and not numbers, shares such as 14.0% or timestamps.

    >>> [_holds_words(pd.Series(cells)) for cells in (["airline.csv", "1st shop"], ["14.0%", None], [np.nan])]
    [True, False, False]
    """
    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_datetime64_any_dtype(column):
        return False
    return not all(re.fullmatch(r"[-+]?\d[\d.,: -]*%?|", str(cell)) for cell in column.dropna())


def spread_of(values: pd.Series) -> float:
    """Return the distance between the smallest and the largest finite number; 0 for text."""
    finite = values[np.isfinite(values)] if pd.api.types.is_float_dtype(values) else ()
    return float(np.ptp(finite)) if len(finite) else 0.0


def _format_cell(value: object, spread: float) -> str | Link:
    if isinstance(value, Link):
        return value
    if value is None or value is pd.NA or isinstance(value, float) and value != value:
        return ""
    return format_number(value, spread) if isinstance(value, float) else format_timestamp(value)


def format_timestamp(value: object) -> str:
    """Format a timestamp without a time of midnight. Other values stay as they are."""
    return str(value).removesuffix(" 00:00:00")
