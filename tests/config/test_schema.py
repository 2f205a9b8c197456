"""A config is read as it is meant or refused with place, cause and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from forecast.config import types as values
from forecast.config.load import load_config, parse_overrides
from forecast.errors import ConfigError

GOOD = """data: {path: a.csv, timestamp: t, target: y}
windows:
  lookback: 12
  horizon: 3
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def test_defaults_and_shorthand(tmp_path):
    config = load_config(write(tmp_path, GOOD + "model: {units: 8}\n"))
    assert config.name == "config"
    assert config.data.path == str(tmp_path / "a.csv")
    assert (config.data.target, config.model.units) == (["y"], [8])
    assert config.training.early_stopping.patience == 20


@pytest.mark.parametrize(
    ("text", "value"), [("1e-3", 1e-3), ("1E-3", 1e-3), (".5", 0.5), ("1", 1.0), ("0.01", 0.01), ("2.", 2.0)], ids=str
)
def test_numbers_are_those_of_yaml_1_2(tmp_path, text, value):
    config = load_config(write(tmp_path, GOOD + f"training: {{learning_rate: {text}}}\n"))
    assert config.training.learning_rate == value


@pytest.mark.parametrize(("text", "value"), [("yes", True), ("on", True), ("true", True), ("no", False), ("off", False)])
def test_yes_and_no_are_booleans_only_where_a_key_is(tmp_path, text, value):
    column = "y" if text == "true" else text
    config = load_config(write(tmp_path, GOOD.replace("target: y", f"target: {column}") + f"model: {{layer_norm: {text}}}\n"))
    assert config.model.layer_norm is value
    assert config.data.target == [column]


def test_true_is_no_column_name(tmp_path):
    with pytest.raises(ConfigError, match=r"`data.target` is \[True\]|`data.target` is True"):
        load_config(write(tmp_path, GOOD.replace("target: y", "target: true")))


@pytest.mark.parametrize("border", [0.2, 24, "2015-01-31", "2015-01-31 06:00"], ids=str)
def test_borders(tmp_path, border):
    splits = load_config(write(tmp_path, GOOD + f"splits: {{test: {border}}}\n")).splits
    assert str(splits.test).startswith(str(border))


