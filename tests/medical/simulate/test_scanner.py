"""Partial volume, blur and noise against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tessera.medical.simulate.airway_volume import airway_parts, wall_mm
from tessera.medical.simulate.scanner import (
    FWHM_PER_SIGMA,
    blend,
    blurred,
    noise,
    stored,
    twice_seen,
    with_airways,
)
from tessera.medical.simulate.tree import ROOT, Branch, Tree
from tessera.medical.simulate.tubes import Array, Grid

AIR, WALL, LUNG = -1000.0, 30.0, -860.0

# centre, mean over the lumen, highest value of the wall; with the corrections of the recount
TABLE = {
    (1.5, 0.8): (-913, -692, -488),
    (1.5, 1.0): (-806, -663, -559),
    (1.5, 1.2): (-721, -647, -605),
    (2.0, 0.8): (-986, -755, -448),
    (2.0, 1.0): (-937, -724, -529),
    (2.0, 1.2): (-865, -704, -585),
    (3.0, 0.8): (-1000, -825, -366),
    (3.0, 1.0): (-998, -796, -459),
    (3.0, 1.2): (-986, -774, -525),
    (4.0, 0.8): (-1000, -865, -291),
    (4.0, 1.0): (-1000, -838, -390),
    (4.0, 1.2): (-1000, -817, -465),
    (6.0, 0.8): (-1000, -907, -171),
    (6.0, 1.0): (-1000, -886, -271),
    (6.0, 1.2): (-1000, -867, -354),
    (16.0, 0.8): (-1000, -965, 24),
    (16.0, 1.0): (-1000, -956, 2),
    (16.0, 1.2): (-1000, -948, -36),
}


def scanned_tube(diameter: float, fwhm: float, step: float) -> tuple[Array, Array]:
    """A section through a straight tube in lung: distances from its axis (I, J) and HU after the blur."""
    wall = wall_mm(diameter)
    size = int((diameter + 2 * wall + 4 * fwhm) / step) // 2 * 2 + 1
    grid = Grid.around(np.zeros(3), shape=(size, size, 1), spacing_mm=(step, step, step))
    tube = Branch(
        id=0,
        parent=ROOT,
        generation=0,
        name="",
        points_mm=np.array([[0.0, 0, -40], [0, 0, 40]]),
        radius_mm=np.full(2, diameter / 2),
    )
    parts = airway_parts(grid, Tree((tube,)), walls_mm=[wall])
    image = np.full(grid.shape, LUNG, dtype=np.float32)
    with_airways(image, parts, air=AIR, wall=WALL)
    x, y, _ = grid.axes
    away = np.hypot(x[:, None], y[None, :]).astype(np.float32)
    return away, blurred(image, spacing_mm=grid.spacing_mm, fwhm_mm=(fwhm, fwhm, 0.0))[:, :, 0]


@pytest.mark.parametrize(("diameter", "fwhm"), list(TABLE))
def test_blurred_airways_have_the_values_of_the_table(diameter: float, fwhm: float) -> None:
    away, image = scanned_tube(diameter, fwhm, step=0.05)
    centre, mean, peak = TABLE[diameter, fwhm]
    assert image[away == 0][0] == pytest.approx(centre, abs=5)
    assert image[away <= diameter / 2].mean() == pytest.approx(mean, abs=5)
    assert image.max() == pytest.approx(peak, abs=5)


@pytest.mark.parametrize("fwhm", [0.8, 1.0, 1.2])
@pytest.mark.parametrize("diameter", [1.5, 2.0, 3.0, 6.0])
def test_centre_of_a_blurred_airway_follows_the_closed_form(diameter: float, fwhm: float) -> None:
    away, image = scanned_tube(diameter, fwhm, step=0.05)
    twice = 2 * (fwhm / FWHM_PER_SIGMA) ** 2
    a = 1 - math.exp(-((diameter / 2) ** 2) / twice)
    b = 1 - math.exp(-((diameter / 2 + wall_mm(diameter)) ** 2) / twice)
    exact = AIR * a + WALL * (b - a) + LUNG * (1 - b)
    assert image[away == 0][0] == pytest.approx(exact, abs=2)


@pytest.mark.parametrize("step", [0.4, 0.6])
def test_coarse_voxels_keep_the_mass_of_air_and_wall(step: float) -> None:
    fine = scanned_tube(3.0, 1.0, step=0.05)[1]
    coarse = scanned_tube(3.0, 1.0, step=step)[1]
    excess = [float((image - LUNG).sum()) * s * s for image, s in ((fine, 0.05), (coarse, step))]
    assert excess[1] == pytest.approx(excess[0], rel=0.05)


def test_blur_of_a_point_is_a_gaussian_of_that_width() -> None:
    image = np.zeros((41, 41, 41), np.float32)
    image[20, 20, 20] = 1.0
    spread = blurred(image, spacing_mm=(0.5, 0.8, 1.0), fwhm_mm=(3.0, 4.0, 5.0))
    for axis, (step, width) in enumerate(((0.5, 3.0), (0.8, 4.0), (1.0, 5.0))):
        profile = spread.sum(axis=tuple({0, 1, 2} - {axis}))
        place = step * (np.arange(41) - 20)
        assert math.sqrt((profile * place**2).sum()) == pytest.approx(width / FWHM_PER_SIGMA, rel=0.02)
    assert spread.sum() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("fwhm", [0.0, 0.9, 3.0])
def test_noise_has_the_asked_spread_and_is_correlated(fwhm: float) -> None:
    rng = np.random.default_rng(0)
    field = noise(rng, (60, 50, 40), sd=20.0, spacing_mm=(0.7, 0.7, 1.0), fwhm_mm=(fwhm, fwhm, fwhm))
    assert field.std() == pytest.approx(20.0, rel=0.03)
    assert field.mean() == pytest.approx(0.0, abs=1.5)
    neighbours = np.corrcoef(field[:-1].ravel(), field[1:].ravel())[0, 1]
    assert (neighbours > 0.5) if fwhm == 3.0 else (abs(neighbours) < 0.35)


def test_motion_shows_every_edge_twice_and_moves_nothing() -> None:
    image = np.zeros((3, 21, 3), np.float32)
    image[:, 10] = 1.0
    assert twice_seen(image, shift_voxels=0.0) == pytest.approx(image)
    seen = twice_seen(image, shift_voxels=6.0)
    assert np.flatnonzero(seen[1, :, 1]).tolist() == [7, 13]
    assert seen.sum() == pytest.approx(image.sum())
    half = twice_seen(image, shift_voxels=1.0)
    assert half[1, 9:12, 1] == pytest.approx([0.25, 0.5, 0.25])


def test_tissue_replaces_its_part_of_a_voxel() -> None:
    image = np.array([[[-100.0, 40.0]]], np.float32)
    blend(image, np.array([[[0.25, 1.0]]], np.float32), -1000.0)
    assert image.ravel() == pytest.approx([-325.0, -1000.0])


def test_stored_values_fit_twelve_bits_with_the_usual_intercept() -> None:
    found = stored(np.array([[[-2000.0, -1000.4, 0.6, 5000.0]]], np.float32))
    assert found.dtype == np.int16
    assert found.ravel().tolist() == [-1024, -1000, 1, 3071]
