"""Large depthwise kernels with a small one beside them for training.

Ding et al., "Scaling Up Your Kernels to 31x31", arXiv 2203.06717.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims, conv
from tessera.core.backbone.merging import Mergeable, fold_norm
from tessera.core.backbone.slots.convolutions import conv_norm, fit_channels


class RepLKMixer(Mergeable):
    """Depthwise convolution of size K and batch norm, plus the same of size s; `merge` makes one of both.

    Where c_in differs from c_out, a 1x1 convolution comes first. It ends in normalised values: only
    an activation belongs after it. K^3 values a channel in a volume make sizes above 13 slow.

    Args:
        spatial_dims: Number of axes in S.
        c_in: Channels of the input.
        c_out: Channels of the output.
        stride: Stride of both convolutions.
        kernel: K, odd; None takes 31, or 13 for a volume.
        small_kernel: s, odd and below K; None trains the large kernel alone (RepLKNet-XL).
    """

    def __init__(
        self,
        spatial_dims: SpatialDims,
        c_in: int,
        c_out: int,
        stride: int = 1,
        *,
        kernel: int | None = None,
        small_kernel: int | None = 5,
    ) -> None:
        super().__init__()
        if kernel is None:
            kernel = 13 if spatial_dims == 3 else 31
        sizes = [kernel] if small_kernel is None else [kernel, small_kernel]
        if any(size % 2 == 0 for size in sizes) or (small_kernel is not None and small_kernel >= kernel):
            raise ValueError(
                f"mixer replk: kernel {kernel} and small_kernel {small_kernel} do not fit together; "
                "give odd numbers, the second one smaller or None"
            )
        self.spatial_dims = spatial_dims
        self.stride = stride
        self.fit = fit_channels(spatial_dims, c_in, c_out)
        self.branches = nn.ModuleList(
            conv_norm(spatial_dims, c_out, c_out, kernel=size, stride=stride, groups=c_out, activation=None)
            for size in sizes
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, *S) -> (B, c_out, *ceil(S / stride))."""
        x = self.fit(x)
        mixed = self.branches[0](x)
        for branch in self.branches[1:]:
            mixed = mixed + branch(x)
        return mixed

    @torch.no_grad()
    def merge(self) -> None:
        """Replace all branches by one convolution with a bias."""
        branches = [branch for branch in self.branches if isinstance(branch, nn.Sequential)]
        if not branches:
            return
        folded = [fold_norm(branch) for branch in branches]
        large = branches[0][0].get_parameter("weight")
        channels, kernel = large.shape[0], large.shape[-1]
        merged = conv(
            self.spatial_dims,
            channels,
            channels,
            kernel=kernel,
            stride=self.stride,
            padding=kernel // 2,
            groups=channels,
        )
        merged.to(device=large.device, dtype=large.dtype).train(self.training)
        borders = [(kernel - weight.shape[-1]) // 2 for weight, _ in folded]
        padded = [
            F.pad(weight, [border] * (2 * self.spatial_dims))
            for (weight, _), border in zip(folded, borders, strict=True)
        ]
        merged.get_parameter("weight").copy_(torch.stack(padded).sum(0))
        merged.get_parameter("bias").copy_(torch.stack([bias for _, bias in folded]).sum(0))
        self.branches = nn.ModuleList([merged])
