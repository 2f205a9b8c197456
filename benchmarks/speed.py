"""How fast this tool and its peers train the same networks, reach the same validation error, start and forecast: ETTh1, OT.

python benchmarks/speed.py ETTh1.csv [--peers PYTHON] [--shapes SHAPE ...] [--rounds N] [--seconds N]

Everything is measured in one run: whole processes, one at a time, taking turns. Each forecasts the column OT 24 hours ahead from
all seven columns (`small`: from OT alone), standardised on the training rows, by two LSTM layers and a linear layer, with Adam, a
learning rate of 0.001 and the squared error. --peers: a Python of an environment with benchmarks/requirements.txt.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

BEGAN = time.perf_counter()  # of this process
TRAIN, VALIDATION, HORIZON = 8640, 2880, 24
TARGET, OTHERS = "OT", ["HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL"]
BATCHES = (32, 64, 128, 256)
FIRST = 3  # steps that are not counted: they compile and fill caches
FEWEST = 4  # that are, however slow they are
RATE = 1e-3


class Shape(NamedTuple):
    """A task: hours seen, channels, units of both layers, and seconds after which a training is stopped."""

    lookback: int
    channels: int
    units: int
    most: int
    raced: tuple[int, ...]  # batch sizes of the race


SHAPES = {
    "small": Shape(24, 1, 32, 20, (64, 256)),
    "medium": Shape(96, 7, 64, 60, (32, 64, 256)),
    "large": Shape(336, 7, 128, 180, (256,)),
}


def main() -> None:
    """Measure and print, or be one of the processes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4, help="of each measurement of the throughput")
    parser.add_argument("--only", help="train with this tool and print what was seen; for the processes of this script")
    parser.add_argument("--batch", type=int)
    options = parser.parse_args()
    if options.only:
        windows = TRAIN - SHAPES[options.shapes[0]].lookback - HORIZON + 1
        TOOLS[options.only].work(options, Recorder(options.seconds, math.ceil(windows / options.batch)))
        return
    matrix = matrix_rate()
    print(f"windows per second in training; this machine: {matrix / 1e9:.0f} billion multiply-adds per second in float32")
    for shape in options.shapes:
        compare(options, shape, matrix)


class Recorder:
    """What one training shows: the times of its steps and its validation errors; it ends after so many seconds."""

    def __init__(self, seconds: float, batches: int):
        """batches: of an epoch; the last one is not full, and not counted."""
        self.seconds, self.batches, self.steps = seconds, batches, 0
        self.gaps: list[float] = []
        self.points: list[tuple[float, float]] = []
        self.last: float | None = None
        self.began: float | None = None  # the first step's end

    def step(self) -> bool:
        """A step was taken; returns whether it was the last one."""
        now = time.perf_counter()
        self.began = self.began or now
        if self.last is not None:
            self.gaps.append(now - self.last)
        self.steps += 1
        self.last = now if (self.steps + 1) % self.batches else None
        return now - self.began > self.seconds and len(self.gaps) > FIRST + FEWEST

    def validated(self, error: float) -> None:
        """An epoch was validated; the time until the next step does not count as a step's."""
        self.points.append((time.perf_counter() - BEGAN, error))
        self.last, self.steps = None, 0

    def tell(self, batch: int) -> None:
        """One line for the process that asked."""
        steps = self.gaps[FIRST:]
        told = {
            "batch": batch,
            "rate": batch * len(steps) / sum(steps),
            "points": self.points,
            "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
        print("told " + json.dumps(told), flush=True)


class EnoughError(Exception):
    """Ends a training from within."""


def own(options: argparse.Namespace, recorder: Recorder, model: dict | None = None) -> None:
    """`forecast.train`, checks, checkpoints and all, until it is told to stop."""
    import forecast

    shape = SHAPES[options.shapes[0]]
    network = {"cell": "lstm", "units": [shape.units] * 2, "normalization": "none", "linear_skip": False} | (model or {})
    config = {
        "data": {"path": str(options.data.resolve()), "timestamp": "date", "target": TARGET},
        "splits": {"validation": VALIDATION, "test": VALIDATION, "end": "2018-02-21"},
        "scaling": {"method": "standard"},
        "windows": {"lookback": shape.lookback, "horizon": HORIZON},
        "model": network,
        "training": {
            "epochs": 10_000,
            "batch_size": options.batch,
            "learning_rate": RATE,
            "early_stopping": None,
            "clipnorm": None,
        },
    }
    if shape.channels > 1:
        config["data"]["past_covariates"] = OTHERS

    def watch(progress: object) -> None:
        if progress.done < 1:
            if recorder.step():
                raise EnoughError
        elif progress.epoch:
            recorder.validated(progress.val_loss)

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "speed.yaml").write_text(json.dumps(config))
        try:
            forecast.train(Path(folder) / "speed.yaml", Path(folder) / "run", on_progress=watch)
        except EnoughError:
            recorder.tell(options.batch)


def segments(options: argparse.Namespace, recorder: Recorder) -> None:
    """This tool's network that reads a day at a time."""
    own(options, recorder, {"cell": "gru", "units": 64, "segment": 24, "normalization": "last"})


