"""Cuts and resampled grids lie on the sky where astropy says, and keep the header's cards."""

from __future__ import annotations

import pickle
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.astronomy.geometry import SkyGeometry, wcs_cards
from tessera.core.data.geometry import Region
from tessera.core.errors import DataError

from .sky_files import DEC, RA, SCALE_DEG, sky_header, write_image

SHAPE = (41, 60)
KINDS = ("tan", "cdelt", "pc", "sip")
POINTS = np.array([[0.0, 0.0], [40.0, 59.0], [20.5, 3.25], [7.0, 44.0]])


def grid(kind: str = "tan") -> SkyGeometry:
    return SkyGeometry(SHAPE, wcs_cards(sky_header(SHAPE, kind=kind)))


def astropy_sky(kind: str, points: np.ndarray) -> np.ndarray:
    return WCS(sky_header(SHAPE, kind=kind)).all_pix2world(points[:, ::-1], 0)


@pytest.mark.parametrize("kind", KINDS)
def test_positions_are_those_of_astropy(kind: str) -> None:
    np.testing.assert_allclose(grid(kind).sky(POINTS), astropy_sky(kind, POINTS), rtol=0, atol=1e-12)
    np.testing.assert_allclose(grid(kind).pixels(grid(kind).sky(POINTS)), POINTS, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_keeps_every_pixel_where_it_is(kind: str) -> None:
    cut = grid(kind).crop(Region((5, 7), (25, 40))).crop(Region((-3, 2), (10, 12)))
    moved = cut.sky(POINTS - [2, 9])
    np.testing.assert_allclose(moved, astropy_sky(kind, POINTS), rtol=0, atol=1e-11)
    assert cut.shape == (13, 10)
    assert cut.source_size == SHAPE
    np.testing.assert_array_equal(cut.invert([[0, 0]]), [[2, 9]])


@pytest.mark.parametrize(("kind", "factors"), list(product(KINDS, [(2, 2), (1, 3), (0.5, 0.25)])))
def test_a_resampled_grid_lies_on_the_same_sky(kind: str, factors: tuple[float, float]) -> None:
    part = grid(kind).crop(Region((1, 0), (41, 60)))
    fine = part.resample((round(40 * factors[0]), round(60 * factors[1])))
    places = np.array([[0.0, 0.0], [9.0, 7.0], [3.0, 11.5]])
    on_source = (places + 0.5) / factors + [1, 0] - 0.5
    np.testing.assert_allclose(fine.sky(places), astropy_sky(kind, on_source), rtol=0, atol=1e-10)
    place = fine.placement()
    np.testing.assert_allclose(np.array(place.offset) + places * place.scale, on_source, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[st.integers(-30, 30)] * 2), st.tuples(*[st.integers(1, 40)] * 2), st.sampled_from(KINDS))
def test_cut_then_resampled_then_cut_goes_back_to_the_source(
    start: tuple[int, int], size: tuple[int, int], kind: str
) -> None:
    region = Region(start, (start[0] + size[0], start[1] + size[1]))
    found = grid(kind).crop(region).resample((2 * size[0], 3 * size[1])).crop(Region((1, 1), (2, 3)))
    np.testing.assert_allclose(found.invert([[0, 0]]), [[start[0] + 0.5, start[1] + 1 / 3]], atol=1e-9)
    source = found.invert(POINTS + 0.5) - 0.5
    np.testing.assert_allclose(found.sky(POINTS), grid(kind).sky(source), rtol=0, atol=1e-10)


def test_cards_of_a_file_are_kept_bit_for_bit(tmp_path: Path) -> None:
    header = sky_header(SHAPE, kind="sip")
    path = write_image(tmp_path / "a.fits", np.zeros(SHAPE, dtype=np.float32), header=header)
    # as another program wrote it
    odd = path.read_bytes().replace(b"CRVAL2  =                  2.2", b"CRVAL2  = 2.200000000000000E00")
    assert b"E00" in odd
    path.write_bytes(odd)
    cards = wcs_cards(fits.Header.fromfile(path))
    stored = [odd[place : place + 80].decode() for place in range(0, 2880, 80)]
    assert cards == tuple(card for card in stored if card[:8].strip() in header)
    found = SkyGeometry(SHAPE, cards)
    assert tuple(card.image for card in found.header().cards) == cards
    cut = found.crop(Region((1, 2), (5, 6))).header()
    changed = [card.keyword for card in cut.cards if card.image not in cards]
    assert changed == ["CRPIX1", "CRPIX2"]
    assert cut["CRPIX2"] == header["CRPIX2"] - 1


