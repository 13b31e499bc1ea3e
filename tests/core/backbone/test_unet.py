"""U-Nets: sizes, skips, deep supervision, and a parameter count by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tessera.core.backbone import SpatialDims
from tessera.core.backbone.encoders import Encoder
from tessera.core.backbone.layout import EncoderLayout
from tessera.core.backbone.unet import UNet

from .checks import DIMS, check_plug

SMALL = EncoderLayout(
    widths=(4, 6, 8),
    depths=(1, 1, 1),
    strides=(1, 2, 2),
    stem={"kind": "conv", "bias": False},
    stem_width=4,
    stem_stride=1,
    stem_pool=None,
)
ODD = (33, 34, 35)


def unet(spatial_dims: SpatialDims, layout: EncoderLayout = SMALL, **options: Any) -> UNet:
    return UNet(Encoder(spatial_dims, in_channels=2, layout=layout), 5, **options)


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({}, {"up": "transposed"}),
        ({"stem_stride": 2, "stem_pool": "max"}, {"widths": (8, 6, 4, 4), "skip": "sum"}),
        ({"down": "max", "strides": (1, 2, 3)}, {"up": "transposed", "depth": 2}),
        ({"block": "metaformer", "adn": "ln_gelu", "gate": ["se", "eca", "se"]}, {"up": "nearest"}),
    ],
)
def test_logits_have_the_size_of_an_odd_input(
    changes: dict[str, Any], options: dict[str, Any], spatial_dims: SpatialDims
) -> None:
    network = unet(spatial_dims, replace(SMALL, **changes), **options).eval()
    with torch.no_grad():
        assert network(torch.randn(1, 2, *ODD[:spatial_dims])).shape == (1, 5, *ODD[:spatial_dims])


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize("skip", ["concat", "sum"])
def test_unet_is_as_good_as_a_plug(skip: str, spatial_dims: SpatialDims) -> None:
    check_plug(
        lambda d: unet(d, skip=skip),
        spatial_dims,
        channels=2,
        expected=lambda shape: (shape[0], 5, *shape[2:]),
        no_export="" if spatial_dims == 2 else "once is enough: it takes seconds",
    )


def test_parameters_are_those_counted_by_hand() -> None:
    """Two stages of basic blocks, 4 and 8 channels, in 1-D: kernels have 3 values, norms 2 a channel."""
    layout = replace(SMALL, widths=(4, 8), depths=(1, 1), strides=(1, 2))
    stem = 2 * 4 * 3 + 8
    first = (4 * 4 * 3 + 8) * 2
    second = (4 * 8 * 3 + 16) + (8 * 8 * 3 + 16) + (4 * 8 + 16)  # the last: its shortcut
    up = (12 * 4 * 3 + 8) + (4 * 4 * 3 + 8) + (12 * 4 + 8)  # 8 enlarged and 4 skipped channels -> 4
    classes = 4 * 5 + 5
    network = unet(1, layout)
    assert sum(p.numel() for p in network.parameters()) == stem + first + second + up + classes
    transposed = unet(1, layout, up="transposed")  # 8 -> 4 with a kernel of 2; the block then sees 8 channels
    up = (8 * 4 * 2 + 4) + (8 * 4 * 3 + 8) + (4 * 4 * 3 + 8) + (8 * 4 + 8)
    assert sum(p.numel() for p in transposed.parameters()) == stem + first + second + up + classes


def test_deep_supervision_gives_coarser_logits_in_training_only() -> None:
    network = unet(2, deep_supervision=1)
    x = torch.randn(2, 2, 9, 11)
    full, half = network(x)
    assert full.shape == (2, 5, 9, 11)
    assert half.shape == (2, 5, 5, 6)
    (full.sum() + half.sum()).backward()
    assert all(p.grad is not None for p in network.parameters())
    assert isinstance(network.eval()(x), Tensor)


@pytest.mark.parametrize(("skip", "matters"), [("concat", True), ("sum", True), ("last", False)])
def test_fine_detail_passes_through_the_skips_alone(skip: str, matters: bool) -> None:
    """Without what lies below the first level, only a skip can tell inputs apart."""
    network = unet(1, skip=skip).eval()
    nn.init.zeros_(network.encoder.stages[1].blocks[0].mixer.weight)  # type: ignore[union-attr, index]
    shortcut = network.encoder.stages[1].blocks[0].shortcut[0]  # type: ignore[union-attr, index]
    nn.init.zeros_(shortcut.weight)
    one, other = torch.randn(1, 2, 9), torch.randn(1, 2, 9)
    assert torch.equal(network(one), network(other)) is not matters


def test_last_map_of_each_size_is_the_skip() -> None:
    network = unet(1, replace(SMALL, widths=(4, 5, 6), strides=(1, 1, 2)))
    assert [(level.source, level.channels) for level in network.levels] == [(2, 5), (3, 6)]
    strided = unet(1, replace(SMALL, stem_stride=4))
    assert [(level.source, level.strides) for level in strided.levels] == [
        (None, (1,)),
        (1, (4,)),
        (2, (8,)),
        (3, (16,)),
    ]


def test_plugs_for_one_size_of_map_serve_the_decoder_too() -> None:
    layout = replace(SMALL, block="metaformer", adn="ln_gelu", mixer="token_mlp", input_size=(9, 11))
    assert unet(2, layout).eval()(torch.randn(1, 2, 9, 11)).shape == (1, 5, 9, 11)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": (4,)}, "1 widths for 2 decoder stages"),
        ({"deep_supervision": 2}, "give 0 to 1"),
        ({"skip": "dense"}, "there is no route 'dense'"),
        ({"layout": replace(SMALL, strides=(1, 1, 1))}, "give a stage of its layout a stride"),
    ],
)
def test_what_cannot_be_built_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unet(1, **options)
