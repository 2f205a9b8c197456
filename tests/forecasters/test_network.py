"""One contract over every kind of network and both of its readers, Keras and the equations in NumPy."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest

from forecast.config.schema import ModelConfig, TrainingConfig
from forecast.errors import RunError
from forecast.forecasters.network.architectures import describe_layers
from forecast.forecasters.network.backend import keras
from forecast.forecasters.network.description import VERSION, Network
from forecast.forecasters.network.fitting import compile_model, ignore_missing, pinball
from forecast.forecasters.network.gradients import measure_gradient_norms
from forecast.forecasters.network.keras_builder import build_keras, get_weights, load_keras, set_weights
from forecast.forecasters.network.layers import KINDS
from forecast.forecasters.network.layers.recurrent import sigmoid
from forecast.forecasters.network.numpy_runtime import READER_TOLERANCE, forward, relative_difference
from forecast.runs.run import Run
from forecast.windows.windows import Windows

LOOKBACK, CHANNELS, HORIZON, TARGETS = 5, 4, 3, 2
RNG = np.random.default_rng(5)
PAST = RNG.normal(size=(6, LOOKBACK, CHANNELS)).astype(np.float32)
FUTURE = PAST[:, -HORIZON:, :TARGETS] + 1
LEVEL = np.array([1, 1, 0, 0])  # of the targets
KNOWN = RNG.normal(size=(6, HORIZON, 1)).astype(np.float32)  # the last channel, over the horizon
COVARIATES = {"known_covariates": 1, "static": 2, "categories": [4, 3]}
BESIDE = {
    "known_covariates": KNOWN,
    "static": RNG.normal(size=(6, 2)).astype(np.float32),
    "categories": np.array([[0, 1], [1, 2], [2, 0], [3, 1], [1, 1], [0, 0]], np.int32),
}

CELLS = [
    {"cell": cell, "bidirectional": both, "units": [7, 6]}
    for cell in ("lstm", "gru", "simple_rnn", "peephole_lstm")
    for both in (False, True)
]
NORMALIZATIONS = [
    {"units": [6], "normalization": normalization, "linear_skip": skip, "layer_norm": skip}
    for normalization in ("none", "last", "mean", "revin")
    for skip in (False, True)
]
DECODERS = [
    {"cell": cell, "units": [7, 6], "decoder": decoder, "segment": 2}
    for cell in ("lstm", "gru", "simple_rnn", "peephole_lstm")
    for decoder in ("seq2seq", "parallel")
]
OTHERS = [
    {"front": {"conv": {"layers": 2, "strides": 2, "filters": 5}, "batch_norm": True}, "attention": True, "units": [6]},
    {"units": [6], "segment": 2, "decoder": "parallel", "channel_independent": True, "normalization": "last", "dropout": 0.1},
    {"units": [7, 6], "channel_independent": True, "decoder": "seq2seq"},
    {"units": [6], "channel_independent": True, "normalization": "revin"},
    {"units": [7, 6], "cell": "gru", "bidirectional": True, "normalization": "revin", "dropout": 0.1, "l2": 1e-4},
    {"units": [7, 6], "cell": "peephole_lstm", "bidirectional": True, "initializer": "he_normal", "l1": 1e-4},
    {"layers": [{"units": 7, "cell": "gru", "bidirectional": True}, {"units": 6, "residual": True, "dropout": 0.1}]},
    {"layers": [{"units": 4, "residual": True}, {"units": 4, "cell": "simple_rnn", "residual": True}], "decoder": "seq2seq"},
    {"layers": [{"units": 6, "layer_norm": True}, {"units": 6, "cell": "peephole_lstm", "residual": True}], "attention": True},
    {"layers": [{"units": 7}, {"units": 6, "cell": "gru", "residual": True}], "segment": 2, "decoder": "parallel"},
    {"units": [6], "quantiles": [0.1, 0.5, 0.9], "normalization": "revin", "channel_independent": True},
    {"units": [6], "quantiles": [0.1, 0.5, 0.9], "normalization": "mean"},
]
NETWORKS = [*CELLS, *NORMALIZATIONS, *DECODERS, *OTHERS]
ON_JAX = [*CELLS[::2], *NORMALIZATIONS[1::2], *DECODERS[2:4], *OTHERS[:2], OTHERS[4], OTHERS[5]]  # Every cell and kind of layer.


def contract(keys: dict, covariates: dict, *marks: pytest.MarkDecorator) -> object:
    """A configuration on both backends, if JAX is to compile it, too: see `ON_JAX`."""
    on_jax = [pytest.mark.backend] if keys in ON_JAX else []
    return pytest.param(keys, covariates, marks=[pytest.mark.slow, *on_jax, *marks])


CONTRACTS = [
    *(contract(keys, {}) for keys in CELLS + NORMALIZATIONS),
    *(contract(keys, COVARIATES) for keys in DECODERS + OTHERS),
    *(contract(keys, {}, pytest.mark.exhaustive) for keys in DECODERS + OTHERS),
]
OVERFITTED = [*CELLS[::2], *DECODERS[2:4], OTHERS[-1]]  # Each cell, each decoder, and quantiles.
every_contract = pytest.mark.parametrize(
    ("keys", "covariates"), CONTRACTS, ids=lambda keys: "-".join(str(value) for value in keys.values())
)
on_jax = keras.backend.backend() == "jax"


def describe(model: ModelConfig, targets: int = TARGETS, **covariates: object) -> Network:
    return describe_layers(model, (LOOKBACK, CHANNELS), (HORIZON, targets), **covariates)


def inputs(past: np.ndarray = PAST, **covariates: object) -> dict[str, np.ndarray]:
    return {"past": past} | {name.removesuffix("_covariates"): BESIDE[name] for name in covariates}


def built(keys: dict, seed: int = 1, targets: int = TARGETS, **covariates: object) -> tuple[Network, keras.Model]:
    network = describe(ModelConfig(**keys), targets, **covariates)
    model = build_keras(network, ModelConfig(**keys), seed)
    rng = np.random.default_rng(0)  # zeros would hide an error
    weights = {name: values + 0.1 * rng.normal(size=values.shape) for name, values in get_weights(model, network).items()}
    set_weights(model, network, {name: values.astype(np.float32) for name, values in weights.items()})
    return network, model


def computed(model: keras.Model, seen: dict[str, np.ndarray]) -> np.ndarray:
    """Without the seconds that a compiled function takes to make; JAX compiles anyway."""
    return model.predict_on_batch(seen) if on_jax else keras.ops.convert_to_numpy(model(seen, training=False))


def check_readers_agree(model: keras.Model, network: Network, seen: dict[str, np.ndarray]) -> None:
    """Keras takes what is as long as the batch for a bias in some sums: every batch size is tried, and no sum is Keras' own."""
    weights = get_weights(model, network)
    portable = load_keras(network, weights, portable=True)
    for reader in (model, portable):
        sums = [operation for operation in reader.operations if type(operation).__name__ == "Add"]
        of_tensors = [operation.name for operation in sums if len(operation._inbound_nodes[0].input_tensors) > 1]
        assert not of_tensors, "see forecast.forecasters.network.layers.interface.add"
    ours = [layer.name for layer in portable.layers if not type(layer).__module__.startswith("keras.")]
    assert not ours, "a portable model is made of Keras' own layers"
    for batch in [1, HORIZON] if on_jax else range(1, 8):  # as many as targets, steps, channels and units
        resized = {name: np.resize(values, (batch, *values.shape[1:])) for name, values in seen.items()}
        by_numpy = forward(network, weights, resized)
        forecasts = [model.predict_on_batch(resized) if batch == HORIZON else computed(model, resized)]
        forecasts += [computed(portable, resized)] if batch == HORIZON else []
        for forecast in forecasts:
            assert relative_difference(by_numpy, forecast) <= READER_TOLERANCE, batch


