"""What a simulated survey may be asked for."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tessera.astronomy.simulate import DEPTHS, TidalConfig
from tessera.astronomy.simulate.photometry import noise_limit
from tessera.core.config import parse_set, validate
from tessera.core.errors import ConfigError


def test_depths_are_as_deep_as_published() -> None:
    assert noise_limit(DEPTHS["cfhtls-wide"][1]) == pytest.approx(26.35, abs=0.006)
    assert noise_limit(DEPTHS["deep"][1]) == pytest.approx(26.90, abs=0.006)
    assert noise_limit(DEPTHS["shallow"][1]) == pytest.approx(26.06, abs=0.006)
    assert math.hypot(*DEPTHS["cfhtls-wide"]) == pytest.approx(1.82, abs=0.003)


def test_noise_by_hand_replaces_that_of_the_name() -> None:
    assert TidalConfig(depth="deep").sky_sigma == DEPTHS["deep"]
    assert TidalConfig(depth="deep", noise_sigma=(1.0, 2.0, 3.0)).sky_sigma == (1.0, 2.0, 3.0)


def test_fields_are_set_from_the_command_line() -> None:
    config = validate(
        TidalConfig, parse_set(["feature_flux=0", "mu_range=[25, 26]", "depth=deep"]), source="t"
    )
    assert (config.feature_flux, config.mu_range, config.depth) == (0.0, (25.0, 26.0), "deep")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"depth": "hubble"}, "cfhtls-wide"),
        ({"mu_range": [27.0, 25.0]}, "the lower first"),
        ({"mu_range": [25.0, math.inf]}, "finite"),
        ({"background_rms": [-0.1, 0.1]}, "background_rms: not negative"),
        ({"noise_scale": [0.0, 1.0]}, "noise_scale: at least"),
        ({"redshift": [0.0, 0.1]}, "redshift: at least"),
        ({"seeing_arcsec": [0.0, 0.7, 0.7]}, "seeing_arcsec"),
        ({"moffat_beta": [1.0, 2.0]}, "moffat_beta: above 1"),
        ({"halo": [0.5, 1.5]}, "halo: at most 1"),
        ({"features": ["stream", "stream"]}, "each kind once"),
        ({"features": []}, "features"),
        ({"prevalence": 1.2}, "prevalence"),
        ({"size_px": 32}, "size_px"),
        ({"depht": "deep"}, "depht"),
    ],
)
def test_nonsense_is_refused_by_name(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(TidalConfig, values, source="tidal")
