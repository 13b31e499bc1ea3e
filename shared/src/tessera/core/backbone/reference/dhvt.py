"""DHVT: attention with head tokens, convolutions in the patch embedding and the channel network.

Lu et al., "Bridging the Gap Between Vision Transformers and Convolutional Neural Networks on Small Datasets",
arXiv 2210.05958, after the authors' code (head tokens go into the class token; no embedded positions), with
batch norm where that has its synchronised form. For any size of map, in one to three dimensions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.core.backbone.attention import to_map, to_tokens
from tessera.core.backbone.blocks import SpatialDims
from tessera.core.backbone.drop_path import DropPath, rising_rates
from tessera.core.backbone.slots.down_sope import sope_down
from tessera.core.backbone.slots.ffn_daff import DAFF
from tessera.core.backbone.slots.mixer_dhvt import HeadInteractionAttention

EPS = 1e-6  # of the layer norms
TOKEN_DEVIATION = 0.02
SQUEEZE = 4  # channels per hidden unit of the class token's network


class DHVT(nn.Module):
    """(B, c_in, *S) -> logits (B, K).

    In 2-D with 3 input channels: DHVT-T (192 channels, 3 heads, patch 16) has 6,267,334 parameters for 1000
    classes, DHVT-S (384, 6, 16) 24,040,606; DHVT-S (384, 8, 2) has 22,766,698 for 100 classes.

    Args:
        spatial_dims: Number of axes in S.
        c_in: Channels of the input.
        num_classes: K.
        channels: Width.
        heads: Heads of the attention.
        patch: Stride of the patch embedding, a power of two.
        depth: Number of blocks.
        drop_path: Probability of skipping the last block's branches, rising from 0 at the first.
    """

    def __init__(
        self,
        spatial_dims: SpatialDims,
        c_in: int,
        num_classes: int,
        *,
        channels: int = 384,
        heads: int = 6,
        patch: int = 16,
        depth: int = 12,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.embed = sope_down(spatial_dims, c_in, channels, patch)
        self.class_token = nn.Parameter(torch.empty(channels))
        nn.init.trunc_normal_(self.class_token, std=TOKEN_DEVIATION)
        self.blocks = nn.ModuleList(
            DHVTBlock(spatial_dims, channels, heads, drop_path=rate)
            for rate in rising_rates(drop_path, depth)
        )
        self.norm = nn.LayerNorm(channels, eps=EPS)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, *S) -> logits (B, K)."""
        x = self.embed(x)
        sizes = x.shape[2:]
        tokens = torch.cat([self.class_token.expand(len(x), 1, -1), to_tokens(x)], dim=1)
        for block in self.blocks:
            tokens = block(tokens, sizes)
        return self.head(self.norm(tokens[:, 0]))


class DHVTBlock(nn.Module):
    """Class token and patches, (B, 1 + N, C) -> the same shape.

    Args:
        spatial_dims: Number of axes of the map that the patches form.
        channels: C.
        heads: Heads of the attention.
        drop_path: Probability of skipping each branch in training.
    """

    def __init__(
        self, spatial_dims: SpatialDims, channels: int, heads: int, *, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=EPS)
        self.attention = HeadInteractionAttention(channels, heads)
        self.norm2 = nn.LayerNorm(channels, eps=EPS)
        self.daff = DAFF(spatial_dims, channels)
        self.squeeze = nn.Linear(channels, channels // SQUEEZE)
        self.excite = nn.Linear(channels // SQUEEZE, channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor, sizes: torch.Size) -> Tensor:
        """(B, 1 + N, C) -> (B, 1 + N, C); N patches form a map of ``sizes``."""
        attended, heads = self.attention(self.norm1(tokens))
        attended = torch.cat([attended[:, :1] + heads, attended[:, 1:]], dim=1)
        tokens = tokens + self.drop_path(attended)
        return tokens + self.drop_path(self._channels(self.norm2(tokens), sizes))

    def _channels(self, tokens: Tensor, sizes: torch.Size) -> Tensor:
        """DAFF of the patches; the class token is multiplied by what their mean says."""
        patches = self.daff(to_map(tokens[:, 1:], sizes))
        weight = self.excite(F.gelu(self.squeeze(patches.flatten(2).mean(-1))))
        return torch.cat([tokens[:, :1] * weight[:, None], to_tokens(patches)], dim=1)
