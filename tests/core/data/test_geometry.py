from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.core.data.geometry import Geometry, Pixels, Region

dims = st.integers(1, 3)


@st.composite
def grids(draw: st.DrawFn) -> Pixels:
    n = draw(dims)
    size = draw(st.tuples(*[st.integers(1, 1000)] * n))
    origin = draw(st.tuples(*[st.integers(-1000, 1000)] * n))
    step = draw(st.tuples(*[st.sampled_from([0.125, 0.5, 1.0, 2.0, 3.0])] * n))
    return Pixels(size, tuple(map(float, origin)), step)


def region_of(draw: st.DrawFn, shape: tuple[int, ...]) -> Region:
    pairs = [sorted(draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in shape]
    return Region(tuple(a for a, _ in pairs), tuple(b for _, b in pairs))


@given(st.data())
def test_a_point_of_a_crop_is_the_same_point_of_the_whole(data: st.DataObject) -> None:
    grid = data.draw(grids())
    region = region_of(data.draw, grid.shape)
    point = np.array([data.draw(st.floats(0, n)) for n in region.shape])
    crop = grid.crop(region)
    assert crop.shape == region.shape
    np.testing.assert_allclose(crop.invert([point]), grid.invert([point + region.start]), atol=1e-9)


@given(st.data())
def test_resampling_keeps_the_corners(data: st.DataObject) -> None:
    grid = data.draw(grids())
    shape = tuple(data.draw(st.integers(1, 1000)) for _ in grid.shape)
    other = grid.resample(shape)
    assert other.shape == shape
    zero = np.zeros(len(shape))
    np.testing.assert_allclose(other.invert([zero, shape]), grid.invert([zero, grid.shape]), atol=1e-6)


@given(st.data())
def test_crops_of_crops_are_crops(data: st.DataObject) -> None:
    grid = data.draw(grids())
    first = region_of(data.draw, grid.shape)
    second = region_of(data.draw, first.shape)
    shifted = Region(
        tuple(a + b for a, b in zip(first.start, second.start, strict=True)),
        tuple(a + b for a, b in zip(first.start, second.stop, strict=True)),
    )
    assert grid.crop(first).crop(second) == grid.crop(shifted)


@given(st.integers(1, 500), st.integers(1, 500), st.integers(0, 100), st.data())
def test_places_agree_with_exact_fractions(n: int, m: int, start: int, data: st.DataObject) -> None:
    stop = start + data.draw(st.integers(1, 100))
    place = data.draw(st.integers(0, m))
    grid = Pixels((n + stop,)).crop(Region((start,), (stop,))).resample((m,))
    exact = start + Fraction(place * (stop - start), m)
    assert grid.invert([[place]])[0, 0] == pytest.approx(float(exact), rel=1e-12)


def test_a_worked_example_in_two_dimensions() -> None:
    # rows 10 to 30 of 100 halved, columns 40 to 44 of 80 doubled
    grid = Pixels((100, 80)).crop(Region((10, 40), (30, 44))).resample((10, 8))
    assert grid.shape == (10, 8)
    assert grid.invert([[0, 0], [5, 3], [10, 8]]).tolist() == [[10.0, 40.0], [20.0, 41.5], [30.0, 44.0]]


def test_the_whole_is_its_own_crop() -> None:
    grid = Pixels((7, 1), (2.0, 3.0), (0.5, 4.0))
    assert grid.crop(Region((0, 0), grid.shape)) == grid == grid.resample((7, 1))
    assert isinstance(grid, Geometry)


@pytest.mark.parametrize(("start", "stop"), [((0,), (1, 2)), ((3,), (2,)), ((0, 5), (1, 4)), ((), (1,))])
def test_what_is_no_box_is_refused(start: Any, stop: Any) -> None:
    with pytest.raises(ValueError, match="not a region"):
        Region(start, stop)


@pytest.mark.parametrize("options", [{"origin": (1.0,)}, {"step": (1.0, 1.0, 1.0)}, {"step": (1.0, 0.0)}])
def test_pixels_with_the_wrong_number_of_axes_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a grid"):
        Pixels((3, 4), **options)


def test_an_empty_region_has_no_elements() -> None:
    assert Region((3, 2), (3, 5)).shape == (0, 3)


def test_regions_sort_by_place() -> None:
    later, earlier = Region((8,), (9,)), Region((2,), (20,))
    assert sorted([later, earlier]) == [earlier, later]


def test_resampling_to_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Pixels((3, 4)).resample((3, 0))


@given(st.data())
def test_placement_speaks_of_centres_where_invert_speaks_of_edges(data: st.DataObject) -> None:
    grid = data.draw(grids())
    place = grid.placement()
    centre = np.full((1, len(grid.shape)), 3.0)
    expected = grid.invert(centre + 0.5)[0] - 0.5
    assert place.axes == tuple(range(len(grid.shape)))
    assert np.array(place.offset) + np.array(place.scale) * centre[0] == pytest.approx(expected)


def test_a_geometry_may_have_no_placement() -> None:
    class Curved(Pixels):
        placement = Geometry.placement

    with pytest.raises(TypeError, match="Curved does not say"):
        Curved((2,)).placement()
