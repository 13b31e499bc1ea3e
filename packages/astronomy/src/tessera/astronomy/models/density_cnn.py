"""The convolutional network that reads cosmological parameters from a map of density.

Gondhalekar and Moriwaki, arXiv 2411.14392, after the networks of CAMELS (Villaescusa-Navarro et al., arXiv
2109.10360). 672,836 parameters for one channel of 256 x 256 and four outputs; the released 672,868 count a
batch norm of 16 channels that is never used. Differences: outputs are raw, without the softplus of the
uncertainties; the map may have any size.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from tessera.core.backbone.last_map import LastMapNetwork

HALVINGS = 4
LAST_KERNEL = 4
SLOPE = 0.2  # of the leaky ReLUs


class DensityCNN(LastMapNetwork):
    """Map (B, c, H, W) of one size -> raw output (B, K).

    Four convolutions of stride 2 that go round the map's edges, because the field is periodic, and one that
    does not. Where 16 divides H and W, maps up to that one roll with the input.

    Args:
        n_outputs: K; a mean and a spread for each parameter in the paper.
        in_channels: c.
        size: H and W in pixels, at least 49.
        hidden: Half the filters of the first convolution; each next one has twice as many.
        dropout: Before the linear layer.
    """

    def __init__(
        self,
        n_outputs: int,
        *,
        in_channels: int = 1,
        size: Sequence[int] = (256, 256),
        hidden: int = 8,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.in_shape = (in_channels, *size)
        rows, columns = (_side_after(side) for side in size)
        if min(rows, columns) < 1:
            raise ValueError(
                f"DensityCNN: a map of {size[0]} x {size[1]} is too small; give at least "
                f"{(LAST_KERNEL - 1) * 2**HALVINGS + 1} pixels an axis"
            )
        widths = [in_channels, *(hidden * 2**i for i in range(1, HALVINGS + 2))]
        self.periodic = nn.Sequential(
            *(_block(c_in, c_out, norm=i > 0) for i, (c_in, c_out) in enumerate(pairwise(widths[:-1])))
        )
        self.last = _block(widths[-2], widths[-1], kernel=LAST_KERNEL, periodic=False)
        self.head = nn.Sequential(
            nn.Flatten(), nn.Dropout(dropout), nn.Linear(widths[-1] * rows * columns, n_outputs)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def last_map(self, x: Tensor) -> Tensor:
        """(B, c, H, W) -> (B, 32 hidden, H', W')."""
        if tuple(x.shape[1:]) != self.in_shape:
            raise ValueError(
                f"DensityCNN: an input of shape {tuple(x.shape)}; it was built for (B, "
                f"{', '.join(map(str, self.in_shape))}), because the linear layer has a weight for each place"
            )
        return self.last(self.periodic(x))

    def classify(self, last: Tensor) -> Tensor:
        """Last map -> (B, K)."""
        return self.head(last)


def _block(
    c_in: int, c_out: int, *, kernel: int = 3, periodic: bool = True, norm: bool = True
) -> nn.Sequential:
    """Convolution of stride 2, batch norm, leaky ReLU."""
    around: dict[str, Any] = {"padding": kernel // 2, "padding_mode": "circular"} if periodic else {}
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, kernel, stride=2, **around),
        nn.BatchNorm2d(c_out) if norm else nn.Identity(),
        nn.LeakyReLU(SLOPE),
    )


def _side_after(side: int) -> int:
    """Pixels that are left of one axis."""
    for _ in range(HALVINGS):
        side = (side + 1) // 2
    return (side - LAST_KERNEL) // 2 + 1
