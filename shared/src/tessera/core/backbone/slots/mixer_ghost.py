"""Ghost module: half of the maps are computed, the others are cheap depthwise copies of them.

Han et al., "GhostNet: More Features from Cheap Operations", arXiv 1911.11907.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims
from tessera.core.backbone.slots.convolutions import conv_norm


class GhostMixer(nn.Module):
    """m = ceil(c_out / ratio) maps of a convolution, then (ratio - 1) depthwise ghosts of each.

    Where ratio does not divide c_out, the last ghosts are computed and dropped. It ends in activated
    values (with relu): no norm or activation belongs after it.

    Args:
        spatial_dims: Number of axes in S.
        c_in: Channels of the input.
        c_out: Channels of the output.
        stride: Stride of the first convolution.
        kernel: Size of the first convolution, 1 in GhostNet.
        ratio: Maps per computed map.
        cheap_kernel: Size of the depthwise convolution.
        relu: Whether both parts end in a ReLU; the module before an addition has none.
    """

    def __init__(
        self,
        spatial_dims: SpatialDims,
        c_in: int,
        c_out: int,
        stride: int = 1,
        *,
        kernel: int = 1,
        ratio: int = 2,
        cheap_kernel: int = 3,
        relu: bool = True,
    ) -> None:
        super().__init__()
        if ratio < 2:
            raise ValueError(f"mixer ghost: ratio {ratio} leaves no ghosts; give 2 or more")
        if kernel % 2 == 0 or cheap_kernel % 2 == 0:
            raise ValueError(f"mixer ghost: kernels {kernel} and {cheap_kernel} must be odd")
        activation = nn.ReLU if relu else None
        computed = -(-c_out // ratio)
        self.c_out = c_out
        self.activated = relu
        self.primary = conv_norm(
            spatial_dims, c_in, computed, kernel=kernel, stride=stride, activation=activation
        )
        self.cheap = conv_norm(
            spatial_dims,
            computed,
            computed * (ratio - 1),
            kernel=cheap_kernel,
            groups=computed,
            activation=activation,
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, *S) -> (B, c_out, *ceil(S / stride))."""
        maps = self.primary(x)
        return torch.cat([maps, self.cheap(maps)], dim=1)[:, : self.c_out]
