"""Small data: what `init` and `train` make of a file, unedited, beside other tools on the same cutoffs, in MASE and seconds.

python benchmarks/small_data.py FILE[:TARGET] ... [--peers PYTHON] [--cutoffs N]

--peers: a Python of an environment with benchmarks/requirements.txt.
The cutoffs are spread evenly over the test part that `init` chose. Nobody is refitted. MASE is scaled by the training rows.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from start_up import forecast, measure

PEERS = [
    "statsforecast AutoETS", "statsforecast AutoARIMA", "neuralforecast LSTM", "neuralforecast GRU", "darts BlockRNN",
]  # fmt: skip
OURS, FREE = "forecast", ["seasonal_naive", "linear"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+")
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--cutoffs", type=int, default=12)
    options = parser.parse_args()
    tables = {}
    for name in options.files:
        path, _, target = name.partition(":")
        with tempfile.TemporaryDirectory() as folder:
            tables[Path(path).stem] = one(Path(path).resolve(), target, Path(folder), options)
        print(tables[Path(path).stem].to_string(float_format="{:.3f}".format), flush=True)
    mases = pd.DataFrame({name: table["MASE"] for name, table in tables.items()})
    print("\n" + mases.assign(mean=mases.mean(axis=1)).sort_values("mean").to_string(float_format="{:.3f}".format))


def one(path: Path, target: str, folder: Path, options: argparse.Namespace) -> pd.DataFrame:
    """MASE and seconds of every method on one file."""
    chosen = ["--target", target] if target else []
    subprocess.run(forecast("init", str(path), "-o", str(folder / "own.yaml"), *chosen), check=True, stdout=subprocess.DEVNULL)
    seconds, _ = measure(forecast("train", str(folder / "own.yaml"), "--run-dir", str(folder / "run"), "--quiet"))
    every = pd.read_csv(folder / "run" / "predictions.csv", parse_dates=["cutoff", "timestamp"])
    task = task_of(folder, every, options.cutoffs)
    own = every[every.cutoff.isin(pd.to_datetime([task["timestamps"][row] for row in task["cutoffs"]]))]
    actual, free = own.actual.to_numpy(), {OURS: seconds, **dict.fromkeys(FREE, 0.0)}
    rows = {name: (np.abs(own[name] - actual).mean() / task["scale"], spent) for name, spent in free.items()}
    (folder / "task.json").write_text(json.dumps(task))
    for name in PEERS if options.peers else []:
        command = [str(options.peers), str(Path(__file__).with_name("peers.py")), str(folder / "task.json"), name]
        began = time.perf_counter()
        subprocess.run([*command, str(folder / "peer.csv")], check=True, capture_output=True)
        spent = time.perf_counter() - began
        forecasts = pd.read_csv(folder / "peer.csv").forecast
        rows[name] = (np.abs(forecasts - actual).mean() / task["scale"], spent)
    print(f"\n{path.stem}: horizon {task['horizon']}, lookback {task['lookback']}, {len(task['cutoffs'])} cutoffs")
    return pd.DataFrame(rows, index=["MASE", "seconds"]).T


def task_of(folder: Path, every: pd.DataFrame, most: int) -> dict:
    """What the peers need to know: the repaired rows, the cutoffs as rows, and the sizes that `init` chose."""
    from forecast.config import load_config
    from forecast.data import read_panel

    config = load_config(folder / "own.yaml")
    panel = read_panel(config.data)
    metrics = json.loads((folder / "run" / "metrics.json").read_text())
    cutoffs = every.cutoff.drop_duplicates().sort_values().to_numpy()
    cutoffs = cutoffs[np.linspace(0, len(cutoffs) - 1, min(most, len(cutoffs))).astype(int)]
    naive = metrics["test"]["seasonal_naive"]["total"]
    return {
        "timestamps": panel.timestamps.astype(str).tolist(),
        "values": panel.values[:, 0].tolist(),
        "freq": panel.freq,
        "season_length": metrics["season_length"],
        "horizon": config.windows.horizon,
        "lookback": config.windows.lookback,
        "validation": config.splits.validation,
        "cutoffs": panel.timestamps.get_indexer(pd.DatetimeIndex(cutoffs)).tolist(),
        "scale": naive["mae"] / naive["mase"],
    }


if __name__ == "__main__":
    main()
