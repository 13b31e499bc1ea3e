"""The galaxies and what belongs to them without being tidal."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tessera.astronomy.simulate.frame import Frame
from tessera.astronomy.simulate.hosts import HIDING_MAG, Arms, Ring, arms_light, draw_host, structure
from tessera.astronomy.simulate.photometry import counts_per_px, flux, kpc_per_arcsec, magnitude
from tessera.astronomy.simulate.tidal_config import TidalConfig


def hosts(n: int = 300, **values: object) -> list:
    config = TidalConfig.model_validate(values)
    return [draw_host(np.random.default_rng(seed), config) for seed in range(n)]


def test_hosts_are_as_luminous_and_as_large_as_the_survey_chose_them() -> None:
    for host in hosts():
        assert 15.5 <= host.r_mag <= 17.0 and 0.04 <= host.redshift <= 0.2
        assert 3.0 <= host.radius_kpc <= 10.0 and 0.4 <= host.main.axis_ratio <= 1.0
        assert sum(profile.counts for profile, _ in host.parts) == pytest.approx(flux(host.r_mag))
        assert host.main.radius_px * 0.186 * kpc_per_arcsec(host.redshift) == pytest.approx(host.radius_kpc)
        assert (len(host.parts), host.early) in ((1, True), (2, False))
        if host.early:
            assert 2.5 <= host.main.n <= 6.0 and host.arms is None
        else:
            assert host.main.n == 1.0 and 2.0 <= host.parts[1][0].n <= 4.0
            assert host.parts[1][0].counts / flux(host.r_mag) == pytest.approx(host.bulge_to_total)
    early = np.mean([host.early for host in hosts()])
    assert early == pytest.approx(0.6, abs=0.09)  # three standard errors


def test_light_in_g_is_that_of_the_colours() -> None:
    (host,) = hosts(1, early=1.0)
    assert magnitude(host.counts_g) - host.r_mag == pytest.approx(host.colour.g_r)
    assert host.colour.g_r == pytest.approx(0.7, abs=0.3)


def test_the_edge_is_where_the_galaxy_is_a_magnitude_brighter() -> None:
    (host,) = hosts(1, early=1.0)
    edge = host.edge_px(26.0)
    here = host.main.at(
        np.float32([[edge * math.cos(host.main.angle_rad)]]),
        np.float32([[edge * math.sin(host.main.angle_rad)]]),
    )
    in_g = float(here[0, 0]) * host.colour.weights[0]
    assert in_g == pytest.approx(counts_per_px(26.0 - HIDING_MAG), rel=1e-3)


@pytest.mark.parametrize("number", [2, 3])
def test_arms_wind_at_their_pitch_between_the_centre_and_two_radii(number: int) -> None:
    arms = Arms(number=number, pitch_rad=math.radians(20.0), phase_rad=0.3, mu=22.0)
    radius = np.linspace(0.4, 1.5, 200, dtype=np.float32)
    on_arm = 0.3 + np.log(radius) / math.tan(math.radians(20.0))
    for turn in range(number):
        light = arms_light(radius, (on_arm + 2 * math.pi * turn / number).astype(np.float32), arms=arms)
        np.testing.assert_allclose(light, counts_per_px(22.0) * np.exp(0.5 - radius), rtol=1e-4)
    between = arms_light(radius, (on_arm + math.pi / number).astype(np.float32), arms=arms)
    assert np.all(between < 1e-3 * counts_per_px(22.0))
    outside = arms_light(np.float32([2.01]), np.float32([0.0]), arms=arms)
    assert outside[0] == 0


def test_a_ring_is_brightest_at_its_radius_and_its_ellipse() -> None:
    host = next(h for h in hosts(200, rings=1.0, early=1.0) if h.main.axis_ratio < 0.6)
    assert isinstance(host.ring, Ring)
    frame = Frame(shape=(401, 401), at_px=(200.0, 200.0), px_per_kpc=1.0, reach_px=100.0)
    found = structure(frame, host)
    assert found is not None
    image = frame.blank()
    image[found[0]] = found[1]
    assert image.max() == pytest.approx(counts_per_px(host.ring.mu), rel=0.02)
    rows, columns = np.mgrid[:401, :401] - 200
    weight = image / image.sum(dtype=np.float64)
    moments = np.array(
        [
            [(weight * columns * columns).sum(), 0.0],
            [(weight * columns * rows).sum(), (weight * rows * rows).sum()],
        ]
    )
    small, large = np.linalg.eigvalsh(moments)
    assert math.sqrt(small / large) == pytest.approx(host.main.axis_ratio, abs=0.01)


def test_a_smooth_galaxy_has_no_structure() -> None:
    (host,) = hosts(1, early=1.0, rings=0.0)
    frame = Frame(shape=(64, 64), at_px=(32.0, 32.0), px_per_kpc=1.0, reach_px=30.0)
    assert structure(frame, host) is None
