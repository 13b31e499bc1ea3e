"""Networks that are not planned stage by stage: published sizes, and what they say of wrong settings."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from tessera.core.config import Config, dump_yaml, loads_yaml, validate
from tessera.core.errors import ConfigError
from tessera.medical.network_config import AirwayNetConfig, HiFormerConfig, TubuleNetConfig


class Section(Config):
    """A model section with any of the three."""

    model: HiFormerConfig | AirwayNetConfig | TubuleNetConfig


def configured(**model: Any) -> HiFormerConfig | AirwayNetConfig | TubuleNetConfig:
    return validate(Section, {"model": model}, source="test").model


def count(config: Any, *arguments: int) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in config.build(*arguments).parameters())


@pytest.mark.parametrize(("variant", "expected"), [("s", 23_254_355), ("b", 25_512_115), ("l", 29_519_219)])
def test_variants_of_hiformer_have_their_published_sizes(variant: str, expected: int) -> None:
    """For slices of 224 x 224 and nine classes, as published."""
    config = configured(kind="hiformer", variant=variant, patch=[224, 224], window=7)
    assert count(config, 1, 9, 2) == expected


def test_options_of_tubule_change_its_size() -> None:
    size = {"kind": "tubule", "patch": [80, 192, 304]}
    bare = {"recalibrate": False, "deep_supervision": False}
    assert count(configured(**size, **bare), 4, 2, 3) == 4_118_849
    assert count(configured(**size), 4, 2, 3) == 4_237_283


def test_options_of_airwaynet_reach_it() -> None:
    network = configured(kind="airwaynet", agreement="min", threshold=0.25).build(1, 2, 3)
    assert network.agreement == "min"
    assert network.threshold == 0.25


@pytest.mark.parametrize(
    "model",
    [
        {"kind": "hiformer", "variant": "s", "patch": [64, 64], "window": 4},
        {"kind": "airwaynet", "agreement": "product"},
        {"kind": "tubule", "patch": [16, 32, 16], "attention": "mean", "distill": False},
    ],
)
def test_a_config_survives_its_yaml(model: dict[str, Any]) -> None:
    config = Section(model=configured(**model))
    again = loads_yaml(dump_yaml(config.model_dump(mode="json")))
    assert validate(Section, again, source="config.yaml") == config


HIFORMER = {"kind": "hiformer", "patch": [64, 64], "window": 4}
TUBULE = {"kind": "tubule", "patch": [16, 16, 16]}


@pytest.mark.parametrize(
    ("model", "arguments", "words"),
    [
        (HIFORMER, (1, 2, 3), r"slices of one or three channels.*1 channels, 3 axes.*data\.spatial_dims=2"),
        (HIFORMER, (2, 2, 2), r"slices of one or three channels.*2 channels, 2 axes"),
        ({**HIFORMER, "patch": None}, (1, 2, 2), r"not known yet.*null for model\.patch or model\.window"),
        ({**HIFORMER, "window": None}, (1, 2, 2), r"not known yet.*null for model\.patch or model\.window"),
        ({**HIFORMER, "patch": [64, 72]}, (1, 2, 2), r"hiformer cannot be built.*multiples of 64"),
        ({"kind": "airwaynet"}, (1, 3, 3), r"airwaynet tells one organ.*3 classes, 3 axes.*pipeline volumes"),
        ({"kind": "airwaynet"}, (1, 2, 2), r"airwaynet tells one organ.*2 classes, 2 axes"),
        (TUBULE, (1, 4, 3), r"tubule tells one organ.*4 classes, 3 axes.*2 classes, 3 axes"),
        (
            {**TUBULE, "patch": None},
            (1, 2, 3),
            r"this tubule is not known yet.*null for model\.patch",
        ),
        ({**TUBULE, "patch": [16, 24, 16]}, (1, 2, 3), r"tubule cannot be built.*multiples of 16"),
    ],
)
def test_a_network_that_cannot_be_says_why(
    model: dict[str, Any], arguments: tuple[int, int, int], words: str
) -> None:
    config = configured(**model)
    with pytest.raises(ConfigError) as caught:
        config.build(*arguments)
    assert re.search(words, str(caught.value).replace("\n", " ")), str(caught.value)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"kind": "airwaynet", "threshold": 0.0}, "threshold"),
        ({"kind": "airwaynet", "threshold": 1.0}, "threshold"),
        ({"kind": "airwaynet", "agreement": "max"}, "agreement"),
        ({"kind": "hiformer", "variant": "xl"}, "variant"),
        ({"kind": "hiformer", "patch": [64, 64, 64]}, "patch"),
        ({"kind": "hiformer", "window": 1}, "window"),
        ({"kind": "tubule", "patch": [16, 16]}, "patch"),
        ({"kind": "tubule", "attention": "max"}, "attention"),
        ({"kind": "tubule", "depth": 3}, "depth"),
    ],
)
def test_a_setting_that_is_none_is_named(model: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        configured(**model)
