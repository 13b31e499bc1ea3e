"""MobileViT: timm's block and network with the same weights."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.models.mobilevit import MobileVitBlock
from torch import nn

from tessera.core.backbone import SpatialDims
from tessera.core.backbone.reference.mobilevit import MobileViT
from tessera.core.backbone.slots import build_mixer
from tessera.core.backbone.slots.mixer_mobilevit import MobileViTMixer

from .checks import DIMS, check_plug, logits, strided


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_mobilevit_is_a_good_plug(spatial_dims: SpatialDims, stride: int) -> None:
    check_plug(
        lambda d: build_mixer("mobilevit", d, 8, 12, stride, depth=1),
        spatial_dims,
        expected=strided(12, stride),
    )


def same_weights(ours: nn.Module, theirs: nn.Module) -> None:
    """Random values for both, which list parameters and running statistics in the same order."""
    for mine, other in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        if other.is_floating_point():
            value = torch.rand_like(other) * 0.2 + (0.9 if other.ndim == 1 else -0.1)
            other.copy_(value)
            mine.copy_(value.reshape(mine.shape))


@pytest.mark.parametrize("size", [(6, 8), (7, 5)])
def test_block_gives_what_timm_gives_with_the_same_weights(size: tuple[int, int]) -> None:
    from timm.layers import ConvNormAct
    from timm.models.byobnet import LayerFn

    layers = LayerFn(conv_norm_act=lambda *a, **k: ConvNormAct(*a, act_layer=nn.SiLU, **k), act=nn.SiLU)
    theirs = MobileVitBlock(12, transformer_dim=16, transformer_depth=2, patch_size=2, layers=layers).eval()
    ours = MobileViTMixer(2, 12, 12, width=16, depth=2).eval()
    same_weights(ours, theirs)
    x = torch.randn(2, 12, *size)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)


def test_network_gives_what_timm_gives_with_the_same_weights() -> None:
    ours, theirs = (
        MobileViT(2, 3, 10, variant="xxs").eval(),
        timm.create_model("mobilevit_xxs", num_classes=10),
    )
    for mine, value in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        mine.copy_(value.reshape(mine.shape))
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(ours(x), theirs.eval()(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("spatial_dims", [1, 3])
def test_network_takes_signals_and_volumes(spatial_dims: SpatialDims) -> None:
    with torch.device("meta"):
        network = MobileViT(spatial_dims, 2, 5, variant="xxs")
        x = torch.empty(2, 2, *(70, 41, 33)[:spatial_dims])
        assert tuple(network(x).shape) == logits(5)(tuple(x.shape))


def test_tokens_attend_only_to_the_same_place_of_other_patches() -> None:
    mixer = MobileViTMixer(2, 4, 4, depth=1)
    x = torch.randn(1, 8, 4, 4, requires_grad=True)
    (mixer._globally(x)[0, :, 1, 2] * torch.arange(8.0)).sum().backward()
    assert x.grad is not None
    touched = x.grad.abs().sum(1)[0] > 0
    assert touched.nonzero().tolist() == [[1, 0], [1, 2], [3, 0], [3, 2]]


def test_unknown_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="choose one of: xxs, xs, s"):
        MobileViT(2, 3, 10, variant="m")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="patch 0"):
        build_mixer("mobilevit", 2, 8, 8, patch=0)