def standardised(options: argparse.Namespace) -> object:
    """Training and validation rows, standardised on the training rows."""
    import pandas as pd

    table = pd.read_csv(options.data, parse_dates=["date"])[: TRAIN + VALIDATION]
    columns = [TARGET, *OTHERS]
    table[columns] = (table[columns] - table[:TRAIN][columns].mean()) / table[:TRAIN][columns].std(ddof=0)
    return table


def watcher(recorder: Recorder, metric: str) -> object:
    """A callback of Lightning's that tells the recorder."""
    import pytorch_lightning as lightning

    class Watcher(lightning.Callback):
        def on_train_batch_end(self, trainer: lightning.Trainer, *rest: object) -> None:
            trainer.should_stop = recorder.step()

        def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
            if not trainer.sanity_checking and metric in trainer.callback_metrics:
                recorder.validated(float(trainer.callback_metrics[metric]))

    return Watcher()


def neuralforecast(options: argparse.Namespace, recorder: Recorder) -> None:
    """Its LSTM, with the same layers behind the recurrent ones, and without a scaling of its own."""
    from neuralforecast import NeuralForecast
    from neuralforecast.losses.pytorch import MSE
    from neuralforecast.models import LSTM

    shape = SHAPES[options.shapes[0]]
    table = standardised(options).rename(columns={"date": "ds", TARGET: "y"}).assign(unique_id="OT")
    model = LSTM(
        h=HORIZON, input_size=shape.lookback, encoder_n_layers=2, encoder_hidden_size=shape.units, decoder_layers=1,
        hist_exog_list=OTHERS if shape.channels > 1 else None, windows_batch_size=options.batch, learning_rate=RATE,
        loss=MSE(), valid_loss=MSE(), max_steps=10**7, val_check_steps=TRAIN // options.batch, scaler_type="identity",
        callbacks=[watcher(recorder, "ptl/val_loss")], enable_progress_bar=False, logger=False, enable_checkpointing=False,
        enable_model_summary=False,
    )  # fmt: skip
    NeuralForecast(models=[model], freq="h").fit(table, val_size=VALIDATION)
    recorder.tell(options.batch)


def darts(options: argparse.Namespace, recorder: Recorder) -> None:
    """BlockRNN with LSTM layers."""
    import numpy as np
    from darts import TimeSeries
    from darts.models import BlockRNNModel

    shape, table = SHAPES[options.shapes[0]], standardised(options)
    trainer = {"callbacks": [watcher(recorder, "val_loss")], "enable_progress_bar": False, "logger": False}
    model = BlockRNNModel(
        shape.lookback, HORIZON, model="LSTM", hidden_dim=shape.units, n_rnn_layers=2, batch_size=options.batch, n_epochs=10**6,
        optimizer_kwargs={"lr": RATE}, pl_trainer_kwargs=trainer | {"enable_model_summary": False},
    )  # fmt: skip
    target, rest = (TimeSeries.from_dataframe(table, "date", names).astype(np.float32) for names in (TARGET, OTHERS))
    begin = TRAIN - shape.lookback
    seen = {"past_covariates": rest[:TRAIN], "val_past_covariates": rest[begin:]} if shape.channels > 1 else {}
    model.fit(target[:TRAIN], val_series=target[begin:], **seen)
    recorder.tell(options.batch)


def torch(options: argparse.Namespace, recorder: Recorder) -> None:
    """torch.nn.LSTM and a linear layer in a bare loop."""
    import torch

    shape = SHAPES[options.shapes[0]]
    values = torch.tensor(standardised(options)[[TARGET, *OTHERS][: shape.channels]].to_numpy("float32"))[:TRAIN]
    rows = values.unfold(0, shape.lookback + HORIZON, 1)  # a view: (windows, channels, steps)
    layers, head = torch.nn.LSTM(shape.channels, shape.units, 2, batch_first=True), torch.nn.Linear(shape.units, HORIZON)
    optimizer = torch.optim.Adam([*layers.parameters(), *head.parameters()], RATE)
    while True:
        for chosen in torch.randperm(len(rows)).split(options.batch):
            batch = rows[chosen].transpose(1, 2)
            forecasts = head(layers(batch[:, : shape.lookback])[0][:, -1])
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(forecasts, batch[:, shape.lookback :, 0]).backward()
            optimizer.step()
            if recorder.step():
                recorder.tell(options.batch)
                return


class Tool(NamedTuple):
    """A process of this script: its work, its Python (False: ours) and its backend."""

    work: Callable[[argparse.Namespace, Recorder], None]
    is_peer: bool = True
    backend: str = ""


TOOLS = {
    "forecast": Tool(own, False, "tensorflow"),
    "forecast on JAX": Tool(own, False, "jax"),
    "neuralforecast": Tool(neuralforecast),
    "darts": Tool(darts),
    "bare torch": Tool(torch),
    "segments": Tool(segments, False, "tensorflow"),
    "segments on JAX": Tool(segments, False, "jax"),
}
SEGMENTS, SEGMENTS_MOST = ("segments", "segments on JAX"), 60
POINTWISE = ("forecast", "forecast on JAX", "neuralforecast", "darts", "bare torch")
RIVALS = ("forecast", "neuralforecast", "darts")


