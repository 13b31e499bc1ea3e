"""Files of a folder become images; mosaics are found by their headers alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from PIL import Image

from tessera.astronomy.image_files import ImageFiles, Mosaics, find_images, stem, unit_vectors
from tessera.astronomy.input_config import SkyInput
from tessera.core.errors import DataError

from .sky_files import DEC, RA, SCALE_DEG, pattern, position_of, sky_header, write_image

SHAPE = (60, 80)


def test_images_of_all_kinds_are_found_and_tables_left_out(tmp_path: Path) -> None:
    for name in ("b.fits", "sub/a.FIT", "c.fits.fz", "._c.fits"):
        write_image(tmp_path / name, pattern((3, 4)))
    Image.fromarray(np.zeros((3, 4), dtype=np.uint8)).save(tmp_path / "d.JPG")
    Table({"id": ["x"]}).write(tmp_path / "truth.fits")
    (tmp_path / "notes.txt").write_text("no image", encoding="utf-8")
    found = find_images(tmp_path)
    assert [image.name for image in found] == ["b.fits", "c.fits.fz", "d.JPG", "sub/a.FIT"]
    assert [image.stem for image in found] == ["b", "c", "d", "a"]
    assert stem(Path("x.y.fits.gz")) == "x.y"


def test_one_file_a_band_is_one_image_in_the_bands_order(tmp_path: Path) -> None:
    for name in ("m31_g.fits", "m31_R.fits", "m31_i.fits.fz", "m33-g.fits", "big_dog.fits"):
        write_image(tmp_path / name, pattern((3, 4)))
    found = find_images(tmp_path, bands=("i", "r", "g"))
    assert [(image.name, [file.name for file in image.files], image.bands) for image in found] == [
        ("big_dog.fits", ["big_dog.fits"], ()),
        ("m31", ["m31_i.fits.fz", "m31_R.fits", "m31_g.fits"], ("i", "r", "g")),
        ("m33", ["m33-g.fits"], ("g",)),
    ]
    write_image(tmp_path / "m31.g.fits", pattern((3, 4)))
    with pytest.raises(DataError, match="two files for band g of m31"):
        find_images(tmp_path, bands=("i", "r", "g"))


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images in"):
        find_images(tmp_path)
    with pytest.raises(DataError, match="there is no file or folder"):
        find_images(tmp_path / "none")


def mosaics(folder: Path, **options: object) -> Mosaics:
    """Two mosaics side by side, overlapping by a fifth, one at the far side of the sky, one without WCS."""
    east = RA + 0.8 * SHAPE[1] * SCALE_DEG / np.cos(np.radians(DEC))
    for name, ra in (("a", RA), ("b", east), ("far", RA - 180)):
        write_image(folder / f"{name}.fits", pattern(SHAPE), header=sky_header(SHAPE, ra=ra, kind="sip"))
    write_image(folder / "bare.fits", pattern(SHAPE))
    write_image(folder / "galactic.fits", pattern(SHAPE), header=sky_header(SHAPE, kind="galactic"))
    return Mosaics(find_images(folder), SkyInput(**options))  # type: ignore[arg-type]


def test_each_position_finds_the_mosaic_with_most_of_its_cut_out(tmp_path: Path) -> None:
    found = mosaics(tmp_path)
    names = [footprint.image.name for footprint in found.footprints]
    assert names == ["a.fits", "b.fits", "far.fits"]
    assert len(found.unusable) == 2
    rng = np.random.default_rng(0)
    positions = np.array([RA, DEC]) + SCALE_DEG * rng.uniform(-120, 120, (400, 2))
    numbers, shares = found.place(positions, side_px=11)
    best = np.zeros((400, 2))
    for number, footprint in enumerate(found.footprints[:2]):
        wcs = footprint.wcs
        for row, (ra, dec) in enumerate(positions.tolist()):
            x, y = wcs.all_world2pix([[ra, dec]], 0)[0]
            inside = np.zeros(SHAPE)
            first = np.ceil(np.array([y, x]) - 5.5).astype(int)
            inside[max(0, first[0]) : max(0, first[0] + 11), max(0, first[1]) : max(0, first[1] + 11)] = 1
            best[row, number] = inside.sum() / 121
    assert 0.1 < (best.max(axis=1) > 0).mean() < 0.9
    np.testing.assert_allclose(shares, best.max(axis=1))
    np.testing.assert_array_equal(numbers, np.where(best.max(axis=1) > 0, best.argmax(axis=1), -1))


def test_the_size_of_a_cut_out_follows_the_options(tmp_path: Path) -> None:
    (first, *_) = mosaics(tmp_path, size_arcsec=3.0).footprints
    assert first.side_px(SkyInput(size_arcsec=3.0), 512) == round(3.0 / first.pixel_scale_arcsec)
    assert first.side_px(SkyInput(size_px=7), 512) == 7
    assert first.side_px(SkyInput(), 512) == 512


def test_pictures_and_broken_files_are_no_mosaics(tmp_path: Path) -> None:
    (tmp_path / "a.fits").write_bytes(b"SIMPLE  =")
    found = Mosaics(
        [ImageFiles("a", (tmp_path / "a.fits",)), ImageFiles("b", (tmp_path / "b.png",))], SkyInput()
    )
    assert not found.footprints
    assert "ends early" in found.unusable[0]
    assert "a picture" in found.unusable[1]


def test_a_map_of_the_whole_sky_is_reached_from_everywhere(tmp_path: Path) -> None:
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---CAR", "DEC--CAR"
    header["CRPIX1"], header["CRPIX2"], header["CRVAL1"], header["CRVAL2"] = 180.5, 90.5, 180.0, 0.0
    header["CDELT1"], header["CDELT2"] = -1.0, 1.0
    write_image(tmp_path / "a.fits", np.zeros((180, 360), dtype=np.float32), header=header)
    found = Mosaics(find_images(tmp_path), SkyInput())
    numbers, _ = found.place(np.array([[10.0, 80.0], [300.0, -85.0], [180.0, 0.0]]), side_px=3)
    assert numbers.tolist() == [0, 0, 0]


def test_unit_vectors_are_on_the_sphere() -> None:
    found = unit_vectors([[0, 0], [90, 0], [10, 90], position_of(sky_header(SHAPE), 0, 0)])
    np.testing.assert_allclose(found[:3], [[1, 0, 0], [0, 1, 0], [0, 0, 1]], atol=1e-15)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1)
