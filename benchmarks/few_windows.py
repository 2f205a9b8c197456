"""Measure the coverage of intervals calibrated on few windows: ranked errors and Student's t with several degrees of freedom.

python benchmarks/few_windows.py SHARED/data/panels [--series 60]

Each series of a panel, without its last horizon (the competition's test rows), ends with the windows that calibrate and one
window that is scored. A ridge regression forecasts. So the choice of the rule saw no test row.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from forecast.evaluation.intervals import calibrate, calibrate_few, count_independent, naive_growth
from forecast.evaluation.metrics import winkler
from forecast.forecasters.linear import fit_linear
from forecast.windows import Windows

QUANTILES = [0.025, 0.1, 0.9, 0.975]
LEVELS = {80: (1, 2), 95: (0, 3)}  # Places of the bounds in QUANTILES.
COUNTS = (1, 2, 3, 5, 8, 13, 20, 39, 60, 100, 200)
DEGREES = {"n": lambda n: n, "n + 1": lambda n: n + 1, "2n + 1": lambda n: 2 * n + 1}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("panels", type=Path)
    parser.add_argument("--series", type=int, default=60, help="drawn from each panel")
    options = parser.parse_args()
    rows = []
    for panel in pd.read_csv(options.panels / "index.csv").itertuples():
        table = pd.read_csv(options.panels / f"{panel.name}.csv")
        ids = np.random.default_rng(0).permutation(table.id.unique())[: options.series]
        for _, values in table[table.id.isin(ids)].groupby("id").value:
            series = values.interpolate().bfill().to_numpy(float)[: -panel.horizon]
            for count in COUNTS:
                rows += [(panel.name, *row) for row in scores(series, max(8, 2 * panel.season), panel.horizon, count)]
    names = ["panel", "windows", "rule", *(f"{what} {level}" for level in LEVELS for what in ("coverage", "winkler"))]
    of_panels = pd.DataFrame(rows, columns=names).groupby(names[:3]).mean()
    ranked = of_panels.xs("ranked", level="rule")
    for level in LEVELS:
        of_panels[f"winkler {level}"] /= ranked[f"winkler {level}"].reindex(of_panels.index.droplevel("rule")).to_numpy()
    print("Means over panels; Winkler scores are ratios to those of ranked errors, below 1 is better.")
    print(of_panels.groupby(["windows", "rule"]).mean().unstack("rule").round(2).to_string())


def scores(series: np.ndarray, lookback: int, horizon: int, count: int) -> list[tuple]:
    """Return coverage and Winkler score of each rule on the last window of a series; nothing where the series is too short."""
    end = len(series) - horizon  # of the rows that calibrate
    begin = end - (horizon + count - 1)
    if begin < lookback + horizon + 4:
        return []
    scaled = ((series - series[:begin].mean()) / (series[:begin].std() or 1))[:, None].astype(np.float32)

    def windows(first: int, last: int) -> Windows:
        begins = np.arange(first, last - horizon + 1)
        return Windows(scaled, scaled[:, :0], scaled, begins, np.zeros(len(begins), int), lookback, horizon)

    train, held_out, scored = windows(lookback, begin), windows(begin, end), windows(end, len(series))
    linear = fit_linear(train, held_out, "last")
    errors = (held_out.targets() - linear.forecast(held_out))[..., None]
    independent, growth = count_independent(held_out), naive_growth(train)
    rules = {"ranked": calibrate(errors, QUANTILES, [])}
    for name, degrees in DEGREES.items():
        rules[name] = calibrate_few(errors, QUANTILES, [], growth, degrees(independent))
    forecast, actual = linear.forecast(scored), scored.targets()
    found = []
    for name, intervals in rules.items():
        made = intervals.apply(forecast, scored.series)
        cells = []
        for level, (low, high) in LEVELS.items():
            bounds = made[..., low], made[..., high]
            inside = (bounds[0] <= actual) & (actual <= bounds[1])
            cells += [inside.mean(), winkler(actual, *bounds, level).mean()]
        found.append((count, name, *cells))
    return found


if __name__ == "__main__":
    main()
