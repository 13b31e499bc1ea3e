"""Res2Net against the worked examples of its sheet and timm's block."""

from __future__ import annotations

import pytest
import torch
from timm.models.res2net import Bottle2neck
from torch import nn

from tessera.core.backbone import SpatialDims
from tessera.core.backbone.slots import build_mixer

from .checks import DIMS, check_plug, strided


def doubling(mixer: nn.Module) -> nn.Module:
    """Every convolution of the mixer multiplies by two."""
    with torch.no_grad():
        for name, parameter in mixer.named_parameters():
            if name.endswith(".0.weight"):
                parameter.zero_().flatten()[parameter.numel() // 2] = 2 * (1 + 1e-5) ** 0.5
    return mixer.eval()


@pytest.mark.parametrize("options", [{}, {"first": True}, {"scale": 1}])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_res2net_is_a_good_plug(spatial_dims: SpatialDims, stride: int, options: dict[str, int]) -> None:
    check_plug(
        lambda d: build_mixer("res2net", d, 8, 12, stride, **options),
        spatial_dims,
        expected=strided(12, stride),
    )


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize(("first", "expected"), [(False, [2, 8, 22, 4]), (True, [2, 4, 6, 4])])
def test_res2net_gives_the_worked_example(
    spatial_dims: SpatialDims, first: bool, expected: list[float]
) -> None:
    mixer = doubling(build_mixer("res2net", spatial_dims, 4, 4, first=first))
    x = torch.tensor([1.0, 2, 3, 4]).reshape(1, 4, *[1] * spatial_dims).expand(1, 4, *[3] * spatial_dims)
    middle = (slice(None), slice(None), *[1] * spatial_dims)
    torch.testing.assert_close(mixer(x)[middle], torch.tensor([expected], dtype=torch.float32))


def test_res2net_first_block_counts_the_zeros_around_the_map() -> None:
    mixer = build_mixer("res2net", 2, 4, 4, first=True)
    averaged = mixer(torch.ones(2, 4, 4, 4))[0, 3]
    edge, corner = 2 / 3, 4 / 9
    torch.testing.assert_close(averaged[0], torch.tensor([corner, edge, edge, corner]))
    torch.testing.assert_close(averaged[1], torch.tensor([edge, 1, 1, edge]))


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_res2net_takes_maps_smaller_than_its_windows(spatial_dims: SpatialDims) -> None:
    mixer = build_mixer("res2net", spatial_dims, 4, 4, 2).eval()
    assert mixer(torch.randn(1, 4, *[1] * spatial_dims)).shape == (1, 4, *[1] * spatial_dims)


def test_res2net_with_a_stride_adds_nothing_from_group_to_group() -> None:
    mixer = doubling(build_mixer("res2net", 1, 4, 4, 2))
    x = torch.tensor([1.0, 2, 3, 4]).reshape(1, 4, 1).expand(1, 4, 5)
    torch.testing.assert_close(mixer(x)[..., 1], torch.tensor([[2.0, 4, 6, 4]]))


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize(("stride", "first"), [(1, False), (1, True), (2, True)])
def test_res2net_equals_the_middle_of_timms_block(stride: int, first: bool, scale: int) -> None:
    theirs = Bottle2neck(
        32,
        8,
        stride,
        downsample=nn.MaxPool2d(1, stride) if first else None,
        base_width=64,
        scale=scale,
        norm_layer=nn.BatchNorm2d,
    ).train()
    ours = build_mixer("res2net", 2, 8 * scale, 8 * scale, stride, first=first, scale=scale)
    with torch.no_grad():
        for number, (conv, norm) in enumerate(zip(theirs.convs, theirs.bns, strict=True)):
            norm.get_parameter("bias").normal_()
            ours.get_submodule(f"convs.{number}.0").load_state_dict(conv.state_dict())
            ours.get_submodule(f"convs.{number}.1").load_state_dict(norm.state_dict())
    middle: list[torch.Tensor] = []
    theirs.conv3.register_forward_pre_hook(lambda _, inputs: middle.append(inputs[0]))
    theirs.relu = nn.ReLU()
    before: list[torch.Tensor] = []
    theirs.bn1.register_forward_hook(lambda _, __, output: before.append(torch.relu(output)))
    x = torch.randn(2, 32, 9, 7)
    theirs(x)
    torch.testing.assert_close(ours(before[0]), middle[0], rtol=0, atol=1e-5)


def test_res2net_channels_that_do_not_split_are_refused() -> None:
    with pytest.raises(ValueError, match="scale 4 does not divide 6 channels"):
        build_mixer("res2net", 2, 6, 6)
