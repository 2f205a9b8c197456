"""How often intervals hold what they should, what the leak certificate costs, and which rate of adaptive intervals covers best.

python benchmarks/intervals.py airline.csv ETTh1.csv delhi-climate.csv [--rates]

Each file is drafted by `forecast init` and trained unedited, and so is a series whose noise swells and fades with the hour.
--rates: for several rates of `intervals.Tracker`, coverage and pinball loss on the second half of the validation set, which
starts from the first half. The test set is not used.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from start_up import forecast, measure

from forecast.config import load_config
from forecast.evaluation.intervals import Tracker, bounds_of, calibrate
from forecast.forecasters.preparation import prepare
from forecast.runs import Environment, Run, read_trained

QUANTILES = [0.025, 0.1, 0.9, 0.975]
RATES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--rates", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(
            f"{'':<28}{'80%':>7}{'95% CI':>10}{'95%':>7}{'95% CI':>10}   80% by step: first, middle, last   leaks s  training s"
        )
        for path in [*options.data, synthetic(folder)]:
            config, run = folder / f"{path.stem}.yaml", folder / path.stem
            measure(forecast("init", str(path.resolve()), "-o", str(config)))
            measure(forecast("train", str(config), "--run-dir", str(run), "--quiet"))
            coverage(path.stem, run)
            if options.rates:
                rates(config, run)


def synthetic(folder: Path) -> Path:
    """An hourly series with a daily season, whose correlated noise is ten times as large at one time of the day as at another."""
    rng, time = np.random.default_rng(5), np.arange(3000)
    scale = 0.3 * (1 + 0.9 * np.sin(2 * np.pi * time / 24 + 1)) + 0.03
    noise = np.zeros(3000)
    for hour in time[1:]:
        noise[hour] = 0.7 * noise[hour - 1] + scale[hour] * rng.normal()
    hours = pd.date_range("2020-01-01", periods=3000, freq="h")
    table = pd.DataFrame({"time": hours, "y": 10 + 3 * np.sin(2 * np.pi * time / 24) + noise})
    table.to_csv(folder / "heteroscedastic.csv", index=False)
    return folder / "heteroscedastic.csv"


def coverage(name: str, run: Path) -> None:
    """Print what the test part says, by either method."""
    metrics = json.loads((run / "metrics.json").read_text())
    seconds = Run(run).read(Run(run).environment, Environment).seconds
    for method, made in metrics["test"]["intervals"].items():
        cells = ""
        for level in ("80", "95"):
            found = made["levels"][level]
            low, high = found["coverage_low"], found["coverage_high"]
            cells += f"{found['coverage']:>7.1%}" + (f"{f'{low:.0%}..{high:.0%}':>10}" if low is not None else f"{'-':>10}")
        steps = made["levels"]["80"]["per_step"]["coverage"]
        shown = "".join(f"{steps[step]:>7.1%}" for step in (0, len(steps) // 2, -1))
        times = f"{seconds['leaks']:>10.2f}{seconds['training']:>12.1f}"
        print(f"{f'{name}, {method}':<28}{cells}   {shown:<32}{times}", flush=True)


def rates(config: Path, run: Path) -> None:
    """Print how each rate does on the second half of the validation part."""
    trained, windows = read_trained(Run.open(run), "selected"), prepare(load_config(config)).windows["validation"]
    made = trained.network.point(windows.forecast_with(trained.forward("numpy"), trained.network.horizon))
    errors, half = (windows.targets() - made)[..., None], len(windows) // 2
    later = slice(half + min(windows.horizon, half // 2), None)  # no target of the first half is one of the second
    series = int(windows.series.max()) + 1
    start, size = calibrate(errors[:half], QUANTILES, []), errors[:half].std(axis=0)
    for rate in RATES:
        issued = Tracker(start, size, series, rate).follow(windows.first[later], windows.series[later], errors[later])
        actual = errors[later][..., 0]
        shares = []
        for level in (80, 95):
            low, high = (issued[..., QUANTILES.index(bound)] for bound in bounds_of(level))
            shares.append(np.mean((low <= actual) & (actual <= high)))
        apart = errors[later] - issued
        loss = np.mean(np.maximum(np.array(QUANTILES) * apart, (np.array(QUANTILES) - 1) * apart))
        print(f"    rate {rate:<5} 80%: {shares[0]:.1%}  95%: {shares[1]:.1%}  pinball {loss:.4f}", flush=True)


if __name__ == "__main__":
    main()
