"""ETTh1 as in the literature: scaled errors on the test part for four horizons, beside published ones, with time and memory.

python benchmarks/long_horizon.py ETTh1.csv [--lookback 720 96] [--horizon 96 192 336 720] [--set KEY=VALUE ...]

Trains `configs/etth1.yaml` and prints one row per lookback and horizon as it is finished.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from start_up import forecast, measure

CONFIG = Path(__file__).parents[1] / "configs" / "etth1.yaml"
# Scaled MSE of SegRNN on the test part, by lookback and horizon: Lin et al. 2023, arXiv 2308.11200.
PUBLISHED = {
    720: {96: 0.341, 192: 0.385, 336: 0.401, 720: 0.434},
    96: {96: 0.368, 192: 0.408, 336: 0.444, 720: 0.446},
}


# What a short lookback has of its own, chosen on the validation part as all else; the rest is in the config.
OWN = {96: ["model.segment=24"]}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--lookback", type=int, nargs="+", default=list(PUBLISHED))
    parser.add_argument("--horizon", type=int, nargs="+", default=list(PUBLISHED[720]))
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    options = parser.parse_args()
    heads = (
        "lookback",
        "horizon",
        "MSE",
        "published",
        "MAE",
        "linear MSE",
        "val MSE",
        "val MAE",
        "epoch",
        "parameters",
        "seconds",
        "peak MB",
    )
    print("".join(f"{head:>11}" for head in heads))
    for lookback in options.lookback:
        for horizon in options.horizon:
            keys = {"data.path": options.data.resolve(), "windows.lookback": lookback, "windows.horizon": horizon}
            row(lookback, horizon, [f"{key}={value}" for key, value in keys.items()] + OWN.get(lookback, []) + options.overrides)


def row(lookback: int, horizon: int, overrides: list[str]) -> None:
    """Train once and print."""
    chosen = [part for override in overrides for part in ("--set", override)]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        seconds, peak = measure(forecast("train", str(CONFIG), "--run-dir", str(run), "--quiet", *chosen))
        metrics = json.loads((run / "metrics.json").read_text())
    test, linear, validation = (
        metrics[part][name]["total"] for part, name in (("test", "forecast"), ("test", "linear"), ("validation", "forecast"))
    )
    published = PUBLISHED.get(lookback, {}).get(horizon, float("nan"))
    tests = (test["mse_scaled"], published, test["mae_scaled"], linear["mse_scaled"])
    errors = (*tests, validation["mse_scaled"], validation["mae_scaled"])
    epochs = ",".join(map(str, metrics["kept_epochs"].values()))
    cells = "".join(f"{error:>11.3f}" for error in errors)
    print(
        f"{lookback:>11}{horizon:>11}{cells}{epochs:>11}{metrics['parameters']:>11}{seconds:>11.0f}{peak / 1e6:>11.0f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
