"""Sums of windows in a ring of planes, beside sums in one array."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tessera.core.inference.labels import best_labels, label_type
from tessera.core.inference.plane_sums import PlaneSums


@given(st.integers(0, 1), st.integers(2, 5), st.integers(1, 4), st.integers(0, 99))
def test_planes_hold_the_sums_of_all_windows_so_far(slow: int, size: int, step: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    shape, patch = [7, 7], [3, 3]
    shape[slow], patch[slow] = 15, size
    whole = torch.zeros(2, *shape)
    ring = PlaneSums(2, [(0, shape[0]), (0, shape[1])], slow=slow, depth=size + 1)
    for start in range(0, 15 - size + 1, step):
        ring.release(start - 1)
        raw, weights = torch.randn(2, *patch, generator=generator), torch.rand(patch, generator=generator)
        place = [2, 2]
        place[slow] = start
        ring.add(raw, weights, place)
        whole[:, place[0] : place[0] + patch[0], place[1] : place[1] + patch[1]] += raw * weights
        planes = whole.movedim(slow + 1, 1)[:, max(0, start - 1) : start + size]
        found = torch.cat(ring.planes(max(0, start - 1), start + size), dim=1)
        torch.testing.assert_close(found, planes)
        index = torch.arange(max(0, start - 1), start + size)
        torch.testing.assert_close(ring.pick(1, index), planes[1])


def test_planes_that_do_not_exist_are_refused() -> None:
    ring = PlaneSums(1, [(0, 9)], slow=0, depth=4)
    ring.release(2)
    for start in (1, 4):
        with pytest.raises(ValueError, match="do not exist"):
            ring.add(torch.ones(1, 3), torch.ones(3), [start])
    ring.add(torch.ones(1, 3), torch.ones(3), [3])


@pytest.mark.parametrize("classes", [2, 200, 256, 300])
def test_labels_are_the_first_of_the_highest_values(classes: int) -> None:
    values = torch.randn(classes, 40, 5, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    labels = best_labels(values, label_type(classes))
    highest = values == values.amax(0)
    assert torch.equal(labels.long(), highest.int().argmax(0))


def test_labels_need_values_and_a_type_that_holds_them() -> None:
    with pytest.raises(ValueError, match="no values"):
        best_labels([], torch.uint8)
    with pytest.raises(ValueError, match="40000 classes"):
        label_type(40_000)
