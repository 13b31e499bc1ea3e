"""Centrelines: neighbours, the edges that join them, and spurs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import KDTree

from tessera.medical.airway_skeleton import Centreline, Voxels, neighbour_pairs, thin, without_spurs

from .airway_shapes import capsules, hand_y

AT_Y = np.argwhere(hand_y())


def line(*points: tuple[int, int, int]) -> Voxels:
    """Voxels in scan order."""
    return np.unique(np.array(points, dtype=np.int64), axis=0)


def test_a_tree_one_voxel_thick_is_its_own_skeleton() -> None:
    assert np.array_equal(thin(hand_y()), AT_Y) and len(AT_Y) == 51


def test_skeleton_of_a_tube_at_the_border_of_the_volume() -> None:
    tube = capsules((40, 40, 80), ((20, 20, 6), (20, 20, 73), 5))
    assert tube.sum() == 5942
    assert abs(len(thin(tube)) - 66) <= 2
    assert np.array_equal(thin(tube[15:26, 15:26, 1:79]) + np.array([15, 15, 1]), thin(tube))
    assert thin(np.zeros((3, 4, 5), dtype=np.bool_)).shape == (0, 3)


@given(st.integers(0, 500), st.floats(0.01, 0.6))
def test_neighbours_are_those_of_a_search_tree(seed: int, share: float) -> None:
    voxels = np.argwhere(np.random.default_rng(seed).random((5, 6, 4)) < share)
    pairs = neighbour_pairs(voxels)
    expected = KDTree(voxels).query_pairs(1.8) if len(voxels) else set()
    assert {tuple(pair) for pair in pairs.tolist()} == expected and len(pairs) == len(expected)


def test_length_of_a_hand_drawn_tree() -> None:
    found = Centreline.of(AT_Y * np.array([2.0, 1.0, 1.0]), neighbour_pairs(AT_Y))
    assert found.lengths_mm.sum() == pytest.approx(20 * 2 + 30 * math.sqrt(5))


def test_a_triangle_and_a_loop_are_opened_at_their_longest_edge() -> None:
    corner = line((0, 0, 0), (0, 0, 1), (0, 1, 1))
    found = Centreline.of(corner * np.array([1.0, 1.0, 3.0]), neighbour_pairs(corner))
    assert sorted(found.lengths_mm.tolist()) == [1.0, 3.0]  # not the diagonal of 3.16


def stalk(twig: int, *, at: int = 10) -> Voxels:
    """21 voxels along the third axis with a twig along the second, first axis constant."""
    return line(*[(0, 0, k) for k in range(21)], *[(0, j, at) for j in range(1, twig + 1)])


@pytest.mark.parametrize(("limit", "left"), [(3.9, 25), (4.1, 21)])
def test_a_spur_shorter_than_the_limit_goes(limit: float, left: int) -> None:
    voxels = stalk(4)
    kept = without_spurs(voxels, voxels.astype(float), shorter_than_mm=limit)
    assert len(kept) == left
    assert np.array_equal(kept[kept[:, 1] == 0], stalk(0))


def test_spurs_are_measured_in_mm() -> None:
    voxels = stalk(4)
    assert len(without_spurs(voxels, voxels * np.array([1.0, 0.5, 1.0]), shorter_than_mm=3.0)) == 21


def test_of_two_twigs_at_the_tip_the_longer_continues_the_branch() -> None:
    voxels = line(*[(0, 10, k) for k in range(12)], (0, 11, 12), (0, 12, 13), (0, 9, 12))
    kept = without_spurs(voxels, voxels.astype(float), shorter_than_mm=3.0)
    assert np.array_equal(kept, voxels[voxels[:, 1] >= 10])


def test_a_line_and_a_ring_have_no_spur() -> None:
    straight = line(*[(0, 0, k) for k in range(4)])
    assert len(without_spurs(straight, straight.astype(float), shorter_than_mm=100.0)) == 4
    corners = [(5, 5, 5), (5, 5, 25), (5, 25, 25), (5, 25, 5)]
    sides = zip(corners, [*corners[1:], corners[0]], strict=True)
    ring = thin(capsules((11, 31, 31), *[(a, b, 2.0) for a, b in sides]))
    assert len(without_spurs(ring, ring.astype(float), shorter_than_mm=100.0)) == len(ring) > 70


def test_a_ring_on_a_stalk_is_not_taken_off_though_it_is_short() -> None:
    ring = [(0, j, k) for j in range(-4, 5) for k in range(-4, 5) if abs(j) + abs(k) == 4]
    voxels = line(*ring, *[(0, 0, k) for k in range(5, 35)])
    assert len(without_spurs(voxels, voxels.astype(float), shorter_than_mm=25.0)) == 16 + 30


def shortest_spur(line: Centreline, touching: list[set[int]], left: set[int]) -> tuple[float, list[int]]:
    """The shortest way from a true end to a junction of what is left, from the whole list of edges."""
    edges = [(a, b, mm) for (a, b), mm in zip(line.edges.tolist(), line.lengths_mm.tolist(), strict=True)]
    around: dict[int, dict[int, float]] = {row: {} for row in left}
    for a, b, mm in edges:
        if {a, b} <= left:
            around[a][b] = around[b][a] = mm
    found = []
    for end in [row for row in left if len(around[row]) == 1]:
        (beside,) = around[end]
        if touching[end] & left <= touching[beside]:
            path, length, row = [end], around[end][beside], beside
            while len(around[row]) == 2:
                (ahead,) = around[row].keys() - {path[-1]}
                path, length, row = [*path, row], length + around[row][ahead], ahead
            if len(around[row]) > 2:
                found.append((length, path))
    return min(found, default=(math.inf, []))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.floats(0.12, 0.35), st.sampled_from([1.5, 3.0, 6.0]))
def test_spurs_go_one_by_one_the_shortest_first(seed: int, share: float, limit: float) -> None:
    """The rule as it is said: after each spur all ends are looked up anew."""
    voxels = thin(np.random.default_rng(seed).random((14, 9, 11)) < share)
    points = voxels * [0.5, 0.7, 1.25]
    pairs = neighbour_pairs(voxels)
    edges, left = Centreline.of(points, pairs), set(range(len(voxels)))
    touching = [{row, *pairs[pairs[:, 0] == row, 1], *pairs[pairs[:, 1] == row, 0]} for row in left]
    while (found := shortest_spur(edges, touching, left))[0] < limit:
        left -= set(found[1])
    assert np.array_equal(without_spurs(voxels, points, shorter_than_mm=limit), voxels[sorted(left)])
