"""DualToken: global tokens of a fixed grid that pass from block to block."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tessera.core.backbone import SpatialDims
from tessera.core.backbone.encoders import Encoder
from tessera.core.backbone.layout import EncoderLayout
from tessera.core.backbone.slots import build_mixer
from tessera.core.backbone.slots.mixer_dualtoken import STATE, DualTokenMixer
from tessera.core.backbone.slots.route import State

from .checks import DIMS, check_plug, strided


def after_a_first_block(mixer: nn.Module, x: Tensor) -> Tensor:
    state = {STATE: x.flatten(2).transpose(1, 2)[:, :3].repeat(1, 1, 2)[..., :12]}
    return mixer(x, state)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_first_block_is_a_good_plug(spatial_dims: SpatialDims, stride: int) -> None:
    check_plug(
        lambda d: build_mixer("dualtoken", d, 8, 12, stride, tokens=2, kernel=3),
        spatial_dims,
        expected=strided(12, stride),
    )


def test_later_block_is_a_good_plug() -> None:
    check_plug(
        lambda d: build_mixer("dualtoken", d, 8, 12, first=False, tokens=3, kernel=3),
        1,
        expected=strided(12),
        call=after_a_first_block,
    )


def test_first_block_adds_what_is_carried_from_a_stage_of_other_width() -> None:
    check_plug(
        lambda d: build_mixer("dualtoken", d, 8, 8, previous=12, tokens=3, kernel=3),
        1,
        expected=strided(8),
        call=after_a_first_block,
    )


@pytest.mark.parametrize("size", [5, 14, 17, 32])
def test_tokens_keep_their_grid_whatever_the_map(size: int) -> None:
    state: State = {}
    DualTokenMixer(2, 8, 8)(torch.randn(2, 8, size, size + 1), state)
    assert state[STATE].shape == (2, 49, 8)


def test_weight_one_on_the_tokens_and_none_on_the_map_keeps_the_tokens() -> None:
    mixer, tokens, local = DualTokenMixer(2, 8, 8), torch.randn(2, 49, 8), torch.randn(2, 8, 16, 15)
    with torch.no_grad():
        mixer.weights.copy_(torch.tensor([1.0, 0]))
    assert torch.equal(mixer.enrich(tokens, local), tokens)


def test_equal_tokens_are_read_as_the_same_value_everywhere() -> None:
    mixer = DualTokenMixer(2, 8, 8)
    with torch.no_grad():
        mixer.weights.copy_(torch.tensor([1.0, 0]))
        assert mixer.start is not None
        mixer.start.copy_(torch.randn(8).expand(49, 8))
    x = torch.randn(1, 8, 6, 5)
    read = (mixer(x) - mixer.local(x)).flatten(2)
    torch.testing.assert_close(read, read[..., :1].expand_as(read))


def test_tokens_pass_through_all_blocks_of_an_encoder() -> None:
    layout = EncoderLayout(
        block="metaformer",
        widths=(8, 16),
        depths=(2, 2),
        strides=(1, 2),
        mixer=[
            {"kind": "dualtoken", "tokens": 2, "kernel": 3},
            {"kind": "dualtoken", "tokens": 2, "kernel": 3, "previous": 8},
        ],
        adn="ln_gelu",
        stem_width=8,
    )
    encoder, state = Encoder(2, layout=layout), {}
    maps = encoder(torch.randn(1, 3, 32, 32), state)
    assert state[STATE].shape == (1, 4, 16)
    maps[-1].square().sum().backward()
    first = encoder.stages[0].blocks[0].mixer.start
    assert first.grad is not None


def test_later_block_without_tokens_says_what_is_missing() -> None:
    with pytest.raises(ValueError, match="needs first=True"):
        DualTokenMixer(1, 4, 4, first=False)(torch.randn(1, 4, 9), {})
    with pytest.raises(ValueError, match="kernel 4 must be odd"):
        DualTokenMixer(1, 4, 4, kernel=4)
