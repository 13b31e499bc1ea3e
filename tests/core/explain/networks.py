"""Networks whose explanation is known without computing it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tessera.core.backbone import Classifier, Encoder, EncoderLayout, SpatialDims
from tessera.core.backbone.last_map import LastMapNetwork


class Averaged(LastMapNetwork):
    """Its last map is its input; logits are weighted means of the channels, weights (K, C)."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def last_map(self, x: Tensor) -> Tensor:
        return x * 1.0

    def classify(self, last: Tensor) -> Tensor:
        return last.flatten(2).mean(2) @ self.weights.T


class Weighted(nn.Module):
    """Logits are sums of the input times fixed images (K, c, *S); it counts rows and calls."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.images = nn.Parameter(images)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.detach())
        return x.flatten(1) @ self.images.flatten(1).T


def encoder(d: SpatialDims, *, in_channels: int = 2, classes: int = 3) -> Classifier:
    """A small residual encoder with batch norms that have seen something."""
    layout = EncoderLayout(widths=(4, 8), depths=(1, 1), strides=(1, 2), stem_width=4)
    network = Classifier(Encoder(d, in_channels=in_channels, layout=layout), classes)
    with torch.no_grad():
        network.train()(torch.randn(4, in_channels, *(20,) * d))
    return network.eval()
