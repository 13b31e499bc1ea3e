"""Gamba: what its gate chooses, and its size beside the convolution it replaces."""

from __future__ import annotations

import pytest
import torch

from tessera.core.backbone import SpatialDims
from tessera.core.backbone.attention import to_map, to_tokens
from tessera.core.backbone.slots import build_mixer
from tessera.core.backbone.slots.mixer_gamba import GambaCell, GambaMixer

from .checks import DIMS, check_plug, strided


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_gamba_is_a_good_plug(spatial_dims: SpatialDims, stride: int) -> None:
    check_plug(
        lambda d: build_mixer("gamba", d, 8, 12, stride, order=2), spatial_dims, expected=strided(12, stride)
    )


@pytest.mark.parametrize("bias", [-100.0, 100.0])
def test_open_gate_gives_the_scan_alone_and_a_shut_one_attention(bias: float) -> None:
    mixer = GambaMixer(2, 8, 8, position="none")
    with torch.no_grad():
        mixer.gate.weight.zero_()
        mixer.gate.bias.fill_(bias)
    x = torch.randn(2, 8, 5, 4)
    branch = mixer.cell if bias > 0 else mixer.attention
    torch.testing.assert_close(mixer(x), to_map(branch(to_tokens(x)), (5, 4)))


def test_cell_scans_forwards_only() -> None:
    cell, tokens = GambaCell(8, order=4), torch.randn(1, 10, 8)
    changed = tokens.clone()
    changed[:, 6:] += 1
    before, after = cell(tokens), cell(changed)
    torch.testing.assert_close(before[:, :6], after[:, :6])
    assert ((before - after)[:, 6:].abs().sum(-1) > 0).all()


def test_it_is_smaller_than_the_convolution_it_replaces_in_resnet_50() -> None:
    with torch.device("meta"):
        mixer = build_mixer("gamba", 2, 512, 512)
    assert sum(p.numel() for p in mixer.parameters()) < 512 * 512 * 9


def test_unknown_position_encoding_is_refused() -> None:
    with pytest.raises(ValueError, match="choose conv or none"):
        build_mixer("gamba", 2, 8, 8, position="relative")
