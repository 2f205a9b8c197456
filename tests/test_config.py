"""A config is read as it is meant or refused with place, cause and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from forecast.config import load_config, parse_overrides
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
    "unknown key": ("windows: {lokback: 3}", "unknown key `windows.lokback`.\n  Did you mean `lookback`?", 2),
    "unknown section": ("trainin: {epochs: 3}", "unknown key `trainin`.\n  Did you mean `training`?", 5),
    "text for a number": ("training: {epochs: ten}", "`training.epochs` is 'ten'; it should be a valid integer.", 5),
    "fraction of epochs": ("training: {epochs: 1.5}", "`training.epochs` is 1.5; it should be a valid integer.", 5),
    "too small": ("training: {epochs: 0}", "`training.epochs` is 0; it should be greater than or equal to 1.", 5),
    "quoted number": ("training: {epochs: '3'}", "`training.epochs` is '3'; it should be a valid integer.", 5),
    "infinite": ("training: {learning_rate: .inf}", "`training.learning_rate` is inf; it should be a finite number.", 5),
    "no such choice": ("model: {cell: lstmm}", "`model.cell` is 'lstmm'; it should be 'lstm', 'gru' or 'simple_rnn'.", 5),
    "no units": ("model: {units: []}", "`model.units` is []; it should have at least 1 item.", 5),
    "zero units": ("model: {units: [4, 0]}", "`model.units` is 0; it should be greater than or equal to 1.", 5),
    "dropout of 1": ("model: {dropout: 1.0}", "`model.dropout` is 1.0; it should be less than 1.", 5),
    "border above 1": (
        "splits: {test: 1.5}",
        "`splits.test` is 1.5; it must be a fraction between 0 and 1, a number of steps",
        5,
    ),
    "border is no date": ("splits: {test: spring}", "`splits.test` is 'spring'; it must be a fraction", 5),
    "end is no date": ("splits: {end: 12}", "`splits.end` is 12; it must be a date such as 2015-01-31", 5),
    "range upside down": ("scaling: {range: [1, 0]}", "`scaling.range` is [1, 0]; the first number must be below the second.", 5),
    "range of three": ("scaling: {range: [0, 1, 2]}", "`scaling.range` is [0, 1, 2]", 5),
    "section is a number": ("model: 5", "`model` is 5", 5),
    "bad name": ("name: a/b", "`name` is 'a/b'; it must start with a letter", 5),
    "range of text": ("scaling: {range: [a, 1]}", "`scaling.range` is 'a'; it should be a valid number.", 5),
    "date with offset": ("splits: {test: 2020-01-01T00:00+01:00}", "it must be a local time, without a UTC offset", 5),
    "key is a number": ("5: 3", "the key `5` is not text", 5),
    "name of another section": ("epochs: 3", "unknown key `epochs`.\n  Did you mean `training.epochs`?", 5),
    "huge": ("training: {epochs: 1" + "0" * 30 + "}", "it should be less than or equal to 1000000000", 5),
    "nothing in a section": ("model:", "`model` is None; it should be a section with keys of its own.\n  model: The network.", 5),
}


@pytest.mark.parametrize(("extra", "message", "line"), PROBLEMS.values(), ids=PROBLEMS.keys())
def test_wrong_keys_and_values(tmp_path, extra, message, line):
    text = GOOD.replace("  lookback: 12", "  lookback: 12\n  lokback: 3") if "lokback" in extra else GOOD + extra + "\n"
    with pytest.raises(ConfigError, match="config.yaml") as caught:
        load_config(write(tmp_path, text))
    assert message in str(caught.value)
    assert f"config.yaml:{4 if 'lokback' in extra else line}:" in str(caught.value)


def test_all_errors_at_once(tmp_path):
    with pytest.raises(ConfigError, match="horizon") as caught:
        load_config(write(tmp_path, GOOD.replace("horizon: 3", "horizn: 3") + "training: {epochs: 0, batch_sise: 3}\n"))
    for told in ("`windows.horizn`", "`windows.horizon` is missing", "`training.epochs` is 0", "`training.batch_sise`"):
        assert told in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: [", "is not YAML"),
        ("- a\n- b\n", "is not a mapping"),
        ("", "is not a mapping"),
        ("a: &x 1\nb: *x\n", "is not a mapping of keys to values, or uses YAML aliases"),
        (GOOD + "windows: {lookback: 3, horizon: 1}\n", "`windows` is given twice"),
        ("data: !!python/object/apply:os.system [id]\n", "is not YAML: could not determine a constructor"),
    ],
    ids=["unclosed", "list", "empty", "alias", "twice", "code"],
)
def test_broken_files(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path, text))


def test_missing_file_names_its_neighbour(tmp_path):
    write(tmp_path, GOOD)
    with pytest.raises(ConfigError, match=r"no such config file.\n  Did you mean `config.yaml`\?"):
        load_config(tmp_path / "confg.yaml")


def test_overrides_win_and_are_named_in_errors(tmp_path):
    path = write(tmp_path, GOOD)
    assert load_config(path, parse_overrides(["training.epochs=5", "windows.lookback=9"])).windows.lookback == 9
    with pytest.raises(ConfigError, match=r"--set training.epochs=many: `training.epochs` is 'many'"):
        load_config(path, {"training.epochs": "many"})
    with pytest.raises(ConfigError, match=r"--set training.epoch=5: unknown key `training.epoch`.\n  Did you mean `epochs`\?"):
        load_config(path, {"training.epoch": 5})
    with pytest.raises(ConfigError, match="--set epochs has no key and value"):
        parse_overrides(["epochs"])


def test_resolved_config_reads_back_equal(tmp_path):
    names = ["09", "1e5", "1e-3", "yes", "null", "2015-01-31", "~", "a: b", "é"]
    config = load_config(write(tmp_path, GOOD + "splits: {test: 2015-01-31}\n"), {"data.target": names})
    again = load_config(write(tmp_path, config.to_yaml()))
    assert again.model_dump() == config.model_dump()
