"""What is projected near a galaxy: numbers, magnitudes, places."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tessera.astronomy.simulate.field import Field, Star, add_field, add_star, draw_field, drawn_magnitude
from tessera.astronomy.simulate.frame import Frame
from tessera.astronomy.simulate.photometry import Colour, magnitude
from tessera.astronomy.simulate.tidal_config import TidalConfig

FRAME = Frame(shape=(640, 640), at_px=(320.0, 320.0), px_per_kpc=2.0, reach_px=115.0)


def fields(n: int, **values: object) -> list[Field]:
    config = TidalConfig.model_validate(values)
    return [draw_field(np.random.default_rng(seed), FRAME, config) for seed in range(n)]


def test_numbers_follow_the_density_that_is_asked_for() -> None:
    found = fields(300, neighbours_per_arcmin2=6.0, stars_per_arcmin2=1.5, bright_neighbour=0.0)
    arcmin2 = (640 * 0.186 / 60) ** 2
    neighbours = [len(field.neighbours) for field in found]
    stars = [len(field.stars) for field in found]
    assert np.mean(neighbours) == pytest.approx(6.0 * arcmin2, rel=0.05)
    assert np.mean(stars) == pytest.approx(1.5 * arcmin2, rel=0.1)
    assert np.var(neighbours) / np.mean(neighbours) == pytest.approx(1.0, abs=0.25)  # Poisson


def test_nothing_is_drawn_when_nothing_is_asked_for() -> None:
    (field,) = fields(1, neighbours_per_arcmin2=0.0, stars_per_arcmin2=0.0, bright_neighbour=0.0)
    assert field == Field(neighbours=(), stars=(), bright=False)
    bands = np.zeros((3, 640, 640), dtype=np.float32)
    add_field(bands, field)
    assert not bands.any()


def test_a_bright_neighbour_comes_first_and_stands_beside_the_galaxy() -> None:
    for field in fields(50, bright_neighbour=1.0):
        first = field.neighbours[0]
        away = math.dist(first.at_px, FRAME.at_px) * 0.186
        assert field.bright and 16.5 <= magnitude(first.profile.counts) <= 18.5 and 10 <= away <= 45


def test_nothing_covers_the_centre() -> None:
    for field in fields(200):
        places = [thing.at_px for thing in (*field.neighbours, *field.stars)]
        assert all(math.dist(place, FRAME.at_px) * 0.186 > 1.999 for place in places)


def test_counts_of_magnitudes_grow_with_their_slope() -> None:
    rng = np.random.default_rng(1)
    drawn = np.array([drawn_magnitude(rng, (18.0, 23.5), slope=0.35) for _ in range(4000)])
    assert drawn.min() >= 18.0 and drawn.max() <= 23.5
    # Closed form of the cumulative number at 22.
    low, middle, high = 10 ** (0.35 * np.array([18.0, 22.0, 23.5]))
    assert np.mean(drawn < 22.0) == pytest.approx((middle - low) / (high - low), abs=0.025)


def test_a_star_keeps_its_light_and_its_place() -> None:
    bands = np.zeros((3, 30, 40), dtype=np.float32)
    add_star(bands, Star(counts=1000.0, at_px=(12.3, 20.75), colour=Colour(0.5, 0.2)))
    assert np.count_nonzero(bands[1]) == 4
    assert bands[1].sum() == pytest.approx(1000.0)
    assert magnitude(float(bands[0].sum())) - magnitude(float(bands[1].sum())) == pytest.approx(0.5, abs=1e-5)
    rows, columns = np.mgrid[:30, :40]
    assert (bands[2] * columns).sum() / bands[2].sum() == pytest.approx(12.3, abs=1e-4)
    assert (bands[2] * rows).sum() / bands[2].sum() == pytest.approx(20.75, abs=1e-4)


@pytest.mark.parametrize("at", [(-0.4, 5.0), (39.5, 29.3), (500.0, 2.0)])
def test_a_star_at_the_edge_is_cut(at: tuple[float, float]) -> None:
    bands = np.zeros((3, 30, 40), dtype=np.float32)
    add_star(bands, Star(counts=10.0, at_px=at, colour=Colour(0.0, 0.0)))
    assert bands[1].sum() < 10.0
