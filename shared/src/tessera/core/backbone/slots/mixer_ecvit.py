"""Attention inside blocks of a map that do not overlap.

"ECViT", arXiv 2504.14825. Built from public summaries; widths, heads and block sizes are unverified, and so
is that the copies of the class token are averaged.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.core.backbone.attention import Attention
from tessera.core.backbone.blocks import Sizes, SpatialDims, per_axis
from tessera.core.backbone.partition import merge_windows, pad_to_windows, partition_windows
from tessera.core.backbone.slots.convolutions import fit_channels


class PartitionedAttention(nn.Module):
    """Each block of positions attends to itself and to its own copy of the class token, where there is one.

    Args:
        channels: C.
        heads: Heads; they divide C.
        window: Size of a block along each axis.
    """

    def __init__(self, channels: int, heads: int, *, window: tuple[int, ...]) -> None:
        super().__init__()
        self.window = window
        self.attention = Attention(channels, heads, name="mixer ecvit")

    def forward(self, x: Tensor, class_token: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Map (B, C, *S) and token (B, C) -> map and token, the mean of what became of its copies."""
        padded, inside = pad_to_windows(x, self.window)
        tokens = partition_windows(padded, self.window)  # (B, W, P, C)
        if class_token is not None:
            copies = class_token[:, None, None].expand(-1, tokens.shape[1], 1, -1)
            tokens = torch.cat([copies, tokens], dim=2)
            if inside is not None:
                inside = F.pad(inside, (1, 0), value=True)
        mask = None if inside is None else inside[:, None, None]
        tokens = self.attention(tokens, mask=mask)
        mean = None
        if class_token is not None:
            mean, tokens = tokens[:, :, 0].mean(1), tokens[:, :, 1:]
        whole = merge_windows(tokens, self.window, padded.shape[2:])
        for axis, size in enumerate(x.shape[2:], start=2):
            whole = whole.narrow(axis, 0, size)
        return whole, mean


class ECViTMixer(nn.Module):
    """Attention inside blocks, without a class token: nothing passes between blocks here.

    Incomplete blocks at the end of an axis attend to the positions that there are. Where c_in differs from
    c_out or there is a stride, a convolution comes first.

    Args:
        spatial_dims: Number of axes in S.
        c_in: Channels of the input.
        c_out: Channels of the output.
        stride: Stride of the convolution in front.
        heads: Heads; they divide c_out.
        window: Size of a block, one number or one per axis.
    """

    def __init__(
        self,
        spatial_dims: SpatialDims,
        c_in: int,
        c_out: int,
        stride: int = 1,
        *,
        heads: int = 4,
        window: Sizes = 4,
    ) -> None:
        super().__init__()
        self.fit = fit_channels(spatial_dims, c_in, c_out, stride)
        sizes = per_axis(spatial_dims, window, name="window")
        self.attention = PartitionedAttention(c_out, heads, window=sizes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, *S) -> (B, c_out, *ceil(S / stride))."""
        y, _ = self.attention(self.fit(x))
        return y