def train(options: argparse.Namespace, name: str, shape: str, batch: int, seconds: float) -> dict:
    """One process, and what it told."""
    tool = TOOLS[name]
    python = str(options.peers) if tool.is_peer else sys.executable
    command = [python, __file__, str(options.data), "--only", name, "--shapes", shape, "--batch", str(batch)]
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3"} | ({"KERAS_BACKEND": tool.backend} if tool.backend else {})
    done = subprocess.run(
        [*command, "--seconds", str(seconds)], capture_output=True, text=True, check=False, env=os.environ | quiet
    )
    told = [json.loads(line[5:]) for line in done.stdout.splitlines() if line.startswith("told ")]
    if not told:
        raise SystemExit(f"{name}, {shape}, {batch}: {done.stderr[-2000:]}")
    return told[0]


def compare(options: argparse.Namespace, shape: str, matrix: float) -> None:
    """One shape: how fast each tool trains, each batch size once and then its best one in turns; and until which error."""
    size = SHAPES[shape]
    names = POINTWISE + (SEGMENTS if shape == "medium" else ())
    names = [name for name in names if options.peers or not TOOLS[name].is_peer]
    rates: dict[str, dict[int, float]] = {name: {} for name in names}
    for batch in BATCHES:
        for name in names:
            rates[name][batch] = train(options, name, shape, batch, options.seconds)["rate"]
    best = {name: max(own, key=own.get) for name, own in rates.items()}
    turns = [{name: train(options, name, shape, best[name], options.seconds) for name in names} for _ in range(options.rounds)]
    title = f"{shape}: {size.lookback} x {size.channels}, 2 x {size.units}"
    head = "".join(f"{batch:>9}" for batch in BATCHES)
    print(f"\n{title:<26}{head}{'best':>9}{'ratio':>8}{'floor':>8}{'peak MB':>9}")
    floor = matrix / (3 * multiply_adds(size))  # backward takes twice what forward takes
    for name, own in rates.items():
        median = statistics.median(turn[name]["rate"] for turn in turns)
        ratio = statistics.median(turn["forecast"]["rate"] / turn[name]["rate"] for turn in turns)
        peak = max(turn[name]["peak"] for turn in turns) / 1e6
        told = "".join(f"{rate:>9,.0f}" for rate in own.values())
        share = "" if name in SEGMENTS else f"{median / floor:.0%}"
        print(f"{name:<26}{told}{median:>9,.0f}{ratio:>8.2f}{share:>8}{peak:>9.0f}", flush=True)
    race(options, shape, [name for name in names if name in RIVALS])


def race(options: argparse.Namespace, shape: str, names: list[str]) -> None:
    """Seconds of whole processes until the lowest validation error that all reached, each with the batch size that gets there
    first; our segments beside each one's lowest.
    """
    size = SHAPES[shape]
    runs = {(name, batch): train(options, name, shape, batch, size.most)["points"] for batch in size.raced for name in names}
    lowest = {name: min(error for (own, _), points in runs.items() if own == name for _, error in points) for name in names}
    segments = train(options, "segments", shape, 256, SEGMENTS_MOST)["points"]
    goal, best = max(lowest.values()), {}
    print(f"{'':<26}{'lowest':>9}{'seconds':>9}{f'until {goal:.4f}':>18}{'batch':>9}{'ratio':>8}   segments until as low, ratio")
    for name in names:
        at, batch = min((until(points, goal), batch) for (own, batch), points in runs.items() if own == name)
        after = min(until(points, lowest[name]) for (own, _), points in runs.items() if own == name)
        best[name], passed = at, until(segments, lowest[name])
        told = f"{lowest[name]:>9.4f}{after:>9.0f}{at:>18.0f}{batch:>9}{at / best['forecast']:>8.1f}"
        print(f"{name:<26}{told}   {f'{passed:.0f}, {after / passed:.1f}' if math.isfinite(passed) else 'never'}", flush=True)
    own = min(error for _, error in segments)
    print(f"{'segments':<26}{own:>9.4f}{until(segments, own):>9.0f}{until(segments, goal):>18.0f}{256:>9}", flush=True)


def until(points: list[tuple[float, float]], error: float) -> float:
    """When an error was reached first; infinity where it never was."""
    return next((at for at, seen in points if seen <= error), float("inf"))


def multiply_adds(shape: Shape) -> int:
    """Of one window forward: both layers at each step, and the linear layer."""
    first, second = shape.channels + shape.units, 2 * shape.units
    return shape.lookback * 4 * shape.units * (first + second) + shape.units * HORIZON


def matrix_rate(size: int = 1024) -> float:
    """Multiply-adds per second of a product of two float32 matrices on this machine."""
    import numpy as np

    one, other = np.random.default_rng(0).normal(size=(2, size, size)).astype(np.float32)
    seconds = []
    for _ in range(20):
        began = time.perf_counter()
        one @ other
        seconds.append(time.perf_counter() - began)
    return size**3 / min(seconds)


if __name__ == "__main__":
    main()