PROBLEMS = {
    "unknown key": (
        "windows: {lookback: 3, horizon: 1, lokback: 3}",
        "unknown key `windows.lokback`.\n  Did you mean `lookback`?",
        None,
    ),
    "unknown section": ("trainin: {epochs: 3}", "unknown key `trainin`.\n  Did you mean `training`?", 5),
    "text for a number": ("training: {epochs: ten}", "`training.epochs` is 'ten'. It must be a valid integer.", 5),
    "fraction of epochs": ("training: {epochs: 1.5}", "`training.epochs` is 1.5. It must be a valid integer.", 5),
    "too small": ("training: {epochs: 0}", "`training.epochs` is 0. It must be greater than or equal to 1.", 5),
    "quoted number": ("training: {epochs: '3'}", "`training.epochs` is '3'. It must be a valid integer.", 5),
    "infinite": ("training: {learning_rate: .inf}", "`training.learning_rate` is inf. It must be a finite number.", 5),
    "no such choice": (
        "model: {cell: lstmm}",
        "`model.cell` is 'lstmm'. It must be 'lstm', 'gru', 'simple_rnn' or 'peephole_lstm'.",
        5,
    ),
    "layers and units": ("model: {units: [3], layers: [{units: 4}]}", "layers and units cannot be combined", 5),
    "unknown key of a layer": ("model: {layers: [{units: 4, cel: gru}]}", "`model.layers.cel`.\n  Did you mean `cell`?", 5),
    "two ways to clip": ("training: {clipvalue: 1}", "clipnorm and clipvalue cannot be combined. Set clipnorm: null", 5),
    "no units": ("model: {units: []}", "`model.units` is []. It must have at least 1 item.", 5),
    "zero units": ("model: {units: [4, 0]}", "`model.units` is 0. It must be greater than or equal to 1.", 5),
    "dropout of 1": ("model: {dropout: 1.0}", "`model.dropout` is 1.0. It must be less than 1.", 5),
    "border above 1": (
        "splits: {test: 1.5}",
        "`splits.test` is 1.5. It must be a fraction between 0 and 1, a number of steps",
        5,
    ),
    "border is no date": ("splits: {test: spring}", "`splits.test` is 'spring'. It must be a fraction", 5),
    "end is no date": ("splits: {end: 12}", "`splits.end` is 12. It must be a date such as 2015-01-31", 5),
    "range upside down": ("scaling: {range: [1, 0]}", "`scaling.range` is [1, 0]. The first number must be below the second.", 5),
    "range of three": ("scaling: {range: [0, 1, 2]}", "`scaling.range` is [0, 1, 2]", 5),
    "section is a number": ("model: 5", "`model` is 5", 5),
    "bad name": ("name: a/b", "`name` is 'a/b'. It must start with a letter", 5),
    "range of text": ("scaling: {range: [a, 1]}", "`scaling.range` is 'a'. It must be a valid number.", 5),
    "date with offset": ("splits: {test: 2020-01-01T00:00+01:00}", "It must be a local time, without a UTC offset", 5),
    "key is a number": ("5: 3", "the key `5` is not text", 5),
    "name of another section": ("epochs: 3", "unknown key `epochs`.\n  Did you mean `training.epochs`?", 5),
    "huge": ("training: {epochs: 1" + "0" * 30 + "}", "It must be less than or equal to 1000000000", 5),
    "negative lookback": ("windows: {lookback: -3, horizon: 1}", "`windows.lookback` is -3. It must be a number of steps", None),
    "unit unknown": ("windows: {lookback: 3q, horizon: 1}", "a duration such as 7d, 36h, 6mo or 1y", None),
    "duration of nothing": ("windows: {lookback: 0d, horizon: 1}", "`windows.lookback` is '0d'", None),
    "half a step": ("windows: {lookback: 3, horizon: 1.5}", "`windows.horizon` is 1.5. It must be a number of steps", None),
    "no horizon": ("windows: {lookback: 3}", "`windows.horizon` is missing.\n  horizon: Number of steps to forecast", None),
    "null horizon": ("windows: {lookback: 3, horizon: null}", "`windows.horizon` is None", None),
    "stride of text": ("windows: {lookback: 3, horizon: 1, stride: all}", "`windows.stride` is 'all'", None),
    "no path": ("data: {timestamp: t, target: y}", "`data.path` is missing", None),
    "empty path": ("data: {path: '', timestamp: t, target: y}", "`data.path` is ''. It must have at least 1 character", None),
    "path is a list": ("data: {path: [a], timestamp: t, target: y}", "`data.path` is ['a']. It must be a valid string", None),
    "no target": ("data: {path: a.csv, timestamp: t}", "`data.target` is missing", None),
    "no targets": ("data: {path: a.csv, timestamp: t, target: []}", "`data.target` is []. It must have at least 1 item", None),
    "target is a mapping": ("data: {path: a.csv, timestamp: t, target: {y: 1}}", "`data.target` is {'y': 1}", None),
    "no timestamp": ("data: {path: a.csv, target: y}", "`data.timestamp` is missing", None),
    "policy unknown": (
        "data: {path: a.csv, timestamp: t, target: y, duplicates: drop}",
        "`data.duplicates` is 'drop'. It must be 'error'",
        None,
    ),
    "missing policy": (
        "data: {path: a.csv, timestamp: t, target: y, missing_values: zero}",
        "`data.missing_values` is 'zero'",
        None,
    ),
    "max_gap": ("data: {path: a.csv, timestamp: t, target: y, max_gap: none}", "`data.max_gap` is 'none'", None),
    "decimal": (
        "data: {path: a.csv, timestamp: t, target: y, decimal: ';'}",
        "`data.decimal` is ';'. It must be '.' or ','",
        None,
    ),
    "thousands": ("data: {path: a.csv, timestamp: t, target: y, thousands: k}", "`data.thousands` is 'k'", None),
    "one mark for two": (
        "data: {path: a.csv, timestamp: t, target: y, decimal: ',', thousands: ','}",
        "decimal and thousands cannot both be ','",
        None,
    ),
    "target of a reserved name": (
        "data: {path: a.csv, timestamp: t, target: series_id}",
        "a target or covariate cannot be called 'series_id'",
        None,
    ),
    "target of the calendar's name": (
        "data: {path: a.csv, timestamp: t, target: hour_sin, calendar: hour}",
        "data.calendar adds a column 'hour_sin', which the file already has",
        None,
    ),
    "long delimiter": (
        "data: {path: a.csv, timestamp: t, target: y, delimiter: ', '}",
        "`data.delimiter` is ', '. It must have at most 1 character",
        None,
    ),
    "resample without how": (
        "data: {path: a.csv, timestamp: t, target: y, resample: {freq: D}}",
        "`data.resample.how` is missing",
        None,
    ),
    "resample as text": ("data: {path: a.csv, timestamp: t, target: y, resample: D}", "`data.resample` is 'D'", None),
    "empty series_id": (
        "data: {path: a.csv, timestamp: t, target: y, series_id: ''}",
        "`data.series_id` is ''. It must have at least 1 character",
        None,
    ),
    "season of nothing": ("data: {path: a.csv, timestamp: t, target: y, season_length: 0}", "`data.season_length` is 0", None),
    "no validation": ("splits: {validation: 0}", "`splits.validation` is 0. It must be a fraction", 5),
    "null test": ("splits: {test: null}", "`splits.test` is None. It must be a fraction", 5),
    "negative test": ("splits: {test: -5}", "`splits.test` is -5", 5),
    "test is true": ("splits: {test: true}", "`splits.test` is True", 5),
    "no such date": ("splits: {end: 2015-02-30}", "`splits.end` is '2015-02-30'. It must be a date", 5),
    "scaling unknown": ("scaling: {method: maxabs}", "`scaling.method` is 'maxabs'", 5),
    "transform unknown": ("scaling: {transform: log}", "`scaling.transform` is 'log'. It must be 'none' or 'log1p'", 5),
    "boolean in words": ("model: {bidirectional: maybe}", "`model.bidirectional` is 'maybe'. It must be a valid boolean", 5),
    "boolean as number": ("model: {bidirectional: 1}", "`model.bidirectional` is 1. It must be a valid boolean", 5),
    "negative dropout": ("model: {dropout: -0.1}", "`model.dropout` is -0.1. It must be greater than or equal to 0", 5),
    "huge layer": ("model: {units: [1000000]}", "`model.units` is 1000000. It must be less than or equal to 100000", 5),
    "units as text": ("model: {units: ['64']}", "`model.units` is '64'. It must be a valid integer", 5),
    "normalization unknown": ("model: {normalization: batch}", "`model.normalization` is 'batch'", 5),
    "batch of nothing": ("training: {batch_size: 0}", "`training.batch_size` is 0. It must be a number of windows", 5),
    "batch of words": ("training: {batch_size: automatic}", "`training.batch_size` is 'automatic'. It must be a number", 5),
    "rate of nothing": ("training: {learning_rate: 0}", "`training.learning_rate` is 0. It must be greater than 0", 5),
    "rate that is no number": ("training: {learning_rate: .nan}", "`training.learning_rate` is nan", 5),
    "rate as text": ("training: {learning_rate: 1e-}", "`training.learning_rate` is '1e-'. It must be a valid number", 5),
    "optimizer unknown": (
        "training: {optimizer: Adam}",
        "`training.optimizer` is 'Adam'. It must be 'adam', 'adamw', 'rmsprop' or 'sgd'",
        5,
    ),
    "loss unknown": ("training: {loss: rmse}", "`training.loss` is 'rmse'", 5),
    "clip of nothing": ("training: {clipnorm: 0}", "`training.clipnorm` is 0", 5),
    "early stopping as yes": ("training: {early_stopping: true}", "`training.early_stopping` is True. It must be a section", 5),
    "patience of nothing": ("training: {early_stopping: {patience: 0}}", "`training.early_stopping.patience` is 0", 5),
    "unknown key three deep": (
        "training: {early_stopping: {patiense: 3}}",
        "unknown key `training.early_stopping.patiense`.\n  Did you mean",
        5,
    ),
    "seed of text": ("seed: one", "`seed` is 'one'. It must be a valid integer.\n  seed: Seed of all random numbers", 5),
    "negative seed": ("seed: -1", "`seed` is -1", 5),
    "nothing in a section": (
        "model:",
        "`model` is None. It must be a section with keys.\n  model: Architecture of the network.",
        5,
    ),
}


