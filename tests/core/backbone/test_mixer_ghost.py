"""Ghost module against the worked example of its sheet and timm's module."""

from __future__ import annotations

import pytest
import torch
from timm.models.ghostnet import GhostModule
from torch import nn

from tessera.core.backbone import SpatialDims
from tessera.core.backbone.slots import build_mixer

from .checks import DIMS, check_plug, strided


def parameter_count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("stride", "kernel"), [(1, 1), (2, 3)])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_ghost_is_a_good_plug(spatial_dims: SpatialDims, stride: int, kernel: int) -> None:
    check_plug(
        lambda d: build_mixer("ghost", d, 8, 11, stride, kernel=kernel),
        spatial_dims,
        expected=strided(11, stride),
    )


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_ghost_gives_the_worked_example(spatial_dims: SpatialDims) -> None:
    mixer = build_mixer("ghost", spatial_dims, 1, 2).eval()
    identity = (1 + 1e-5) ** 0.5
    with torch.no_grad():
        mixer.get_parameter("primary.0.weight").fill_(2 * identity)
        cheap = mixer.get_parameter("cheap.0.weight").zero_()
        cheap.flatten()[cheap.numel() // 2] = 0.5 * identity
    y = mixer(torch.full((1, 1, *[4] * spatial_dims), 3.0))
    torch.testing.assert_close(y[:, 0], torch.full_like(y[:, 0], 6))
    torch.testing.assert_close(y[:, 1], torch.full_like(y[:, 1], 3))


def test_ghost_of_3_channels_computes_4_and_keeps_3() -> None:
    mixer = build_mixer("ghost", 2, 5, 3)
    assert parameter_count(mixer) == 5 * 2 + 2 * 2 + 2 * (9 + 2)
    assert mixer(torch.randn(2, 5, 4, 4)).shape[1] == 3


def test_ghost_of_16_to_16_channels_has_232_parameters() -> None:
    assert parameter_count(build_mixer("ghost", 2, 16, 16)) == 232


@pytest.mark.parametrize("options", [{}, {"stride": 2, "kernel": 3, "ratio": 3, "cheap_kernel": 5}])
@pytest.mark.parametrize("relu", [True, False])
def test_ghost_equals_timm(options: dict[str, int], relu: bool) -> None:
    names = {"kernel": "kernel_size", "cheap_kernel": "dw_size"}
    theirs = GhostModule(
        6, 11, act_layer=nn.ReLU if relu else nn.Identity, **{names.get(k, k): v for k, v in options.items()}
    )
    ours = build_mixer("ghost", 2, 6, 11, relu=relu, **options)
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    x = torch.randn(2, 6, 9, 8)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("options", [{"ratio": 1}, {"kernel": 2}, {"cheap_kernel": 4}])
def test_ghost_options_without_sense_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=str(*options.values())):
        build_mixer("ghost", 2, 8, 8, **options)
