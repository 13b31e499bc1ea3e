"""Spatial pyramid pooling: maxima over grids of several sizes, a vector of fixed length for any map size.

He et al., "Spatial Pyramid Pooling in Deep Convolutional Networks", arXiv 1406.4729. The bins are always
adaptive (bin i of n covers floor(i S / n) to ceil((i + 1) S / n)): the window and stride rule that the paper
trains with gives another number of bins at some sizes (9 for 6 at size 10).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims

_POOLS: dict[int, Callable[[Tensor, int], Tensor]] = {
    1: F.adaptive_max_pool1d,
    2: F.adaptive_max_pool2d,
    3: F.adaptive_max_pool3d,
}


class SpatialPyramid(nn.Module):
    """Maxima over n^d bins for each level n, levels side by side in the order given.

    Args:
        spatial_dims: d.
        levels: Bins per axis of each level.
    """

    def __init__(self, spatial_dims: SpatialDims, levels: Sequence[int]) -> None:
        super().__init__()
        if not levels or min(levels) < 1:
            raise ValueError(
                f"spp: levels {tuple(levels)} are not positive numbers; the paper uses 6, 3, 2, 1"
            )
        self.levels = tuple(levels)
        self.bins = sum(level**spatial_dims for level in self.levels)
        self.pool = _POOLS[spatial_dims]

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C * bins); within a level the bins of one channel stand together."""
        return torch.cat([self.pool(x, level).flatten(1) for level in self.levels], dim=1)


class SPPHead(nn.Module):
    """Spatial pyramid of the last map, dropout, one linear layer; any map size.

    Args:
        spatial_dims: d.
        channels: Channels of each map; only the last one is read.
        num_classes: K.
        dropout: Share of the pooled values set to zero in training.
        levels: Bins per axis of each level. The default gives the paper's 50 bins in 2-D, 12 in 1-D and 252
            in 3-D, so a volume may want fewer.
    """

    def __init__(
        self,
        spatial_dims: SpatialDims,
        channels: Sequence[int],
        num_classes: int,
        *,
        dropout: float = 0.0,
        levels: Sequence[int] = (6, 3, 2, 1),
    ) -> None:
        super().__init__()
        self.pyramid = SpatialPyramid(spatial_dims, levels)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(channels[-1] * self.pyramid.bins, num_classes)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps (B, C_i, *S_i) -> logits (B, K)."""
        return self.linear(self.dropout(self.pyramid(maps[-1])))
