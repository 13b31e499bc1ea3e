"""SPD-Conv: space-to-depth and a convolution without stride instead of a strided convolution.

Sunkara and Luo, "No More Strided Convolutions or Pooling", arXiv 2208.03641. The paper puts the convolution
after the space-to-depth step; the released networks put it before. Both are here.
"""

from __future__ import annotations

from math import prod
from typing import Literal

from torch import Tensor, nn

from tessera.core.backbone.blocks import Sizes, SpatialDims, conv, per_axis
from tessera.core.backbone.space_to_depth import ChannelOrder, pad_to_multiple, space_to_depth


class SPDDown(nn.Module):
    """Space-to-depth and a convolution of stride 1: size S gives ceil(S / stride), nothing is skipped.

    Args:
        spatial_dims: Number of axes in S.
        c_in: Channels of the input.
        c_out: Channels of the output; with the convolution first a multiple of the number of sub-grids,
            because each of them becomes a block of channels.
        stride: Factor of each axis; sizes that it does not divide are filled up with zeros.
        kernel: Odd kernel of the convolution.
        first: Which of the two comes first; ``space_to_depth`` in the paper, ``conv`` in its released
            networks.
        order: Order of the channels after the space-to-depth step; ``blocks`` in the paper.
        bias: Whether the convolution has a bias.
    """

    def __init__(
        self,
        spatial_dims: SpatialDims,
        c_in: int,
        c_out: int,
        stride: Sizes,
        *,
        kernel: int = 3,
        first: Literal["space_to_depth", "conv"] = "space_to_depth",
        order: ChannelOrder = "blocks",
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.factors = per_axis(spatial_dims, stride)
        self.order = order
        self.conv_first = first == "conv"
        if kernel % 2 == 0:
            raise ValueError(f"down spd: kernel {kernel} has no middle; give an odd number")
        grids = prod(self.factors)
        if self.conv_first and c_out % grids:
            raise ValueError(
                f"down spd: {c_out} channels cannot be shared by {grids} sub-grids; "
                f"give a multiple of {grids} or first='space_to_depth'"
            )
        wide, narrow = (c_in, c_out // grids) if self.conv_first else (c_in * grids, c_out)
        self.conv = conv(spatial_dims, wide, narrow, kernel=kernel, padding=kernel // 2, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, *S) -> (B, c_out, *ceil(S / stride))."""
        if self.conv_first:
            return self._fold(self.conv(x))
        return self.conv(self._fold(x))

    def _fold(self, x: Tensor) -> Tensor:
        return space_to_depth(pad_to_multiple(x, self.factors), self.factors, order=self.order)
