"""What covariates are worth: test errors with and without them, beside the baselines, on two weather data sets.

python benchmarks/covariates.py --data FOLDER

FOLDER holds delhi-climate.csv (daily) and beijing-pm25.csv (hourly). Every network of a data set has the same config but for its
covariates. "Weather known" gives the network the true weather of the hours that it forecasts, as if a weather forecast were
perfect: an upper bound, not what to expect in use.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from forecast import load_config, train

DELHI = {
    "data.timestamp": "date",
    "data.date_format": "%m/%d/%Y",
    "data.target": "meantemp",
    "splits.validation": 210,
    "splits.test": 210,
    "scaling.method": "standard",
    "windows.lookback": 28,
    "windows.horizon": 14,
    "model.units": [32],
    "model.dropout": 0.2,
    "training.epochs": 40,
}
AIR = ["humidity", "wind_speed"]
BEIJING = {
    "data.timestamp": ["year", "month", "day", "hour"],
    "data.target": "pm2.5",
    "data.missing_values": "season",
    "data.max_gap": 200,
    "splits.end": "2014-12-31",
    "splits.validation": 0.15,
    "splits.test": 0.15,
    "scaling.method": "standard",
    "scaling.transform": "log1p",
    "windows.lookback": 72,
    "windows.horizon": 24,
    "windows.stride": 6,
    "model.units": [64],
    "model.dropout": 0.2,
    "training.epochs": 30,
    "training.batch_size": 128,
    "training.early_stopping.patience": 6,
}
WEATHER = ["DEWP", "TEMP", "PRES", "Iws", "Is", "Ir"]
VARIANTS = {
    "delhi-climate.csv": {
        "no covariates": DELHI,
        "calendar": DELHI | {"data.calendar": ["week"]},
        "air as past": DELHI | {"data.past_covariates": AIR},
        "air as past, calendar": DELHI | {"data.past_covariates": AIR, "data.calendar": ["week"]},
    },
    "beijing-pm25.csv": {
        "no covariates": BEIJING,
        "calendar": BEIJING | {"data.calendar": ["hour", "day_of_week", "week"]},
        "weather as past": BEIJING | {"data.past_covariates": WEATHER},
        "weather known": BEIJING | {"data.known_covariates": WEATHER},
        "weather known, calendar": BEIJING | {"data.known_covariates": WEATHER, "data.calendar": ["hour", "week"]},
    },
}


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the two files")
    folder = parser.parse_args().data.resolve()
    print(f"{'':<28}{'val MAE':>9}{'test MAE':>9}{'naive':>9}{'season':>9}{'linear':>9}{'epoch':>7}")
    for file, variants in VARIANTS.items():
        print(file)
        for name, keys in variants.items():
            print(row(name, {"data.path": str(folder / file)} | keys), flush=True)


def row(name: str, keys: dict[str, object]) -> str:
    """Train one network and format its errors, in units of the file."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        config.write_text("name: benchmark\n")
        run = train(load_config(config, keys), Path(folder) / "run")
        metrics = run.read_json(run.metrics_file)
    test = [metrics["test"][who]["total"]["mae"] for who in ("forecast", "naive", "seasonal_naive", "linear")]
    errors = "".join(f"{error:>9.3f}" for error in [metrics["validation"]["forecast"]["total"]["mae"], *test])
    return f"  {name:<26}{errors}{metrics['kept_epochs']['1']:>7}"


if __name__ == "__main__":
    main()
