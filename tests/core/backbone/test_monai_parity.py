"""Blocks that MONAI has too, in one, two and three dimensions, with its weights copied over."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from tessera.core.backbone import SpatialDims, build_gate
from tessera.core.backbone.bottleneck import Bottleneck, BottleneckPlan
from tessera.core.backbone.encoders import Classifier, Encoder
from tessera.core.backbone.layout import EncoderLayout
from tessera.core.backbone.partition import merge_windows, partition_windows
from tessera.core.backbone.plugs import Place
from tessera.core.backbone.space_to_depth import space_to_depth
from tessera.core.backbone.upsampling import Upsample

from .checks import DIMS

blocks = pytest.importorskip("monai.networks.blocks")
resnet = pytest.importorskip("monai.networks.nets.resnet")
swin_unetr = pytest.importorskip("monai.networks.nets.swin_unetr")

SIZES: dict[int, tuple[int, ...]] = {1: (33,), 2: (17, 10), 3: (9, 6, 7)}
WINDOWS: dict[int, tuple[int, ...]] = {2: (2, 3), 3: (2, 3, 4)}


def drawn_alike(ours: nn.Module, theirs: nn.Module) -> None:
    """Draw MONAI's values, running statistics included, and copy them into ours, which has the same order."""
    values = theirs.state_dict()
    with torch.no_grad():
        for name, value in values.items():
            if "running_var" in name:
                value.uniform_(0.5, 1.5)
            elif value.is_floating_point():
                value.normal_(std=value[0].numel() ** -0.5)
    own = ours.state_dict()
    pairs = zip(own.items(), values.values(), strict=True)
    ours.load_state_dict({name: value.reshape(mine.shape) for (name, mine), value in pairs})
    ours.eval(), theirs.eval()


def assert_equal(ours: Tensor, theirs: Tensor) -> None:
    assert theirs.std() > 1e-2
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("ratio", [2, 4])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_se_equals_monais_layer(spatial_dims: SpatialDims, ratio: int) -> None:
    x = torch.randn(2, 8, *SIZES[spatial_dims])
    ours = build_gate("se", spatial_dims, 8, ratio=ratio)
    theirs = blocks.ChannelSELayer(spatial_dims, 8, r=ratio)
    drawn_alike(ours, theirs)
    assert_equal(ours(x), theirs(x))
    residual = blocks.ResidualSELayer(spatial_dims, 8, r=ratio, acti_type_1="relu", acti_type_2="sigmoid")
    residual.load_state_dict(theirs.state_dict())
    assert_equal(x + ours(x), residual(x))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_bottleneck_with_se_equals_monais_block(spatial_dims: SpatialDims, stride: int) -> None:
    c_in, inner, c_out = (12, 6, 12) if stride == 1 else (8, 6, 12)
    layer = {"norm": "batch", "bias": False}
    project = None
    if stride > 1:
        project = blocks.Convolution(
            spatial_dims, c_in, c_out, strides=stride, kernel_size=1, act=None, **layer
        )
    theirs = blocks.SEBlock(
        spatial_dims,
        c_in,
        *(inner, inner, c_out),
        conv_param_1={"kernel_size": 1, "act": "relu", **layer},
        conv_param_2={"kernel_size": 3, "act": "relu", "strides": stride, **layer},
        conv_param_3={"kernel_size": 1, "act": None, **layer},
        project=project,
        r=3,
    )
    plan = BottleneckPlan(ratio=inner / c_out, gate={"kind": "se", "ratio": 3})
    ours = Bottleneck(spatial_dims, c_in, c_out, stride, plan=plan, place=Place())
    drawn_alike(ours, theirs)
    x = torch.randn(2, c_in, *SIZES[spatial_dims])
    assert_equal(ours(x, {}), theirs(x))


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_residual_networks_equal_monais(
    spatial_dims: SpatialDims, block: Literal["basic", "bottleneck"]
) -> None:
    planes, depths = (4, 6, 8, 10), (1, 2, 1, 1)
    widths = [planes_ * (4 if block == "bottleneck" else 1) for planes_ in planes]
    theirs = resnet.ResNet(
        block,
        list(depths),
        list(planes),
        spatial_dims=spatial_dims,
        n_input_channels=2,
        conv1_t_stride=2,
        num_classes=5,
        bias_downsample=False,
    )
    layout = EncoderLayout(
        widths=widths, depths=depths, stem_width=planes[0], ratio=0.25 if block == "bottleneck" else 1.0
    )
    ours = Classifier(Encoder(spatial_dims, in_channels=2, layout=layout), 5)
    drawn_alike(ours, theirs)
    x = torch.randn(2, 2, *(37, 34, 33)[:spatial_dims])
    assert_equal(ours(x), theirs(x))


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_transposed_upsampling_equals_monais(spatial_dims: SpatialDims) -> None:
    factors = (2, 3, 2)[:spatial_dims]
    ours = Upsample(spatial_dims, 6, 4, factors, mode="transposed")
    theirs = blocks.UpSample(spatial_dims, 6, 4, scale_factor=factors, mode="deconv")
    drawn_alike(ours, theirs)
    x = torch.randn(2, 6, *(5, 4, 3)[:spatial_dims])
    expected = theirs(x)
    assert_equal(ours(x, expected.shape[2:]), expected)


@pytest.mark.parametrize(("mode", "interpolation"), [("interpolate", "linear"), ("nearest", "nearest")])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_upsampling_without_weights_equals_monais(
    spatial_dims: SpatialDims, mode: Literal["interpolate", "nearest"], interpolation: str
) -> None:
    corners = False if interpolation == "linear" else None
    theirs = blocks.UpSample(
        spatial_dims, 4, 4, mode="nontrainable", interp_mode=interpolation, align_corners=corners
    )
    x = torch.randn(2, 4, *(5, 4, 3)[:spatial_dims])
    expected = theirs(x)
    ours = Upsample(spatial_dims, 4, 4, (2,) * spatial_dims, mode=mode)
    assert_equal(ours(x, expected.shape[2:]), expected)


@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_space_to_depth_equals_monais_subpixel_downsampling(spatial_dims: SpatialDims, factor: int) -> None:
    theirs = blocks.SubpixelDownsample(spatial_dims, 2, scale_factor=factor, conv_block=None)
    x = torch.randn(2, 2, *(size * factor for size in (4, 3, 2)[:spatial_dims]))
    assert_equal(space_to_depth(x, (factor,) * spatial_dims, order="channels"), theirs(x))


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_windows_equal_those_of_monais_swin_network(spatial_dims: SpatialDims) -> None:
    window = WINDOWS[spatial_dims]
    sizes = tuple(2 * w for w in window)
    x = torch.randn(2, 5, *sizes)
    ours = partition_windows(x, window)
    theirs = swin_unetr.window_partition(x.movedim(1, -1), window)
    assert theirs.shape == (2 * 2**spatial_dims, math.prod(window), 5)
    assert_equal(ours.reshape(theirs.shape), theirs)
    assert_equal(merge_windows(ours, window, sizes), x)
