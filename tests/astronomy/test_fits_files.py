"""Boxes of FITS images equal what astropy reads of the whole, and memory does not grow with the image."""

from __future__ import annotations

import gzip
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import pytest
from astropy.io import fits
from astropy.table import Table

from tessera.astronomy import fits_files
from tessera.astronomy.fits_files import FitsFile, OpenFiles, is_fits_table, scan
from tessera.core.errors import DataError

from .sky_files import pattern, sky_header, write_image

ROWS, COLUMNS = slice(3, 17), slice(5, 29)
SHAPE = (30, 40)


def values_of(path: Path, hdu: int = 0) -> npt.NDArray[Any]:
    file = FitsFile(path)
    image = next(image for image in file.images if image.hdu == hdu)
    try:
        return file.read(image, ROWS, COLUMNS)
    finally:
        file.close()


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "i8", "f4", "f8", "u2", "u4"])
def test_every_kind_of_number_is_read_as_astropy_does(tmp_path: Path, dtype: str) -> None:
    values = (pattern(SHAPE) % 251).astype(dtype)
    path = write_image(tmp_path / "a.fits", values)
    expected = fits.getdata(path)[ROWS, COLUMNS].astype(np.float32)
    np.testing.assert_array_equal(values_of(path), expected)
    assert values_of(path).dtype == np.float32
    np.testing.assert_array_equal(expected, values[ROWS, COLUMNS])


def test_scaled_and_blank_whole_numbers_become_physical_values(tmp_path: Path) -> None:
    raw = (pattern(SHAPE) % 251).astype(np.int16)
    unit = fits.PrimaryHDU(raw)
    unit.header["BSCALE"], unit.header["BZERO"], unit.header["BLANK"] = 0.25, 3.0, 130
    path = tmp_path / "a.fits"
    path.write_bytes(_bytes_as_given(unit, raw))
    expected = fits.getdata(path)[ROWS, COLUMNS]
    assert 0 < np.isnan(expected).sum() < expected.size
    np.testing.assert_array_equal(values_of(path), expected.astype(np.float32))
    np.testing.assert_array_equal(values_of(path)[0, 0], raw[3, 5] * 0.25 + 3)


def _bytes_as_given(unit: fits.PrimaryHDU, raw: npt.NDArray[Any]) -> bytes:
    """Header and numbers without astropy's own scaling."""
    header = unit.header.tostring().encode()
    data = raw.astype(">i2").tobytes()
    return header + data + b"\0" * (-len(data) % fits_files.BLOCK)


def test_infinite_values_become_nan(tmp_path: Path) -> None:
    values = pattern(SHAPE).astype(np.float64)
    values[4, 6], values[5, 7], values[6, 8] = np.inf, -np.inf, 1e300
    found = values_of(write_image(tmp_path / "a.fits", values))
    assert np.isnan(found).sum() == 3


@pytest.mark.parametrize("kind", ["RICE_1", "GZIP_2", "PLIO_1", "HCOMPRESS_1"])
def test_compressed_tiles_are_read_as_astropy_does(tmp_path: Path, kind: str) -> None:
    values = (pattern(SHAPE) % 251).astype(np.int16)
    path = tmp_path / "a.fits.fz"
    unit = fits.CompImageHDU(values, sky_header(SHAPE), name="R", compression_type=kind, tile_shape=(16, 16))
    fits.HDUList([fits.PrimaryHDU(), unit]).writeto(path)
    np.testing.assert_array_equal(values_of(path, 1), values[ROWS, COLUMNS])
    (_, image) = scan(path)
    assert (image.name, image.shape, image.packed) == ("R", SHAPE, True)
    assert image.grid.has_wcs


def test_nan_of_compressed_numbers_stay_nan(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    values[4, 6] = np.nan
    path = tmp_path / "a.fits.fz"
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(values, quantize_level=16)]).writeto(path)
    found = values_of(path, 1)
    assert np.isnan(found[1, 1])
    np.testing.assert_array_equal(found, fits.getdata(path, 1)[ROWS, COLUMNS])


def test_a_gzipped_file_is_read_like_a_plain_one(tmp_path: Path) -> None:
    plain = write_image(tmp_path / "a.fits", pattern(SHAPE))
    packed = tmp_path / "a.fits.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    np.testing.assert_array_equal(values_of(packed), pattern(SHAPE)[ROWS, COLUMNS])
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(DataError, match="cannot read"):
        scan(packed)


