"""Routes: what a stage is fed, built from the outputs before it.

A builder takes ``(spatial_dims, channels, **options)`` with the channels of every output so far, the stem's
first, and gives a `Route`. A route sees those outputs and ``state``, a dictionary that lives for one forward
pass: side tokens that travel beside the maps are kept there under the name of their owner.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims, conv

State = dict[str, Tensor]
"""Name -> tensor; a mixer with the attribute ``uses_state`` is called as ``mixer(x, state)``."""

_POOLS: dict[int, Callable[..., Tensor]] = {
    1: F.adaptive_avg_pool1d,
    2: F.adaptive_avg_pool2d,
    3: F.adaptive_avg_pool3d,
}
_SMOOTH = {1: "linear", 2: "bilinear", 3: "trilinear"}


class Route(nn.Module):
    """Outputs (B, C_i, *S_i), first to last, -> input (B, out_channels, *S_last) of the next stage."""

    out_channels: int

    def __init__(self, spatial_dims: SpatialDims, channels: Sequence[int]) -> None:
        super().__init__()
        if not channels:
            raise ValueError("a route needs the channels of at least one output")
        self.out_channels = channels[-1]

    def forward(self, features: Sequence[Tensor], state: State) -> Tensor:
        """The next stage's input; may read and write ``state``."""
        raise NotImplementedError


class LastRoute(Route):
    """The last output as it is."""

    def forward(self, features: Sequence[Tensor], state: State) -> Tensor:
        """(B, C_i, *S_i), ... -> (B, C_last, *S_last)."""
        return features[-1]


class SumRoute(Route):
    """The sum of all outputs, as between the blocks of ECAPA-TDNN (arXiv 2005.07143).

    With a shortcut in the next block, its output is what the block adds plus the running sum of all outputs
    before it. (EfficientTDNN adds the same sum, but shows its blocks the last output alone.) An output of
    another size is resized to the last one's (see `resize_map`), one with other channels goes through a 1x1
    convolution without bias.
    """

    def __init__(self, spatial_dims: SpatialDims, channels: Sequence[int]) -> None:
        super().__init__(spatial_dims, channels)
        self.projections = nn.ModuleList(
            nn.Identity() if c == channels[-1] else conv(spatial_dims, c, channels[-1], kernel=1, bias=False)
            for c in channels
        )

    def forward(self, features: Sequence[Tensor], state: State) -> Tensor:
        """(B, C_i, *S_i), ... -> (B, C_last, *S_last)."""
        size = features[-1].shape[2:]
        total = features[-1]
        for feature, project in zip(features[:-1], self.projections, strict=False):
            total = total + project(resize_map(feature, size))
        return total


class ConcatRoute(Route):
    """All outputs side by side, as before the pooling of ECAPA-TDNN (arXiv 2005.07143) and in a U-Net.

    Args:
        spatial_dims: Number of axes in S.
        channels: C_i of every output.
        skip: Outputs at the beginning that are left out; ECAPA-TDNN leaves out the stem.
    """

    def __init__(self, spatial_dims: SpatialDims, channels: Sequence[int], *, skip: int = 0) -> None:
        super().__init__(spatial_dims, channels)
        if not 0 <= skip < len(channels):
            raise ValueError(f"route concat: skip={skip} leaves none of {len(channels)} outputs; take less")
        self.skip = skip
        self.out_channels = sum(channels[skip:])

    def forward(self, features: Sequence[Tensor], state: State) -> Tensor:
        """(B, C_i, *S_i), ... -> (B, sum of C_i, *S_last)."""
        size = features[-1].shape[2:]
        return torch.cat([resize_map(feature, size) for feature in features[self.skip :]], dim=1)


def resize_map(x: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, *S) -> (B, C, *size): means of bins where no axis grows, else linear interpolation."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    if all(new <= old for new, old in zip(size, x.shape[2:], strict=True)):
        return _POOLS[x.ndim - 2](x, list(size))
    return F.interpolate(x, size=tuple(size), mode=_SMOOTH[x.ndim - 2], align_corners=False)
