"""Peak memory of training on a long series with lookback 512, beside peers: of whole processes, and above the tool's import.

python benchmarks/memory.py [--rows N ...] [--peers PYTHON] [--whole]

Minutes of one series in a CSV file; 30 steps of 256 windows. `--whole` adds all of `forecast train` on the most rows: one epoch
over every window, scores, intervals and plots. A process that takes more than `--most` GB is ended by the system's limit.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from speed import EnoughError
from start_up import write_large

LOOKBACK, HORIZON, UNITS, SEGMENT, BATCH, STEPS = 512, 24, 32, 64, 256, 30
HELD_OUT = 20_000  # rows of validation, and of test
LIMITED = (  # becomes another program, with as much memory as its first argument says
    "import json, os, resource, sys; resource.setrlimit(resource.RLIMIT_DATA, json.loads(sys.argv[1]));"
    " os.execv(sys.argv[2], sys.argv[2:])"
)
IMPORTS = {
    "forecast": "import keras, pandas, forecast.commands.train",
    "neuralforecast": "import neuralforecast",
    "darts": "import darts.models",
}


def main() -> None:
    """Measure and print, or be one of the processes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", type=int, default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--most", type=float, default=20.0, help="GB")
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--only", help="train with this tool; for the processes of this script")
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    if options.only:
        TOOLS[options.only](options.data)
        return
    print(f"{'':<26}{'rows':>12}{'peak MB':>10}{'above import':>14}{'ratio':>8}{'seconds':>9}")
    imports = {name: measured(options, name, ["-c", code])[0] for name, code in IMPORTS.items() if present(options, name)}
    with tempfile.TemporaryDirectory() as folder:
        for rows in options.rows:
            data = Path(folder) / f"{rows}.csv"
            writer = multiprocessing.get_context("spawn").Process(target=write_large, args=(data, rows))
            writer.start()
            writer.join()
            above = {}
            for name in imports:
                peak, seconds = measured(options, name, [__file__, "--only", name, "--data", str(data)])
                above[name] = peak - imports[name]
                row(name, rows, peak, above[name], above[name] / above["forecast"], seconds)
            if options.whole and rows == max(options.rows):
                (Path(folder) / "whole.yaml").write_text(json.dumps(config(data)))
                command = ["-m", "forecast", "train", f"{folder}/whole.yaml", "--run-dir", f"{folder}/whole", "--quiet"]
                peak, seconds = measured(options, "forecast", command)
                row("forecast train, whole", rows, peak, peak - imports["forecast"], 1.0, seconds)


def present(options: argparse.Namespace, name: str) -> bool:
    """Whether it can be run."""
    return name == "forecast" or bool(options.peers)


def row(name: str, rows: int, peak: float, above: float, ratio: float, seconds: float) -> None:
    """One line."""
    print(f"{name:<26}{rows:>12,}{peak / 1e6:>10.0f}{above / 1e6:>14.0f}{ratio:>8.1f}{seconds:>9.0f}", flush=True)


def measured(options: argparse.Namespace, name: str, arguments: list[str]) -> tuple[float, float]:
    """Peak bytes and seconds of a process; infinity where it ran into the limit."""
    python = sys.executable if name == "forecast" else str(options.peers)
    limit = [int(options.most * 1e9)] * 2
    with tempfile.TemporaryFile() as said:
        began = os.times().elapsed
        process = subprocess.Popen(
            [sys.executable, "-c", LIMITED, str(limit), python, *arguments], stdout=subprocess.DEVNULL, stderr=said
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = os.times().elapsed - began
        said.seek(0)
        if process.returncode:
            print(f"{name} failed: {said.read().decode().strip().splitlines()[-1]}", flush=True)
            return float("inf"), seconds
    return usage.ru_maxrss * 1024, seconds


def config(data: Path) -> dict:
    """One epoch of a network that reads 64 minutes at a time."""
    return {
        "data": {"path": str(data), "timestamp": "time", "target": "y"},
        "splits": {"validation": HELD_OUT, "test": HELD_OUT},
        "windows": {"lookback": LOOKBACK, "horizon": HORIZON},
        "model": {"cell": "gru", "units": UNITS, "segment": SEGMENT, "normalization": "last"},
        "training": {"epochs": 1, "batch_size": BATCH},
    }


def own(data: Path) -> None:
    """`forecast.train` until it took so many steps."""
    import forecast

    taken = 0

    def watch(progress: object) -> None:
        nonlocal taken
        taken += progress.epoch > 0
        if taken == STEPS:
            raise EnoughError

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "memory.yaml").write_text(json.dumps(config(data)))
        try:
            forecast.train(Path(folder) / "memory.yaml", Path(folder) / "run", on_progress=watch)
        except EnoughError:
            return


def neuralforecast(data: Path) -> None:
    """Its LSTM."""
    import pandas as pd
    from neuralforecast import NeuralForecast
    from neuralforecast.models import LSTM

    table = pd.read_csv(data, parse_dates=["time"]).rename(columns={"time": "ds"}).assign(unique_id="y")
    model = LSTM(
        h=HORIZON, input_size=LOOKBACK, encoder_n_layers=1, encoder_hidden_size=UNITS, windows_batch_size=BATCH, max_steps=STEPS,
        enable_progress_bar=False, logger=False, enable_checkpointing=False, val_check_steps=STEPS,
    )  # fmt: skip
    NeuralForecast(models=[model], freq="min").fit(table, val_size=HELD_OUT)


def darts(data: Path) -> None:
    """BlockRNN with an LSTM layer."""
    import numpy as np
    import pandas as pd
    from darts import TimeSeries
    from darts.models import BlockRNNModel

    series = TimeSeries.from_dataframe(pd.read_csv(data, parse_dates=["time"]), "time", "y", freq="min").astype(np.float32)
    trainer = {"max_steps": STEPS, "enable_progress_bar": False, "logger": False}
    model = BlockRNNModel(LOOKBACK, HORIZON, model="LSTM", hidden_dim=UNITS, batch_size=BATCH, pl_trainer_kwargs=trainer)
    model.fit(series[:-HELD_OUT], val_series=series[-HELD_OUT - LOOKBACK :])


TOOLS = {"forecast": own, "neuralforecast": neuralforecast, "darts": darts}

if __name__ == "__main__":
    main()
