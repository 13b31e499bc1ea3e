"""Lengths, diameters, angles and ends of branches of tubes whose measures are known."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components, dijkstra

from tessera.medical.airway_branches import (
    DEFINITIONS,
    Branch,
    branches_csv,
    branches_json,
    centreline,
    mean_distances,
    measure_branches,
)
from tessera.medical.airway_skeleton import Centreline, neighbour_pairs, thin
from tessera.medical.airway_tree import AirwayTree, parse_airway
from tessera.medical.geometry import VolumeGeometry

from .airway_shapes import LEAVES, STEMS, Mask, capsules, crowded, hand_y, unit_grid, y3

TUBE = capsules((40, 40, 80), ((20, 20, 6), (20, 20, 73), 5))


def tree(mask: Mask, affine: np.ndarray | None = None) -> AirwayTree:
    return parse_airway(mask, unit_grid(mask) if affine is None else VolumeGeometry.of(mask.shape, affine))


def straight_down(mask: Mask) -> AirwayTree:
    """The first array axis points to the head, as the tests' trees stand."""
    return tree(mask, np.array([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], dtype=float))


def test_a_straight_tube() -> None:
    (found,) = measure_branches(tree(TUBE))
    assert (found.id, found.parent, found.generation, found.angle_to_parent_deg) == (1, None, 0, None)
    assert found.length_mm == pytest.approx(65, abs=2)
    assert found.diameter_mean_mm == pytest.approx(10, rel=0.05)
    assert found.diameter_min_mm == pytest.approx(10, rel=0.05)
    assert found.diameter_area_mm == pytest.approx(2 * math.sqrt(5942 / (math.pi * found.length_mm)))
    assert found.volume_mm3 == 5942
    assert found.start_mm[2] > found.end_mm[2]  # from above


def test_a_tube_of_flat_voxels_is_measured_in_mm() -> None:
    """A cylinder of radius 4 mm and length 60 mm, voxels of 0.5 x 0.5 x 2.5 mm, along the second axis."""
    i, k = np.meshgrid(np.arange(31) * 0.5 - 7.5, np.arange(9) * 2.5 - 10, indexing="ij")
    mask = np.zeros((31, 124, 9), dtype=np.bool_)
    mask[:, 2:122] = (i**2 + k**2 <= 16)[:, None, :]
    (found,) = measure_branches(tree(mask, np.diag([-0.5, 0.5, 2.5, 1.0])))
    assert found.length_mm == pytest.approx(60, rel=0.15)
    assert found.diameter_mean_mm == pytest.approx(8, rel=0.15)
    assert found.diameter_area_mm == pytest.approx(8, rel=0.15)
    assert found.volume_mm3 == pytest.approx(math.pi * 16 * 60, rel=0.08)


def test_length_runs_through_centres_of_voxels() -> None:
    """In the hand-countable tree: 20 straight steps, and 2 x 15 diagonal ones, each to its own branch."""
    branches = measure_branches(straight_down(hand_y()))
    assert sorted(b.length_mm for b in branches) == pytest.approx([20] + [15 * math.sqrt(2)] * 2)
    trunk = max(branches, key=lambda b: b.volume_mm3)
    assert (trunk.start_mm, trunk.end_mm) == ((20.0, 20.0, 40.0), (20.0, 20.0, 20.0))
    arms = [b for b in branches if b is not trunk]
    assert all(b.start_mm == (20.0, 20.0, 20.0) for b in arms)
    assert sorted(b.end_mm for b in arms) == [(5.0, 20.0, 5.0), (35.0, 20.0, 5.0)]
    assert [b.generation for b in arms] == [None, None]


def test_arms_leave_the_trunk_at_their_angle() -> None:
    found = measure_branches(straight_down(y3()))
    trunk = found[2]
    assert trunk.start_mm[2] > trunk.end_mm[2] > 30
    for arm in found[:2]:
        assert arm.parent == 3 and arm.generation == 1
        assert arm.angle_to_parent_deg == pytest.approx(math.degrees(math.atan2(18, 24)), abs=2)
        assert arm.diameter_mean_mm == pytest.approx(6, rel=0.1)
        assert np.linalg.norm(np.subtract(arm.start_mm, (32, 32, 34))) < 2
        assert arm.length_mm == pytest.approx(30, rel=0.1)
    assert trunk.diameter_mean_mm == pytest.approx(8, rel=0.1)


def test_diameters_follow_the_radii_of_seven_branches() -> None:
    found = measure_branches(straight_down(capsules((96, 96, 96), *STEMS, *LEAVES)))
    for branch in found:
        true = {0: 10, 1: 8, 2: 6}[branch.generation or 0]
        assert branch.diameter_mean_mm == pytest.approx(true, rel=0.12)
        assert branch.diameter_area_mm == pytest.approx(true, rel=0.2)


