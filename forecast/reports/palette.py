"""The colours of charts, plots and text: one palette for pages in light and dark mode, and for PNG images."""

from __future__ import annotations

from forecast.evaluation import LABELS

COLOURS = {  # For light and for dark backgrounds.
    "text": ("#1b1f24", "#e6edf3"),
    "quiet": ("#57606a", "#9da7b1"),
    "paper": ("#ffffff", "#0d1117"),
    "grid": ("#8c959f33", "#8c959f40"),
    "accent": ("#b3263f", "#ff8fa0"),
    "good": ("#1a7f37", "#56d364"),
    "fair": ("#8a5a00", "#e3b341"),
    "bad": ("#a40e26", "#ff9a9a"),
    "actual": ("#1b1f24", "#e6edf3"),
    "forecast": ("#d1495b", "#ff7b8a"),
    "network": ("#7a5230", "#d2a679"),
    "naive": ("#57739a", "#8fb0dc"),
    "seasonal_naive": ("#b26a00", "#e3a64a"),
    "drift": ("#2a7f62", "#6fcfa9"),
    "mean": ("#6b7280", "#a8b0ba"),
    "linear": ("#7a4fa3", "#c19be8"),
    "theta": ("#0e7490", "#67d3e8"),
    "ets": ("#8a6d00", "#d9c36a"),
    "arima": ("#b0408f", "#f0a0d8"),
    "boosting": ("#5c6f1f", "#b5c96a"),
}
assert set(LABELS) <= set(COLOURS)


def to_css(is_dark: bool) -> str:
    """Return the variables of a style sheet for light or for dark backgrounds."""
    return " ".join(f"--{name}: {colours[is_dark]};" for name, colours in COLOURS.items())
