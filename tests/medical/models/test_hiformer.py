"""HiFormer: the exact counts of its parts, Swin's blocks beside timm's, and what does not fit."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import nn

from tessera.core.backbone.macs import count_macs
from tessera.medical.models.hiformer import DoubleLevelFusion, HiFormer, PatchMerging, SwinBlock

SMALL: dict[str, Any] = {"resnet": "resnet34", "depths": (1, 1), "heads": (3, 3), "ratio": 1}
BASE: dict[str, Any] = {"resnet": "resnet50", "depths": (1, 2), "heads": (6, 12), "ratio": 2}
LARGE: dict[str, Any] = {"resnet": "resnet34", "depths": (1, 4), "heads": (6, 6), "ratio": 4}


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("variant", "total", "resnet", "project", "fusion"),
    [
        (SMALL, 23_254_355, 8_170_304, 129_696, 1_724_736),
        (BASE, 25_512_115, 8_543_296, 516_768, 3_222_432),
        (LARGE, 29_519_219, 8_170_304, 129_696, 7_989_600),
    ],
)
def test_counts_of_the_variants(
    variant: dict[str, Any], total: int, resnet: int, project: int, fusion: int
) -> None:
    with torch.device("meta"):
        net = HiFormer(9, **variant)
    assert count(net) == total
    assert (count(net.resnet), count(net.project), count(net.fusion)) == (resnet, project, fusion)
    assert (count(net.swin), count(net.merging), count(net.positions)) == (11_775_402, 370_944, 376_800)
    assert (count(net.coarse), count(net.fine)) == (590_336, 110_848)
    assert (count(net.squeeze), count(net.head)) == (2_064, 1_305)


@pytest.mark.parametrize("shift", [0, 3])
def test_a_swin_block_answers_as_timms_does(shift: int) -> None:
    torch.manual_seed(0)
    theirs = timm.models.swin_transformer.SwinTransformerBlock(
        96, (14, 21), 3, window_size=7, shift_size=shift
    ).eval()
    nn.init.normal_(theirs.attn.relative_position_bias_table)
    ours = SwinBlock(96, 3, 7, shift=shift, drop_path=0.0).eval()
    names = {
        "attn.relative_position_bias_table": "bias",
        "attn.": "attention.",
        "mlp.fc1": "mlp.0",
        "mlp.fc2": "mlp.2",
    }
    state = {}
    for name, value in theirs.state_dict().items():
        old = next((start for start in names if name.startswith(start)), "")
        state[names.get(old, "") + name.removeprefix(old)] = value
    ours.load_state_dict(state)
    x = torch.randn(2, 96, 14, 21)
    with torch.no_grad():
        expected = theirs(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        assert torch.allclose(ours(x), expected, atol=2e-5)


def test_patch_merging_answers_as_timms_does() -> None:
    torch.manual_seed(0)
    theirs = timm.models.swin_transformer.PatchMerging(8, 16).eval()
    ours = PatchMerging(8).eval()
    ours.load_state_dict(
        {name.replace("reduction", "reduce"): value for name, value in theirs.state_dict().items()}
    )
    x = torch.randn(2, 8, 6, 4)
    with torch.no_grad():
        assert torch.allclose(ours(x), theirs(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), atol=1e-6)


def test_tokens_see_the_other_scale_through_the_class_token_alone() -> None:
    torch.manual_seed(0)
    fusion = DoubleLevelFusion((8, 16), depths=(1, 1), heads=(2, 4), ratio=1).eval()
    fine, coarse = torch.randn(1, 5, 8), torch.randn(1, 3, 16)
    with torch.no_grad():
        changed = fusion(fine, coarse + torch.cat([torch.ones(1, 1, 16), torch.zeros(1, 2, 16)], 1))
        before = fusion(fine, coarse)
        assert torch.equal(changed[0], before[0])  # the other's class token is not read
        shuffled = fusion(fine, coarse[:, [0, 2, 1]])
    assert torch.allclose(shuffled[0], before[0], atol=1e-6)  # its places are a set


def test_work_of_the_small_variant() -> None:
    with torch.device("meta"):
        net = HiFormer(9, **SMALL).eval()
        macs = count_macs(net, torch.zeros(1, 3, 224, 224))
    assert macs / 1e9 == pytest.approx(9.80, abs=0.01)


@pytest.mark.parametrize("channels", [1, 3])
def test_small_inputs_with_smaller_windows(channels: int) -> None:
    torch.manual_seed(0)
    net = HiFormer(3, size=(64, 128), window=4, **SMALL).train()
    output = net(torch.randn(2, channels, 64, 128))
    assert output.shape == (2, 3, 64, 128)
    output.square().mean().backward()
    silent = {name for name, p in net.named_parameters() if p.grad is None or not (p.grad != 0).any()}
    # the last level's norm behind its class token is read through both branches
    assert not silent


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 112"):
        HiFormer(3, size=(200, 224))
    net = HiFormer(3, size=(64, 64), window=4, **SMALL)
    with pytest.raises(ValueError, match="built for 1 or 3 channels of"):
        net(torch.zeros(1, 2, 64, 64))
