"""Shells and fans: sharp edges, openings and fall-off."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from tessera.astronomy.simulate.frame import Frame, turned
from tessera.astronomy.simulate.wedges import Shell, draw_shells, fan_image, shell_image

FRAME = Frame(shape=(257, 257), at_px=(128.0, 128.0), px_per_kpc=2.8, reach_px=115.0)
SHELL = Shell(
    radius_px=80.0,
    depth_px=15.0,
    towards_rad=0.5,
    opening_rad=math.radians(90.0),
    axis_ratio=1.0,
    angle_rad=0.0,
    peak=2.0,
)


def polar() -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.mgrid[:257, :257] - 128
    return np.hypot(columns, rows), np.arctan2(rows, columns)


def test_a_shell_rises_to_its_edge_and_ends_within_two_pixels() -> None:
    image = shell_image(FRAME, (replace(SHELL, towards_rad=0.0),))
    row = image[128, 128:]
    assert row[79] == pytest.approx(2.0 * math.exp(-1.0 / 15.0), rel=1e-4)
    assert row[50] == pytest.approx(2.0 * math.exp(-2.0), rel=1e-4)
    assert not row[81:].any()
    assert row.argmax() == 79


def test_a_shell_covers_its_opening_alone() -> None:
    image = shell_image(FRAME, (SHELL,))
    r, angle = polar()
    away = np.abs(np.angle(np.exp(1j * (angle - 0.5))))
    ring = (r > 60) & (r < 78)
    assert np.all(image[ring & (away < math.radians(40))] > 0.4)
    assert not image[ring & (away > math.radians(50))].any()
    lit = (image > 0.2 * image.max()) & ring
    assert lit.sum() / ring.sum() == pytest.approx(0.25, abs=0.02)


def test_a_shell_all_around_follows_its_ellipse() -> None:
    image = shell_image(
        FRAME, (replace(SHELL, opening_rad=2 * math.pi, axis_ratio=0.5, angle_rad=math.pi / 2),)
    )
    assert image[128 + 78, 128] > 1.5 and image[128 + 83, 128] == 0  # along the major axis, now y
    assert image[128, 128 + 38] > 1.5 and image[128, 128 + 42] == 0


@pytest.mark.parametrize("seed", range(20))
def test_drawn_shells_interleave_within_the_reach(seed: int) -> None:
    shells = draw_shells(np.random.default_rng(seed), FRAME, nearest_px=30.0, angle_rad=0.8, axis_ratio=0.6)
    radii = [shell.radius_px for shell in shells]
    assert 1 <= len(shells) <= 5 and radii[-1] <= FRAME.reach_px
    assert all(1.3 <= b / a <= 1.8 for a, b in pairwise(radii))
    if shells[0].opening_rad < 2 * math.pi:
        sides = [math.cos(shell.towards_rad - 0.8) for shell in shells]
        assert all(a * b == pytest.approx(-1.0) for a, b in pairwise(sides))
        assert math.radians(40) <= shells[0].opening_rad <= math.radians(120)


@pytest.mark.parametrize("seed", range(6))
def test_a_fan_falls_off_exponentially_inside_its_opening(seed: int) -> None:
    image = fan_image(np.random.default_rng(seed), FRAME, nearest_px=40.0)
    r, angle = polar()
    weight = image.sum(dtype=np.float64)
    towards = math.atan2(
        float((image * np.sin(angle)).sum()) / weight, float((image * np.cos(angle)).sum()) / weight
    )
    away = np.abs(np.angle(np.exp(1j * (angle - towards))))
    opening = 2 * np.pi * np.mean(image[(r > 45) & (r < 50)] > 0.25 * image.max())
    assert math.radians(38) < opening < math.radians(95)
    middle = (away < 0.2) & (r > 42) & (r < 110)
    slope, _ = np.polyfit(r[middle], np.log(image[middle]), 1)
    residual = np.log(image[middle]) - np.polyval([slope, _], r[middle])
    assert np.abs(residual).max() < 1e-3
    assert 0.4 <= -1 / slope / (FRAME.reach_px - 40.0) <= 0.7
    assert not image[r < 27].any()


def test_angles_are_turned_into_one_circle() -> None:
    angles = np.linspace(-math.pi, math.pi, 101, dtype=np.float32)
    found = turned(angles, by_rad=2.0)
    assert np.abs(found).max() <= math.pi + 1e-5
    np.testing.assert_allclose(np.cos(found), np.cos(angles - 2.0), atol=1e-5)
    np.testing.assert_allclose(np.sin(found), np.sin(angles - 2.0), atol=1e-5)
