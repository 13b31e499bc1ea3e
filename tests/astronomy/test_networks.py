"""The presets' networks have the published sizes."""

from __future__ import annotations

import pytest
import torch

from tessera.astronomy.config import DensityConfig, SkyConfig
from tessera.astronomy.model_config import DensityCNNConfig, FrontEndConfig, WalmsleyConfig
from tessera.astronomy.networks import build_density_network, build_sky_network
from tessera.core.config import validate
from tessera.core.network import Network
from tessera.core.pipeline import get


def count(network: Network) -> int:
    return sum(parameter.numel() for parameter in network.body.parameters())


def preset(pipeline: str, name: str) -> object:
    found = get(pipeline)
    return validate(found.resolve("config"), found.preset_values(name), source=name)


def test_the_walmsley_preset_is_the_papers_network_with_a_second_output() -> None:
    config = preset("tidal-features", "walmsley")
    assert isinstance(config, SkyConfig)
    assert count(build_sky_network(config, n_outputs=2)) == 3_714_593 + 65
    assert count(build_sky_network(config, n_outputs=1)) == 3_714_593


@pytest.mark.parametrize(("name", "parameters"), [("cnn", 672_836), ("vit", 1_588_420), ("cvt", 17_580_484)])
def test_the_cosmology_presets_have_the_sheets_counts(name: str, parameters: int) -> None:
    config = preset("cosmology", name)
    assert isinstance(config, DensityConfig)
    assert count(build_density_network(config, n_outputs=4)) == parameters


def test_a_network_sees_what_its_front_end_leaves() -> None:
    config = SkyConfig(
        pipeline="tidal-features",
        preset="test",
        data={"size_px": 64, "n_bands": 3},  # type: ignore[arg-type]
        front_end=FrontEndConfig(crop_px=48, noise_reduction="bin2"),
        model=WalmsleyConfig(widths=(4, 4), hidden=8),
    )
    network = build_sky_network(config, n_outputs=2)
    assert network(torch.zeros(2, 3, 64, 64)).shape == (2, 2)


def test_the_density_network_is_as_wide_as_asked() -> None:
    config = DensityConfig(
        pipeline="cosmology", preset="test", data={"size_px": 64}, model=DensityCNNConfig(hidden=2)
    )  # type: ignore[arg-type]
    network = build_density_network(config, n_outputs=4).eval()
    assert network(torch.zeros(1, 1, 64, 64)).shape == (1, 4)
