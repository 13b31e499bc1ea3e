"""DHVT: head tokens, DAFF, the convolutional patch embedding, the network."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tessera.core.backbone import SpatialDims, build_down
from tessera.core.backbone.reference.dhvt import DHVT, DHVTBlock
from tessera.core.backbone.slots import build_ffn, build_mixer
from tessera.core.backbone.slots.ffn_daff import DAFF
from tessera.core.backbone.slots.mixer_dhvt import HeadInteractionAttention

from .checks import DIMS, check_plug, logits, strided


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_dhvt_is_a_good_plug(spatial_dims: SpatialDims, stride: int) -> None:
    check_plug(lambda d: build_mixer("dhvt", d, 8, 12, stride), spatial_dims, expected=strided(12, stride))


@pytest.mark.parametrize("name", ["daff", "ecvit"])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_channel_networks_are_good_plugs(spatial_dims: SpatialDims, name: str) -> None:
    check_plug(lambda d: build_ffn(name, d, 8, ratio=2), spatial_dims)


@pytest.mark.parametrize("stride", [2, 4])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_patch_embedding_is_a_good_plug(spatial_dims: SpatialDims, stride: int) -> None:
    check_plug(lambda d: build_down("sope", d, 8, 12, stride), spatial_dims, expected=strided(12, stride))


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_network_is_as_good_as_a_plug(spatial_dims: SpatialDims) -> None:
    check_plug(
        lambda d: DHVT(d, 8, 5, channels=16, heads=2, patch=4, depth=2), spatial_dims, expected=logits(5)
    )


@pytest.mark.parametrize("heads", [2, 4, 8])
def test_head_tokens_add_the_parameters_of_the_formula(heads: int) -> None:
    d, d_h = 64, 64 // heads
    added = d_h * d + d + 2 * d_h + heads * d
    assert count(HeadInteractionAttention(d, heads)) == 4 * d * d + 4 * d + added


def test_head_tokens_are_the_normed_expansion_of_each_heads_mean() -> None:
    attention = HeadInteractionAttention(6, 2)
    with torch.no_grad():
        attention.position.copy_(torch.arange(12.0).reshape(2, 6))
        attention.expand.bias.zero_()
        attention.expand.weight.copy_(torch.eye(3).repeat(2, 1))
    x = torch.tensor([[1.0, 2, 6, 0, 0, 3], [3, 4, 0, 2, 4, 3]])[None]
    tokens = attention.head_tokens(x)[0]  # means: 2, 3, 3 and 1, 2, 3
    first, second = (F.gelu(F.layer_norm(torch.tensor(m), (3,))) for m in ([2.0, 3, 3], [1.0, 2, 3]))
    expected = torch.stack([first.repeat(2), second.repeat(2)]) + attention.position
    torch.testing.assert_close(tokens, expected)


def test_without_head_tokens_it_is_attention() -> None:
    attention, x = HeadInteractionAttention(8, 2), torch.randn(2, 5, 8)
    with torch.no_grad():  # keys far from every query: the softmax passes them over
        attention.attention.qkv.bias.zero_()
        attention.position.copy_(1e4 * torch.ones(2, 8))
        attention.attention.qkv.weight[8:16].copy_(-torch.eye(8))
        attention.attention.qkv.weight[:8].copy_(torch.zeros(8, 8))
        attention.attention.qkv.bias[:8].fill_(1)
    patches, _ = attention(x)
    torch.testing.assert_close(patches, attention.attention(x))


def test_daff_adds_the_depthwise_part_to_what_it_sees() -> None:
    daff = DAFF(1, 1, ratio=1).eval()
    with torch.no_grad():
        for layer, weight in ((daff.expand, 1.0), (daff.reduce, 1.0)):
            layer.weight.fill_(weight)  # type: ignore[operator, union-attr]
        for layer in (daff.expand, daff.depthwise, daff.reduce):
            layer.bias.zero_()  # type: ignore[operator, union-attr]
        daff.depthwise.weight.copy_(torch.tensor([[[1.0, 0, 0]]]))  # type: ignore[operator, union-attr]
    x = torch.tensor([[[1.0, 2, 3]]])
    first = F.gelu(x)
    expected = first + F.gelu(F.pad(first, (1, 0))[..., :-1])
    torch.testing.assert_close(daff(x), expected, rtol=0, atol=1e-4)  # eps of three batch norms


def test_class_token_gains_the_mean_head_token_and_is_scaled_by_the_patches() -> None:
    block, tokens = DHVTBlock(2, 8, 2).eval(), torch.randn(2, 1 + 12, 8)
    nn.init.zeros_(block.excite.weight)
    nn.init.zeros_(block.excite.bias)
    attended, heads = block.attention(block.norm1(tokens))
    y = block(tokens, torch.Size((3, 4)))
    torch.testing.assert_close(y[:, :1], tokens[:, :1] + attended[:, :1] + heads)


@pytest.mark.parametrize(("stride", "convolutions"), [(2, 1), (4, 2), (16, 4), ((4, 1), 2)])
def test_patch_embedding_halves_step_by_step(stride: int | tuple[int, int], convolutions: int) -> None:
    down = build_down("sope", 2, 3, 16, stride)
    assert sum(isinstance(layer, nn.Conv2d) for layer in down.modules()) == convolutions
    assert sum(isinstance(layer, nn.GELU) for layer in down.modules()) == max(1, convolutions - 1)
    expected = (4, 16) if stride == (4, 1) else (16 // stride,) * 2  # type: ignore[operator]
    assert down(torch.randn(2, 3, 16, 16)).shape[2:] == expected


@pytest.mark.parametrize("stride", [1, 3])
def test_stride_that_is_no_halving_is_refused(stride: int) -> None:
    with pytest.raises(ValueError, match=f"stride {stride} is not made of halvings"):
        build_down("sope", 2, 3, 16, stride)
    with pytest.raises(ValueError, match="give a multiple of 8"):
        build_down("sope", 2, 3, 20, 16)
    with pytest.raises(ValueError, match="ffn daff: ratio 0"):
        build_ffn("daff", 2, 8, ratio=0)
