"""Networks for volumes by their config: planned stages, and errors where they are missing or wrong."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tessera.core.config import Config, dump_yaml, loads_yaml, validate
from tessera.core.errors import ConfigError
from tessera.medical.model_config import VolumeModelConfig

STAGES = {
    "features": [4, 8],
    "strides": [[1, 1, 1], [1, 2, 2]],
    "kernels": [[1, 3, 3], [3, 3, 3]],
}


class Section(Config):
    model: VolumeModelConfig


def configured(**model: Any) -> Any:
    return validate(Section, {"model": model}, source="test").model


KINDS = [
    {"kind": "plain-unet"},
    {"kind": "plain-unet", "convs": [1, 2], "decoder_convs": 1},
    {"kind": "residual-unet"},
    {"kind": "residual-unet", "blocks": [2, 1], "decoder_convs": [2]},
    {"kind": "u-mamba"},
    {"kind": "u-mamba", "mamba": "encoder", "patch": [2, 4, 6], "version": 2},
    {"kind": "u-mamba", "mamba": "none", "version": 1},
]


@pytest.mark.parametrize("model", KINDS, ids=str)
def test_each_network_answers_and_survives_its_yaml(model: dict[str, Any]) -> None:
    config = configured(**model, **STAGES)
    network = config.build(2, 3, 3)
    with torch.no_grad():
        assert len(network(torch.randn(1, 2, 2, 4, 6))) == 1
        assert network.eval()(torch.randn(1, 2, 2, 4, 6)).shape == (1, 3, 2, 4, 6)
    again = loads_yaml(dump_yaml(Section(model=config).model_dump(mode="json")))
    assert validate(Section, again, source="config.yaml").model == config


@pytest.mark.parametrize("model", KINDS, ids=str)
def test_supervision_can_be_switched_off(model: dict[str, Any]) -> None:
    network = configured(**model, **STAGES, deep_supervision=False).build(2, 3, 3).train()
    assert network(torch.randn(1, 2, 2, 4, 6)).shape == (1, 3, 2, 4, 6)


@pytest.mark.parametrize("kind", ["plain-unet", "residual-unet", "u-mamba"])
def test_stages_that_nobody_planned_are_told(kind: str) -> None:
    for given, missing in (({}, "features, model.strides, model.kernels"), ({"features": [4, 8]}, "strides")):
        with pytest.raises(ConfigError, match=f"null for model.{missing}") as caught:
            configured(kind=kind, **given).build(1, 2, 3)
        assert kind in caught.value.problem
        assert "Pipeline.configure" in str(caught.value)


def test_stages_planned_for_volumes_are_not_for_slices() -> None:
    with pytest.raises(ConfigError, match=r"model\.strides of 3 axes"):
        configured(kind="plain-unet", **STAGES).build(1, 2, 2)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"kind": "plain-unet", "features": [4, 8, 16]}, "3 features, 2 strides and 2 kernels"),
        ({"kind": "plain-unet", "convs": [2]}, "convs="),
        ({"kind": "residual-unet", "kernels": [[1, 3, 3], [3, 4, 3]]}, "odd"),
        ({"kind": "u-mamba", "mamba": "encoder"}, "needs patch"),
        ({"kind": "u-mamba", "mamba": "encoder", "patch": [2, 4, 5]}, "for instance 2 x 4 x 6"),
    ],
)
def test_what_only_the_network_knows_is_an_error_of_the_config(model: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        configured(**(STAGES | model)).build(1, 2, 3)
    assert caught.value.problem == f"this {model['kind']} cannot be built"


@pytest.mark.parametrize(
    "model",
    [
        {"kind": "unet"},
        {"kind": "plain-unet", "features": [4]},
        {"kind": "plain-unet", "strides": [[1, 1], [0, 2]]},
        {"kind": "u-mamba", "mamba": "decoder"},
        {"kind": "u-mamba", "version": 3},
        {"kind": "residual-unet", "convs": 2},
    ],
    ids=str,
)
def test_unknown_options_are_refused(model: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        configured(**model)
