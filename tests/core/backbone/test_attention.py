"""Attention over tokens against torch's own, and the way from a map to tokens and back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tessera.core.backbone.attention import Attention, TransformerLayer, to_map, to_tokens


def torch_attention(ours: Attention) -> nn.MultiheadAttention:
    theirs = nn.MultiheadAttention(ours.qkv.in_features, ours.heads, batch_first=True)
    assert theirs.in_proj_weight is not None
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.qkv.weight)
        theirs.in_proj_bias.copy_(ours.qkv.bias)
        theirs.out_proj.weight.copy_(ours.proj.weight)
        theirs.out_proj.bias.copy_(ours.proj.bias)
    return theirs


def test_attention_agrees_with_torch() -> None:
    ours, x, others = Attention(12, 3), torch.randn(2, 7, 12), torch.randn(2, 5, 12)
    theirs = torch_attention(ours)
    torch.testing.assert_close(ours(x), theirs(x, x, x)[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(ours(x, others), theirs(x, others, others)[0], rtol=0, atol=1e-6)


def test_hidden_tokens_are_not_attended_to() -> None:
    attention, x = Attention(12, 3), torch.randn(2, 7, 12)
    seen = torch.arange(7) < 4
    torch.testing.assert_close(attention(x, mask=seen[None])[:, :4], attention(x[:, :4]))


def test_leading_axes_are_independent() -> None:
    attention, x = Attention(12, 3), torch.randn(2, 4, 7, 12)
    torch.testing.assert_close(attention(x)[1, 2], attention(x[1, 2][None])[0])


def test_transformer_layer_has_the_usual_number_of_parameters_and_is_a_residual() -> None:
    layer = TransformerLayer(144, 4, 288)
    count = sum(p.numel() for p in layer.parameters())
    assert count == 2 * 2 * 144 + (144 * 432 + 432) + (144 * 144 + 144) + (144 * 288 + 288) + (
        288 * 144 + 144
    )
    x = torch.randn(2, 5, 144)
    for last in (layer.attention.proj, layer.fc2):
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    assert torch.equal(layer(x), x)


def test_heads_that_do_not_divide_the_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="mixer x: 5 heads do not divide 12 channels"):
        Attention(12, 5, name="mixer x")


def test_tokens_are_the_positions_row_after_row() -> None:
    x = torch.arange(12.0).reshape(1, 2, 2, 3)
    assert to_tokens(x)[0, :, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert torch.equal(to_map(to_tokens(x), (2, 3)), x)
