"""What it costs to refuse a run that someone tampered with: whole-process time and peak memory of `forecast predict`.

python -m benchmarks.hostile_runs, from the project's root. Prints the slowest and the largest of the corpus of the tests.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.start_up import forecast, measure
from tests.hostile_runs import CANARY, HOSTILE, OLD_RUNS, make_hostile


def main() -> None:
    """Measure and print."""
    costs, executed = {}, []
    # In a process of its own: a child's peak is never below what its parent held when it was started.
    maker = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    for name in HOSTILE:
        with tempfile.TemporaryDirectory() as folder:
            run = maker.submit(make_hostile, OLD_RUNS / "version-2", name, Path(folder)).result()
            costs[name] = measure(forecast("predict", str(run)), expected=1)
            executed += [name for _ in Path(folder).rglob(CANARY)]
    print(f"{len(costs)} hostile runs, all refused; {len(executed)} executed anything\n")
    print(f"{'hostile run':<44}{'seconds':>8}{'peak MB':>10}")
    worst = {sorted(costs, key=lambda name: costs[name][which])[-1 - place] for which in (0, 1) for place in range(3)}
    for name in sorted(worst, key=costs.get, reverse=True):
        seconds, peak = costs[name]
        print(f"{name:<44}{seconds:>8.2f}{peak / 1e6:>10.0f}")


if __name__ == "__main__":
    main()
