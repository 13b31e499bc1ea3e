"""ECViT: attention inside blocks against full attention, and the tokeniser."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tessera.core.backbone import SpatialDims, build_down
from tessera.core.backbone.attention import to_map, to_tokens
from tessera.core.backbone.slots import build_mixer
from tessera.core.backbone.slots.mixer_ecvit import PartitionedAttention

from .checks import DIMS, check_plug, floored, strided


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_ecvit_is_a_good_plug(spatial_dims: SpatialDims, stride: int) -> None:
    check_plug(lambda d: build_mixer("ecvit", d, 8, 12, stride), spatial_dims, expected=strided(12, stride))


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_tokeniser_is_a_good_plug(spatial_dims: SpatialDims) -> None:
    check_plug(lambda d: build_down("ecvit", d, 8, 12, 2), spatial_dims, expected=floored(12, 2))


def test_one_block_is_full_attention_with_a_class_token() -> None:
    blocks, x, token = PartitionedAttention(8, 2, window=(3, 5)), torch.randn(2, 8, 3, 5), torch.randn(2, 8)
    y, mean = blocks(x, token)
    full = blocks.attention(torch.cat([token[:, None], to_tokens(x)], dim=1))
    torch.testing.assert_close(mean, full[:, 0])
    torch.testing.assert_close(y, to_map(full[:, 1:], (3, 5)))


@pytest.mark.parametrize("sizes", [(4, 6), (5, 4), (3, 7)])
def test_blocks_are_full_attention_under_a_block_diagonal_mask(sizes: tuple[int, int]) -> None:
    blocks, x = PartitionedAttention(8, 2, window=(2, 3)), torch.randn(2, 8, *sizes)
    rows, columns = torch.meshgrid(*(torch.arange(size) for size in sizes), indexing="ij")
    block = (rows // 2 * 100 + columns // 3).flatten()
    full = blocks.attention(to_tokens(x), mask=block[:, None] == block)
    torch.testing.assert_close(blocks(x)[0], to_map(full, sizes))


def test_change_in_one_block_leaves_the_others() -> None:
    blocks, x, token = PartitionedAttention(8, 2, window=(2, 2)), torch.randn(1, 8, 4, 4), torch.randn(1, 8)
    changed = x.clone()
    changed[..., 0, 3] += 1
    (before, token_before), (after, token_after) = blocks(x, token), blocks(changed, token)
    moved = (before - after).abs().sum(1)[0] > 1e-6
    assert moved.nonzero().tolist() == [[0, 2], [0, 3], [1, 2], [1, 3]]
    assert not torch.allclose(token_before, token_after)


def test_class_token_is_the_mean_of_its_copies_also_beside_incomplete_blocks() -> None:
    blocks, x, token = PartitionedAttention(8, 2, window=(4,)), torch.randn(1, 8, 6), torch.randn(1, 8)
    copies = [
        blocks.attention(torch.cat([token[:, None], to_tokens(part)], dim=1))[:, 0]
        for part in (x[..., :4], x[..., 4:])
    ]
    torch.testing.assert_close(blocks(x, token)[1], (copies[0] + copies[1]) / 2)


def test_tokeniser_convolves_along_one_axis_at_a_time() -> None:
    down = build_down("ecvit", 3, 2, 4, 2)
    kernels = [tuple(c.kernel_size) for c in down.modules() if isinstance(c, nn.Conv3d)]
    assert kernels == [(1, 1, 3), (1, 3, 1), (3, 1, 1), (1, 1, 1)]
    with pytest.raises(ValueError, match="kernel 2 has no middle"):
        build_down("ecvit", 2, 3, 8, 2, kernel=2)
