from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from tessera.astronomy.density_files import DensityReader, log_density
from tessera.core.data.case import Case, FileRef, Reader
from tessera.core.data.geometry import Pixels
from tessera.core.errors import DataError


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    path = tmp_path / "maps" / "fields.npz"
    path.parent.mkdir()
    maps = np.zeros((3, 4, 5), dtype=np.uint8)
    maps[1] = 255
    maps[2, 3, 1] = 51
    np.savez_compressed(path, field=maps, sim_id=np.array([0, 7, 12]))
    return path


def test_bytes_become_logarithms_of_the_density() -> None:
    values = 10.0 ** log_density(np.array([0, 255, 51], dtype=np.uint8))
    # 51 is a fifth of the way from 0.5 to 1000 on a logarithmic scale
    assert values == pytest.approx([0.5, 1000, 0.5**0.8 * 1000**0.2], rel=1e-6)


def test_a_row_is_a_map(packed: Path) -> None:
    reader = DensityReader()
    assert isinstance(reader, Reader)
    cases = reader.find(packed.parent)
    assert [case.id for case in cases] == ["fields/0000", "fields/0007", "fields/0012"]
    assert [case.select["row"] for case in cases] == [0, 1, 2]
    assert [case.group for case in cases] == ["0000", "0007", "0012"]
    assert reader.find(packed) == cases
    source = reader.open(cases[2])
    assert source.grid == Pixels((4, 5))
    values = source.read()["input"].numpy()
    assert values.shape == (1, 4, 5) and values.dtype == np.float32
    assert np.argwhere(values > np.log10(0.5) + 0.01).tolist() == [[0, 3, 1]]
    assert (reader.open(cases[1]).read()["input"].numpy() == 3.0).all()


def test_a_changed_file_is_read_again(packed: Path) -> None:
    reader = DensityReader()
    case = reader.find(packed)[0]
    assert reader.open(case).read()["input"].max() < 0
    np.savez(packed, field=np.full((3, 2, 2), 255, dtype=np.uint8))
    assert reader.open(case).read()["input"].numpy().tolist() == [[[3.0, 3.0], [3.0, 3.0]]]


def test_a_fits_file_is_one_map_as_stored(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(6, 7)).astype(np.float32)
    fits.PrimaryHDU(values).writeto(tmp_path / "a.fits")
    fits.HDUList(
        [fits.PrimaryHDU(), fits.CompImageHDU(values[None], compression_type="GZIP_1", quantize_level=0)]
    ).writeto(tmp_path / "b.fits")
    reader = DensityReader()
    cases = reader.find(tmp_path)
    assert [case.id for case in cases] == ["a.fits", "b.fits"]
    for case in cases:
        assert np.array_equal(reader.open(case).read()["input"].numpy()[0], values)


def bad_row(path: Path) -> Case:
    return Case(id="x", files={"image": FileRef(path=path)}, select={"row": 3}, group="x")


def test_what_is_no_map_is_refused_for_its_reason(packed: Path, tmp_path: Path) -> None:
    reader = DensityReader()
    with pytest.raises(DataError, match="row 3"):
        reader.open(bad_row(packed))
    with pytest.raises(DataError, match="no file or folder"):
        reader.find(tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.txt").write_text("no map")
    with pytest.raises(DataError, match="1 other files"):
        reader.find(empty)
    other = tmp_path / "other.npz"
    np.savez(other, images=np.zeros((2, 3)))
    with pytest.raises(DataError, match="an array 'field'"):
        reader.find(other)
    np.savez(other, field=np.zeros((2, 3, 3)))
    with pytest.raises(DataError, match="float64"):
        reader.find(other)
    other.write_bytes(packed.read_bytes()[:100])
    with pytest.raises(DataError, match=r"cannot read .*other\.npz"):
        reader.find(other)
    missing = bad_row(tmp_path / "gone.npz")
    with pytest.raises(DataError, match=r"cannot read .*gone\.npz"):
        reader.open(missing)


def test_a_fits_file_without_one_map_is_refused(tmp_path: Path) -> None:
    reader = DensityReader()
    several = [fits.PrimaryHDU(np.zeros((2, 2))), fits.ImageHDU(np.zeros((2, 2)))]
    for name, units, message in (
        ("two", several, "no single map"),
        ("cube", [fits.PrimaryHDU(np.zeros((2, 3, 4)))], "no single map"),
    ):
        path = tmp_path / f"{name}.fits"
        fits.HDUList(units).writeto(path)
        with pytest.raises(DataError, match=message):
            reader.open(reader.find(path)[0])
    path = tmp_path / "none.fits"
    path.write_text("nothing")
    with pytest.raises(DataError, match="cannot read"):
        reader.open(reader.find(path)[0])
