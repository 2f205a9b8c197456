"""Mutated configs and files never end in anything but a result or a `ForecastError`, and no unknown key slips through.

FUZZ_EXAMPLES sets how many mutations each test tries (60 by default).
"""

from __future__ import annotations

import copy
import os

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forecast.config.load import load_config
from forecast.config.schema import Config, DataConfig
from forecast.config.yaml12 import Dumper
from forecast.data.panel import read_panel
from forecast.errors import ConfigError, ForecastError

FUZZ = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "60")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
GOOD = Config.model_validate(
    {"data": {"path": "a.csv", "timestamp": "t", "target": ["y", "z"]}, "windows": {"lookback": 12, "horizon": "7d"}}
).model_dump()
SECTIONS = [None, *(name for name, value in GOOD.items() if isinstance(value, dict)), "training.early_stopping"]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["7d", "2020-01-01", "1e-3", "0x1", "yes"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def written(values: dict) -> str:
    """As YAML 1.2, so that text which looks like a number stays text."""
    return yaml.dump(values, Dumper=Dumper)


def load(folder, text: str):
    path = folder / "config.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return load_config(path)


def section_of(values: dict, name: str | None) -> dict:
    for part in name.split(".") if name else []:
        values = values[part]
    return values


@FUZZ
@given(section=st.sampled_from(SECTIONS), key=st.from_regex(r"[a-z_]{1,12}", fullmatch=True), value=VALUES)
def test_no_unknown_key_is_accepted(tmp_path, section, key, value):
    values = copy.deepcopy(GOOD)
    target = section_of(values, section)
    if key in target:
        return
    target[key] = value
    with pytest.raises(ConfigError, match="config.yaml") as caught:
        load(tmp_path, written(values))
    assert f"unknown key `{section + '.' if section else ''}{key}`" in str(caught.value)


@FUZZ
@given(section=st.sampled_from(SECTIONS), data=st.data(), value=VALUES, drop=st.booleans())
def test_any_value_is_read_or_refused(tmp_path, section, data, value, drop):
    values = copy.deepcopy(GOOD)
    target = section_of(values, section)
    key = data.draw(st.sampled_from(sorted(target)))
    target[key] = value
    if drop:
        del target[key]
    try:
        config = load(tmp_path, written(values))
    except ConfigError as error:
        assert "config.yaml" in str(error)
    else:
        again = load(tmp_path, config.to_yaml())
        assert again.model_dump() == config.model_dump()


@FUZZ
@given(data=st.data(), edits=st.integers(1, 4))
def test_any_text_is_read_or_refused(tmp_path, data, edits):
    text = written(GOOD)
    for _ in range(edits):
        place = data.draw(st.integers(0, len(text)))
        end = place + data.draw(st.sampled_from([0, 0, 1, 5, 40]))
        text = (
            text[:place]
            + data.draw(st.text(max_size=4) | st.sampled_from(["\t", "- ", ": ", "{", "&a ", "*a", "<<: ", "!!x "]))
            + text[end:]
        )
    try:
        load(tmp_path, text)
    except ConfigError as error:
        assert "config.yaml" in str(error)


STAMPS = pd.date_range("2020-01-01", periods=40)
LINES = ["t,s,y,z"] + [
    f"{stamp:%Y-%m-%d},{name},{number},{number / 3:.3f}" for name in "ab" for number, stamp in enumerate(STAMPS)
]
CELLS = st.text(max_size=6) | st.sampled_from(
    ["", "NA", "inf", "1e400", "1,5", "-1e31", "31/12/2020", "2020-01-05T00:00Z", "0x10", '"']
)
POLICIES = {
    "duplicates": ["error", "first", "mean", "sum"],
    "missing_timestamps": ["error", "fill"],
    "missing_values": ["error", "interpolate", "forward", "season"],
    "freq": [None, "D", "W", "h"],
    "series_id": [None, "s"],
    "timezone": [None, "Europe/London"],
    "delimiter": [None, ",", ";"],
    "thousands": [None, ","],
    "resample": [None, {"freq": "W", "how": "mean"}],
}


@FUZZ
@given(data=st.data(), edits=st.integers(0, 4))
def test_any_file_is_read_whole_or_refused(tmp_path, data, edits):
    lines = list(LINES)
    for _ in range(edits):
        row = data.draw(st.integers(0, len(lines) - 1))
        what = data.draw(st.sampled_from(["cell", "drop", "repeat", "swap", "text", "delimiter"]))
        if what == "cell":
            cells = lines[row].split(",")
            cells[data.draw(st.integers(0, len(cells) - 1))] = data.draw(CELLS)
            lines[row] = ",".join(cells)
        elif what == "drop" and len(lines) > 1:
            del lines[row]
        elif what == "repeat":
            lines.insert(row, lines[row])
        elif what == "swap":
            lines[row], lines[-1] = lines[-1], lines[row]
        elif what == "text":
            lines.insert(row, data.draw(st.text(max_size=20)))
        else:
            lines = [line.replace(",", ";") for line in lines]
    keys = {key: data.draw(st.sampled_from(choices)) for key, choices in POLICIES.items()}
    path = tmp_path / "a.csv"
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    try:
        panel = read_panel(DataConfig(path=str(path), timestamp="t", target=["y", "z"], **keys))
    except ForecastError as error:
        assert "a.csv" in str(error)
    else:
        assert np.isfinite(panel.values).all()
        if not panel.record:  # nothing was merged, added or left out
            filled_lines = [line for line in "\n".join(lines).replace("\r", "\n").split("\n") if line.strip(",;")]
            assert len(panel.values) == len(filled_lines) - 1
        assert panel.offsets[-1] == len(panel.values) == len(panel.timestamps) == len(panel.filled)
        for begin, end in zip(panel.offsets[:-1], panel.offsets[1:], strict=True):
            steps = pd.date_range(panel.timestamps[begin], periods=end - begin, freq=panel.freq)
            assert panel.timestamps[begin:end].equals(steps)
