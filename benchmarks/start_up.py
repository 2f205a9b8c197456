"""Whole-process time and peak memory of the commands that a person waits for.

python benchmarks/start_up.py [--rows N] [--csv FILE] [--run RUN]

Prints one table. `--csv` adds `validate` on a real hourly file; `--rows` is the size of the large file that is made for it;
`--run` adds `predict` on a finished run, with NumPy and with Keras, and `predict` for 1,000 series.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--csv", type=Path, help="hourly file with columns `date` and `OT`")
    parser.add_argument("--run", type=Path, help="run directory")
    options = parser.parse_args()
    print(f"{'command':<34}{'seconds, median of ' + str(RUNS):>24}{'peak MB':>10}{'x file':>8}")
    row("python -c pass", [sys.executable, "-c", "pass"])
    row("forecast --help", forecast("--help"))
    with tempfile.TemporaryDirectory() as folder:
        if options.csv:
            row(f"validate {options.csv.name}", forecast("validate", config(folder, options.csv.resolve(), "date", "OT", 96)))
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
    subprocess.run(forecast("train", str(folder / "many.yaml"), "--run-dir", str(folder / "many"), "--quiet"), check=True)
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


def row(name: str, command: list[str], size: int | None = None) -> None:
    """Run a command several times and print its line."""
    measured = [measure(command) for _ in range(RUNS)]
    peak = max(memory for _, memory in measured)
    ratio = f"{peak / size:.1f}" if size else ""
    print(f"{name:<34}{statistics.median(seconds for seconds, _ in measured):>24.2f}{peak / 1e6:>10.0f}{ratio:>8}", flush=True)


def measure(command: list[str], expected: int = 0) -> tuple[float, float]:
    """Wall seconds and peak bytes of one process that ends as `expected`, by the operating system's account of it."""
    began = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        crashed = b"Traceback" in said.read()
    if process.returncode != expected or crashed:
        raise SystemExit(f"{command} failed")
    return time.perf_counter() - began, usage.ru_maxrss * 1024


if __name__ == "__main__":
    main()
