"""The network that finds tidal features: three convolutions and one wide dense layer.

Walmsley, Ferguson, Mann, Lintott, MNRAS 483, 2968 (2019), arXiv 1811.11616; layers as in the authors' code.
3,714,593 parameters for one channel of 256 x 256 and one output, 3,715,169 for three channels; 99 % of them
sit in the dense layer, which follows from the image's size. Weights begin as Keras's do (Glorot uniform,
biases 0). Difference: outputs are raw, without the sigmoid.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from tessera.core.backbone.blocks import conv, max_pool
from tessera.core.backbone.last_map import LastMapNetwork

KERNEL = 3
POOL = 2


class WalmsleyCNN(LastMapNetwork):
    """Image (B, c, H, W) of one size -> raw output (B, K).

    Args:
        n_outputs: K; the paper has one, the logit of "tidal".
        in_channels: c, for instance the bands.
        size: H and W in pixels; at least 22 with three convolutions.
        widths: Filters of the convolutions.
        hidden: Units of the dense layer.
        dropout: After the dense layer, before its ReLU.
    """

    def __init__(
        self,
        n_outputs: int,
        *,
        in_channels: int = 1,
        size: Sequence[int] = (256, 256),
        widths: Sequence[int] = (32, 32, 64),
        hidden: int = 64,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.in_shape = (in_channels, *size)
        rows, columns = (_pooled(side, len(widths)) for side in size)
        if min(rows, columns) < 1:
            raise ValueError(
                f"WalmsleyCNN: an image of {size[0]} x {size[1]} is too small for {len(widths)} convolutions "
                f"and pools; give at least {_least(len(widths))} pixels an axis, or fewer widths"
            )
        layers: list[nn.Module] = []
        for c_in, c_out in pairwise((in_channels, *widths)):
            layers += [conv(2, c_in, c_out, kernel=KERNEL), nn.ReLU(), max_pool(2, POOL)]
        self.pool = layers.pop()
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(widths[-1] * rows * columns, hidden),
            nn.Dropout(dropout),
            nn.ReLU(),
            nn.Linear(hidden, n_outputs),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.constant_(module.get_parameter("bias"), 0.0)

    def last_map(self, x: Tensor) -> Tensor:
        """(B, c, H, W) -> the last convolution's map before its pool, (B, widths[-1], H', W')."""
        if tuple(x.shape[1:]) != self.in_shape:
            raise ValueError(
                f"WalmsleyCNN: an input of shape {tuple(x.shape)}; it was built for (B, "
                f"{', '.join(map(str, self.in_shape))}), because the dense layer has a weight for each place"
            )
        return self.features(x)

    def classify(self, last: Tensor) -> Tensor:
        """Last map -> (B, K)."""
        return self.head(self.pool(last))


def _pooled(side: int, layers: int) -> int:
    """Pixels that are left of one axis."""
    for _ in range(layers):
        side = (side - KERNEL + 1) // POOL
    return side


def _least(layers: int) -> int:
    """The smallest side that leaves a pixel."""
    side = 1
    for _ in range(layers):
        side = side * POOL + KERNEL - 1
    return side
