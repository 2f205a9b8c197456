"""Other tools on the cutoffs of `small_data.py`, run by a Python that has them: peers.py TASK.json METHOD OUT.csv

Writes a row per cutoff and step, with the forecast.
No method is trained on anything after the first cutoff, or refitted; each sees all rows up to a cutoff.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import numpy as np
import pandas as pd

LONGEST_SEASON = 24  # that AutoETS takes, and that AutoARIMA finishes within minutes


def main() -> None:
    """Read the task, forecast, write."""
    path, method, output = sys.argv[1:]
    with open(path) as file:
        task = json.load(file)
    rows = pd.DataFrame({"unique_id": "series", "ds": pd.to_datetime(task["timestamps"]), "y": task["values"]})
    begin = METHODS[method.partition(" ")[0]](method.partition(" ")[2], rows, task)
    forecast = begin(rows[: task["cutoffs"][0] + 1])
    forecasts = [forecast(rows[: cutoff + 1]) for cutoff in task["cutoffs"]]
    steps = np.tile(np.arange(1, task["horizon"] + 1), len(forecasts))
    table = {"cutoff": np.repeat(task["cutoffs"], task["horizon"]), "step": steps, "forecast": np.concatenate(forecasts)}
    pd.DataFrame(table).to_csv(output, index=False)


# Each takes what is asked for and gives a function of the training rows, which gives one of the rows up to a cutoff.
Method = Callable[[pd.DataFrame], Callable[[pd.DataFrame], np.ndarray]]


def statsforecast(name: str, rows: pd.DataFrame, task: dict) -> Method:
    """AutoETS or AutoARIMA, with their defaults; what was found up to the first cutoff is carried forward."""
    from statsforecast import models

    season = task["season_length"] if task["season_length"] <= LONGEST_SEASON else 1

    def train(history: pd.DataFrame) -> Callable[[pd.DataFrame], np.ndarray]:
        model = getattr(models, name)(season_length=season).fit(history.y.to_numpy())
        return lambda seen: model.forward(seen.y.to_numpy(), h=task["horizon"])["mean"]

    return train


def neuralforecast(name: str, rows: pd.DataFrame, task: dict) -> Method:
    """LSTM or GRU with their defaults, our lookback, and our validation part for early stopping."""
    import logging

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    from neuralforecast import NeuralForecast, models

    quiet = {"enable_progress_bar": False, "logger": False, "enable_checkpointing": False, "enable_model_summary": False}

    def train(history: pd.DataFrame) -> Callable[[pd.DataFrame], np.ndarray]:
        model = getattr(models, name)(
            h=task["horizon"], input_size=task["lookback"], random_seed=1, early_stop_patience_steps=5, **quiet
        )
        tool = NeuralForecast(models=[model], freq=task["freq"])
        tool.fit(history, val_size=task["validation"])
        return lambda seen: tool.predict(seen)[name].to_numpy()

    return train


def darts(name: str, rows: pd.DataFrame, task: dict) -> Method:
    """BlockRNN with an LSTM and its defaults, our lookback, on values scaled to 0..1 by the training rows."""
    import logging

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    from darts import TimeSeries
    from darts.dataprocessing.transformers import Scaler
    from darts.models import BlockRNNModel

    quiet = {"enable_progress_bar": False, "logger": False, "enable_model_summary": False}

    def series(part: pd.DataFrame) -> TimeSeries:
        return TimeSeries.from_dataframe(part, "ds", "y", freq=task["freq"]).astype(np.float32)

    def train(history: pd.DataFrame) -> Callable[[pd.DataFrame], np.ndarray]:
        scaler = Scaler()
        scaled = scaler.fit_transform(series(history))
        model = BlockRNNModel(task["lookback"], task["horizon"], model="LSTM", random_state=1, pl_trainer_kwargs=quiet)
        model.fit(scaled)
        return lambda seen: scaler.inverse_transform(model.predict(task["horizon"], scaler.transform(series(seen)))).values()[
            :, 0
        ]

    return train


METHODS = {"statsforecast": statsforecast, "neuralforecast": neuralforecast, "darts": darts}

if __name__ == "__main__":
    main()
