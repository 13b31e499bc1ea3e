"""CvT: a transformer whose tokens, queries, keys and values come from convolutions, without positions.

Wu et al., "CvT: Introducing Convolutions to Vision Transformers", arXiv 2103.15808, as Gondhalekar and
Moriwaki, arXiv 2411.14392, use it on maps of density: CvT-13 with 4 heads in its third stage, a mean instead
of the class token, 17,580,484 parameters for one channel and four outputs. With 6 heads there, as in CvT-13,
it has 19,546,564, and for 3 channels and 1000 classes 19,936,296.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from tessera.core.backbone.attention import to_map, to_tokens
from tessera.core.backbone.blocks import conv
from tessera.core.backbone.last_map import LastMapNetwork
from tessera.core.backbone.slots.adn_layer_norm import ChannelLayerNorm

NORM_EPS = 1e-5
KV_STRIDE = 2  # one key and value for each 2 x 2 queries


@dataclass(frozen=True)
class CvTStage:
    """Tokens from a convolution, then blocks.

    Args:
        width: Channels of the tokens.
        heads: Attention heads.
        depth: Number of blocks.
        kernel: Of the tokens' convolution, odd.
        stride: Of the same.
    """

    width: int
    heads: int
    depth: int
    kernel: int = 3
    stride: int = 2


STAGES = (CvTStage(64, 1, 1, kernel=7, stride=4), CvTStage(192, 3, 2), CvTStage(384, 4, 10))


class CvT(LastMapNetwork):
    """Image (B, c, H, W) of any size -> raw output (B, K).

    Args:
        n_outputs: K.
        in_channels: c.
        stages: The stages, finest first.
        head_width: Numbers an attention head.
        ratio: Hidden units of each MLP over channels.
    """

    def __init__(
        self,
        n_outputs: int,
        *,
        in_channels: int = 1,
        stages: Sequence[CvTStage] = STAGES,
        head_width: int = 64,
        ratio: int = 4,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for stage in stages:
            padding = stage.kernel // 2
            layers += [
                conv(2, in_channels, stage.width, kernel=stage.kernel, stride=stage.stride, padding=padding),
                ChannelLayerNorm(stage.width, eps=NORM_EPS),
            ]
            for _ in range(stage.depth):
                layers += [
                    Residual(stage.width, ConvAttention(stage.width, stage.heads, head_width=head_width)),
                    Residual(stage.width, _mlp(stage.width, ratio)),
                ]
            in_channels = stage.width
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(in_channels, n_outputs)

    def last_map(self, x: Tensor) -> Tensor:
        """(B, c, H, W) -> (B, C, H', W'), by the published strides a sixteenth of the input, rounded up."""
        return self.layers(x)

    def classify(self, last: Tensor) -> Tensor:
        """Last map -> (B, K)."""
        return self.head(last.mean(dim=(2, 3)))


class Residual(nn.Module):
    """x + part(layer norm of x's channels), (B, C, H, W) -> same shape."""

    def __init__(self, width: int, part: nn.Module) -> None:
        super().__init__()
        self.norm = ChannelLayerNorm(width, eps=NORM_EPS)
        self.part = part

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return x + self.part(self.norm(x))


class ConvAttention(nn.Module):
    """Attention of a map to itself, keys and values at every second place, (B, C, H, W) -> same shape.

    Args:
        width: C.
        heads: Number of heads.
        head_width: Numbers a head.
    """

    def __init__(self, width: int, heads: int, *, head_width: int = 64) -> None:
        super().__init__()
        inner = heads * head_width
        self.heads = heads
        self.query = _projection(width, inner, stride=1)
        self.key_value = _projection(width, 2 * inner, stride=KV_STRIDE)
        self.proj = conv(2, inner, width, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        query, (key, value) = self.query(x), self.key_value(x).chunk(2, dim=1)
        query, key, value = (self._split(part) for part in (query, key, value))
        seen = F.scaled_dot_product_attention(query, key, value)  # (B, heads, H * W, head_width)
        return self.proj(to_map(seen.transpose(1, 2).flatten(2), x.shape[2:]))

    def _split(self, x: Tensor) -> Tensor:
        """(B, heads * C, H, W) -> (B, heads, H * W, C)."""
        tokens = to_tokens(x)
        return tokens.reshape(*tokens.shape[:2], self.heads, -1).transpose(1, 2)


def _projection(width: int, inner: int, *, stride: int) -> nn.Sequential:
    """Depthwise 3 x 3 convolution, batch norm, 1 x 1 convolution."""
    return nn.Sequential(
        conv(2, width, width, kernel=3, stride=stride, padding=1, groups=width, bias=False),
        nn.BatchNorm2d(width),
        conv(2, width, inner, kernel=1, bias=False),
    )


def _mlp(width: int, ratio: int) -> nn.Sequential:
    return nn.Sequential(
        conv(2, width, ratio * width, kernel=1), nn.GELU(), conv(2, ratio * width, width, kernel=1)
    )