def check_gradients_are_finite(model: keras.Model, seen: dict[str, np.ndarray]) -> None:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = keras.ops.sum(model(seen, training=True) ** 2)
    gradients = tape.gradient(loss, model.trainable_variables)
    assert all(np.isfinite(tf.convert_to_tensor(gradient)).all() for gradient in gradients)


@every_contract
def test_contract(keys, covariates, tmp_path):
    # A single target has statistics (batch, 1, 1). The linear skip connects each target with itself.
    targets = TARGETS if covariates or keys.get("linear_skip") else 1
    network, model = built(keys, targets=targets, **covariates)
    seen, quantiles = inputs(**covariates), keys.get("quantiles", [])
    check_readers_agree(model, network, seen)
    if on_jax:
        return
    forecast = computed(model, seen)
    assert forecast.shape == (6, HORIZON, targets, *([len(quantiles)] if quantiles else []))
    if quantiles:
        assert (np.diff(forecast, axis=-1) >= 0).all()
    weights = get_weights(model, network)
    described = {f"{layer.name}/{name}": tuple(shape) for layer in network.layers for name, shape in layer.weights.items()}
    assert {name: values.shape for name, values in weights.items()} == described
    assert network.parameters == model.count_params()

    run = Run.create("contract", tmp_path / "run")
    run.write_json(run.network, network.to_json())
    run.write_arrays(run.weights, weights)
    again, weights = Network.from_json(run.read_json(run.network)), run.read_arrays(run.weights, network.parameters)
    np.testing.assert_array_equal(computed(load_keras(again, weights), seen), forecast)
    check_gradients_are_finite(model, seen)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keys", "covariates"),
    [
        pytest.param(keys, covariates, marks=() if keys in OVERFITTED and is_first else pytest.mark.exhaustive)
        for keys, covariates, is_first in (
            (*param.values, "exhaustive" not in [mark.name for mark in param.marks]) for param in CONTRACTS
        )
    ],
    ids=lambda keys: "-".join(str(value) for value in keys.values()),
)
def test_a_network_overfits_one_batch(keys, covariates):
    network, model = built(keys, **covariates)
    seen, quantiles = inputs(**covariates), keys.get("quantiles", [])
    model.compile(keras.optimizers.Adam(0.02), loss=ignore_missing(pinball(quantiles)) if quantiles else "mse", jit_compile=False)
    losses = [float(model.train_on_batch(seen, FUTURE)) for _ in range(150)]
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.2 * losses[0]
    assert all(np.isfinite(values).all() for values in get_weights(model, network).values())


