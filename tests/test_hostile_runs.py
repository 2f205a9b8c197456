"""A run directory from anywhere is refused when it is not what training left, and executes nothing."""

from __future__ import annotations

import pandas as pd
import pytest

from forecast.errors import ForecastError
from forecast.prediction import predict
from forecast.runs import Run
from tests.hostile_runs import CANARY, HOSTILE, OLD_RUNS, make_hostile


@pytest.mark.parametrize("version", sorted(path.name for path in OLD_RUNS.iterdir()))
def test_old_runs_open_and_forecast_the_same(version):
    run = Run.open(OLD_RUNS / version)
    then = pd.read_csv(run.forecast, parse_dates=["timestamp"])
    now = predict(run)
    assert now.drop(columns="forecast").astype(str).equals(then.drop(columns="forecast").astype(str))
    assert now.forecast.tolist() == pytest.approx(then.forecast.tolist(), rel=1e-6)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_run_is_refused_and_executes_nothing(name, tmp_path):
    directory = make_hostile(OLD_RUNS / "version-2", name, tmp_path)
    with pytest.raises(ForecastError) as told:
        predict(directory)
    assert str(directory) in str(told.value), "the message says where"
    assert not list(tmp_path.rglob(CANARY))


MESSAGES = {
    "weights cut to 50%": r"weights.safetensors: was changed after training: its sha256 is not in sha256sums.txt.",
    "no weights": r"weights.safetensors: cannot be read \(it is no plain file of this run\)",
    "no checksums": r"sha256sums.txt: the run has no checksums",
    "a version of the future": r"the network has version 99, known here are 1 to 2.\n  Update this program, or train again.",
    "an unknown kind": r"network.json: the description of the network is damaged \(KeyError\('Lambda'\)\)",
    "a huge declared shape": r"the description of the network is damaged: its sizes do not follow from it",
    "a million units": r"the weights and the description|weight `recurrent_1|the description of the network is damaged",
    "a tensor of NaN": r"weight `head/bias` is not \(3, 2\) finite float32 numbers",
    "a missing tensor": r"the weights and the description of the network differ in `head/bias`",
    "a pickle beside the weights": r"weights.pkl: no run holds this file.\n  Remove it if you know it; it may hold code.",
    "weights that are a link": r"it is no plain file of this run",
    "a header of 100 MB": r"it holds more than the \d+ bytes that it can need",
    "scaler of 15 MB of brackets": r"more lists and mappings than it can need",
    "a scaler that divides by 0": r"the scaler is damaged",
    "a scaler of another column": r"config, scaler and network do not belong together",
    "a contract that is a list": r"this is no data contract",
}


@pytest.mark.parametrize("name", MESSAGES)
def test_the_message_says_what_is_wrong(name, tmp_path):
    with pytest.raises(ForecastError, match=MESSAGES[name]):
        predict(make_hostile(OLD_RUNS / "version-2", name, tmp_path))
