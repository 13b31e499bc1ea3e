"""A convolution, then attention between positions that lie at the same place of their patches.

Mehta and Rastegari, "MobileViT", arXiv 2110.02178.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.core.backbone.attention import TransformerLayer
from tessera.core.backbone.blocks import SpatialDims, conv
from tessera.core.backbone.partition import merge_windows, partition_windows, window_counts
from tessera.core.backbone.slots.convolutions import conv_norm, fit_channels

_SMOOTH = {1: "linear", 2: "bilinear", 3: "trilinear"}


class MobileViTMixer(nn.Module):
    """3^d convolution, 1x1, transformer over patches, 1x1, beside the input through a 3^d convolution.

    The map is cut into patches of p^d positions; tokens attend to those at the same place of the other
    patches, so that the cost falls with the square of p^d. A map whose size p does not divide is resized
    up and back by linear interpolation. It ends in activated values. Where c_in differs from c_out or there
    is a stride, a convolution comes first.

    Args:
        spatial_dims: Number of axes in S.
        c_in: Channels of the input.
        c_out: Channels of the output, C below.
        stride: Stride of the convolution in front.
        width: Channels of the tokens; None takes 1.5 C as in the larger networks of the paper, rounded up to
            a multiple of the heads.
        hidden: Hidden units of the transformer; None takes twice the width.
        depth: Layers of the transformer.
        heads: Heads of the attention.
        patch: p.
        dropout: In the transformer.
    """

    activated = True

    def __init__(
        self,
        spatial_dims: SpatialDims,
        c_in: int,
        c_out: int,
        stride: int = 1,
        *,
        width: int | None = None,
        hidden: int | None = None,
        depth: int = 2,
        heads: int = 4,
        patch: int = 2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if patch < 1 or depth < 1:
            raise ValueError(f"mixer mobilevit: patch {patch} and depth {depth} must be 1 or more")
        width = -(-3 * c_out // (2 * heads)) * heads if width is None else width
        hidden = 2 * width if hidden is None else hidden
        self.window = (patch,) * spatial_dims
        self.fit = fit_channels(spatial_dims, c_in, c_out, stride)
        self.local = conv_norm(spatial_dims, c_out, c_out, kernel=3, activation=nn.SiLU)
        self.expand = conv(spatial_dims, c_out, width, kernel=1, bias=False)
        self.transformer = nn.Sequential(
            *(
                TransformerLayer(
                    width, heads, hidden, activation=nn.SiLU, dropout=dropout, name="mixer mobilevit"
                )
                for _ in range(depth)
            )
        )
        self.norm = nn.LayerNorm(width)
        self.reduce = conv_norm(spatial_dims, width, c_out, kernel=1, activation=nn.SiLU)
        self.fuse = conv_norm(spatial_dims, 2 * c_out, c_out, kernel=3, activation=nn.SiLU)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, *S) -> (B, c_out, *ceil(S / stride))."""
        x = self.fit(x)
        tokens = self._globally(self.expand(self.local(x)))
        return self.fuse(torch.cat([x, self.reduce(tokens)], dim=1))

    def _globally(self, x: Tensor) -> Tensor:
        """The transformer over patches, (B, width, *S) -> the same shape."""
        sizes = x.shape[2:]
        counts = window_counts(sizes, self.window)
        whole = tuple(n * w for n, w in zip(counts, self.window, strict=True))
        x = _resize(x, whole)
        sequences = partition_windows(x, self.window).transpose(1, 2)  # (B, P, W, C)
        mixed = self.norm(self.transformer(sequences))
        return _resize(merge_windows(mixed.transpose(1, 2), self.window, whole), sizes)


def _resize(x: Tensor, sizes: tuple[int, ...]) -> Tensor:
    if tuple(x.shape[2:]) == tuple(sizes):
        return x
    return F.interpolate(x, size=tuple(sizes), mode=_SMOOTH[x.ndim - 2], align_corners=False)
