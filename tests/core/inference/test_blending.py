"""Importance of places in a window: nnU-Net's numbers, SciPy's filter, sums by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from tessera.core.inference.blending import constant, coverage, gaussian, importance


def test_the_profile_of_64_has_nnunets_values() -> None:
    profile = 10 * gaussian(64)
    published = {32: 10.0, 31: 9.92218, 24: 6.06531, 16: 1.35335, 0: 0.0033546, 63: 0.0054878}
    for place, value in published.items():
        assert float(profile[place]) == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("patch", [(64, 32), (33, 8), (16, 24, 40)])
def test_the_map_is_an_impulse_after_a_gaussian_filter(patch: tuple[int, ...]) -> None:
    impulse = np.zeros(patch)
    impulse[tuple(size // 2 for size in patch)] = 1.0
    filtered = ndimage.gaussian_filter(impulse, [size / 8 for size in patch], mode="constant")
    found = importance(patch, gaussian).numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found / found.max(), filtered / filtered.max(), rtol=1e-4)


def test_places_too_far_for_a_number_get_the_smallest_one() -> None:
    profile = gaussian(64, sigma_share=1 / 3000)
    assert float(profile[0]) == float(profile[profile > 0].min()) > 0


def test_one_element_counts_one() -> None:
    assert gaussian(1).tolist() == constant(1).tolist() == [1.0]
    assert importance((1, 1), gaussian).tolist() == [[1.0]]


@given(st.lists(st.integers(-5, 20), max_size=6), st.integers(1, 7), st.integers(1, 15))
def test_coverage_counts_the_windows_over_each_element(starts: list[int], size: int, length: int) -> None:
    expected = [sum(start <= place < start + size for start in starts) for place in range(length)]
    assert coverage(starts, constant(size), length).tolist() == expected


def test_the_product_of_coverages_is_the_sum_of_maps() -> None:
    total, patch = torch.zeros(9, 7), (4, 5)
    for a in (0, 3, 5):
        for b in (0, 2):
            total[a : a + 4, b : b + 5] += importance(patch, gaussian)
    rows = coverage((0, 3, 5), gaussian(4), 9)[:, None] * coverage((0, 2), gaussian(5), 7)
    torch.testing.assert_close(rows.float(), total)