@pytest.mark.parametrize(("extra", "message", "line"), PROBLEMS.values(), ids=PROBLEMS.keys())
def test_wrong_keys_and_values(tmp_path, extra, message, line):
    """`line` is where the message must point; None: `extra` takes the place of its section in `GOOD`."""
    data, windows = GOOD.split("\n", 1)
    kept = {"data": windows, "windows": data + "\n"}[extra.split(":")[0]] if line is None else GOOD
    with pytest.raises(ConfigError, match="config.yaml") as caught:
        load_config(write(tmp_path, kept + extra + "\n"))
    assert message in str(caught.value)
    assert (f"config.yaml:{line}:" if line else "config.yaml:") in str(caught.value)
    assert "\n  " in str(caught.value), "no remedy"


VALUES = {  # a type of `values.py`, what it reads as itself, what it refuses, and in which words
    "border": (values.Border, [0.01, 0.99, 1, "30d"], [0.0, 1.0, 0, True, "spring"], "a fraction between 0 and 1"),
    "steps": (values.Steps, [1, 10**9, "7d"], [0, 10**9 + 1, 1.5, True, "7q"], "a number of steps"),
    "range": (values.Range, [[0.0, 1.0]], [[1, 1], [2, 1]], "the first number must be below the second"),
    "levels": (values.Levels, [[1.0], [80.0, 99.9], [97.5, 97.525]], [[95, 80], [80, 80]], "must increase"),
    "decimals of levels": (values.Levels, [], [[80, 90.1234]], "three decimals"),
    "quantiles": (values.Quantiles, [[0.1, 0.5, 0.999999]], [[0.5, 0.1], [0.5, 0.5]], "must increase"),
    "median": (values.Quantiles, [], [[0.1, 0.9]], "must include 0.5"),
    "decimals of quantiles": (values.Quantiles, [], [[0.5, 0.9999999]], "six decimals"),
    "seeds": (values.Seeds, [[1, 2]], [[1, 1], [3, 1, 3]], "each value must occur only once"),
    "refit": (values.Refit, ["never", "every", 1, 1000], [0, 1001, True, 1.5, "often"], "a number of folds"),
    "batch size": (values.BatchSize, ["auto", 1, 10**9], [0, 10**9 + 1, True, "many"], "a number of windows"),
    "compiled": (values.Compiled, ["auto", True, False], ["maybe"], "must be true, false or auto"),
    "wait": (values.Wait, ["1s", "10m", "10min", "2h", "1d"], ["0s", "10", "1w"], "a duration such as"),
    "calendar": (values.Calendar, [["hour", "holidays(DE)"]], ["minute", ["month", "holidays(de)"]], "is not one of hour"),
    "span": (
        values.Spans,
        [{"a": {"int": [1, 3], "step": 2}}, {"a": {"float": [1, 2.5], "step": 0.5}}, {"a": {"float": [0.1, 1], "log": True}}],
        [{"a": {}}, {"a": {"int": [1, 2], "float": [1, 2]}}, {"a": {"int": [1, 2], "stride": 1}}, {"a": {"choice": [1], "step": 1}}],
        "it must have the form",
    ),
    "choice": (values.Spans, [{"a": {"choice": [None, "x"]}}], [{"a": {"choice": []}}, {"a": {"choice": 3}}], "at least one value"),
    "ends of a span": (
        values.Spans,
        [],
        [{"a": {kind: ends}} for kind, ends in [("int", [3, 1]), ("int", [3, 3]), ("int", [1, 2.5]), ("float", [1]), ("float", ["a", "b"])]],
        "numbers, the lower one first",
    ),
    "log": (
        values.Spans,
        [{"a": {"int": [1, 9], "log": False, "step": 1}}],
        [{"a": {"float": [0, 1], "log": True}}, {"a": {"int": [1, 9], "log": True, "step": 1}}, {"a": {"int": [1, 9], "log": 1}}],
        "`log` must be true or false",
    ),
    "step": (values.Spans, [], [{"a": {"int": [1, 3], "step": step}} for step in (0, 3, 0.5)], "at most the difference"),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "good", "bad", "message"), VALUES.values(), ids=VALUES.keys())
