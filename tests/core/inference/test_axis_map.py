"""Where output elements lie on the network's grid: NumPy's interpolation as the judge."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tessera.core.inference.axis_map import axis_map, lies_between


def interpolated(
    values: np.ndarray, scale: float, offset: float, n_out: int
) -> tuple[np.ndarray, np.ndarray]:
    place = (np.arange(n_out) - offset) / scale
    inside = (place > -0.5 - 1e-6) & (place < len(values) - 0.5 + 1e-6)
    return np.interp(place, np.arange(len(values)), values), inside


@given(
    st.integers(1, 12), st.sampled_from([1.0, -1.0, 2.0, -2.0, 0.5, 1.3, -0.37]),
    st.floats(-4, 15), st.integers(1, 25),
)  # fmt: skip
def test_values_are_those_of_linear_interpolation(
    length: int, scale: float, offset: float, n_out: int
) -> None:
    values = np.random.default_rng(length).normal(size=length)
    expected, inside = interpolated(values, scale, offset, n_out)
    made = axis_map(length, scale, offset, n_out)
    assert len(made) == inside.sum()
    found = made.apply(torch.from_numpy(values).float(), 0).numpy()
    stop = made.start + len(made)
    np.testing.assert_allclose(found, expected[made.start : stop], atol=1e-4)
    assert inside[made.start : stop].all()
    if lies_between(scale, offset):
        return
    assert made.picks


def test_the_same_values_on_every_axis() -> None:
    values = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0))
    for axis, length in enumerate(values.shape):
        for scale, offset in ((1.6, 0.3), (-1.0, length - 1.0), (0.5, -0.25)):
            made = axis_map(length, scale, offset, 9)
            expected = torch.stack([made.apply(v, 0) for v in values.movedim(axis, -1).flatten(0, 1)])
            found = made.apply(values, axis).movedim(axis, -1).flatten(0, 1)
            assert torch.equal(found, expected)


def test_an_unchanged_axis_is_a_view_and_a_crop_begins_late() -> None:
    values = torch.arange(5.0)
    made = axis_map(5, 1.0, 2.0, 10)
    assert (made.start, made.picks) == (2, True)
    assert made.apply(values, 0).data_ptr() == values.data_ptr()


def test_a_place_next_to_a_centre_is_the_centre() -> None:
    assert axis_map(6, 1.0 + 1e-9, 1e-8, 6).picks
    assert not lies_between(1.0 + 1e-9, 1e-8)
    assert lies_between(1.0, 0.5)
    assert lies_between(3.0, 1.0)
    assert not lies_between(1 / 3, 2 / 3)


def test_nearest_takes_the_nearest_centre() -> None:
    made = axis_map(3, 2.0, 0.5, 6, nearest=True)
    assert made.lower.tolist() == [0, 0, 1, 1, 2, 2]
    assert made.picks


def test_nothing_lies_within_a_grid_far_away() -> None:
    made = axis_map(3, 1.0, 50.0, 10)
    assert len(made) == 0
    assert made.apply(torch.zeros(2, 3), 1).shape == (2, 0)


def test_a_part_of_the_grid_has_its_own_elements_once() -> None:
    for scale, offset in ((1.7, 0.35), (-1.7, 15.0)):
        whole = axis_map(10, scale, offset, 17)
        values = torch.randn(10, generator=torch.Generator().manual_seed(0))
        found: dict[int, float] = {}
        for first, stop in ((0, 4), (4, 5), (5, 10)):
            part = whole.within(first, stop)
            cut = values[first : min(stop + 1, 10)]
            found |= {part.start + i: float(v) for i, v in enumerate(part.apply(cut, 0))}
        expected = whole.apply(values, 0).tolist()
        assert [found[i + whole.start] for i in range(len(whole))] == pytest.approx(expected)
        assert len(found) == len(whole)
