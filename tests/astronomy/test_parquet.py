from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
from astropy.table import MaskedColumn, Table

from tessera.astronomy.parquet import read_parquet, write_parquet


def test_types_units_and_masked_values_come_back(tmp_path: Path) -> None:
    table = Table({"id": ["a", "bé", ""], "n": np.array([1, 2, 3], dtype=">i4"), "ok": [True, False, True]})
    table["z"] = MaskedColumn([0.1, 0.2, 0.3], mask=[False, True, False], unit="km / s", description="speed")
    table["k"] = MaskedColumn([1, 2, 3], mask=[True, False, False])
    table["ok2"] = MaskedColumn([True, True, False], mask=[True, False, False])
    write_parquet(table, tmp_path / "a.parquet")
    found = read_parquet(tmp_path / "a.parquet")
    assert found.colnames == table.colnames
    assert found["id"].tolist() == ["a", "bé", ""]
    assert found["n"].tolist() == [1, 2, 3]
    assert found["ok"].dtype == bool
    assert found["z"].mask.tolist() == [False, True, False]
    assert (str(found["z"].unit), found["z"].description) == ("km / s", "speed")
    assert found["k"].tolist() == [None, 2, 3]
    assert found["k"].dtype.kind == "i"
    assert found["ok2"].tolist() == [None, True, False]
    plain = pyarrow.parquet.read_table(tmp_path / "a.parquet").to_pydict()
    assert plain["z"] == [0.1, None, 0.3]


def test_lists_and_categories_of_other_programs_are_read(tmp_path: Path) -> None:
    columns = {"names": pyarrow.array(["x", "y", "x"]).dictionary_encode(), "pairs": [[1, 2], [3], []]}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    found = read_parquet(tmp_path / "a.parquet")
    assert found["names"].tolist() == ["x", "y", "x"]
    assert [len(pair) for pair in found["pairs"]] == [2, 1, 0]