@pytest.mark.parametrize("seed", range(4))
def test_branches_add_up_to_the_tree(seed: int) -> None:
    parsed = tree(crowded(seed), np.diag([0.7, -0.8, 2.0, 1.0]))
    found = measure_branches(parsed)
    assert sum(b.length_mm for b in found) == pytest.approx(centreline(parsed).lengths_mm.sum())
    assert sum(b.volume_mm3 for b in found) == pytest.approx(parsed.mask.sum() * 0.7 * 0.8 * 2.0)
    assert sum(b.n_skeleton_voxels for b in found) == len(parsed.skeleton)


@cache
def crowded_tree() -> AirwayTree:
    return tree(crowded(1))


@settings(max_examples=20)
@given(st.floats(0.1, 10))
def test_scaling_the_spacing_scales_the_measures(scale: float) -> None:
    parsed = crowded_tree()
    scaled = VolumeGeometry.of(parsed.geometry.shape, np.diag([scale, scale, scale, 1.0]))
    after = measure_branches(dataclasses.replace(parsed, geometry=scaled))
    for a, b in zip(measure_branches(parsed), after, strict=True):
        assert b.length_mm == pytest.approx(scale * a.length_mm)
        assert b.diameter_mean_mm == pytest.approx(scale * a.diameter_mean_mm)
        assert b.diameter_area_mm == pytest.approx(scale * (a.diameter_area_mm or 0.0))
        assert b.volume_mm3 == pytest.approx(scale**3 * a.volume_mm3)
        assert b.angle_to_parent_deg == (a.angle_to_parent_deg and pytest.approx(a.angle_to_parent_deg))


def test_turning_the_patient_turns_ends_and_nothing_else() -> None:
    """A rotated, shifted affine: lengths, diameters and angles stay."""
    turn = np.array([[0.36, 0.48, -0.8, 5], [-0.8, 0.6, 0, -7], [0.48, 0.64, 0.6, 90], [0, 0, 0, 1]])
    mask = crowded(3)
    for a, b in zip(measure_branches(tree(mask)), measure_branches(tree(mask, turn)), strict=True):
        assert b.length_mm == pytest.approx(a.length_mm)
        assert b.diameter_min_mm == pytest.approx(a.diameter_min_mm)
        assert b.end_mm == pytest.approx(turn[:3, :3] @ a.end_mm + turn[:3, 3])
        assert b.angle_to_parent_deg == (a.angle_to_parent_deg and pytest.approx(a.angle_to_parent_deg))


def test_the_border_of_the_volume_is_not_a_wall() -> None:
    block = np.zeros((5, 30, 15), dtype=np.bool_)
    block[:, :, 4:11] = True
    (found,) = measure_branches(tree(block))
    assert found.diameter_mean_mm == 8.0


def test_csv_and_json_tell_the_same() -> None:
    parsed = straight_down(y3())
    record = json.loads(branches_json(parsed))
    rows = list(csv.DictReader(io.StringIO(branches_csv(parsed))))
    assert [record[key] for key in ("n_branches", "trachea", "volume_mm3")] == [3, 3, 3010.0]
    assert record["length_mm"] == pytest.approx(sum(b["length_mm"] for b in record["branches"]), abs=1e-3)
    assert set(DEFINITIONS) < set(record["branches"][0]) == set(Branch.__dataclass_fields__)
    for row, branch in zip(rows, record["branches"], strict=True):
        assert row["parent"] == ("" if branch["parent"] is None else str(branch["parent"]))
        assert float(row["length_mm"]) == branch["length_mm"]
        assert [float(row[f"end_{axis}_mm"]) for axis in "ras"] == branch["end_mm"]
    assert rows[2]["angle_to_parent_deg"] == "" and record["branches"][2]["angle_to_parent_deg"] is None


def test_a_tree_without_branches_is_written_too() -> None:
    empty = tree(np.zeros((4, 4, 4), dtype=np.bool_))
    record = json.loads(branches_json(empty))
    assert (record["branches"], record["trachea"], record["length_mm"]) == ([], None, 0.0)
    assert branches_csv(empty).count("\n") == 1


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.floats(0.1, 0.4))
def test_mean_distances_are_those_of_all_shortest_ways(seed: int, share: float) -> None:
    voxels = thin(np.random.default_rng(seed).random((9, 10, 12)) < share)
    points = voxels * [0.5, 0.7, 1.25]
    graph = Centreline.of(points, neighbour_pairs(voxels)).matrix(len(points))
    parts = connected_components(graph, directed=False)[1]
    starts = np.unique(parts, return_index=True)[1]
    ways = dijkstra(graph, directed=False)
    expected = [row[np.isfinite(row)].mean() for row in ways]
    assert np.allclose(mean_distances(graph, starts, parts), expected, rtol=1e-12, atol=1e-12)


def test_the_trachea_begins_at_its_upper_end() -> None:
    """Its end is farther from all others on average than any voxel below."""
    for seed in range(4):
        found = straight_down(crowded(seed))
        branches = {branch.id: branch for branch in measure_branches(found)}
        own = found.points_mm[found.skeleton_ids == found.trachea]
        ways = dijkstra(centreline(found).matrix(len(found.skeleton)), directed=False)
        means = ways[found.skeleton_ids == found.trachea].mean(axis=1)
        assert branches[found.trachea].start_mm == pytest.approx(own[means.argmax()])