def test_it_crosses_processes_and_can_be_compared() -> None:
    found = grid("sip").crop(Region((1, 2), (5, 6)))
    assert pickle.loads(pickle.dumps(found)) == found
    assert len({found, grid("sip").crop(Region((1, 2), (5, 6))), grid("tan")}) == 2


def test_pixel_scale_is_the_side_of_a_pixel() -> None:
    area = abs(np.linalg.det([[-1, 0.1], [0.05, 1.1]])) * (SCALE_DEG * 3600) ** 2
    assert grid().pixel_scale_arcsec == pytest.approx(np.sqrt(area), rel=1e-9)
    assert grid().resample((82, 120)).pixel_scale_arcsec == pytest.approx(np.sqrt(area) / 2, rel=1e-9)
    assert grid().centre_deg == pytest.approx((RA, DEC), abs=5 * SCALE_DEG)


def test_without_wcs_there_are_pixels_but_no_positions() -> None:
    bare = SkyGeometry((8, 9)).crop(Region((1, 1), (5, 5)))
    assert not bare.has_wcs
    assert len(bare.header()) == 0
    with pytest.raises(DataError, match="does not say where on the sky"):
        bare.sky([[0, 0]])


def test_galactic_positions_are_refused_but_kept() -> None:
    found = grid("galactic")
    assert found.has_wcs
    assert found.wcs().wcs.lngtyp == "GLON"
    with pytest.raises(DataError, match="not equatorial"):
        found.sky([[0, 0]])


@pytest.mark.parametrize(("system", "equinox"), [("FK4", 1950.0), ("FK5", 1975.0)])
def test_another_equinox_is_refused(system: str, equinox: float) -> None:
    header = sky_header(SHAPE)
    header["RADESYS"], header["EQUINOX"] = system, equinox
    with pytest.raises(DataError, match="another equinox"):
        SkyGeometry(SHAPE, wcs_cards(header)).sky([[0, 0]])


def test_old_names_of_the_reference_system_are_understood() -> None:
    header = sky_header(SHAPE)
    header.rename_keyword("RADESYS", "RADECSYS")
    header["EPOCH"] = 2000.0
    header["RADECSYS"] = "FK5"
    found = SkyGeometry(SHAPE, wcs_cards(header))
    np.testing.assert_allclose(found.sky(POINTS), astropy_sky("tan", POINTS), atol=1e-12)


def test_distortion_in_tables_is_refused() -> None:
    header = sky_header(SHAPE)
    header["CPDIS1"] = "LOOKUP"
    with pytest.raises(DataError, match="distortion is in tables"):
        SkyGeometry(SHAPE, wcs_cards(header)).wcs()


def test_a_broken_wcs_is_named() -> None:
    header = sky_header(SHAPE)
    for name in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"):
        header[name] = 0.0
    with pytest.raises(DataError, match="WCS cannot be used"):
        SkyGeometry(SHAPE, wcs_cards(header)).sky([[0, 0]])


def test_cards_of_a_cubes_third_axis_are_left_out() -> None:
    header = sky_header(SHAPE)
    header["WCSAXES"] = 3
    header["CTYPE3"], header["CRVAL3"], header["CRPIX3"] = "WAVE", 5e-7, 1.0
    found = SkyGeometry(SHAPE, wcs_cards(header))
    assert not any("3 " in card[:8] or card.startswith("WCSAXES") for card in found.cards)
    np.testing.assert_allclose(found.sky(POINTS), astropy_sky("tan", POINTS), atol=1e-12)


@pytest.mark.parametrize("values", [{"size": (3,)}, {"size": (3, 4), "step": (0.0, 1.0)}, {"size": (-1, 4)}])
def test_what_is_no_grid_is_refused(values: dict[str, tuple[float, ...]]) -> None:
    with pytest.raises(ValueError, match="not a grid of pixels"):
        SkyGeometry(**values)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one pixel"):
        grid().resample((0, 3))
