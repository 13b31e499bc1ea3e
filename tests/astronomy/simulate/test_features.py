"""Tidal features at a given brightness."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest

from tessera.astronomy.simulate.features import Feature, confidence, draw_feature, mean_level
from tessera.astronomy.simulate.frame import Frame
from tessera.astronomy.simulate.hosts import Host, draw_host
from tessera.astronomy.simulate.photometry import counts_per_px, px_per_kpc
from tessera.astronomy.simulate.tidal_config import MU_RANGES, FeatureKind, TidalConfig

KINDS = get_args(FeatureKind)


def drawn(kind: FeatureKind, seed: int = 0, **values: object) -> tuple[Feature, Host, Frame]:
    config = TidalConfig.model_validate(values)
    host = draw_host(np.random.default_rng(1000 + seed), config)
    frame = Frame(
        shape=(360, 360), at_px=(179.6, 180.2), px_per_kpc=px_per_kpc(host.redshift), reach_px=115.0
    )
    feature = draw_feature(np.random.default_rng(seed), frame, host, kind=kind, config=config)
    return feature, host, frame


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_over_the_area_has_the_surface_brightness_that_is_told(kind: FeatureKind) -> None:
    for seed in range(6):
        feature, _, _ = drawn(kind, seed)
        low, high = MU_RANGES[kind]
        assert low <= feature.mu <= high
        in_g = feature.light * feature.colour.weights[0]
        if feature.progenitor:
            continue  # its peak is that of the dwarf, not of the stream
        assert in_g[in_g > 0.5 * in_g.max()].mean(dtype=np.float64) == pytest.approx(
            counts_per_px(feature.mu), rel=1e-4
        )


@pytest.mark.parametrize("kind", KINDS)
def test_the_told_share_of_light_is_that_of_the_pixels_and_mostly_as_wanted(kind: FeatureKind) -> None:
    shares = []
    for seed in range(20):
        feature, host, _ = drawn(kind, seed)
        counts = feature.light.sum(dtype=np.float64) * feature.colour.weights[0]
        assert feature.flux_fraction == pytest.approx(counts / host.counts_g, rel=1e-4)
        shares.append(feature.flux_fraction)
    inside = [0.0049 <= share <= 0.051 for share in shares]
    assert np.mean(inside) >= 0.6 and min(shares) > 0.001 and max(shares) < 0.3


@pytest.mark.parametrize("kind", KINDS)
def test_features_lie_in_the_central_square(kind: FeatureKind) -> None:
    for seed in range(6):
        feature, _, frame = drawn(kind, seed)
        rows, columns = np.argwhere(feature.light > 0.5 * feature.light.max()).T
        farthest = max(np.abs(columns - frame.at_px[0]).max(), np.abs(rows - frame.at_px[1]).max())
        assert farthest <= 128


def test_a_range_of_brightness_replaces_that_of_the_kinds() -> None:
    found = [drawn("tail", seed, mu_range=[27.0, 27.2])[0].mu for seed in range(5)]
    assert min(found) >= 27.0 and max(found) <= 27.2


def test_light_scales_with_the_factor_and_dims_the_told_brightness() -> None:
    usual, _, _ = drawn("shell", 3)
    twice, _, _ = drawn("shell", 3, feature_flux=2.0)
    np.testing.assert_allclose(twice.light, 2 * usual.light, rtol=1e-5)
    assert twice.mu == pytest.approx(usual.mu - 2.5 * math.log10(2.0))
    assert twice.flux_fraction == pytest.approx(2 * usual.flux_fraction)
    none, _, _ = drawn("shell", 3, feature_flux=0.0)
    assert not none.light.any() and none.mu == math.inf and none.flux_fraction == 0


def test_three_in_ten_streams_hold_a_progenitor() -> None:
    found = [drawn("stream", seed, flux_fraction=[0.0, 1.0])[0].progenitor for seed in range(80)]
    assert np.mean(found) == pytest.approx(0.3, abs=0.15)  # three standard errors


@pytest.mark.parametrize(
    ("mu", "level"), [(24.0, 4), (26.5, 4), (26.51, 3), (27.2, 3), (27.3, 2), (27.5, 1), (math.inf, 0)]
)
def test_confidence_follows_the_brightness(mu: float, level: int) -> None:
    assert confidence(mu) == level


def test_the_area_is_where_light_exceeds_half_of_its_peak() -> None:
    light = np.float32([[0.0, 1.0, 2.0], [3.0, 4.0, 2.1]])
    assert mean_level(light) == pytest.approx((3.0 + 4.0 + 2.1) / 3)
    assert mean_level(np.zeros((2, 2), dtype=np.float32)) == 0.0
