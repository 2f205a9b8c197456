"""What a large panel costs: seconds of each stage of `train` and peak memory, for more and more series of 1,000 hours.

python benchmarks/panel.py [--series 100 300 1000]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from start_up import forecast, measure

KEYS = """data: {path: panel.csv, timestamp: time, target: y, series_id: id}
windows: {lookback: 48, horizon: 24}
model: {units: 32}
training: {epochs: 1, batch_size: 1024}
"""
CODE = """import sys, numpy as np, pandas as pd
count, rows = int(sys.argv[1]), 1000
rng = np.random.default_rng(0)
wave = 10 * np.sin(2 * np.pi * np.arange(rows) / 24) + rng.normal(size=(count, rows)) + rng.uniform(20, 100, size=(count, 1))
hours = pd.date_range("2024-01-01", periods=rows, freq="h")
table = {"time": np.tile(hours, count), "id": np.repeat(np.arange(count), rows), "y": wave.ravel().round(3)}
pd.DataFrame(table).to_csv(sys.argv[2], index=False)"""
STAGES = ("reading", "ridge", "training", "scoring", "plots")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", type=int, nargs="+", default=[100, 300, 1000])
    counts = parser.parse_args().series
    _, keras = measure([sys.executable, "-c", "import keras"])
    print(f"{'series':>8}" + "".join(f"{stage:>10}" for stage in STAGES) + f"{'all, s':>10}{'peak MB':>10}{'above Keras':>13}")
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "panel.yaml").write_text(KEYS)
            measure([sys.executable, "-c", CODE, str(count), f"{folder}/panel.csv"])
            total, peak = measure(forecast("train", f"{folder}/panel.yaml", "--run-dir", f"{folder}/run", "--quiet"))
            spent = json.loads((Path(folder) / "run" / "training" / "environment.json").read_text())["seconds"]
        stages = "".join(f"{spent[stage]:>10.1f}" for stage in STAGES)
        print(f"{count:>8}{stages}{total:>10.1f}{peak / 1e6:>10.0f}{(peak - keras) / 1e6:>13.0f}", flush=True)


if __name__ == "__main__":
    main()
