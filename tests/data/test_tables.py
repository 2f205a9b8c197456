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
from forecast.data.tables import read_typed
from forecast.errors import DataError
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


def test_text_such_as_na_is_empty_in_a_sheet_of_numbers_and_a_name_elsewhere(tmp_path):
    pd.DataFrame({"name": ["NA", "b"], "sales": ["NA", 2.5]}).to_excel(tmp_path / "book.xlsx", index=False)
    table = read_typed(tmp_path / "book.xlsx")
    assert table.name.tolist() == ["NA", "b"]
    assert table.sales.tolist() == [pytest.approx(np.nan, nan_ok=True), 2.5]


BROKEN = {
    "text": ("data.csv.gz", b"month,sales\n"),
    "half a gzip": ("data.csv.gz", gzip.compress(b"month,sales\n" * 1000)[:40]),
    "half an xz": ("data.csv.xz", lzma.compress(b"month,sales\n" * 1000)[:40]),
    "text as xz": ("data.csv.xz", b"month,sales\n"),
    "no book": ("book.xlsx", b"PK\x03\x04"),
}


@pytest.mark.parametrize(("name", "content"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_refused(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name}: the file cannot be read"):
        init(tmp_path / name, tmp_path / "a.yaml")
