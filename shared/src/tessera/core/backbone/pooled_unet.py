"""A U-Net with max-pooling and repeating upsampling, where further maps join at full resolution only.

The network of the airway papers of Qin et al. (arXiv 1907.06852, arXiv 2012.05767): places in the body and
distances to an organ's border enter before the last block, where they tell the most and cost the least.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims, conv, max_pool
from tessera.core.backbone.upsampling import Upsample

Recalibrate = Callable[[int, int], nn.Module]
"""Channels of a block's map and its level (0 at full resolution) to a module that keeps the map's shape."""

_NORMS: dict[int, Callable[..., nn.Module]] = {
    1: nn.InstanceNorm1d,
    2: nn.InstanceNorm2d,
    3: nn.InstanceNorm3d,
}


class PooledUNet(nn.Module):
    """(B, c, *S) and further maps (B, E, *S) -> maps (B, C, *S'); every side of S a multiple of ``divisor``.

    Convolutions of size 3 with bias, instance norm without weights, ReLU; two a block, of which the first of
    the way down has half the block's channels.

    Args:
        in_channels: c.
        widths: Channels of each level's block, finest first.
        extra_channels: E.
        recalibrate: What follows each block; None: nothing.
        spatial_dims: Number of axes in S.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        widths: Sequence[int] = (16, 32, 64, 128, 256),
        extra_channels: int = 0,
        recalibrate: Recalibrate | None = None,
        spatial_dims: SpatialDims = 3,
    ) -> None:
        super().__init__()
        if len(widths) < 2 or any(width % 2 for width in widths):
            raise ValueError(f"PooledUNet: widths {tuple(widths)}; give two even numbers or more")
        self.divisor = 2 ** (len(widths) - 1)
        self.extra_channels = extra_channels
        inputs = [in_channels, *widths[:-1]]
        self.down = nn.ModuleList(
            _double_conv(spatial_dims, c_in, c // 2, c) for c_in, c in zip(inputs, widths, strict=True)
        )
        levels = range(len(widths) - 2, -1, -1)
        self.up = nn.ModuleList(
            _double_conv(
                spatial_dims,
                widths[level + 1] + widths[level] + (extra_channels if level == 0 else 0),
                widths[level],
                widths[level],
            )
            for level in levels
        )
        self.pool = max_pool(spatial_dims, 2)
        self.enlarge = Upsample(spatial_dims, 1, 1, (2,) * spatial_dims, mode="nearest")
        places = [*enumerate(widths), *((level, widths[level]) for level in levels)]
        self.recalibrate = nn.ModuleList(
            nn.Identity() if recalibrate is None else recalibrate(width, level) for level, width in places
        )

    def forward(self, x: Tensor, extra: Tensor | None = None) -> tuple[list[Tensor], list[Tensor]]:
        """The way down, then the way up, deepest first; ``extra`` (B, E, *S) joins before the last block.

        Returns:
            Maps of all blocks before recalibration, and the maps of the way up after it.
        """
        self._check(x, extra)
        after = iter(self.recalibrate)
        seen: list[Tensor] = []
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            seen.append(block(self.pool(x) if level else x))
            x = next(after)(seen[-1])
            skips.append(x)
        skips.pop()
        ups: list[Tensor] = []
        for block in self.up:
            skip = skips.pop()
            parts = [self.enlarge(x, skip.shape[2:]), skip]
            if extra is not None and not skips:
                parts.append(extra)
            seen.append(block(torch.cat(parts, dim=1)))
            x = next(after)(seen[-1])
            ups.append(x)
        return seen, ups

    def _check(self, x: Tensor, extra: Tensor | None) -> None:
        if any(side % self.divisor or not side for side in x.shape[2:]):
            raise ValueError(
                f"PooledUNet: the input's sides {tuple(x.shape[2:])} are not multiples of {self.divisor}"
            )
        if max(x.shape[2:]) == self.divisor:
            raise ValueError(
                f"PooledUNet: sides {tuple(x.shape[2:])} leave one value to the deepest block, which "
                f"instance norm makes zero; give one side of {2 * self.divisor} or more"
            )
        found = 0 if extra is None else extra.shape[1]
        if found != self.extra_channels:
            raise ValueError(f"PooledUNet: {found} further maps; it was built for {self.extra_channels}")


def _double_conv(d: SpatialDims, c_in: int, c_mid: int, c_out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in ((c_in, c_mid), (c_mid, c_out)):
        layers += [conv(d, before, after, kernel=3, padding=1), _NORMS[d](after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
