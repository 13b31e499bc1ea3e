"""Weights plugs that every module can take."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tessera.core.backbone.slots import apply_weights


def test_none_leaves_the_module_as_it_is() -> None:
    module = nn.Linear(3, 4)
    before = module.weight.clone()
    assert apply_weights("none", module) is module
    assert torch.equal(module.weight, before)


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (nn.Linear(400, 300), 400),
        (nn.Conv1d(64, 200, 5), 320),
        (nn.Conv2d(32, 200, 3), 288),
        (nn.Conv2d(64, 512, 3, groups=8), 72),
        (nn.Conv3d(16, 200, 3), 432),
    ],
)
def test_lecun_weights_have_variance_one_over_fan_in_and_no_bias(layer: nn.Module, fan_in: int) -> None:
    apply_weights("lecun_normal", nn.Sequential(layer))
    weight, bias = layer.parameters()
    assert weight.std().item() * math.sqrt(fan_in) == pytest.approx(1, abs=0.02)
    assert weight.mean().item() * math.sqrt(fan_in) == pytest.approx(0, abs=0.02)
    assert not bias.any()


def test_unknown_weights_and_options_list_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"there is no weights 'lecun'; choose one of: .*lecun_normal"):
        apply_weights("lecun", nn.Linear(2, 2))
    with pytest.raises(ValueError, match="weights 'none' has no option 'gain'"):
        apply_weights("none", nn.Linear(2, 2), gain=1)
