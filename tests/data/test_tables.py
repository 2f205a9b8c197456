"""Files in other formats hold the same rows."""

from __future__ import annotations

import bz2
import gzip
import lzma

import numpy as np
import pandas as pd
import pytest

from forecast.commands.init import init
from forecast.config.load import load_config
from forecast.data.panel import read_panel
from tests.conftest import seasonal_rows, write_project

PACK = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


@pytest.mark.parametrize("suffix", PACK)
def test_a_compressed_file_holds_the_same_rows(suffix, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plain = read_panel(load_config(write_project(tmp_path)).data)
    packed = tmp_path / f"data.csv{suffix}"
    packed.write_bytes(PACK[suffix]((tmp_path / "data.csv").read_bytes()))
    config = init(packed)
    assert config.name == "data.yaml"
    assert np.array_equal(read_panel(load_config(config).data).values, plain.values)


def test_an_excel_file_holds_the_same_rows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plain = read_panel(load_config(write_project(tmp_path)).data)
    months = pd.date_range("2010-01-01", periods=120, freq="MS")
    pd.DataFrame({"month": months, "sales": seasonal_rows()}).to_excel("book.xlsx", index=False)
    panel = read_panel(load_config(init("book.xlsx")).data)
    assert panel.timestamps.equals(plain.timestamps)
    assert np.allclose(panel.values, plain.values, rtol=1e-12)


def test_a_file_that_only_seems_to_be_compressed_is_refused(tmp_path):
    (tmp_path / "data.csv.gz").write_text("month,sales\n")
    from forecast.errors import DataError

    with pytest.raises(DataError, match="data.csv.gz: the file cannot be read"):
        init(tmp_path / "data.csv.gz", tmp_path / "a.yaml")