def test_what_values_may_be(kind, good, bad, message):
    read = TypeAdapter(kind).validate_python
    for value in good:
        assert read(value) == value
    for value in bad:
        with pytest.raises(ValidationError, match=message):
            read(value)


def test_words_that_are_read_as_something_else():
    assert [TypeAdapter(values.Compiled).validate_python(word) for word in ("yes", "On", "no", "off")] == [
        True,
        True,
        False,
        False,
    ]
    assert [values.parse_wait(text) for text in ("90s", "10m", "10min", "2h", "3d")] == [90, 600, 600, 7200, 259200]


def test_the_place_is_exact(tmp_path):
    text = (
        "data: {path: a.csv, timestamp: t, target: y}\nwindows:\n    lookback: 12\n    horizon: 0\nmodel: {units: 8, cell: x}\n"
    )
    with pytest.raises(ConfigError, match="horizon") as caught:
        load_config(write(tmp_path, text))
    assert [line.split(": ")[0].split("config.yaml:")[1] for line in str(caught.value).splitlines()[::2]] == ["4:5", "5:19"]


def test_a_file_nested_without_end(tmp_path):
    with pytest.raises(ConfigError, match="nested too deeply"):
        load_config(write(tmp_path, "a: " + "[" * 5000 + "]" * 5000))


