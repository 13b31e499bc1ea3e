"""Folders and catalogues become cases; each bad row or file fails by itself, with a sentence."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.table import Table
from astropy.wcs import WCS
from PIL import Image

from tessera.astronomy.input_config import SkyInput
from tessera.astronomy.readers import NON_PHOTOMETRIC, PARTLY_OUTSIDE, UNUSABLE, SkyReader
from tessera.core.data.case import Case, FileRef, Reader, RemarkedSource
from tessera.core.data.geometry import Region
from tessera.core.errors import ConfigError, DataError

from .sky_files import pattern, position_of, sky_header, write_image

SHAPE = (60, 80)
HEADER = sky_header(SHAPE)


def config(*, size_px: int | None = None, bands: tuple[str, ...] = ()) -> Any:
    return SimpleNamespace(data=SimpleNamespace(bands=bands, size_px=size_px, target="label"))


def catalogue(path: Path, places: list[tuple[float, float]], **columns: Any) -> Path:
    """Rows at these indices (row, column) of the mosaic."""
    sky = [position_of(HEADER, *place) for place in places]
    ids = [f"g{number}" for number in range(len(places))]
    table = Table({"id": ids, "ra": [ra for ra, _ in sky], "dec": [dec for _, dec in sky]})
    for name, values in columns.items():
        table[name] = values
    table.write(path, overwrite=True)
    return path


def mosaic(folder: Path, name: str = "mosaic.fits") -> Path:
    return write_image(folder / "images" / name, pattern(SHAPE), header=HEADER)


def error_of(reader: SkyReader, case: Case) -> str:
    with pytest.raises(DataError) as caught:
        source = reader.open(case)
        try:
            source.read()
        finally:
            source.close()
    return caught.value.one_line()


def read(reader: SkyReader, case: Case) -> Any:
    source = reader.open(case)
    sample = source.read()
    source.close()
    return sample


# ---------------------------------------------------------------- files


def test_a_folder_has_a_case_a_file(tmp_path: Path) -> None:
    write_image(tmp_path / "b.fits", planes={"R": pattern((5, 6)), "G": 2 * pattern((5, 6))})
    write_image(tmp_path / "sub" / "a.fits", pattern((3, 5, 6)), header=sky_header((5, 6)))
    reader = SkyReader(config(bands=("g", "r")))
    assert isinstance(reader, Reader)
    first, second = reader.find(tmp_path)
    assert (first.id, first.group, second.id) == ("b.fits", "b", "sub/a.fits")
    source = reader.open(first)
    assert isinstance(source, RemarkedSource)
    sample = source.read()
    np.testing.assert_array_equal(sample["input"], [2 * pattern((5, 6)), pattern((5, 6))])
    part = source.read(Region((1, 2), (4, 5)))
    np.testing.assert_array_equal(part["input"], sample["input"][:, 1:4, 2:5])
    assert part["geometry"] == source.grid.crop(Region((1, 2), (4, 5)))
    assert (sample["flags"], source.remarks, source.channels) == ((), (), 2)
    with pytest.raises(ValueError, match="of an image of"):
        source.read(Region((0, 0), (6, 6)))
    source.close()
    assert "another number of bands; found: 3; expected: 2: g, r" in error_of(reader, second)


def test_one_file_a_band_is_one_case(tmp_path: Path) -> None:
    for place, band in enumerate("gri"):
        write_image(tmp_path / f"m31_{band}.fits", pattern((5, 6)) + 100 * place)
    write_image(tmp_path / "m32_g.fits", pattern((5, 6)))
    options = SkyInput(bands=("r", "i", "g"), one_file_a_band=True)
    reader = SkyReader(config(bands=("red", "infrared", "green")), options=options)
    whole, lacking = reader.find(tmp_path)
    assert whole.id == "m31"
    np.testing.assert_array_equal(read(reader, whole)["input"][:, 0, 0], [100.5, 200.5, 0.5])
    assert "m32 has another number of bands; found: 1" in error_of(reader, lacking)
    with pytest.raises(ConfigError, match="another number of bands"):
        SkyReader(config(bands=("g", "r")), options=options)


def test_several_images_in_one_of_several_files_are_refused(tmp_path: Path) -> None:
    refs = tuple(
        FileRef(path=write_image(tmp_path / name, planes={"A": pattern((5, 6)), "B": pattern((5, 6))}))
        for name in ("x.fits", "y.fits")
    )
    case = Case(id="x", files={"image": refs}, group="x")
    assert "holds several images" in error_of(SkyReader(), case)
    sample = read(SkyReader(options=SkyInput(hdu="b")), case)
    assert sample["input"].shape == (2, 5, 6)


def test_pictures_are_second_class(tmp_path: Path) -> None:
    values = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    Image.fromarray(values).save(tmp_path / "a.png")
    reader = SkyReader()
    (case,) = reader.find(tmp_path / "a.png")
    source = reader.open(case)
    assert source.remarks == (NON_PHOTOMETRIC,)
    sample = source.read()
    np.testing.assert_array_equal(sample["input"], values.transpose(2, 0, 1))
    assert sample["flags"] == (NON_PHOTOMETRIC,)
    assert not source.grid.has_wcs
    assert "another number of bands" in error_of(SkyReader(config(bands=("g",))), case)
    there = Case(id="a", files=case.files, select={"ra_deg": 1.0, "dec_deg": 2.0}, group="a")
    assert "no cut-out can be made from a picture" in error_of(reader, there)


def test_masked_pixels_are_nan_and_said(tmp_path: Path) -> None:
    bits = np.zeros((10, 10), dtype=np.uint8)
    bits[2, 3:8] = 4
    path = write_image(tmp_path / "a.fits", planes={"SCI": pattern((10, 10)), "DQ": bits})
    reader = SkyReader()
    (case,) = reader.find(path)
    source = reader.open(case)
    assert source.remarks == (UNUSABLE,)
    sample = source.read()
    assert int(sample["input"].isnan().sum()) == 5
    assert source.read(Region((3, 0), (10, 10)))["flags"] == ()
    source.close()
    assert not read(SkyReader(options=SkyInput(masks=False)), case)["input"].isnan().any()
    assert "too few usable pixels; found: 95.0 %" in error_of(
        SkyReader(options=SkyInput(min_coverage=0.96)), case
    )


@pytest.mark.parametrize("least", [0.0, 0.5])
def test_an_image_without_a_single_usable_pixel_fails(tmp_path: Path, least: float) -> None:
    nothing = np.full((4, 5), np.nan, dtype=np.float32)
    masked = {"SCI": pattern((4, 5)), "MASK": np.ones((4, 5), dtype=np.uint8)}
    reader = SkyReader(options=SkyInput(min_coverage=least))
    for path in (write_image(tmp_path / "a.fits", nothing), write_image(tmp_path / "b.fits", planes=masked)):
        (case,) = reader.find(path)
        assert "too few usable pixels; found: none" in error_of(reader, case)
        source = reader.open(case)
        with pytest.raises(DataError, match="too few"):
            _ = source.remarks
        source.close()


def test_damaged_files_fail_by_themselves(tmp_path: Path) -> None:
    whole = write_image(tmp_path / "good.fits", pattern((40, 50)))
    (tmp_path / "cut.fits").write_bytes(whole.read_bytes()[:5000])
    (tmp_path / "not.fits").write_text("a picture of a cat", encoding="utf-8")
    (tmp_path / "empty.fits").write_bytes(b"")
    reader = SkyReader()
    found = {case.id: case for case in reader.find(tmp_path)}
    assert "ends early" in error_of(reader, found["cut.fits"])
    assert "does not begin like a FITS file" in error_of(reader, found["not.fits"])
    assert "is empty" in error_of(reader, found["empty.fits"])
    assert read(reader, found["good.fits"])["input"].shape == (1, 40, 50)


# ---------------------------------------------------------------- catalogues


def test_rows_are_cut_from_a_mosaic_as_astropy_does(tmp_path: Path) -> None:
    mosaic(tmp_path)
    places = [(30.2, 40.7), (20.0, 9.0), (45.6, 60.4)]
    path = catalogue(tmp_path / "a.fits", places, label=["tidal", "", "none"], group=["x", "", "y"])
    reader = SkyReader(options=SkyInput(images=tmp_path / "images", size_px=15))
    cases = reader.find(path)
    assert [(c.id, c.group, c.targets.get("label")) for c in cases] == [
        ("g0", "x", "tidal"),
        ("g1", "g1", None),
        ("g2", "y", "none"),
    ]
    for case, (row, column) in zip(cases, places, strict=True):
        expected = Cutout2D(pattern(SHAPE), (column, row), 15, wcs=WCS(HEADER))
        source = reader.open(case)
        sample = source.read()
        np.testing.assert_array_equal(sample["input"][0], expected.data)
        grid = source.grid
        corner = expected.wcs.all_pix2world([[0, 0], [14, 3]], 0)
        np.testing.assert_allclose(grid.sky([[0, 0], [3, 14]]), corner, rtol=0, atol=1e-11)
        assert grid.source_size == SHAPE
        assert sample["flags"] == ()
        np.testing.assert_array_equal(
            source.read(Region((2, 3), (9, 8)))["input"], sample["input"][:, 2:9, 3:8]
        )
        source.close()


def test_a_position_in_the_middle_of_a_pixel_always_gives_the_same_box(tmp_path: Path) -> None:
    """The place comes back as 30 or 29.999999999, which ceil would tell apart."""
    mosaic(tmp_path)
    places = [(float(row), float(column)) for row in range(20, 40) for column in range(30, 50)]
    path = catalogue(tmp_path / "a.fits", places)
    reader = SkyReader(options=SkyInput(images=tmp_path / "images", size_px=4))
    cases = {case.id: case for case in reader.find(path)}
    for number, (row, column) in enumerate(places):
        source = reader.open(cases[f"g{number}"])
        assert source.grid.origin == (row - 2, column - 2)
        source.close()


def test_the_network_says_how_large_cut_outs_are_unless_a_person_does(tmp_path: Path) -> None:
    mosaic(tmp_path)
    path = catalogue(tmp_path / "a.fits", [(30.0, 40.0)])
    images = tmp_path / "images" / "mosaic.fits"
    for options, side in (({}, 9), ({"size_px": 7}, 7), ({"size_arcsec": 2.0}, 10)):
        reader = SkyReader(config(size_px=9), options=SkyInput(images=images, **options))
        (case,) = reader.find(path)
        assert read(reader, case)["input"].shape == (1, side, side)


def test_a_cut_out_half_outside_is_padded_or_fails(tmp_path: Path) -> None:
    mosaic(tmp_path)
    path = catalogue(tmp_path / "a.fits", [(30.0, 1.0), (0.0, 0.0), (30.0, 90.0), (30.0, 200.0)])
    reader = SkyReader(options=SkyInput(images=tmp_path / "images", size_px=21, min_coverage=0.5))
    edge, corner, beside, far = reader.find(path)
    source = reader.open(edge)
    assert source.remarks == (PARTLY_OUTSIDE,)
    sample = source.read()
    assert sample["input"].isnan().all(dim=1)[0].tolist() == [True] * 9 + [False] * 12
    source.close()
    assert "too near to the edge" in error_of(reader, corner)
    assert "27.4 %" in error_of(reader, corner)
    for case in (beside, far):
        assert "is outside every image; the middle of the nearest, mosaic.fits, is" in error_of(reader, case)
    loose = SkyReader(options=SkyInput(images=tmp_path / "images", size_px=21, min_coverage=0.0))
    found = [read(loose, case)["input"].isnan().float().mean().item() for case in loose.find(path)[:2]]
    assert found == pytest.approx([9 / 21, 1 - 121 / 441])


def test_a_position_that_a_manifest_puts_outside_fails(tmp_path: Path) -> None:
    path = mosaic(tmp_path)
    for ra, words in ((HEADER["CRVAL1"] + 1, "is outside"), (HEADER["CRVAL1"] - 180, "is not on")):
        select = {"ra_deg": ra % 360, "dec_deg": HEADER["CRVAL2"], "size_px": 5}
        case = Case(id="a", files={"image": FileRef(path=path)}, select=select, group="a")
        assert words in error_of(SkyReader(), case)


def test_bands_of_a_mosaic_are_cut_together(tmp_path: Path) -> None:
    for place, band in enumerate("gr"):
        write_image(tmp_path / "images" / f"t1_{band}.fits", pattern(SHAPE) + 10_000 * place, header=HEADER)
    path = catalogue(tmp_path / "a.fits", [(30.0, 40.0)])
    options = SkyInput(images=tmp_path / "images", bands=("g", "r"), one_file_a_band=True, size_px=3)
    reader = SkyReader(options=options)
    (case,) = reader.find(path)
    found = read(reader, case)["input"]
    np.testing.assert_array_equal(found[1] - found[0], np.full((3, 3), 10_000))
    assert found[0, 1, 1] == pattern(SHAPE)[30, 40]


def test_rows_are_tied_by_path_then_by_name_then_by_position(tmp_path: Path) -> None:
    mosaic(tmp_path)
    write_image(tmp_path / "images" / "g1.fits", pattern((5, 6)))
    write_image(tmp_path / "beside.fits", pattern((7, 8)))
    write_image(tmp_path / "images" / "below.fits", pattern((9, 8)))
    places = [(30.0, 40.0)] * 5
    paths = ["beside.fits", "", "", "below.fits", "gone.fits"]
    path = catalogue(tmp_path / "a.fits", places, file_name=paths)
    reader = SkyReader(config(size_px=11), options=SkyInput(images=tmp_path / "images"))
    cases = reader.find(path)
    sizes = [tuple(read(reader, case)["input"].shape[1:]) for case in cases[:4]]
    assert sizes == [(7, 8), (5, 6), (11, 11), (9, 8)]
    assert "there is no file" in error_of(reader, cases[4])
    assert "ra_deg" in cases[0].meta
    assert "ra_deg" not in cases[0].select


def test_a_path_and_a_size_cut_around_the_position(tmp_path: Path) -> None:
    mosaic(tmp_path)
    path = catalogue(tmp_path / "a.fits", [(30.0, 40.0)], file=["images/mosaic.fits"])
    reader = SkyReader(options=SkyInput(size_px=3))
    (case,) = reader.find(path)
    np.testing.assert_array_equal(read(reader, case)["input"][0], pattern(SHAPE)[29:32, 39:42])


def test_each_bad_row_fails_alone(tmp_path: Path) -> None:
    mosaic(tmp_path)
    for folder in ("one", "two"):
        write_image(tmp_path / "images" / folder / "g5.fits", pattern((5, 6)))
    path = catalogue(tmp_path / "a.fits", [(30.0, 40.0)] * 6)
    table = Table.read(path)
    table["id"][2] = "g0"
    table["ra"][1], table["ra"][3], table["dec"][4] = -5.0, np.nan, 91.0
    table.write(path, overwrite=True)
    reader = SkyReader(options=SkyInput(images=tmp_path / "images", size_px=5))
    found = {case.id: case for case in reader.find(path)}
    assert list(found) == ["g0", "g0 (row 3)", "g1", "g3", "g4", "g5"]
    assert read(reader, found["g0"])["input"].shape == (1, 5, 5)
    assert "the id g0 of row 3 is also that of row 1" in error_of(reader, found["g0 (row 3)"])
    assert "the right ascension is -5" in error_of(reader, found["g1"])
    assert "the position is not known" in error_of(reader, found["g3"])
    assert "the declination is 91" in error_of(reader, found["g4"])
    assert "2 images are called g5" in error_of(reader, found["g5"])
    assert all(case.all_files() == () for name, case in found.items() if name != "g0")


@pytest.mark.parametrize(("kind", "words"), [("bare", "does not say where"), ("galactic", "not equatorial")])
def test_positions_need_an_equatorial_wcs(tmp_path: Path, kind: str, words: str) -> None:
    header = None if kind == "bare" else sky_header(SHAPE, kind="galactic")
    image = write_image(tmp_path / "images" / "m.fits", pattern(SHAPE), header=header)
    path = catalogue(tmp_path / "a.fits", [(30.0, 40.0)])
    reader = SkyReader(options=SkyInput(images=tmp_path / "images", size_px=5))
    (case,) = reader.find(path)
    message = error_of(reader, case)
    assert "no image called g0, and no image with a WCS" in message
    assert words in message
    select = {"ra_deg": 1.0, "dec_deg": 2.0}
    assert words in error_of(
        reader, Case(id="a", files={"image": FileRef(path=image)}, select=select, group="a")
    )
    (whole,) = reader.find(image)  # without positions it is an image like others
    assert read(reader, whole)["input"].shape == (1, *SHAPE)


def test_hours_taken_for_degrees_are_found_out(tmp_path: Path) -> None:
    mosaic(tmp_path)
    path = catalogue(tmp_path / "a.csv", [(30.0, 40.0), (20.0, 20.0)])
    table = Table.read(path)
    table["ra"] /= 15
    table.write(path, overwrite=True)
    reader = SkyReader(options=SkyInput(images=tmp_path / "images", size_px=5))
    with pytest.raises(DataError, match="ra seems to be in hours") as caught:
        reader.find(path)
    assert "as hours, 2 are" in str(caught.value)


def test_a_catalogue_must_say_where_its_pixels_are(tmp_path: Path) -> None:
    path = catalogue(tmp_path / "a.fits", [(30.0, 40.0)])
    with pytest.raises(DataError, match="does not say where its pixels are") as caught:
        SkyReader().find(path)
    assert "--images" in str(caught.value)
    with pytest.raises(DataError, match="no column pth"):
        SkyReader(options=SkyInput(path_column="pth")).find(path)


def test_choices_about_pixels_are_part_of_the_case(tmp_path: Path) -> None:
    mosaic(tmp_path)
    path = catalogue(tmp_path / "a.fits", [(30.0, 40.0)])
    options = SkyInput(images=tmp_path / "images", size_px=5, min_coverage=0.9, mask_bits=3)
    (case,) = SkyReader(options=options).find(path)
    assert set(case.select) == {"ra_deg", "dec_deg", "size_px", "min_coverage", "mask_bits"}
    assert read(SkyReader(), case)["input"].shape == (1, 5, 5)  # another reader needs no options


def test_a_reader_crosses_processes_with_files_open(tmp_path: Path) -> None:
    reader = SkyReader()
    (case,) = reader.find(mosaic(tmp_path))
    read(reader, case)
    again = pickle.loads(pickle.dumps(reader))
    np.testing.assert_array_equal(read(again, case)["input"], read(reader, case)["input"])


def test_a_mosaic_is_opened_once_for_all_its_cut_outs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tessera.astronomy import fits_files

    opened = []
    real = fits_files.FitsFile.__init__

    def counted(self: Any, path: Path) -> None:
        opened.append(path)
        real(self, path)

    monkeypatch.setattr(fits_files.FitsFile, "__init__", counted)
    mosaic(tmp_path)
    path = catalogue(tmp_path / "a.fits", [(30.0, 20.0 + n) for n in range(20)])
    reader = SkyReader(options=SkyInput(images=tmp_path / "images", size_px=5))
    found = [read(reader, case)["input"][0, 2, 2].item() for case in reader.find(path)]
    assert sorted(found) == sorted(pattern(SHAPE)[30, 20:40].tolist())
    assert len(opened) == 1


def test_compressed_mosaics_are_cut_too(tmp_path: Path) -> None:
    unit = fits.CompImageHDU(pattern(SHAPE).astype(np.int32), HEADER, tile_shape=(16, 16))
    (tmp_path / "images").mkdir()
    fits.HDUList([fits.PrimaryHDU(), unit]).writeto(tmp_path / "images" / "m.fits.fz")
    path = catalogue(tmp_path / "a.fits", [(30.0, 40.0)])
    reader = SkyReader(options=SkyInput(images=tmp_path / "images", size_px=21))
    (case,) = reader.find(path)
    np.testing.assert_array_equal(
        read(reader, case)["input"][0], pattern(SHAPE)[20:41, 30:51].astype(np.int32)
    )
