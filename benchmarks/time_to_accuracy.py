"""Seconds until a network is better than a ridge regression on the validation part: ETTh1, 96 hours ahead, seven columns.

python benchmarks/time_to_accuracy.py ETTh1.csv [--lookback N] [--peers PYTHON] [--most SECONDS]

Whole processes, imports and reading included, one after the other; every tool trains one network for all columns, standardised
on the training rows, with the squared error, and tells its validation error after every epoch (neuralforecast every 50 steps).
--peers: a Python of an environment with benchmarks/requirements.txt.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TRAIN, VALIDATION, HORIZON = 8640, 2880, 96
COLUMNS = ["HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"]
CONFIG = Path(__file__).parents[1] / "configs" / "etth1.yaml"
BEGAN = time.perf_counter()  # of this process


def main() -> None:
    """Measure and print, or be a peer."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--lookback", type=int, default=336)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--most", type=float, default=600)
    parser.add_argument("--only", choices=PEERS, help="print the errors of this peer; for the processes of this script")
    parser.add_argument("--goal", type=float, default=0.0)
    options = parser.parse_args()
    if options.only:
        PEERS[options.only](options)
        return
    ours, goal = own(options)
    print(f"lookback {options.lookback}; ridge regression: validation MSE {goal:.4f}\n")
    print(f"{'':<26}{'seconds':>9}{'ratio':>8}   validation MSE after so many seconds")
    row("forecast", ours, goal, ours)
    for name in PEERS if options.peers else []:
        command = [str(options.peers), __file__, str(options.data), "--lookback", str(options.lookback), "--only", name]
        done = subprocess.run(
            [*command, "--goal", str(goal), "--most", str(options.most)], capture_output=True, text=True, check=True
        )
        row(name, [json.loads(line[6:]) for line in done.stdout.splitlines() if line.startswith("point ")], goal, ours)


def row(name: str, points: list[tuple[float, float]], goal: float, ours: list[tuple[float, float]]) -> None:
    """One tool: when it passed the goal, and how its error fell."""
    passed, first = (next((at for at, error in each if error < goal), None) for each in (points, ours))
    seconds = f"{passed:.0f}" if passed else f"> {points[-1][0]:.0f}"
    ratio = f"{(passed or points[-1][0]) / first:.1f}" if first else "-"
    shown = ", ".join(f"{error:.3f} ({at:.0f})" for at, error in points[:: max(1, len(points) // 8)])
    print(f"{name:<26}{seconds:>9}{ratio:>8}   {shown}", flush=True)


def own(options: argparse.Namespace) -> tuple[list[tuple[float, float]], float]:
    """Our validation errors by time since the command was given, and that of the ridge regression."""
    keys = {"data.path": options.data.resolve(), "windows.lookback": options.lookback, "windows.horizon": HORIZON}
    keys |= {"training.loss": "mse", "training.epochs": 5, "model.units": 128}
    chosen = [part for key, value in keys.items() for part in ("--set", f"{key}={value}")]
    points = []
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "forecast", "train", str(CONFIG), "--run-dir", f"{folder}/run", *chosen]
        began = time.perf_counter()
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        for line in process.stderr:
            if "val_loss" in line:
                points.append((time.perf_counter() - began, float(line.split("val_loss")[1].split()[0])))
        if process.wait():
            raise SystemExit("forecast train failed")
        metrics = json.loads((Path(folder) / "run" / "metrics.json").read_text())
    return points, metrics["validation"]["linear"]["total"]["mse_scaled"]


def standardised(path: Path) -> object:
    """The table, with every column standardised on the training rows, up to the end of the validation part."""
    import pandas as pd

    table = pd.read_csv(path, parse_dates=["date"])[: TRAIN + VALIDATION]
    values = table[COLUMNS]
    table[COLUMNS] = (values - values[:TRAIN].mean()) / values[:TRAIN].std(ddof=0)
    return table


def watcher(options: argparse.Namespace, metric: str) -> object:
    """A callback that prints the time since the process began beside the validation error, and stops in the end."""
    import pytorch_lightning as lightning

    class Watcher(lightning.Callback):
        def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
            if trainer.sanity_checking or metric not in trainer.callback_metrics:
                return
            at, error = time.perf_counter() - BEGAN, float(trainer.callback_metrics[metric])
            print("point " + json.dumps([at, error]), flush=True)
            trainer.should_stop = error < options.goal or at > options.most

    return Watcher()


def neuralforecast(options: argparse.Namespace) -> None:
    """LSTM with its defaults but the sizes of the task and the squared error."""
    from neuralforecast import NeuralForecast
    from neuralforecast.losses.pytorch import MSE
    from neuralforecast.models import LSTM

    table = standardised(options.data).melt("date", COLUMNS, "unique_id", "y").rename(columns={"date": "ds"})
    model = LSTM(
        h=HORIZON, input_size=options.lookback, loss=MSE(), valid_loss=MSE(), max_steps=100_000, val_check_steps=50,
        callbacks=[watcher(options, "ptl/val_loss")], enable_progress_bar=False, logger=False, enable_checkpointing=False,
    )  # fmt: skip
    NeuralForecast(models=[model], freq="h").fit(table, val_size=VALIDATION)


def darts(options: argparse.Namespace) -> None:
    """BlockRNN with an LSTM and its defaults but the sizes of the task; the columns are series of one network."""
    import numpy as np
    from darts import TimeSeries
    from darts.models import BlockRNNModel

    table = standardised(options.data)
    series = [TimeSeries.from_dataframe(table, "date", name).astype(np.float32) for name in COLUMNS]
    trainer = {"callbacks": [watcher(options, "val_loss")], "enable_progress_bar": False, "logger": False}
    model = BlockRNNModel(options.lookback, HORIZON, model="LSTM", n_epochs=1000, pl_trainer_kwargs=trainer)
    validation = [whole[TRAIN - options.lookback :] for whole in series]
    model.fit([whole[:TRAIN] for whole in series], val_series=validation)


PEERS = {"neuralforecast": neuralforecast, "darts": darts}

if __name__ == "__main__":
    main()
