"""Train what `init` writes, unedited, on panels and on single series, and compare its errors with those of every baseline.

python benchmarks/panels.py PANELS/index.csv FILE[:TARGET] ... [--only NAME]

index.csv names panels in its folder, with freq, season and horizon. The last `horizon` rows of a panel are its test set, and the
`horizon` rows before them its validation set. A single file has the sets and the horizon that `init` chooses.

sMAPE and MASE are means over series. MASE is scaled by the seasonal naive error of all rows before the test set, as in the M4
competition, and MSIS is that of the 95% intervals, scaled alike.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from start_up import forecast, measure

NAIVE2 = {"m4-hourly": (18.383, 2.395)}  # sMAPE and MASE that OWA compares with, as published by the M4 competition.
FORECASTERS = ["forecast", "network", "linear", "naive", "seasonal_naive", "drift", "mean", "theta", "ets", "arima", "boosting"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("index", type=Path)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--only")
    options = parser.parse_args()
    summary = {}
    for row in pd.read_csv(options.index).itertuples():
        sets = [f"--set=splits.{name}={row.horizon}" for name in ("validation", "test")]
        if options.only in (None, row.name):
            path = options.index.parent / f"{row.name}.csv"
            summary[row.name] = measure_file(path.resolve(), ["--horizon", str(row.horizon)], sets, int(row.season))
    for name in options.files:
        path, _, target = name.partition(":")
        if options.only in (None, Path(path).stem):
            summary[Path(path).stem] = measure_file(Path(path).resolve(), ["--target", target] if target else [], [], None)
    table = pd.DataFrame(summary).T
    print("\n" + table.to_string(float_format="{:.3f}".format))
    print(f"\ngeometric mean of MASE to that of the best baseline: {np.exp(np.log(table['to best']).mean()):.3f}")


def measure_file(path: Path, init: list[str], train: list[str], season: int | None) -> dict[str, float]:
    """Train what `init` writes for a file. Print the errors of every forecaster, and return those of the forecast."""
    with tempfile.TemporaryDirectory() as folder:
        config, run = Path(folder) / "config.yaml", Path(folder) / "run"
        subprocess.run(forecast("init", str(path), "-o", str(config), *init), check=True, stdout=subprocess.DEVNULL)
        seconds, _ = measure(forecast("train", str(config), "--run-dir", str(run), "--quiet", *train))
        predictions = pd.read_csv(run / "predictions.csv", parse_dates=["timestamp"])
        scales = measure_scales(config, predictions, season)
    names = [name for name in FORECASTERS if name in predictions]
    errors = pd.DataFrame({name: score(predictions, predictions[name], scales) for name in names}, index=["sMAPE", "MASE"]).T
    if path.stem in NAIVE2:
        errors["OWA"] = (errors[["sMAPE", "MASE"]] / NAIVE2[path.stem]).mean(axis=1)
    print(f"\n{path.stem}\n{errors.to_string(float_format='{:.3f}'.format)}", flush=True)
    best = errors.MASE.drop(["forecast", "network"], errors="ignore").min()
    inside = {
        f"in {level}%": float(predictions.actual.between(predictions[low], predictions[high]).mean())
        for level, low, high in ((80, "q0.1", "q0.9"), (95, "q0.025", "q0.975"))
    }
    result = {**errors.loc["forecast"], "MSIS": msis(predictions, scales), **inside}
    return {**result, "seconds": seconds, "best baseline": best, "to best": result["MASE"] / best}


def measure_scales(config: Path, predictions: pd.DataFrame, season: int | None) -> pd.Series:
    """Return the mean absolute seasonal naive error of each series before its first forecast."""
    from forecast.config import infer_season_length, load_config
    from forecast.data import read_panel

    data = load_config(config).data
    panel, scales = read_panel(data), {}
    season = season or data.season_length or infer_season_length(panel.freq)
    tested = predictions.groupby("series_id").timestamp.min()
    for number, name in enumerate(panel.series_ids):
        span = slice(panel.offsets[number], panel.offsets[number + 1])
        values = np.where(panel.filled[span, 0], np.nan, panel.values[span, 0])
        before = values[panel.timestamps[span] < tested.get(name, panel.timestamps.max())]
        scales[name] = np.nanmean(np.abs(before[season:] - before[:-season])) if len(before) > season else np.nan
    return predictions.series_id.map({name: scale or np.nan for name, scale in scales.items()})


def score(predictions: pd.DataFrame, forecasts: pd.Series, scales: pd.Series) -> tuple[float, float]:
    """Return sMAPE, in percent, and MASE: means over the rows of a series, then over the series."""
    error, size = (forecasts - predictions.actual).abs(), forecasts.abs() + predictions.actual.abs()
    rows = pd.DataFrame({"sMAPE": (200 * error / size.where(size > 0)).fillna(0), "MASE": error / scales})
    means = rows.groupby(predictions.series_id).mean().mean()
    return float(means["sMAPE"]), float(means["MASE"])


def msis(predictions: pd.DataFrame, scales: pd.Series) -> float:
    """Return the mean scaled interval score of the 95% intervals (Gneiting & Raftery 2007)."""
    low, high, actual = predictions["q0.025"], predictions["q0.975"], predictions.actual
    scores = high - low + 40 * (low - actual).clip(lower=0) + 40 * (actual - high).clip(lower=0)
    return float((scores / scales).groupby(predictions.series_id).mean().mean())


if __name__ == "__main__":
    main()
