"""Encoders of timm behind our interface: maps, normalisation, weights from a local file alone."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from tessera.core.adapters.timm import TimmEncoder, expected_input
from tessera.core.backbone.encoders import Classifier
from tessera.core.backbone.fpn import PyramidEncoder
from tessera.core.backbone.layout import EncoderLayout
from tessera.core.backbone.unet import UNet
from tessera.core.backbone_config import TimmEncoderConfig, UNetConfig
from tessera.core.config import validate
from tessera.core.errors import ConfigError

NAME = "test_resnet"  # timm's smallest
PLAIN: dict[str, Any] = {"mean": (0.0,), "std": (1.0,)}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something tried to download")

    import socket

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_file(timm.create_model(NAME).state_dict(), path)
    return path


@pytest.mark.parametrize("name", [NAME, "test_convnext", "test_efficientnet"])
def test_maps_have_the_stated_channels_and_strides(name: str) -> None:
    encoder = TimmEncoder(name, in_channels=1).eval()
    maps = encoder(torch.rand(2, 1, 64, 96))
    assert [y.shape[1] for y in maps] == list(encoder.channels)
    sizes = [(64 // rows, 96 // columns) for rows, columns in encoder.strides]
    assert [tuple(y.shape[2:]) for y in maps] == sizes


def test_channels_come_second_also_where_timm_puts_them_last() -> None:
    encoder = TimmEncoder("swin_tiny_patch4_window7_224", img_size=64, embed_dim=12, depths=(1, 1, 1, 1))
    shapes = [tuple(y.shape[1:]) for y in encoder.eval()(torch.rand(1, 3, 64, 64))]
    assert shapes == [(12, 16, 16), (24, 8, 8), (48, 4, 4), (96, 2, 2)]


def test_maps_can_be_chosen() -> None:
    every, some = TimmEncoder(NAME), TimmEncoder(NAME, maps=(1, 3))
    assert some.channels == (every.channels[1], every.channels[3])
    assert some.strides == ((4, 4), (16, 16))


def test_weights_of_a_local_file_give_timm_s_maps_of_the_normalised_input(tmp_path: Path) -> None:
    network = timm.create_model(NAME, features_only=True).eval()
    full = timm.create_model(NAME).eval()
    names = dict(
        zip(network.state_dict(), (k for k in full.state_dict() if not k.startswith("fc")), strict=True)
    )
    path = tmp_path / "model.safetensors"
    save_file(full.state_dict(), path)
    network.load_state_dict({ours: full.state_dict()[theirs] for ours, theirs in names.items()})
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)
    encoder = TimmEncoder(NAME, weights=path, mean=mean, std=std).eval()
    x = torch.rand(2, 3, 33, 34)
    normalised = torch.stack([(x[:, i] - mean[i]) / std[i] for i in range(3)], dim=1)
    for ours, theirs in zip(encoder(x), network(normalised), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_pytorch_files_and_one_channel_are_loaded_too(tmp_path: Path, weights: Path) -> None:
    path = tmp_path / "model.pth"
    state = timm.create_model(NAME).state_dict()
    torch.save(state, path)
    encoder = TimmEncoder(NAME, weights=path, in_channels=1, **PLAIN)
    first = next(p for p in encoder.parameters() if p.ndim == 4)
    torch.testing.assert_close(first, state["conv1.0.weight"].sum(1, keepdim=True))


def test_missing_file_names_where_to_fetch_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing is downloaded(?s:.*)tessera fetch timm:test_resnet"):
        TimmEncoder(NAME, weights=tmp_path / "none.safetensors", **PLAIN)


def test_weights_without_their_normalisation_are_refused(weights: Path) -> None:
    mean = expected_input(NAME)["mean"]
    with pytest.raises(ConfigError, match=rf"mean \({mean[0]}, .*and std \("):
        TimmEncoder(NAME, weights=weights)


@pytest.mark.parametrize("other", ["test_vit", "test_resnet without its last stages"])
def test_weights_of_another_network_are_refused(tmp_path: Path, other: str) -> None:
    path = tmp_path / "other.safetensors"
    state = timm.create_model(other.partition(" ")[0]).state_dict()
    save_file({k: v for k, v in state.items() if not k.startswith(("layer3", "layer4"))}, path)
    with pytest.raises(ConfigError, match="has other weights than test_resnet needs"):
        TimmEncoder(NAME, weights=path, **PLAIN)


@pytest.mark.parametrize("name", ["resnet_of_mars", "hf-hub:timm/resnet18.a1_in1k", "local-dir:/tmp"])
def test_unknown_names_and_addresses_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="timm has no model"):
        TimmEncoder(name)


def test_options_that_timm_refuses_are_an_error_of_the_config() -> None:
    with pytest.raises(ConfigError, match="timm cannot build test_resnet with these options"):
        TimmEncoder(NAME, flux_capacitor=True)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"mean": (0.5, 0.5)}, "2 values(?s:.*)one value, or 3"), ({"std": (0.0,)}, "values above 0")],
)
def test_normalisation_that_does_not_fit_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TimmEncoder(NAME, **values)


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def without(name: str, package: str | None = None) -> ModuleType:
        if name == "timm":
            raise ImportError("No module named 'timm'")
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(ConfigError, match=r"pip install 'tessera-core\[timm\]'"):
        TimmEncoder(NAME)


def test_normalisation_travels_with_the_state_dict() -> None:
    state = TimmEncoder(NAME, mean=(0.25,), std=(0.5,)).state_dict()
    assert (state["mean"].item(), state["std"].item()) == (0.25, 0.5)


def test_unet_pyramid_and_classifier_take_it_as_their_encoder() -> None:
    x = torch.rand(2, 3, 65, 70)
    layout = EncoderLayout(gate="eca")
    unet = UNet(TimmEncoder(NAME, layout=layout), 4, deep_supervision=1)
    assert [tuple(y.shape[1:3]) for y in unet(x)] == [(4, 65), (4, 33)]
    assert Classifier(TimmEncoder(NAME), 6)(x).shape == (2, 6)
    assert PyramidEncoder(TimmEncoder(NAME), width=8)(x)["0"].shape[1] == 8


def test_config_builds_it() -> None:
    values = {"encoder": {"kind": "timm", "name": NAME, "mean": [0.5], "std": [0.5], "maps": [0, 1, 2]}}
    network = validate(UNetConfig, values, source="preset").build(2, 1, 3)
    assert network(torch.rand(2, 1, 33, 34)).shape == (2, 3, 33, 34)
    encoder = TimmEncoderConfig(name=NAME, options={"output_stride": 8}).build(2, 3)
    assert encoder.strides[-1] == (8, 8)