@pytest.mark.backend
@pytest.mark.parametrize("quantiles", [[], [0.1, 0.5, 0.9]], ids=["point", "quantiles"])
def test_missing_targets_move_no_weight(quantiles):
    loss = ignore_missing(pinball(quantiles) if quantiles else keras.losses.mean_absolute_error)
    actual = np.random.default_rng(0).normal(size=(5, 4, 2)).astype(np.float32)
    forecast = np.zeros((5, 4, 2, *([3] if quantiles else [])), np.float32)
    gaps = actual.copy()
    gaps[1, 2] = np.nan
    losses, with_gaps = (keras.ops.convert_to_numpy(loss(values, forecast)) for values in (actual, gaps))
    assert (with_gaps[1, 2] == 0).all()
    assert (losses[1, 2] > 0).all()
    losses[1, 2] = 0
    np.testing.assert_array_equal(with_gaps, losses)


@pytest.mark.backend
def test_same_seed_same_network():
    small = {"units": [6], "dropout": 0.1}
    weights = [get_weights(model, network) for network, model in (built(small), built(small), built(small, seed=2))]
    for name in weights[0]:
        np.testing.assert_array_equal(weights[0][name], weights[1][name])
    assert not np.array_equal(weights[0]["recurrent_1/kernel"], weights[2]["recurrent_1/kernel"])


@pytest.mark.backend
@pytest.mark.parametrize("keys", [{}, {"units": [6, 5]}, {"segment": 2}, {"cell": "gru", "channel_independent": True}])
def test_gradients_fade_where_the_state_is_forgotten(keys):
    network, model = built({"cell": "simple_rnn", "units": [6]} | keys)
    norms = measure_gradient_norms(model, network, inputs())
    assert len(norms) == (3 if keys.get("segment") else LOOKBACK)
    assert (norms > 0).all()
    forgetful = {
        name: np.zeros_like(values) if name.endswith("recurrent_kernel") else values
        for name, values in get_weights(model, network).items()
    }
    set_weights(model, network, forgetful)
    if keys.get("cell") != "gru":  # whose gate keeps some of the state
        np.testing.assert_array_equal(measure_gradient_norms(model, network, inputs())[:-1], 0)


@pytest.mark.parametrize("normalization", ["last", "mean", "revin"])
def test_normalised_networks_move_with_the_level(normalization):
    _, model = built({"normalization": normalization, "units": [6]})
    higher = computed(model, inputs(PAST + 10 * LEVEL))
    np.testing.assert_allclose(higher, computed(model, inputs()) + 10, atol=1e-4)


def test_independent_channels_do_not_see_each_other():
    _, model = built({"channel_independent": True, "units": [6]})
    moved = PAST * np.array([1, 5, 1, 1], np.float32)
    before, after = (computed(model, inputs(past)) for past in (PAST, moved))
    np.testing.assert_array_equal(before[..., 0], after[..., 0])
    assert not np.allclose(before[..., 1], after[..., 1])


def test_windows_are_forecast_in_batches_and_in_order(monkeypatch):
    monkeypatch.setattr("forecast.windows.windows.MAX_BATCH", 4)
    _, model = built({"units": [6]})
    rows = RNG.normal(size=(30, CHANNELS)).astype(np.float32)
    windows = Windows(rows, rows[:, :0], rows[:, :TARGETS], np.arange(7, 27), np.zeros(20, int), LOOKBACK, HORIZON)
    expected = computed(model, windows.inputs())
    np.testing.assert_allclose(windows.forecast_with(partial(computed, model)), expected, rtol=1e-5, atol=1e-6)