def test_all_errors_at_once(tmp_path):
    with pytest.raises(ConfigError, match="horizon") as caught:
        load_config(write(tmp_path, GOOD.replace("horizon: 3", "horizn: 3") + "training: {epochs: 0, batch_sise: 3}\n"))
    with pytest.raises(ConfigError, match="set twice") as again:
        load_config(write(tmp_path, GOOD + "windows: {lookback: 3, horizon: 1}\n5: 6\nmodle: {}\nseed: -1\n"))
    for told in ("`windows` is set twice", "the key `5` is not text", "unknown key `modle`", "`seed` is -1"):
        assert told in str(again.value)
    with pytest.raises(
        ConfigError, match=r"(?s)--set epochs is not of the form KEY=VALUE.*--set a=\[1: the value is not valid YAML"
    ):
        parse_overrides(["epochs", "a=[1"])
    for told in ("`windows.horizn`", "`training.epochs` is 0", "`training.batch_sise`"):
        assert told in str(caught.value)
    assert "is missing" not in str(caught.value), "where it is misspelt says enough"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: [", "is not valid YAML"),
        ("- a\n- b\n", "is not a mapping"),
        ("", "is not a mapping"),
        ("!!set {data, windows}\n", "uses the YAML tag"),
        ("a: &x 1\nb: *x\n", ":2:4: the file uses a YAML alias"),
        (GOOD + "windows: {lookback: 3, horizon: 1}\n", "`windows` is set twice"),
        ("data: !!python/object/apply:os.system [id]\n", ":1:7: the file uses the YAML tag"),
    ],
    ids=["unclosed", "list", "empty", "set", "alias", "twice", "code"],
)
def test_broken_files(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path, text))


def test_missing_file_names_its_neighbour(tmp_path):
    write(tmp_path, GOOD)
    with pytest.raises(ConfigError, match=r"the config file does not exist.\n  Did you mean `config.yaml`\?"):
        load_config(tmp_path / "confg.yaml")


def test_overrides_win_and_are_named_in_errors(tmp_path):
    path = write(tmp_path, GOOD)
    assert load_config(path, parse_overrides(["training.epochs=5", "windows.lookback=9"])).windows.lookback == 9
    with pytest.raises(ConfigError, match=r"--set training.epochs=many: `training.epochs` is 'many'"):
        load_config(path, {"training.epochs": "many"})
    with pytest.raises(ConfigError, match=r"--set training.epoch=5: unknown key `training.epoch`.\n  Did you mean `epochs`\?"):
        load_config(path, {"training.epoch": 5})
    with pytest.raises(ConfigError, match="--set epochs is not of the form KEY=VALUE"):
        parse_overrides(["epochs"])


def test_resolved_config_reads_back_equal(tmp_path):
    names = ["09", "1e5", "1e-3", "yes", "null", "2015-01-31", "~", "a: b", "é"]
    config = load_config(write(tmp_path, GOOD + "splits: {test: 2015-01-31}\n"), {"data.target": names})
    again = load_config(write(tmp_path, config.to_yaml()))
    assert again.model_dump() == config.model_dump()
