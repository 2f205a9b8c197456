"""Whole-process time and peak memory of the commands that a person waits for.

python benchmarks/start_up.py [--rows N] [--csv FILE] [--run RUN] [--peers PYTHON]

Prints one table. `--csv` adds `validate` on a real hourly file; `--rows` is the size of the large file that is made for it;
`--run` adds `predict` on a finished run, with NumPy and with Keras, and `predict` for 1,000 series. `--peers`, a Python of an
environment with benchmarks/requirements.txt, adds imports, and forecasts of the hourly file's OT by hardly trained networks of
2 x 64 LSTM units: a whole process that loads network and file (cold), and once more in the same process (warm).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

RUNS = 5
AIRLINE = Path(__file__).resolve().parents[1] / "configs" / "airline.yaml"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--csv", type=Path, help="hourly file with columns `date` and `OT`")
    parser.add_argument("--run", type=Path, help="run directory")
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--only", choices=FORECASTERS, help="forecast with this tool; for the processes of this script")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--warm", action="store_true", help="forecast twice, and print the seconds of the second time")
    options = parser.parse_args()
    if options.only:
        predict = FORECASTERS[options.only](options.folder, options.csv)
        predict()
        print(seconds_of(predict) if options.warm else "")
        return
    print(f"{'command':<34}{'seconds, median of ' + str(RUNS):>24}{'peak MB':>10}{'x file':>8}")
    row("python -c pass", [sys.executable, "-c", "pass"])
    row("forecast --help", forecast("--help"))
    with tempfile.TemporaryDirectory() as folder:
        beside_runs(Path(folder) / "beside")
        if options.csv:
            row(f"validate {options.csv.name}", forecast("validate", config(folder, options.csv.resolve(), "date", "OT", 96)))
        if options.csv and options.peers:
            beside_peers(options, Path(folder))
        if options.run:
            predict_rows(options.run.name, options.run)
            predict_rows("1,000 series", many_series(Path(folder)))
        large = Path(folder) / "large.csv"
        # In a process of its own: a child's peak is never below what its parent held when it was started.
        writer = multiprocessing.get_context("spawn").Process(target=write_large, args=(large, options.rows))
        writer.start()
        writer.join()
        row(f"validate {options.rows:,} rows", forecast("validate", config(folder, large, "time", "y", 60)), large.stat().st_size)


def forecast(*arguments: str) -> list[str]:
    """The command as a fresh process."""
    return [sys.executable, "-m", "forecast", *arguments]


def beside_runs(folder: Path) -> None:
    """`train`, in a folder with no runs and in one with a thousand."""
    for count in (0, 1000):
        for number in range(1, count + 1):
            (folder / str(count) / "runs" / f"airline-{number}").mkdir(parents=True)
        (folder / str(count)).mkdir(parents=True, exist_ok=True)
        row(f"train airline beside {count:,} runs", forecast("train", str(AIRLINE), "--quiet"), folder=folder / str(count))


def beside_peers(options: argparse.Namespace, folder: Path) -> None:
    """Imports and forecasts of this tool and its peers."""
    pythons = {"forecast": sys.executable, "neuralforecast": str(options.peers), "darts": str(options.peers)}
    for name in ("tensorflow", "jax", "neuralforecast", "darts.models"):
        row(f"import {name}", [pythons.get(name.split(".")[0], sys.executable), "-c", f"import {name}"])
    for name, python in pythons.items():
        command = [python, __file__, "--only", name, "--folder", str(folder / name), "--csv", str(options.csv)]
        told = subprocess.run([*command, "--warm"], capture_output=True, text=True, check=True).stdout  # which trains and saves
        row(f"predict OT, {name}, cold", command)
        print(f"{f'predict OT, {name}, warm':<34}{float(told.split()[-1]):>24.3f}", flush=True)


def seconds_of(work: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def by_forecast(folder: Path, data: Path) -> Callable[[], object]:
    """This tool, from its run, with NumPy."""
    if not folder.exists():
        keys = {"splits": {"validation": 0.1, "test": 0.1}, "windows": {"lookback": 96, "horizon": 24, "stride": 50}}
        keys |= {"data": {"path": str(data.resolve()), "timestamp": "date", "target": "OT"}}
        keys |= {"model": {"units": [64, 64]}, "training": {"epochs": 1, "batch_size": 256}}
        folder.with_suffix(".yaml").write_text(json.dumps(keys))
        subprocess.run(forecast("train", str(folder.with_suffix(".yaml")), "--run-dir", str(folder), "--quiet"), check=True)
    from forecast import predict

    return lambda: predict(folder, data=data)


def by_neuralforecast(folder: Path, data: Path) -> Callable[[], object]:
    """Its LSTM."""
    import pandas as pd
    from neuralforecast import NeuralForecast
    from neuralforecast.models import LSTM

    table = pd.read_csv(data, parse_dates=["date"], usecols=["date", "OT"]).set_axis(["ds", "y"], axis=1).assign(unique_id="OT")
    quiet = {"enable_progress_bar": False, "logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    if not folder.exists():
        model = LSTM(h=24, input_size=96, encoder_n_layers=2, encoder_hidden_size=64, decoder_layers=1, max_steps=1, **quiet)
        tool = NeuralForecast(models=[model], freq="h")
        tool.fit(table)
        tool.save(str(folder))
    tool = NeuralForecast.load(str(folder))
    return lambda: tool.predict(table)


def by_darts(folder: Path, data: Path) -> Callable[[], object]:
    """BlockRNN with LSTM layers."""
    import numpy as np
    import pandas as pd
    from darts import TimeSeries
    from darts.models import BlockRNNModel

    table = pd.read_csv(data, parse_dates=["date"])
    series = TimeSeries.from_dataframe(table, "date", "OT").astype(np.float32)
    quiet = {"enable_progress_bar": False, "logger": False, "enable_model_summary": False}
    if not folder.exists():
        model = BlockRNNModel(96, 24, model="LSTM", hidden_dim=64, n_rnn_layers=2, pl_trainer_kwargs={"max_steps": 1, **quiet})
        model.fit(series)
        folder.mkdir()
        model.save(str(folder / "model.pt"))
    model = BlockRNNModel.load(str(folder / "model.pt"))
    return lambda: model.predict(24, series, verbose=False)


FORECASTERS = {"forecast": by_forecast, "neuralforecast": by_neuralforecast, "darts": by_darts}


def predict_rows(name: str, run: Path) -> None:
    """`predict` on a run with either runtime."""
    for runtime in ("numpy", "keras"):
        row(f"predict {name}, {runtime}", forecast("predict", str(run), "--quiet", "--runtime", runtime))


def many_series(folder: Path) -> Path:
    """A run of 1,000 series with lookback 96, horizon 24 and 2 x 64 LSTM units, hardly trained."""
    import numpy as np
    import pandas as pd

    hours = pd.date_range("2024-01-01", periods=240, freq="h")
    wave = 10 * np.sin(2 * np.pi * np.arange(240) / 24) + np.random.default_rng(0).normal(size=(1000, 240))
    table = pd.DataFrame({"time": np.tile(hours, 1000), "id": np.repeat(np.arange(1000), 240), "y": wave.ravel()})
    table.to_csv(folder / "many.csv", index=False)
    (folder / "many.yaml").write_text(
        "data: {path: many.csv, timestamp: time, target: y, series_id: id}\nsplits: {validation: 24, test: 24}\n"
        "windows: {lookback: 96, horizon: 24, stride: 24}\nmodel: {units: [64, 64]}\ntraining: {epochs: 1, batch_size: 256}\n"
    )
    training = forecast("train", str(folder / "many.yaml"), "--run-dir", str(folder / "many"), "--quiet")
    subprocess.run(training, check=True, capture_output=True)
    return folder / "many"


def config(folder: str, data: Path, timestamp: str, target: str, lookback: int) -> str:
    """A small config for a file."""
    path = Path(folder) / f"{data.stem}.yaml"
    keys = f"data: {{path: {data}, timestamp: {timestamp}, target: {target}}}\nwindows: {{lookback: {lookback}, horizon: 24}}\n"
    path.write_text(keys)
    return str(path)


def write_large(path: Path, rows: int) -> None:
    """A file of minutes with a daily wave."""
    import numpy as np
    import pandas as pd

    minutes = pd.date_range("2000-01-01", periods=rows, freq="min").strftime("%Y-%m-%d %H:%M:%S")
    values = 10 * np.sin(np.arange(rows) / 1440) + np.random.default_rng(0).normal(size=rows)
    pd.DataFrame({"time": minutes, "y": values.round(3)}).to_csv(path, index=False)


def row(name: str, command: list[str], size: int | None = None, folder: Path | None = None) -> None:
    """Run a command several times, in a folder, and print its line."""
    measured = [measure(command, folder=folder) for _ in range(RUNS)]
    peak = max(memory for _, memory in measured)
    ratio = f"{peak / size:.1f}" if size else ""
    print(f"{name:<34}{statistics.median(seconds for seconds, _ in measured):>24.2f}{peak / 1e6:>10.0f}{ratio:>8}", flush=True)


def measure(command: list[str], expected: int = 0, folder: Path | None = None) -> tuple[float, float]:
    """Wall seconds and peak bytes of one process that ends as `expected`, by the operating system's account of it."""
    began = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said, cwd=folder)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        crashed = b"Traceback" in said.read()
    if process.returncode != expected or crashed:
        raise SystemExit(f"{command} failed")
    return time.perf_counter() - began, usage.ru_maxrss * 1024


if __name__ == "__main__":
    main()
