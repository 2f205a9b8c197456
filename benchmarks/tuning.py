"""What pruning saves and what it costs, and what a second process brings, on the airline passengers.

python benchmarks/tuning.py [--studies 5] [--trials 30]: each study is searched with and without pruning, from the same seed; then
one study of random values, without pruning, by one process and by two. Whole processes, but for pruning in studies side by side.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

CONFIG = Path(__file__).parents[1] / "configs" / "airline.yaml"
SEARCH = (
    "{model.layers: {int: [1, 2]}, model.units: {int: [16, 64], step: 16}, model.dropout: {float: [0.0, 0.5]},"
    " training.learning_rate: {float: [1e-4, 1e-2], log: true}}"
)


def tune(folder: Path, seed: int, trials: int, *options: str) -> tuple[pd.DataFrame, float]:
    """The trials of a study, and the seconds that the command took."""
    sets = [f"--set=seed={seed}", f"--set=tuning.search={SEARCH}", *options]
    command = [
        sys.executable,
        "-m",
        "forecast",
        "tune",
        str(CONFIG),
        "--trials",
        str(trials),
        "--run-dir",
        str(folder),
        "-q",
        *sets,
    ]
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return pd.read_csv(folder / "trials.csv"), time.perf_counter() - began


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=5)
    parser.add_argument("--trials", type=int, default=30)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        saved, ratios = [], []
        print(f"{'study':>5}{'epochs':>8}{'pruned':>8}{'saved':>8}{'best':>9}{'unpruned':>10}")
        for seed in range(1, arguments.studies + 1):
            found = {}
            for pruner in ("none", "median"):
                folder = Path(scratch) / f"{pruner}-{seed}"
                found[pruner], _ = tune(folder, seed, arguments.trials, f"--set=tuning.pruner={pruner}")
            epochs = {pruner: int(table.epochs.sum()) for pruner, table in found.items()}
            best = {pruner: table.error.min() for pruner, table in found.items()}
            saved.append(1 - epochs["median"] / epochs["none"])
            ratios.append(best["median"] / best["none"])
            row = f"{seed:>5}{epochs['none']:>8}{epochs['median']:>8}{saved[-1]:>8.0%}{best['median']:>9.4f}{best['none']:>10.4f}"
            print(row, flush=True)
        if saved:
            best = f"best error {statistics.median(ratios):.3f} of that without"
            print(f"median: {statistics.median(saved):.0%} of the epochs saved; {best}")
        same = ("--set=tuning.pruner=none", "--set=tuning.sampler=random")
        seconds = {}
        for workers in (1, 2):
            _, seconds[workers] = tune(Path(scratch) / f"workers-{workers}", 1, arguments.trials, *same, f"--workers={workers}")
        print(f"workers 1: {seconds[1]:.0f} s, 2: {seconds[2]:.0f} s, {seconds[1] / seconds[2]:.2f} times faster")


if __name__ == "__main__":
    main()
