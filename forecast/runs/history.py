"""The history of a training: a row per seed and epoch in history.csv, which is whole at any moment."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from typing import TYPE_CHECKING

from forecast.errors import DAMAGED, RunError
from forecast.runs.layout import RunDirectory
from forecast.storage import format_csv, translate_write_errors

if TYPE_CHECKING:
    import pandas as pd

COLUMNS: dict[str, type] = {"seed": int, "epoch": int, "loss": float, "val_loss": float, "learning_rate": float}
OPTIONAL: dict[str, type] = {"fold": int, "gradient_norm": float, "clipped": float}


def append_history(run: RunDirectory, row: Mapping[str, float]) -> None:
    """Add an epoch to history.csv; the first row brings the header."""
    with translate_write_errors(run.history):
        before = run.history.read_text(encoding="utf-8") if run.history.exists() else ""
    run.write_text(run.history, before + format_csv([row], header=not before))


def cut_history(run: RunDirectory, last_epochs: Mapping[int, int | None]) -> None:
    """Remove the epochs after the last checkpoint. last_epochs: the last one of each seed, None to keep all of its epochs."""
    if not run.history.exists():
        return
    try:
        with run.history.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if int(row["seed"]) in last_epochs]
        lasts = [last_epochs[int(row["seed"])] for row in rows]
        rows = [row for row, last in zip(rows, lasts, strict=True) if last is None or int(row["epoch"]) <= last]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise RunError(f"is no history of a training ({error}).", DAMAGED, str(run.history)) from None
    run.write_text(run.history, format_csv(rows, header=True))


def read_history(run: RunDirectory) -> pd.DataFrame:
    """Read a row per epoch: seed, epoch, loss, val_loss, learning_rate, seconds and norms of gradients.

    Raises:
        RunError: it is damaged.
    """
    return run.read_table(run.history, COLUMNS, OPTIONAL)
