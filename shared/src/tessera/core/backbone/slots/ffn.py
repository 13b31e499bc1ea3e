"""Channel networks of the metaformer block: (B, C, *S) -> the same shape, mixing channels in each place."""

from __future__ import annotations

from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims, conv


class MLPFfn(nn.Module):
    """Two pointwise layers with biases, a GELU between, dropout after each.

    Args:
        spatial_dims: Number of axes in S.
        channels: C.
        ratio: Hidden channels over C.
        dropout: Part of the values that is dropped.
    """

    def __init__(
        self, spatial_dims: SpatialDims, channels: int, *, ratio: float = 4.0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        hidden = round(channels * ratio)
        if hidden < 1:
            raise ValueError(
                f"ffn mlp: ratio {ratio} of {channels} channels leaves none; the usual ratio is 4"
            )
        self.fc1 = conv(spatial_dims, channels, hidden, kernel=1)
        self.act = nn.GELU()
        self.fc2 = conv(spatial_dims, hidden, channels, kernel=1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C, *S)."""
        return self.dropout(self.fc2(self.dropout(self.act(self.fc1(x)))))