def test_every_kind_of_layer_is_tested():
    tested = {layer.kind for keys in NETWORKS for layer in describe(ModelConfig(**keys), **COVARIATES).layers}
    assert set(KINDS) == tested


def test_large_values_saturate_without_a_warning():
    with np.errstate(all="raise"):
        np.testing.assert_allclose(sigmoid(np.array([-1e4, 0, 1e4], np.float32)), [0, 0.5, 1])


def test_unknown_version_of_a_network():
    with pytest.raises(RunError, match=f"the network has version 99, but this program reads versions 1 to {VERSION}"):
        Network.from_json(describe(ModelConfig()).to_json() | {"version": 99})


def test_version_3_counted_the_values_of_each_target():
    network = describe(ModelConfig(normalization="revin", quantiles=[0.1, 0.5, 0.9]))
    data = network.to_json() | {"version": 3}
    (inverse,) = (layer for layer in data["layers"] if layer["kind"] == "affine_inverse")
    inverse["options"]["each"] = 3
    assert Network.from_json(data) == network


@pytest.mark.parametrize("data", [{}, {"past": [7, 3]}, {"past": [7, 3], "layers": 7}, {"past": [7, 3], "layers": [{}]}], ids=str)
def test_a_damaged_description_of_version_1(data):
    with pytest.raises(RunError, match="the description of the network is damaged"):
        Network.from_json({"version": 1, **data})


def test_description_is_plain_data():
    network = describe(ModelConfig(units=[4, 3], normalization="revin"))
    assert Network.from_json(json.loads(json.dumps(network.to_json()))) == network


@pytest.mark.parametrize("cell", ["lstm", "peephole_lstm"])
@pytest.mark.parametrize(
    ("initializer", "fan"),
    [("he_normal", lambda rows, columns: 2 / rows), ("glorot_normal", lambda rows, columns: 2 / (rows + columns))],
)
def test_initial_weights_are_drawn_as_asked(cell, initializer, fan):
    config = ModelConfig(units=[200], cell=cell, initializer=initializer, linear_skip=False)
    weights = get_weights(build_keras(network := describe(config), config, 1), network)
    for kernel in [values for name, values in weights.items() if name.endswith("kernel") and "recurrent" not in name]:
        rows = kernel.shape[0]
        variance = fan(rows, kernel.size // rows)
        assert kernel.var() == pytest.approx(variance, rel=0.25)


def test_penalties_are_the_sums_of_absolute_and_of_squared_weights():
    keys = {"units": [4], "linear_skip": False}
    for penalty, size in (("l1", np.abs), ("l2", np.square)):
        network, model = built({**keys, penalty: 0.5})
        kernels = [values for name, values in get_weights(model, network).items() if name.endswith("kernel")]
        assert float(sum(model.losses)) == pytest.approx(0.5 * sum(size(values).sum() for values in kernels), rel=1e-5)


def test_clipvalue_limits_each_component_of_a_gradient():
    network, model = built({"units": [4]})
    before = get_weights(model, network)
    training = TrainingConfig(optimizer="sgd", learning_rate=1.0, clipnorm=None, clipvalue=1e-3)
    compile_model(model, training, [])
    model.train_on_batch(inputs(), 100 * FUTURE)
    steps = [np.abs(values - before[name]).max() for name, values in get_weights(model, network).items()]
    assert max(steps) == pytest.approx(1e-3, rel=1e-2)
    assert model.optimizer.pop_gradient_statistics()[1] == 1, "the batch was clipped"


def test_layers_one_by_one_are_the_short_form():
    short = describe(ModelConfig(cell="gru", units=[7, 6], dropout=0.1, layer_norm=True, bidirectional=True))
    layer = {"cell": "gru", "dropout": 0.1, "layer_norm": True, "bidirectional": True}
    assert describe(ModelConfig(layers=[layer | {"units": 7}, layer | {"units": 6}])) == short


def test_a_residual_connection_adds_the_input_of_a_layer():
    keys = {"linear_skip": False, "normalization": "none", "layers": [{"units": 4}, {"units": 4, "residual": True}]}
    network, model = built(keys)
    weights = get_weights(model, network)
    silent = {name: np.zeros_like(values) if name.startswith("recurrent_2/") else values for name, values in weights.items()}
    alone = describe(ModelConfig(**keys | {"layers": [{"units": 4}]}))
    kept = {name: values for name, values in weights.items() if not name.startswith("recurrent_2/")}
    np.testing.assert_allclose(forward(network, silent, inputs()), forward(alone, kept, inputs()), atol=1e-6)
