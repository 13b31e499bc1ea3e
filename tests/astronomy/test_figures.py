"""What the report shows of a galaxy and of a map of density."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.coordinates import Angle, SkyCoord
from PIL import Image

from tessera.astronomy.config import DensityConfig, DensityDataConfig, SkyConfig, SkyDataConfig
from tessera.astronomy.density_files import DensityReader
from tessera.astronomy.figures import OVERLAY_SIDE, SIDE, SkyFigures
from tessera.astronomy.geometry import SkyGeometry, wcs_cards
from tessera.astronomy.input_config import SkyInput
from tessera.astronomy.readers import SkyReader
from tessera.astronomy.writers import write_heat_map
from tessera.core.data.case import Case, FileRef
from tessera.core.errors import DataError
from tessera.core.report.media import CaseFigures, GalleryFigures, Thumbnail

from .sky_files import position_of, sky_header, write_image

SHAPE = (60, 80)
HEADER = sky_header(SHAPE)


def sky(bands: tuple[str, ...] = ()) -> SkyFigures:
    return SkyFigures(SkyConfig(pipeline="tidal-features", preset="test", data=SkyDataConfig(bands=bands)))


def density(**data: Any) -> SkyFigures:
    options = DensityDataConfig(**data)
    return SkyFigures(DensityConfig(pipeline="cosmology", preset="test", data=options))


def galaxy(folder: Path, at: tuple[int, int] = (50, 10), header: Any = HEADER, **case: Any) -> Case:
    """One bright spot on noise."""
    image = np.random.default_rng(0).normal(0, 1, SHAPE).astype(np.float32)
    image[at[0] - 3 : at[0] + 4, at[1] - 3 : at[1] + 4] += 1000
    path = write_image(folder / "a.fits", image, header=header)
    return Case(id="a", files={"image": FileRef(path=path)}, group="a", **case)


def opened(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGBA")).astype(int)


def facts(found: Thumbnail) -> dict[str, str]:
    return dict(found.facts)


def test_the_picture_is_hung_as_on_the_sky(tmp_path: Path) -> None:
    figures = sky()
    assert isinstance(figures, GalleryFigures)
    assert isinstance(figures, CaseFigures)
    found = figures.thumbnail(galaxy(tmp_path, at=(50, 10)))
    assert found.image.startswith(b"\xff\xd8")
    picture = opened(found.image)
    assert picture.shape[:2] == (SIDE * 60 // 80, SIDE)
    row, column = (59 - 50 + 0.5) * SIDE / 80, (10 + 0.5) * SIDE / 80  # row 0 of FITS is at the bottom
    assert picture[round(row), round(column), :3].min() > 240
    assert picture[100:140, 100:200, :3].mean() < 80


def test_the_position_is_told_in_degrees_and_sexagesimal(tmp_path: Path) -> None:
    found = facts(sky().thumbnail(galaxy(tmp_path)))
    ra, dec = position_of(HEADER, 29.5, 39.5)
    degrees = [float(part.rstrip("°")) for part in found["position (RA, Dec)"].split(", ")]
    np.testing.assert_allclose(degrees, [ra, dec], rtol=0, atol=1e-6)
    again = SkyCoord(found["the same, sexagesimal"], unit=("hourangle", "deg"))
    assert again.separation(SkyCoord(ra, dec, unit="deg")).arcsec < 0.1
    assert found["pixels"] == "80 × 60"
    assert "arcsec a pixel" in found["on the sky"]
    given = facts(sky().thumbnail(galaxy(tmp_path, meta={"ra_deg": "150.25", "dec_deg": "-2.5"})))
    assert given["position (RA, Dec)"] == "150.250000°, -2.500000°"
    assert given["the same, sexagesimal"] == "10:01:00.00 -02:30:00.0"


@pytest.mark.parametrize("dec", [2.2, 89.999, -89.999])
def test_the_compass_follows_the_wcs(tmp_path: Path, dec: float, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, Any] = {}
    monkeypatch.setattr("tessera.astronomy.figures.mark_sky", lambda _picture, **marks: drawn.update(marks))
    sky().thumbnail(galaxy(tmp_path, header=sky_header(SHAPE, dec=dec)))
    grid = SkyGeometry(SHAPE, wcs_cards(sky_header(SHAPE, dec=dec)))
    middle = SkyCoord(*grid.centre_deg, unit="deg")
    for angle, name in ((0.0, "north"), (90.0, "east")):
        beside = middle.directional_offset_by(Angle(angle, "deg"), Angle(0.01, "arcsec"))
        (row, column), (r0, c0) = grid.pixels(
            [[beside.ra.deg, beside.dec.deg], [middle.ra.deg, middle.dec.deg]]
        )
        way = complex(column - c0, row - r0)
        assert drawn[name] == pytest.approx(way / abs(way), abs=0.02)
    assert drawn["arcsec_per_dot"] == pytest.approx(grid.pixel_scale_arcsec * 80 / SIDE)


def test_what_else_is_known_is_told_and_how_rows_are_tied_is_not(tmp_path: Path) -> None:
    meta = {"feature": "shell", "mu": "26.1", "catalogue": "x.fits", "row": "3", "r_mag": "", "ra": "1.0"}
    case = galaxy(tmp_path, meta=meta, targets={"label": "tidal", "redshift": 0.04})
    found = facts(sky().thumbnail(case))
    assert (found["feature"], found["mu"], found["redshift"]) == ("shell", "26.1", "0.04")
    assert not {"catalogue", "row", "r mag", "ra", "label"} & set(found)


@pytest.mark.parametrize("hot", [(50, 10), (5, 70)])
def test_the_heat_map_lies_on_its_image(tmp_path: Path, hot: tuple[int, int]) -> None:
    case = galaxy(tmp_path)
    values = np.full(SHAPE, -1.0)
    values[hot[0] - 2 : hot[0] + 3, hot[1] - 2 : hot[1] + 3] = 0.25
    path = tmp_path / "heatmaps" / "a.fits"
    write_heat_map(
        path,
        values,
        SkyGeometry(SHAPE, wcs_cards(HEADER)),
        keywords={"METHOD": "occlusion", "CLASS": "tidal"},
    )
    found = sky().thumbnail(case, files=(tmp_path / "predictions.csv", path))
    assert found.overlay is not None
    overlay = opened(found.overlay)
    assert max(overlay.shape[:2]) <= OVERLAY_SIDE
    rows, columns = np.nonzero(overlay[..., 3] > 200)
    height, width = overlay.shape[:2]
    assert rows.mean() / height == pytest.approx((59 - hot[0] + 0.5) / 60, abs=0.01)
    assert columns.mean() / width == pytest.approx((hot[1] + 0.5) / 80, abs=0.01)
    assert (overlay[..., 3] == 0).mean() > 0.9
    (scale,) = found.scales
    assert (scale.title, scale.low) == ("what speaks for tidal (occlusion)", "0")
    assert scale.high.startswith("0.25")


def test_heat_maps_that_cannot_be_shown_are_explained(tmp_path: Path) -> None:
    case, path = galaxy(tmp_path), tmp_path / "heatmaps" / "a.fits"
    grid = SkyGeometry(SHAPE, wcs_cards(HEADER))
    write_heat_map(path, np.zeros(SHAPE), grid, keywords={"CLASS": "tidal"})
    for expected in ("nothing in the image speaks for tidal", "of other pixels", "cannot read"):
        found = sky().thumbnail(case, files=(path,))
        assert found.overlay is None
        assert found.scales == ()
        assert expected in facts(found)["heat map"]
        if expected == "of other pixels":
            path.write_bytes(b"not FITS" * 1000)
        else:
            write_heat_map(path, np.ones((30, 40)), grid.resample((30, 40)))
    assert "heat map" not in facts(sky().thumbnail(case))


def test_three_bands_are_coloured_by_their_names(tmp_path: Path) -> None:
    planes = {name: np.random.default_rng(0).normal(0, 1, SHAPE).astype(np.float32) for name in "IRG"}
    planes["I"][20:30, 20:30] += 500
    path = write_image(tmp_path / "a.fits", header=HEADER, planes=planes)
    case = Case(id="a", files={"image": FileRef(path=path)}, group="a")
    picture = opened(sky(("I", "R", "G")).thumbnail(case).image)
    scale = SIDE / 80
    spot = picture[round((60 - 25) * scale), round(25 * scale), :3]
    assert spot.argmax() == 0
    assert spot[0] > spot[2] + 60


def test_images_without_wcs_and_stored_pictures_are_shown_too(tmp_path: Path) -> None:
    found = sky().thumbnail(galaxy(tmp_path, header=None))
    assert facts(found)["on the sky"] == "not known: no usable WCS"
    assert "position (RA, Dec)" not in facts(found)
    path = tmp_path / "stamp.png"
    stamp = np.zeros((8, 8, 3), dtype=np.uint8)
    stamp[0, 0] = (250, 10, 10)
    Image.fromarray(stamp).save(path)
    (case,) = SkyReader().find(path)
    found = sky().thumbnail(case)
    picture = opened(found.image)
    assert picture[5, 5, 0] - picture[5, 5, 2] > 150  # row 0 is the top of a stored picture
    assert facts(found)["remarks on the image"] == "non-photometric"


def test_a_cut_out_of_a_catalogues_row_is_drawn_and_a_bad_row_is_refused(tmp_path: Path) -> None:
    case = galaxy(tmp_path)
    ra, dec = position_of(HEADER, 50.0, 10.0)
    table = tmp_path / "rows.csv"
    table.write_text(f"id,ra,dec\nx,{ra},{dec}\ny,{ra + 5},{dec}\n")
    reader = SkyReader(options=SkyInput(images=case.path("image"), size_px=15))
    good, bad = reader.find(table)
    found = sky().thumbnail(good)
    assert facts(found)["pixels"] == "15 × 15"
    assert opened(found.image)[SIDE // 2, SIDE // 2, :3].min() > 240
    with pytest.raises(DataError, match="case y"):
        sky().thumbnail(bad)


def test_maps_of_density_have_a_logarithmic_scale(tmp_path: Path) -> None:
    path = tmp_path / "fields.npz"
    maps = np.zeros((1, 40, 40), dtype=np.uint8)
    maps[0, 30:38, 2:10] = 255
    np.savez_compressed(path, field=maps)
    (case,) = DensityReader().find(path)
    figures = density()
    found = figures.thumbnail(case)
    picture = opened(found.image)
    spot, rest = picture[round(6 * SIDE / 40), round(6 * SIDE / 40)], picture[SIDE * 3 // 4, SIDE * 3 // 4]
    assert (spot[0], spot[1]) > (200, 200)  # yellow, at the top
    assert rest[2] > rest[1] + 40  # violet
    (scale,) = found.scales
    assert (scale.title, scale.low, scale.high) == ("log10(density / mean)", "-0.301", "3")
    (image,) = figures.draw(case).images
    assert image[1].startswith(b"\x89PNG")
    assert "log10(density / mean) from -0.301 (dark) to 3 (bright)" in image[0]


def test_maps_stored_as_density_are_drawn_by_their_logarithm(tmp_path: Path) -> None:
    density_map = np.full((20, 20), 1e-9, dtype=np.float32)
    density_map[:10] = 100.0
    path = write_image(tmp_path / "m.fits", density_map)
    case = Case(id="m", files={"image": FileRef(path=path)}, group="m")
    (scale,) = density(log=True, floor=0.01).thumbnail(case).scales
    assert (scale.low, scale.high) == ("-2", "2")
    (scale,) = density().thumbnail(case).scales
    assert (scale.title, scale.high) == ("density", "100")


def test_a_drawing_for_the_tables_is_the_same_picture(tmp_path: Path) -> None:
    media = sky().draw(galaxy(tmp_path))
    ((title, png),) = media.images
    assert title.startswith("Asinh stretch")
    assert png.startswith(b"\x89PNG")
    assert media.audio is None
