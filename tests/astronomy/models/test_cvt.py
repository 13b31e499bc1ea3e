"""CvT against its counts, attention written out, and the places of its tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.astronomy.models.cvt import STAGES, ConvAttention, CvT, CvTStage

SIX_HEADS = (*STAGES[:2], replace(STAGES[2], heads=6))


def count(*args: Any, **options: Any) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in CvT(*args, **options).parameters())


def test_it_has_the_sheets_numbers_of_parameters() -> None:
    assert count(4) == 17_580_484
    assert count(4, stages=SIX_HEADS) == 19_546_564
    assert count(1000, in_channels=3, stages=SIX_HEADS) == 19_936_296


def test_stages_have_the_sheets_numbers_of_parameters() -> None:
    head = [384 * 1 + 1, 384 * 2 + 2]
    one, two = count(1, stages=STAGES[:1]) - 65, count(1, stages=STAGES[:2]) - 193
    assert (one, two - one, count(1) - head[0] - two) == (54_528, 1_008_192, 16_516_224)


def test_grids_and_keys_have_the_sheets_sizes() -> None:
    with torch.device("meta"):
        network, x = CvT(4), torch.zeros(1, 1, 256, 256)
    sizes: list[tuple[int, int]] = []

    def note(module: nn.Module, given: tuple[Tensor], _output: Tensor) -> None:
        assert isinstance(module, ConvAttention)
        sizes.append((given[0][0, 0].numel(), module.key_value(given[0])[0, 0].numel()))

    for module in network.modules():
        if isinstance(module, ConvAttention):
            module.register_forward_hook(note)
    assert network.last_map(x).shape == (1, 384, 16, 16)
    assert sizes == [(4096, 1024)] + [(1024, 256)] * 2 + [(256, 64)] * 10


def noisy_attention(width: int = 6, heads: int = 2, head_width: int = 4) -> ConvAttention:
    attention = ConvAttention(width, heads, head_width=head_width)
    with torch.no_grad():
        attention.train()(torch.randn(8, width, 9, 7) * 2)
    return attention.eval()


def test_attention_equals_one_head_after_the_other_written_out() -> None:
    attention, x = noisy_attention(), torch.randn(2, 6, 9, 7)

    def projected(part: nn.Sequential, stride: int) -> Tensor:
        depthwise, norm, pointwise = part
        assert isinstance(norm, nn.BatchNorm2d)
        unfolded = F.unfold(x, 3, padding=1, stride=stride).reshape(2, 6, 9, -1)  # (B, C, 3 x 3, N)
        y = torch.einsum("bckn,ck->bcn", unfolded, depthwise.get_parameter("weight").reshape(6, 9))
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None
        assert variance is not None
        y = (y - mean[:, None]) / (variance[:, None] + norm.eps).sqrt()
        y = norm.weight[:, None] * y + norm.bias[:, None]
        return pointwise.get_parameter("weight")[..., 0, 0] @ y

    query, both = projected(attention.query, 1), projected(attention.key_value, 2)
    assert (query.shape, both.shape) == ((2, 8, 63), (2, 16, 20))
    seen = []
    for head in (slice(0, 4), slice(4, 8)):
        key, value = both[:, :8][:, head], both[:, 8:][:, head]
        share = (torch.einsum("bcn,bcm->bnm", query[:, head], key) / 4**0.5).softmax(-1)
        seen.append(torch.einsum("bnm,bcm->bcn", share, value))
    weight, bias = (attention.proj.get_parameter(name) for name in ("weight", "bias"))
    expected = (weight[..., 0, 0] @ torch.cat(seen, dim=1) + bias[:, None]).reshape(x.shape)
    torch.testing.assert_close(attention(x), expected)


def test_equal_keys_give_the_mean_of_the_values() -> None:
    attention, x = noisy_attention(), torch.randn(1, 6, 8, 8)
    nn.init.zeros_(attention.query[2].get_parameter("weight"))
    value = attention.key_value(x)[:, 8:].mean(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(attention(x), attention.proj(value).expand_as(x))


def test_the_image_may_have_any_size() -> None:
    stages = (CvTStage(8, 1, 1, kernel=7, stride=4), CvTStage(12, 2, 1))
    network = CvT(3, in_channels=2, stages=stages, head_width=4).eval()
    for size, grid in (((32, 32), (4, 4)), ((33, 46), (5, 6)), ((1, 1), (1, 1))):
        x = torch.randn(2, 2, *size)
        assert network.last_map(x).shape == (2, 12, *grid)
        assert network(x).shape == (2, 3)


def test_another_number_of_channels_is_refused() -> None:
    with pytest.raises(RuntimeError, match="channels"):
        CvT(1, stages=STAGES[:1])(torch.zeros(1, 2, 16, 16))
