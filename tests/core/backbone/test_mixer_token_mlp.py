"""The token network of MLP-Mixer: worked example and timm's block."""

from __future__ import annotations

import pytest
import torch
from timm.models.mlp_mixer import MixerBlock
from torch import nn

from tessera.core.backbone import SpatialDims
from tessera.core.backbone.metaformer import Metaformer, MetaformerPlan
from tessera.core.backbone.plugs import Place
from tessera.core.backbone.slots import build_mixer
from tessera.core.backbone.slots.mixer_token_mlp import TokenMLPMixer

from .checks import DIMS, SIZES, check_plug, strided


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_token_mlp_is_a_good_plug(spatial_dims: SpatialDims, stride: int) -> None:
    check_plug(
        lambda d: build_mixer("token_mlp", d, 8, 12, stride, grid=SIZES[d], hidden=9),
        spatial_dims,
        expected=strided(12, stride),
    )


def test_identity_layers_give_the_worked_example() -> None:
    mixer = TokenMLPMixer(1, 3, 3, grid=(2,), hidden=2)
    for layer in (mixer.fc1, mixer.fc2):
        nn.init.eye_(layer.weight)
        nn.init.zeros_(layer.bias)
    x = torch.tensor([1.0, -1.0]).expand(1, 3, 2)
    expected = torch.tensor([1.8413447, -1.1586553]).expand(1, 3, 2)
    torch.testing.assert_close(x + mixer(x), expected)


def test_permuted_positions_need_permuted_weights() -> None:
    mixer, x, order = TokenMLPMixer(2, 4, 4, grid=(2, 3)), torch.randn(1, 4, 2, 3), torch.randperm(6)
    shuffled = x.flatten(2)[..., order].reshape(x.shape)
    expected = mixer(x).flatten(2)[..., order]
    assert not torch.allclose(mixer(shuffled).flatten(2), expected, atol=1e-3)
    with torch.no_grad():
        mixer.fc1.weight.copy_(mixer.fc1.weight[:, order])
        mixer.fc2.weight.copy_(mixer.fc2.weight[order])
        mixer.fc2.bias.copy_(mixer.fc2.bias[order])
    torch.testing.assert_close(mixer(shuffled).flatten(2), expected)


def test_block_gives_what_timm_gives_with_the_same_weights() -> None:
    plan = MetaformerPlan(mixer="token_mlp", adn="ln_gelu", ffn="mlp")
    ours = Metaformer(2, 16, plan=plan, place=Place(grid=(3, 5))).eval()
    theirs = MixerBlock(16, 15).eval()
    weights = [theirs.norm1, theirs.mlp_tokens.fc1, theirs.mlp_tokens.fc2]
    weights += [theirs.norm2, theirs.mlp_channels.fc1, theirs.mlp_channels.fc2]
    values = [p for module in weights for p in module.parameters()]
    with torch.no_grad():
        for mine, value in zip(ours.parameters(), values, strict=True):
            mine.copy_(value.normal_().reshape(mine.shape))
    x = torch.randn(2, 16, 3, 5)
    expected = theirs(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(x.shape)
    torch.testing.assert_close(ours(x, {}), expected, rtol=1e-5, atol=1e-5)


def test_map_of_another_size_is_refused() -> None:
    mixer = build_mixer("token_mlp", 2, 8, 8, grid=(4, 6))
    with pytest.raises(ValueError, match=r"built for maps of \(4, 6\), not \(6, 4\)"):
        mixer(torch.ones(1, 8, 6, 4))
    with pytest.raises(ValueError, match="grid"):
        build_mixer("token_mlp", 2, 8, 8, grid=(4,))
    with pytest.raises(ValueError, match="hidden 0"):
        build_mixer("token_mlp", 2, 8, 8, grid=(4, 4), hidden=0)
