"""Conv-3 and Conv-5: small networks on a picture of sound, with square or with vertical filters.

Huzaifah, "Comparison of Time-Frequency Representations for Environmental Sound Classification using
Convolutional Neural Networks", arXiv 1706.07156. Conv-3 has one convolution and Conv-5 three, both with two
fully connected layers after them. Vertical filters span the whole band: the rows are the channels of a
convolution along time. Nearly all weights are in the first fully connected layer, ten times as many with
square filters. Differences: logits come without the softmax; weights start as torch draws them; the pools'
incomplete windows are at the end, not half at both ends; pictures are resized inside the network, bilinearly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

Layers = Literal[3, 5]
Filters = Literal["square", "vertical"]


@dataclass(frozen=True)
class Variant:
    """One of the two depths.

    Args:
        widths: Filters of the convolutions.
        pools: Sizes of the max pools after them; 1 is none.
    """

    widths: tuple[int, ...]
    pools: tuple[int, ...]


VARIANTS: dict[Layers, Variant] = {3: Variant((180,), (4,)), 5: Variant((24, 48, 96), (2, 2, 1))}


class TFNet(nn.Module):
    """Picture (B, 1, F, T) -> logits (B, K).

    Args:
        num_classes: K.
        layers: 3 or 5, convolutions and fully connected layers together.
        filters: ``square`` kernels of 3 x 3, or ``vertical`` ones over all rows and 3 frames.
        size: (rows, frames) of the picture inside; the paper has (37, 50) for short frames, else (154, 12).
        hidden: Units of the first fully connected layer.
        dropout: After the first pool and after the first fully connected layer.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        layers: Layers = 3,
        filters: Filters = "square",
        size: tuple[int, int] = (37, 50),
        hidden: int = 800,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if layers not in VARIANTS:
            raise ValueError(f"TFNet: layers={layers!r} is not known; choose 3 or 5")
        if filters not in ("square", "vertical"):
            raise ValueError(f"TFNet: filters={filters!r} is not known; choose square or vertical")
        if min(size) < 1:
            raise ValueError(f"TFNet: size {size} is empty; the paper has (37, 50)")
        table = VARIANTS[layers]
        self.size = size
        self.vertical = filters == "vertical"
        sides = [size[1]] if self.vertical else list(size)
        self.features = nn.Sequential()
        c_in = size[0] if self.vertical else 1
        for i, (c_out, pool) in enumerate(zip(table.widths, table.pools, strict=True)):
            self.features.append(_block(len(sides), c_in, c_out, pool))
            if i == 0:
                self.features.append(nn.Dropout(dropout))
            c_in, sides = c_out, [-(-side // pool) for side in sides]
        positions = sides[0] if self.vertical else sides[0] * sides[1]
        self.classifier = nn.Sequential(
            nn.Linear(c_in * positions, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Picture (B, 1, F, T) of any size -> logits (B, K)."""
        if x.ndim != 4 or x.shape[1] != 1:
            raise ValueError(f"TFNet: the input has shape {tuple(x.shape)}; expected (B, 1, F, T)")
        if x.shape[2:] != self.size:
            x = F.interpolate(x, self.size, mode="bilinear", antialias=True)
        if self.vertical:
            x = x.squeeze(1)
        return self.classifier(self.features(x).flatten(1))


def _block(spatial_dims: int, c_in: int, c_out: int, pool: int) -> nn.Module:
    """Convolution of 3, ReLU, max pool that keeps an incomplete last window: size S -> ceil(S / pool)."""
    convolution, max_pool = (nn.Conv1d, nn.MaxPool1d) if spatial_dims == 1 else (nn.Conv2d, nn.MaxPool2d)
    layers: list[nn.Module] = [convolution(c_in, c_out, 3, padding=1), nn.ReLU(inplace=True)]
    if pool > 1:
        layers.append(max_pool(pool, ceil_mode=True))
    return nn.Sequential(*layers)
