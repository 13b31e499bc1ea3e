"""Res2Net: groups of channels convolved one after the other, each with the sum of the one before.

Gao et al., "Res2Net: A New Multi-scale Backbone Architecture", arXiv 1904.01169. As in the authors'
code the last group stays as it is (in the paper the first: the same but for the channels' names).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims
from tessera.core.backbone.slots.convolutions import conv_norm, fit_channels

_POOLS = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}


class Res2NetMixer(nn.Module):
    """Hierarchical convolutions of size 3: y_1 = f(x_1), y_i = f(x_i + y_{i-1}), y_scale = x_scale.

    It ends in activated values: no norm or activation belongs after it.

    Args:
        spatial_dims: Number of axes in S.
        c_in: Channels of the input; where they differ from c_out, a 1x1 convolution comes first.
        c_out: Channels of the output, a multiple of scale.
        stride: Stride; above 1 the block works as a first one.
        scale: Number of groups; 1 is a single convolution.
        first: Whether this is the first block of a stage: nothing is added from group to group, and the
            last group is averaged over windows of 3 with zeros around the map, which count.
        groups: Groups within each convolution, as in Res2NeXt.
    """

    activated = True

    def __init__(
        self,
        spatial_dims: SpatialDims,
        c_in: int,
        c_out: int,
        stride: int = 1,
        *,
        scale: int = 4,
        first: bool = False,
        groups: int = 1,
    ) -> None:
        super().__init__()
        if scale < 1 or c_out % scale:
            raise ValueError(f"mixer res2net: scale {scale} does not divide {c_out} channels")
        self.width = c_out // scale
        self.fit = fit_channels(spatial_dims, c_in, c_out)
        self.convs = nn.ModuleList(
            conv_norm(spatial_dims, self.width, self.width, kernel=3, stride=stride, groups=groups)
            for _ in range(max(1, scale - 1))
        )
        self.first = first or stride > 1
        self.pool: nn.Module = _POOLS[spatial_dims](3, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, *S) -> (B, c_out, *ceil(S / stride))."""
        parts = self.fit(x).split(self.width, dim=1)
        outputs: list[Tensor] = []
        for conv, part in zip(self.convs, parts, strict=False):
            outputs.append(conv(part + outputs[-1] if outputs and not self.first else part))
        if len(parts) > 1:
            last = parts[-1]
            outputs.append(self.pool(F.pad(last, [1] * (2 * last.ndim - 4))) if self.first else last)
        return torch.cat(outputs, dim=1)
