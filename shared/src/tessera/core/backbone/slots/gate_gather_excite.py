"""Gather-excite: gates from the context around each position.

Hu et al., "Gather-Excite: Exploiting Feature Context in Convolutional Neural Networks",
arXiv 1810.12348. The paper's three operators are `ge_minus` (no parameters), `ge` (learned gather) and
`ge_plus` (learned gather and excite). Each takes the context of a whole map (``extent=None``) or of
neighbourhoods, in steps of `extent` positions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tessera.core.backbone.blocks import SpatialDims, batch_norm, conv


class GatherExciteGate(nn.Module):
    """Multiply by the sigmoid of a gathered and excited context, enlarged by nearest neighbours.

    Args:
        gather: (B, C, *S) -> (B, C, *S'), one S' position for each neighbourhood.
        excite: (B, C, *S') -> (B, C, *S').
    """

    def __init__(self, gather: nn.Module, excite: nn.Module) -> None:
        super().__init__()
        self.gather = gather
        self.excite = excite

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C, *S)."""
        weights = torch.sigmoid(self.excite(self.gather(x)))  # before enlarging: fewer exponentials
        if weights.shape[2:].numel() > 1:  # a single weight broadcasts
            weights = F.interpolate(weights, size=x.shape[2:])
        return x * weights


def ge_minus(spatial_dims: SpatialDims, channels: int, *, extent: int | None = None) -> nn.Module:
    """Means as context, no parameters: GE without theta.

    With an extent, windows of ``2 * extent - 1`` positions stand every `extent` positions, and their
    means leave out what lies beyond the border; without one the mean is that of the whole map.
    """
    if extent is None:
        return GatherExciteGate(_GlobalMean(), nn.Identity())
    _require_extent("ge_minus", extent)
    return GatherExciteGate(_NeighbourMean(extent), nn.Identity())


def ge(
    spatial_dims: SpatialDims,
    channels: int,
    *,
    extent: int | None = None,
    grid: tuple[int, ...] | None = None,
) -> nn.Module:
    """Learned context: GE with theta.

    Args:
        spatial_dims: Number of axes in S.
        channels: C.
        extent: A power of two: log2(extent) depthwise convolutions with stride 2 gather; None gathers
            the whole map with one depthwise kernel of its size.
        grid: S, needed without an extent; maps of other sizes are then refused.
    """
    return GatherExciteGate(_learned_gather("ge", spatial_dims, channels, extent, grid), nn.Identity())


def ge_plus(
    spatial_dims: SpatialDims,
    channels: int,
    *,
    extent: int | None = None,
    grid: tuple[int, ...] | None = None,
    ratio: int = 16,
) -> nn.Module:
    """Learned context, then the two layers of squeeze-and-excitation: GE with theta plus.

    Args:
        spatial_dims: Number of axes in S.
        channels: C.
        extent: As in `ge`.
        grid: As in `ge`.
        ratio: Channels per hidden unit.
    """
    if ratio < 1:
        raise ValueError(f"gate ge_plus: ratio {ratio} is not a positive number; the paper uses 16")
    hidden = max(1, channels // ratio)
    excite = nn.Sequential(
        conv(spatial_dims, channels, hidden, kernel=1),
        nn.ReLU(),
        conv(spatial_dims, hidden, channels, kernel=1),
    )
    return GatherExciteGate(_learned_gather("ge_plus", spatial_dims, channels, extent, grid), excite)


class _GlobalMean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C, 1, ...)."""
        return x.mean(dim=tuple(range(2, x.ndim)), keepdim=True)


class _NeighbourMean(nn.Module):
    """Mean of a box of positions; 3-D in two steps, as torch's 3-D pool refuses boxes larger than the map."""

    def __init__(self, extent: int) -> None:
        super().__init__()
        self.extent = extent

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C, *ceil(S / extent))."""
        window, stride, padding = 2 * self.extent - 1, self.extent, self.extent - 1
        if x.ndim == 3:
            return F.avg_pool1d(x, window, stride, padding, count_include_pad=False)
        if x.ndim == 4:
            return F.avg_pool2d(x, window, stride, padding, count_include_pad=False)
        planes = F.avg_pool2d(x.flatten(1, 2), window, stride, padding, count_include_pad=False)
        lines = planes.reshape(*x.shape[:3], -1)
        means = F.avg_pool2d(lines, (window, 1), (stride, 1), (padding, 0), count_include_pad=False)
        return means.reshape(*means.shape[:3], *planes.shape[2:])


class _RequireGrid(nn.Module):
    """Let pass maps of one size only."""

    def __init__(self, plug: str, grid: tuple[int, ...]) -> None:
        super().__init__()
        self.plug = plug
        self.grid = grid

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *grid) -> the same."""
        if tuple(x.shape[2:]) != self.grid:
            raise ValueError(
                f"gate {self.plug} was built for maps of {self.grid}, found {tuple(x.shape[2:])}; "
                "build it for this size, or give an extent, which serves any size"
            )
        return x


def _learned_gather(
    plug: str, spatial_dims: SpatialDims, channels: int, extent: int | None, grid: tuple[int, ...] | None
) -> nn.Module:
    if extent is not None:
        _require_extent(plug, extent)
        return nn.Sequential(*_halvings(spatial_dims, channels, extent))
    if grid is None or len(grid) != spatial_dims or min(grid) < 1:
        raise ValueError(
            f"gate {plug}: a kernel over the whole map needs grid, {spatial_dims} sizes, found {grid}; "
            "give it (or the network its input_size), or an extent (2, 4, 8, ...)"
        )
    whole = conv(spatial_dims, channels, channels, kernel=grid, groups=channels, bias=False)
    return nn.Sequential(_RequireGrid(plug, tuple(grid)), whole, batch_norm(spatial_dims, channels))


def _halvings(spatial_dims: SpatialDims, channels: int, extent: int) -> list[nn.Module]:
    """Depthwise convolutions with stride 2 and batch norms; ReLU between, none after the last."""
    layers: list[nn.Module] = []
    while extent > 1:
        halving = conv(
            spatial_dims, channels, channels, kernel=3, stride=2, padding=1, groups=channels, bias=False
        )
        layers += [halving, batch_norm(spatial_dims, channels), nn.ReLU()]
        extent //= 2
    return layers[:-1]


def _require_extent(plug: str, extent: int) -> None:
    if extent < 2 or extent & (extent - 1):
        raise ValueError(f"gate {plug}: extent {extent} is not 2, 4, 8, ...; None takes the whole map")
