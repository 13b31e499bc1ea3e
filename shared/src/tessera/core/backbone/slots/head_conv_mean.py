"""All-CNN's head: one score map per class, then its mean.

Springenberg et al., "Striving for Simplicity: The All Convolutional Net", arXiv 1412.6806.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims, conv


class ConvMeanHead(nn.Module):
    """1x1 convolution of the last map to K channels, ReLU, mean over all positions.

    Args:
        spatial_dims: Number of axes of the maps.
        channels: Channels of each map; only the last one is read.
        num_classes: K.
        dropout: Share of the last map's values set to zero in training.
        rectify: Whether the score maps pass a ReLU, as in the paper. A class whose scores are negative
            everywhere then gets logit 0 and no gradient; without it the head is linear.
    """

    def __init__(
        self,
        spatial_dims: SpatialDims,
        channels: Sequence[int],
        num_classes: int,
        *,
        dropout: float = 0.0,
        rectify: bool = True,
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.conv = conv(spatial_dims, channels[-1], num_classes, kernel=1)
        self.rectify = rectify

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps (B, C_i, *S_i) -> logits (B, K)."""
        scores = self.conv(self.dropout(maps[-1]))
        if self.rectify:
            scores = torch.relu(scores)
        return scores.flatten(2).mean(-1)
