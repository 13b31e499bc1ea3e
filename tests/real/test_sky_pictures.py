"""Real stamps of galaxies are read as pictures, by folder and by catalogue."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from PIL import Image

from tessera.astronomy.input_config import SkyInput
from tessera.astronomy.readers import NON_PHOTOMETRIC, SkyReader

pytestmark = pytest.mark.real


def test_stamps_of_a_catalogue_are_read_as_they_are(real_data_root: Path, tmp_path: Path) -> None:
    folder = real_data_root / "efigi_galaxies"
    index = Table.read(folder / "index.csv", format="ascii.csv")[:40]
    index.write(tmp_path / "some.csv")
    reader = SkyReader(options=SkyInput(images=folder, id_column="path", path_column="path"))
    cases = reader.find(tmp_path / "some.csv")
    assert len(cases) == 40
    for case in cases:
        source = reader.open(case)
        sample = source.read()
        expected = np.asarray(Image.open(folder / case.id)).transpose(2, 0, 1)
        np.testing.assert_array_equal(sample["input"], expected)
        assert sample["flags"] == (NON_PHOTOMETRIC,)
        assert case.group.startswith("PGC")
        source.close()


def test_positions_of_unlabelled_stamps_are_understood(real_data_root: Path) -> None:
    folder = real_data_root / "efigi_galaxies"
    found = SkyReader(options=SkyInput(id_column="path")).find(folder / "unlabelled.csv")
    assert len(found) == 1510
    assert all(0 <= float(case.meta["ra_deg"]) <= 360 for case in found)
    assert not any("problem" in case.meta for case in found)
