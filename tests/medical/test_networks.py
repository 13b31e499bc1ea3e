"""Networks of the pipelines by their configs: channels of what is prepared, classes of what is asked."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tessera.core.config import validate
from tessera.core.network import Network
from tessera.medical.airway_windows import AirwayWindows
from tessera.medical.config import AirwayConfig, VolumeConfig
from tessera.medical.networks import build_airway_network, build_volume_network

PLAIN = {
    "kind": "plain-unet",
    "features": [2, 4],
    "strides": [[1, 1, 1], [2, 2, 2]],
    "kernels": [[3, 3, 3], [3, 3, 3]],
}


def data(**fields: Any) -> dict[str, Any]:
    scheme = {"kind": "ct", "low": -1000.0, "high": 600.0, "mean": -1000.0, "std": 1600.0}
    known = {"axes": [0, 1, 2], "spacing_mm": [None] * 3, "patch": [16, 16, 16], "normalisation": [scheme]}
    return known | fields


def volumes(**sections: Any) -> VolumeConfig:
    return validate(VolumeConfig, {"pipeline": "volumes", "preset": "smoke", **sections}, source="test")


def airway(**sections: Any) -> AirwayConfig:
    return validate(AirwayConfig, {"pipeline": "airway", "preset": "smoke", **sections}, source="test")


def parameters(network: Network) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("channels", [1, 3])
def test_every_channel_enters_and_every_class_leaves(channels: int) -> None:
    config = volumes(data=data(normalisation=[{"kind": "zscore"}] * channels), model=PLAIN)
    network = build_volume_network(config, n_outputs=4).eval()
    assert isinstance(network, Network)
    input = torch.randn(2, channels, 16, 16, 16)
    assert torch.equal(network.front_end(input), input), "volumes reach the network prepared"
    assert network(input).shape == (2, 4, 16, 16, 16)


def test_slices_get_a_network_of_two_axes() -> None:
    flat = {**PLAIN, "strides": [[1, 1], [2, 2]], "kernels": [[3, 3], [3, 3]]}
    config = volumes(data=data(patch=[1, 16, 24], spatial_dims=2), model=flat)
    assert build_volume_network(config, n_outputs=2).eval()(torch.randn(1, 1, 16, 24)).shape == (1, 2, 16, 24)


@pytest.mark.parametrize(
    ("model", "depth", "coordinates", "expected"),
    [
        ("airwaynet", True, True, 4_119_706),  # the reference configuration: 26 maps, four further channels
        ("airwaynet", False, False, 4_117_978),
        ("airwaynet", False, True, 4_117_978 + 3 * 432),
    ],
)
def test_what_is_told_beside_the_scan_reaches_the_network(
    model: str, depth: bool, coordinates: bool, expected: int
) -> None:
    config = airway(data=data(depth=depth, coordinates=coordinates), model={"kind": model})
    assert parameters(build_airway_network(config, n_outputs=2)) == expected


@pytest.mark.parametrize("model", [{"kind": "airwaynet"}, {"kind": "tubule", "patch": [16, 16, 32]}, PLAIN])
def test_networks_for_airways_take_the_windows_they_are_made_for(model: dict[str, Any]) -> None:
    config = airway(data=data(patch=[16, 16, 32], depth=True, coordinates=True), model=model)
    network = build_airway_network(config, n_outputs=2).eval()
    input = torch.randn(1, *AirwayWindows(config).input_shape)
    with torch.no_grad():
        answer = network(input)
        other = network(torch.cat([input[:, :1], -input[:, 1:]], dim=1))
    assert answer.shape == (1, 2, 16, 16, 32)
    assert not torch.equal(answer, other), "depth and places change nothing"
