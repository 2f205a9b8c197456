"""Durations become steps, and `auto` becomes a value that equal data and configs share."""

from __future__ import annotations

import pytest

from forecast.config.durations import duration_to_steps, infer_season_length
from forecast.config.load import load_config
from forecast.config.resolve import ConfigInSteps, ResolvedConfig, resolve_auto_settings, resolve_durations
from forecast.config.schema import Config
from forecast.errors import ConfigError

DURATIONS = [
    ("7d", "h", 168), ("36h", "h", 36), ("90min", "15min", 6), ("1d", "15min", 96), ("60s", "min", 1), ("3d", "36h", 2),
    ("2w", "D", 14), ("1w", "D", 7), ("4w", "W-SAT", 4), ("6mo", "ME", 6), ("1y", "MS", 12), ("1y", "QS-OCT", 4), ("2y", "YS", 2),
    ("1s", "us", 10**6),
]  # fmt: skip


@pytest.mark.parametrize(("duration", "freq", "steps"), DURATIONS, ids=str)
def test_durations(duration, freq, steps):
    assert duration_to_steps(duration, freq, "windows.horizon", "") == steps


@pytest.mark.parametrize(
    ("duration", "freq"), [("7d", "MS"), ("1y", "D"), ("30min", "h"), ("999999999w", "D"), ("1mo", "QS"), ("1d", "B")], ids=str
)
def test_durations_that_are_not_whole_steps(duration, freq):
    message = f"c.yaml:3:1: windows.horizon is {duration}, which is not a whole number of steps of freq {freq}"
    with pytest.raises(ConfigError, match=message):
        duration_to_steps(duration, freq, "windows.horizon", "c.yaml:3:1")


SEASONS = [
    ("s", 3600), ("30s", 120), ("min", 1440), ("7min", 1440), ("2h", 12), ("12h", 2), ("D", 7), ("2D", 182), ("W-SUN", 52),
    ("2W-SUN", 26), ("B", 5), ("2B", 2), ("MS", 12), ("2MS", 6), ("QE", 4), ("YS", 1), ("5YS", 1),
]  # fmt: skip


@pytest.mark.parametrize(("freq", "length"), SEASONS, ids=str)
def test_seasons(freq, length):
    assert infer_season_length(freq) == length


def config(**sections) -> Config:
    required = {"data": {"path": "a.csv", "timestamp": "t", "target": "y"}, "windows": {"lookback": "2w", "horizon": 24}}
    return Config.model_validate(required | sections)


def test_every_duration_becomes_steps():
    written = config(
        data={"path": "a.csv", "timestamp": "t", "target": "y", "max_gap": "2d", "season_length": "1w"},
        splits={"validation": "30d", "test": "2015-01-31"},
        windows={"lookback": "2w", "horizon": 24, "stride": "12h"},
        model={"segment": "1d"},
        backtest={"stride": "7d"},
    )
    resolved = resolve_durations(written, "h")
    assert type(resolved) is ConfigInSteps
    windows, splits = resolved.windows, resolved.splits
    assert (windows.lookback, windows.horizon, windows.stride) == (336, 24, 12)
    assert (splits.validation, splits.test) == (720, "2015-01-31 00:00:00")
    assert (resolved.data.max_gap, resolved.data.season_length) == (48, 168)
    assert (resolved.model.segment, resolved.backtest.stride) == (24, 168)


def test_errors_name_every_duration_and_where_it_was_set(tmp_path):
    (tmp_path / "a.yaml").write_text(
        "data: {path: a.csv, timestamp: t, target: y}\nwindows: {lookback: 3h, horizon: 2d}\nmodel: {segment: 1h}\n"
    )
    with pytest.raises(ConfigError, match="a.yaml:2:11: windows.lookback is 3h") as caught:
        resolve_durations(load_config(tmp_path / "a.yaml"), "D")
    assert "a.yaml:3:9: model.segment is 1h" in str(caught.value)
    assert resolve_durations(load_config(tmp_path / "a.yaml"), "h").locate("model.segment").endswith("a.yaml:3:9")


def resolved_training(windows: int, model: dict | None = None, **training):
    resolved = resolve_auto_settings(resolve_durations(config(training=training, model=model or {}), "h"), windows)
    assert type(resolved) is ResolvedConfig
    return resolved.training


@pytest.mark.parametrize(
    ("windows", "accumulated", "size"), [(10_000, 1, 256), (4096, 1, 256), (4095, 1, 128), (70, 1, 32), (10_000, 8, 64)]
)
def test_batch_size_leaves_an_epoch_steps_of_the_optimizer(windows, accumulated, size):
    assert resolved_training(windows, batch_size="auto", accumulate_gradients=accumulated).batch_size == size


@pytest.mark.parametrize(
    ("windows", "keys", "compiled"),
    [
        (20_000, {}, True),
        (1999, {}, False),
        (20_000, {"batch_size": 64}, True),
        (20_000, {"batch_size": 65}, False),
        (20_000, {"batch_size": "auto"}, False),
        (20_000, {"model": {"dropout": 0.1}}, False),
        (1, {"jit_compile": True}, True),
        (20_000, {"jit_compile": False}, False),
    ],
    ids=str,
)
def test_compiling_has_to_pay_for_itself(windows, keys, compiled, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    assert resolved_training(windows, **{"epochs": 100, "jit_compile": "auto"} | keys).jit_compile is compiled


def test_only_tensorflow_is_compiled_by_choice(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert resolved_training(20_000, epochs=100, jit_compile="auto").jit_compile is False