def test_cubes_and_extensions_are_listed_with_their_names(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.fits", planes={"G": pattern((1, 2, 4, 5)), "R": pattern((4, 5))})
    names = [(image.hdu, image.name, image.shape) for image in scan(path)]
    assert names == [(0, "", ()), (1, "G", (2, 4, 5)), (2, "R", (4, 5))]
    file = FitsFile(path)
    box = slice(1, 3), slice(0, 5)
    np.testing.assert_array_equal(file.read(file.images[1], *box), pattern((2, 4, 5))[:, 1:3])
    np.testing.assert_array_equal(file.read(file.images[1], *box, plane=1), pattern((2, 4, 5))[1, 1:3])
    file.close()


def test_a_file_cut_short_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.fits", pattern((64, 64)))
    whole = path.read_bytes()
    for keep in (len(whole) // 2, 2880 + 100, 1000):
        path.write_bytes(whole[:keep])
        with pytest.raises(DataError, match="ends early") as caught:
            FitsFile(path)
        assert "copy or download" in str(caught.value)
    path.write_bytes(whole[: 2880 + 64 * 64 * 4])  # without what fills the last record
    np.testing.assert_array_equal(values_of(path), pattern((64, 64))[ROWS, COLUMNS])


@pytest.mark.parametrize("content", [b"", b"P5 2 2 255\n....", b"SIMPLE  = not really" * 300])
def test_what_is_no_fits_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.fits"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.fits"):
        scan(path)
    with pytest.raises(DataError, match="there is no file"):
        scan(tmp_path / "b.fits")


def test_damaged_tiles_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.fits.fz"
    unit = fits.CompImageHDU(pattern(SHAPE).astype(np.int32), compression_type="GZIP_1", tile_shape=SHAPE)
    fits.HDUList([fits.PrimaryHDU(), unit]).writeto(path)
    content = bytearray(path.read_bytes())
    start = content.index(b"\x1f\x8b")
    content[start : start + 200] = b"\xff" * 200
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot unpack"):
        values_of(path, 1)


def test_tables_are_told_from_images(tmp_path: Path) -> None:
    Table({"id": ["a"]}).write(tmp_path / "table.fits")
    write_image(tmp_path / "image.fits", pattern((3, 4)))
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(pattern((3, 4)))]).writeto(tmp_path / "tiles.fits")
    found = [
        is_fits_table(tmp_path / name) for name in ("table.fits", "image.fits", "tiles.fits", "none.fits")
    ]
    assert found == [True, False, False, False]
    assert [image.shape for image in scan(tmp_path / "table.fits")] == [()]


def test_files_stay_open_for_the_next_and_are_few(tmp_path: Path) -> None:
    paths = [write_image(tmp_path / f"{n}.fits", pattern((4, 5))) for n in range(4)]
    files = OpenFiles(most=2)
    first = files.take(paths[0])
    assert files.take(paths[0]) is first
    files.give_back(first)
    for path in paths[1:]:
        files.give_back(files.take(path))
    # still in use, so still open
    np.testing.assert_array_equal(first.read(first.images[0], slice(0, 4), slice(0, 5)), pattern((4, 5)))
    assert len(files._files) == 2
    files.give_back(first)
    again = pickle.loads(pickle.dumps(files))
    assert (again.most, len(again._files)) == (2, 0)


def test_a_file_that_was_exchanged_is_opened_anew(tmp_path: Path) -> None:
    files = OpenFiles()
    path = write_image(tmp_path / "a.fits", pattern((4, 5)))
    files.give_back(files.take(path))
    write_image(path, 2 * pattern((6, 5)))
    file = files.take(path)
    assert file.images[0].shape == (6, 5)
    file.close()


def test_several_threads_read_the_same_file(tmp_path: Path) -> None:
    values = (pattern((64, 64)) % 1000).astype(np.int32)
    path = tmp_path / "a.fits"
    fits.HDUList([fits.PrimaryHDU(values), fits.CompImageHDU(values, tile_shape=(16, 16))]).writeto(path)
    file = FitsFile(path)

    def read(number: int) -> bool:
        image, at = file.images[number % 2], number % 40
        box = slice(at, at + 20), slice(40 - at, 60 - at)
        return np.array_equal(file.read(image, *box), values[box])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, range(200)))
    file.close()


@pytest.mark.skipif(
    not hasattr(psutil.Process(), "num_fds"), reason="memory of mapped files is told on POSIX"
)
def test_memory_does_not_grow_with_what_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fits_files, "MAPPED_BYTES", 4 * 2**20)
    path = tmp_path / "mosaic.fits"
    side = 4096
    header = fits.PrimaryHDU(np.zeros((1, 1), np.float32)).header
    header["NAXIS1"] = header["NAXIS2"] = side
    with path.open("wb") as stream:  # 64 MiB of zeros that need no room on the disk
        stream.write(header.tostring().encode())
        stream.truncate(2880 + side * side * 4)
    file = FitsFile(path)
    before = psutil.Process().memory_info().rss
    most = 0
    for row in range(0, side, 64):
        file.read(file.images[0], slice(row, row + 64), slice(0, 64))
        most = max(most, psutil.Process().memory_info().rss - before)
    file.close()
    assert most < 24 * 2**20
