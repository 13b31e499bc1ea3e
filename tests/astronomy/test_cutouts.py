"""Cut-outs are those of astropy's Cutout2D; bands are found by name, number or place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import Cutout2D, NoOverlapError
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.astronomy.cutouts import (
    Band,
    FitsPlanes,
    PicturePlanes,
    bands_of,
    box_around,
    coverage,
    read_box,
)
from tessera.astronomy.fits_files import FitsFile
from tessera.core.data.geometry import Region
from tessera.core.errors import DataError

from .sky_files import pattern, position_of, sky_header, write_image

SHAPE = (23, 31)


@settings(max_examples=200, deadline=None)
@given(
    st.tuples(st.floats(-20, 45), st.floats(-20, 55)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_boxes_are_those_of_cutout2d(centre: tuple[float, float], size: tuple[int, int]) -> None:
    values = pattern(SHAPE)
    box = box_around(centre, size)
    found = read_box(PicturePlanes(values[None]), box)[0]
    try:
        expected = Cutout2D(values, centre[::-1], size, mode="partial", fill_value=np.nan).data
    except NoOverlapError:
        assert np.isnan(found).all()
        assert coverage(box, SHAPE) == 0
        return
    np.testing.assert_array_equal(found, expected)
    assert coverage(box, SHAPE) == pytest.approx(np.isfinite(expected).mean())


def test_a_box_beside_the_image_is_empty_of_values() -> None:
    for start in ((-9, 0), (0, -9), (30, 0), (0, 40)):
        box = Region(start, (start[0] + 5, start[1] + 5))
        assert np.isnan(read_box(PicturePlanes(pattern((2, *SHAPE))), box)).all()


def bands(path: Path, **options: object) -> list[tuple[str, int | None, str | None]]:
    file = FitsFile(path)
    found = bands_of(file, **options)  # type: ignore[arg-type]
    file.close()
    return [(band.image.name, band.plane, None if band.mask is None else band.mask.name) for band in found]


def test_bands_come_in_the_order_asked_for(tmp_path: Path) -> None:
    plane = pattern((4, 5))
    path = write_image(tmp_path / "a.fits", planes={"G": plane, "R": plane, "I": plane, "WHT": plane})
    assert [name for name, *_ in bands(path)] == ["G", "R", "I"]
    assert [name for name, *_ in bands(path, names=("i", "g"))] == ["I", "G"]
    assert bands(path, hdu=2) == [("R", None, None)]
    assert bands(path, hdu="wht") == [("WHT", None, None)]
    assert bands(path, names=("x", "y")) == bands(path)  # not named after bands
    with pytest.raises(DataError, match="lacks bands") as caught:
        bands(path, names=("g", "z"))
    assert "1 G, 2 R, 3 I" in str(caught.value)
    with pytest.raises(DataError, match="no image 9"):
        bands(path, hdu=9)


def test_filters_name_bands_too(tmp_path: Path) -> None:
    units = [fits.PrimaryHDU()]
    for name in ("r.MP9601", "g.MP9401"):
        unit = fits.ImageHDU(pattern((4, 5)))
        unit.header["FILTER"] = name
        units.append(unit)
    fits.HDUList(units).writeto(tmp_path / "a.fits")
    file = FitsFile(tmp_path / "a.fits")
    assert [band.image.hdu for band in bands_of(file, names=("g", "r"))] == [2, 1]
    file.close()


def test_planes_of_a_cube_are_bands(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.fits", pattern((1, 3, 4, 5)))
    assert [plane for _, plane, _ in bands(path)] == [0, 1, 2]
    with pytest.raises(DataError, match="too many axes"):
        bands(write_image(tmp_path / "b.fits", pattern((2, 3, 4, 5))))


def test_masks_go_with_their_band_or_with_all(tmp_path: Path) -> None:
    plane, bits = pattern((4, 5)), np.zeros((4, 5), dtype=np.int32)
    path = write_image(tmp_path / "a.fits", planes={"G": plane, "R": plane, "MASK_R": bits, "DQ": bits})
    assert bands(path) == [("G", None, "DQ"), ("R", None, "MASK_R")]
    assert bands(path, masked=False) == [("G", None, None), ("R", None, None)]
    path = write_image(tmp_path / "b.fits", planes={"SCI": plane, "ERR": plane, "OTHER": plane, "DQ": bits})
    assert bands(path) == [("SCI", None, "DQ")]


def test_masked_pixels_are_nan_by_the_bits_asked_for(tmp_path: Path) -> None:
    bits = np.zeros((4, 5), dtype=np.uint16)
    bits[1, 2], bits[3, 4] = 1, 2 | 2**15
    path = write_image(tmp_path / "a.fits", planes={"SCI": pattern((4, 5)), "MASK": bits})
    file = FitsFile(path)
    for chosen, expected in ((None, [[1, 2], [3, 4]]), (1, [[1, 2]]), (2**15, [[3, 4]]), (4, [])):
        found = FitsPlanes(bands_of(file), mask_bits=chosen).read(slice(0, 4), slice(0, 5))
        assert np.argwhere(np.isnan(found[0])).tolist() == expected
    part = FitsPlanes(bands_of(file)).read(slice(1, 3), slice(2, 4))
    assert np.argwhere(np.isnan(part[0])).tolist() == [[0, 0]]
    file.close()


@pytest.mark.parametrize(("mask", "words"), [(np.zeros((4, 6)), "does not fit"), (None, "which is empty")])
def test_a_mask_that_is_empty_or_of_another_size_is_refused(
    tmp_path: Path, mask: np.ndarray | None, words: str
) -> None:
    path = tmp_path / "a.fits"
    fits.HDUList([fits.PrimaryHDU(pattern((4, 5))), fits.ImageHDU(mask, name="MASK")]).writeto(path)
    with pytest.raises(DataError, match="the mask does not fit") as caught:
        bands(path)
    assert words in str(caught.value)


def test_an_image_without_pixels_is_refused(tmp_path: Path) -> None:
    header = fits.PrimaryHDU(pattern((4, 5))).header
    header["NAXIS1"] = 0
    path = tmp_path / "a.fits"
    path.write_bytes(header.tostring().encode())
    with pytest.raises(DataError, match="holds no pixels") as caught:
        bands(path)
    assert "4 x 0" in str(caught.value)
    fits.PrimaryHDU().writeto(tmp_path / "b.fits")
    with pytest.raises(DataError, match="holds no image"):
        bands(tmp_path / "b.fits")


def test_bands_of_different_sizes_or_places_are_refused(tmp_path: Path) -> None:
    files = [FitsFile(write_image(tmp_path / "g.fits", pattern((40, 50)), header=sky_header((40, 50))))]
    shifted = sky_header((40, 50))
    for name, shift in (("near", 0.3), ("far", 1.0)):
        shifted["CRPIX1"] = sky_header((40, 50))["CRPIX1"] + shift
        files.append(FitsFile(write_image(tmp_path / f"{name}.fits", pattern((40, 50)), header=shifted)))
    files.append(FitsFile(write_image(tmp_path / "small.fits", pattern((40, 49)))))
    first, near, far, small = (Band(file, file.images[0]) for file in files)
    ra, dec = position_of(sky_header((40, 50)), 11.0, 30.0)
    assert FitsPlanes([first, near]).centre(ra, dec) == pytest.approx((11, 30), abs=1e-6)
    with pytest.raises(DataError, match="different grids"):
        FitsPlanes([first, near, far]).centre(ra, dec)
    with pytest.raises(DataError, match="different sizes"):
        FitsPlanes([first, small])
    for file in files:
        file.close()
