"""One contract over every kind of network, and equality of its cells with the textbook."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from forecast.config import ModelConfig
from forecast.models.backend import keras
from forecast.models.description import Network, describe_network
from forecast.models.keras_builder import build_keras, get_weights, set_weights
from forecast.runs import Run
from forecast.windows import Windows

LOOKBACK, CHANNELS, HORIZON, TARGETS = 7, 3, 4, 2
RNG = np.random.default_rng(5)
PAST = RNG.normal(size=(6, LOOKBACK, CHANNELS)).astype(np.float32)
FUTURE = PAST[:, -HORIZON:, :TARGETS] + 1

CELLS = list(itertools.product(["lstm", "gru", "simple_rnn"], [False, True]))
NETWORKS = [{"cell": cell, "bidirectional": both, "units": [6]} for cell, both in CELLS]
NETWORKS += [
    {"units": [6, 5], "normalization": normalization, "linear_skip": skip, "layer_norm": skip}
    for normalization in ("none", "last", "mean", "revin")
    for skip in (False, True)
]
NETWORKS += [{"units": [6, 5], "cell": "gru", "bidirectional": True, "normalization": "revin", "dropout": 0.1, "l2": 1e-4}]


def describe(model: ModelConfig) -> Network:
    return describe_network(model, (LOOKBACK, CHANNELS), (HORIZON, TARGETS))


def built(keys: dict, seed: int = 1) -> tuple[Network, keras.Model]:
    network = describe(ModelConfig(**keys))
    model = build_keras(network, ModelConfig(**keys), seed)
    rng = np.random.default_rng(0)  # zeros would hide an error
    weights = {name: values + 0.1 * rng.normal(size=values.shape) for name, values in get_weights(model, network).items()}
    set_weights(model, network, {name: values.astype(np.float32) for name, values in weights.items()})
    return network, model


@pytest.mark.slow
@pytest.mark.parametrize("keys", NETWORKS, ids=lambda keys: "-".join(str(value) for value in keys.values()))
def test_contract(keys, tmp_path):
    network, model = built(keys)
    forecast = model.predict_on_batch(PAST)
    assert forecast.shape == (6, HORIZON, TARGETS)
    weights = get_weights(model, network)
    described = {f"{layer.name}/{name}": tuple(shape) for layer in network.layers for name, shape in layer.weights.items()}
    assert {name: values.shape for name, values in weights.items()} == described
    assert network.parameters == model.count_params()

    run = Run.create("contract", tmp_path / "run")
    run.write_json(run.network, network.to_json())
    run.write_weights(weights)
    again = Network.from_json(run.read_json(run.network))
    reloaded = build_keras(again)
    set_weights(reloaded, again, run.read_weights(network.parameters))
    np.testing.assert_array_equal(reloaded.predict_on_batch(PAST), forecast)

    model.compile(keras.optimizers.Adam(0.02), loss="mse", jit_compile=False)
    losses = [float(model.train_on_batch(PAST, FUTURE)) for _ in range(150)]
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.2 * losses[0]
    assert all(np.isfinite(values).all() for values in get_weights(model, network).values())


@pytest.mark.backend
def test_same_seed_same_network():
    weights = [
        get_weights(model, network) for network, model in (built({"dropout": 0.1}), built({"dropout": 0.1}), built({}, seed=2))
    ]
    for name in weights[0]:
        np.testing.assert_array_equal(weights[0][name], weights[1][name])
    assert not np.array_equal(weights[0]["recurrent_1/kernel"], weights[2]["recurrent_1/kernel"])


@pytest.mark.parametrize("normalization", ["last", "mean", "revin"])
def test_normalised_networks_move_with_the_level(normalization):
    _, model = built({"normalization": normalization})
    np.testing.assert_allclose(model.predict_on_batch(PAST + 10), model.predict_on_batch(PAST) + 10, atol=1e-4)


def test_windows_are_forecast_in_batches_and_in_order(monkeypatch):
    monkeypatch.setattr("forecast.windows.BATCH", 4)
    _, model = built({})
    rows = RNG.normal(size=(30, CHANNELS)).astype(np.float32)
    windows = Windows(rows, rows[:, :TARGETS], np.arange(7, 27), np.zeros(20, int), LOOKBACK, HORIZON)
    expected = model.predict_on_batch(windows.inputs())
    np.testing.assert_allclose(windows.forecast_by(model.predict_on_batch), expected, rtol=1e-5, atol=1e-6)


# The equations as published, gates in the order i, f, c, o (LSTM) and z, r, h (GRU); x_t is (batch, channels).


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def lstm(x: np.ndarray, kernel: np.ndarray, recurrent_kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al. 2000."""
    units = len(recurrent_kernel)
    h = c = np.zeros((len(x), units))
    for x_t in x.swapaxes(0, 1):
        i, f, g, o = np.split(x_t @ kernel + h @ recurrent_kernel + bias, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
    return h


def gru(x: np.ndarray, kernel: np.ndarray, recurrent_kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Cho et al. 2014, with the reset gate after the matrix product."""
    h = np.zeros((len(x), len(recurrent_kernel)))
    for x_t in x.swapaxes(0, 1):
        x_z, x_r, x_h = np.split(x_t @ kernel + bias[0], 3, axis=1)
        h_z, h_r, h_h = np.split(h @ recurrent_kernel + bias[1], 3, axis=1)
        z, r = sigmoid(x_z + h_z), sigmoid(x_r + h_r)
        h = z * h + (1 - z) * np.tanh(x_h + r * h_h)
    return h


def simple_rnn(x: np.ndarray, kernel: np.ndarray, recurrent_kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Elman 1990."""
    h = np.zeros((len(x), len(recurrent_kernel)))
    for x_t in x.swapaxes(0, 1):
        h = np.tanh(x_t @ kernel + h @ recurrent_kernel + bias)
    return h


@pytest.mark.backend
@pytest.mark.parametrize(("cell", "bidirectional"), CELLS, ids=str)
def test_cells_equal_the_textbook(cell, bidirectional):
    equations = {"lstm": lstm, "gru": gru, "simple_rnn": simple_rnn}[cell]
    keys = {"cell": cell, "bidirectional": bidirectional, "units": [6], "normalization": "none", "linear_skip": False}
    network, model = built(keys)
    weights = {name: values.astype(np.float64) for name, values in get_weights(model, network).items()}

    def states(x: np.ndarray, direction: str) -> np.ndarray:
        names = ("kernel", "recurrent_kernel", "bias")
        return equations(x, *(weights[f"recurrent_1/{direction}{name}"] for name in names))

    past = PAST.astype(np.float64)
    last = states(past, "forward_" if bidirectional else "")
    if bidirectional:
        last = np.concatenate([last, states(past[:, ::-1], "backward_")], axis=1)
    expected = np.einsum("bf,fht->bht", last, weights["head/kernel"]) + weights["head/bias"]
    np.testing.assert_allclose(model.predict_on_batch(PAST), expected, rtol=1e-5, atol=1e-5)


def test_unknown_version_of_a_network():
    from forecast.errors import RunError

    with pytest.raises(RunError, match="the network has version 99, known here is 1"):
        Network.from_json(describe(ModelConfig()).to_json() | {"version": 99})


def test_description_is_plain_data(tmp_path: Path):
    import json

    network = describe(ModelConfig(units=[4, 3], normalization="revin"))
    assert Network.from_json(json.loads(json.dumps(network.to_json()))) == network
