"""A map read as sequences along each axis and back, each with a selective scan.

Liu et al., "VMamba: Visual State Space Model", arXiv 2401.10166 (the ungated form of its later version).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims, conv
from tessera.core.backbone.scan.directional import DirectionalScan
from tessera.core.backbone.slots.adn_layer_norm import ChannelLayerNorm
from tessera.core.backbone.sweeps import directional_sweeps, merge_sweeps


class SS2DMixer(nn.Module):
    """1x1, depthwise 3^d, SiLU, scans in 2d directions, summed, layer norm, 1x1; no biases but the scans'.

    The paper's four scans of an image become two of a signal and six of a volume; D = ratio x c_out
    channels are scanned. The paper has c_in = c_out and no stride; here the first layer changes the channels
    and the depthwise one takes the stride.

    Args:
        spatial_dims: Number of axes in S.
        c_in: Channels of the input.
        c_out: Channels of the output, C below.
        stride: Stride of the depthwise convolution.
        ratio: D over C.
        order: N, values of state per channel; VMamba has 1, Mamba 16.
        rank: Numbers behind the step sizes; None takes ceil(C / 16).
        kernel: Size of the depthwise convolution, odd.
    """

    def __init__(
        self,
        spatial_dims: SpatialDims,
        c_in: int,
        c_out: int,
        stride: int = 1,
        *,
        ratio: float = 1.0,
        order: int = 1,
        rank: int | None = None,
        kernel: int = 3,
    ) -> None:
        super().__init__()
        width = round(ratio * c_out)
        if width < 1 or kernel % 2 == 0:
            raise ValueError(f"mixer ss2d: ratio {ratio} must be positive and kernel {kernel} odd")
        self.project_in = conv(spatial_dims, c_in, width, kernel=1, bias=False)
        self.depthwise = conv(
            spatial_dims,
            width,
            width,
            kernel=kernel,
            stride=stride,
            padding=kernel // 2,
            groups=width,
            bias=False,
        )
        rank = -(-c_out // 16) if rank is None else rank
        self.scan = DirectionalScan(width, directions=2 * spatial_dims, order=order, rank=rank)
        self.norm = ChannelLayerNorm(width, eps=1e-5)
        self.project_out = conv(spatial_dims, width, c_out, kernel=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, *S) -> (B, c_out, *ceil(S / stride))."""
        x = F.silu(self.depthwise(self.project_in(x)))
        y = merge_sweeps(self.scan(directional_sweeps(x)), x.shape[2:])
        return self.project_out(self.norm(y))
