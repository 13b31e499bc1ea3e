"""The encoder over the slots, and the classifier made of it."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims, per_axis
from tessera.core.backbone.bottleneck import Bottleneck
from tessera.core.backbone.drop_path import rising_rates
from tessera.core.backbone.layout import EncoderLayout
from tessera.core.backbone.metaformer import Metaformer
from tessera.core.backbone.plugs import (
    Grid,
    Place,
    Plug,
    adn_at,
    at_stage,
    down_at,
    head_for,
    route_at,
)
from tessera.core.backbone.slots.adn import Role
from tessera.core.backbone.slots.route import State


class Stage(nn.Module):
    """Downsampling where there is any, then blocks: (B, c_in, *S) -> (B, c_out, *S / stride).

    Args:
        spatial_dims: Number of axes in S.
        c_in: Channels of the input.
        layout: What the encoder is made of.
        stage: Number of the stage in it.
        grid: Size of the input, if known.
        c_out: Channels of the output; the layout's by default.
        strides: Stride per axis; the layout's by default.
        depth: Blocks; the layout's by default.
        drop_paths: Probability for each block of skipping its branch; 0 by default.
    """

    def __init__(
        self,
        spatial_dims: SpatialDims,
        c_in: int,
        layout: EncoderLayout,
        stage: int,
        *,
        grid: Grid | None = None,
        c_out: int | None = None,
        strides: tuple[int, ...] | None = None,
        depth: int | None = None,
        drop_paths: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        c_out = layout.widths[stage] if c_out is None else c_out
        depth = layout.depths[stage] if depth is None else depth
        strides = per_axis(spatial_dims, layout.strides[stage]) if strides is None else strides
        self.down: nn.Module | None = None
        place = Place(stage=stage, first=True, grid=grid)
        down = _down_plug(layout, stage, strides)
        if down is not None and (c_in != c_out or max(strides) > 1):
            module = down_at(down, place, (spatial_dims, c_in, c_out, strides))
            self.down = nn.Sequential(module, _after_down(layout, place, spatial_dims, c_out))
            grid = _size_after(self.down, c_in, grid)
            c_in, strides = c_out, (1,) * spatial_dims
        blocks: list[nn.Module] = []
        for block in range(depth):
            place = Place(stage=stage, first=block == 0, last=block == depth - 1, grid=grid)
            rate = drop_paths[block] if drop_paths else 0.0
            if layout.block == "metaformer":
                plan = layout.metaformer(stage)
                blocks.append(Metaformer(spatial_dims, c_out, plan=plan, place=place, drop_path=rate))
                continue
            stride = strides[0] if block == 0 else 1
            blocks.append(
                Bottleneck(
                    spatial_dims,
                    c_in if block == 0 else c_out,
                    c_out,
                    stride,
                    plan=layout.bottleneck(stage),
                    place=place,
                    drop_path=rate,
                )
            )
            grid = None if grid is None else tuple(-(-size // stride) for size in grid)
        self.blocks = nn.ModuleList(blocks)
        self.out_channels = c_out
        self.grid = grid

    def forward(self, x: Tensor, state: State) -> Tensor:
        """(B, c_in, *S) -> (B, c_out, *S / stride)."""
        if self.down is not None:
            x = self.down(x)
        for block in self.blocks:
            x = block(x, state)
        return x


class MapEncoder(nn.Module):
    """What U-Nets, pyramids and classifiers need: (B, c, *S) -> maps, finest first.

    Attributes:
        spatial_dims: Number of axes in S.
        channels: Channels of the maps.
        strides: Size of the input over the size of each map, per axis.
        grids: Size of each map, where the input's is known.
        layout: What blocks beside the encoder are made of.
    """

    spatial_dims: SpatialDims
    channels: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    grids: tuple[Grid | None, ...]
    layout: EncoderLayout

    def forward(self, x: Tensor, state: State | None = None) -> list[Tensor]:
        """(B, c, *S) -> maps (B, channels[i], *S / strides[i]); side tokens are left in ``state``."""
        raise NotImplementedError


class Encoder(MapEncoder):
    """(B, c, *S) -> the stem's map and one map of each stage, finest first.

    Args:
        spatial_dims: Number of axes in S.
        in_channels: c.
        layout: What it is made of.
    """

    def __init__(
        self, spatial_dims: SpatialDims, *, in_channels: int = 3, layout: EncoderLayout | None = None
    ) -> None:
        super().__init__()
        layout = EncoderLayout() if layout is None else layout
        self.spatial_dims, self.layout = spatial_dims, layout
        self.input_map, self.stem, self.stem_pool, grids = _stem(spatial_dims, in_channels, layout)
        map_grids, grid = [grids[0]], grids[1]
        rates = iter(rising_rates(layout.drop_path, sum(layout.depths)))
        self.routes = nn.ModuleList()
        self.stages = nn.ModuleList()
        outputs = [layout.stem_width]
        for number, depth in enumerate(layout.depths):
            route = route_at(layout.plug("route", number), spatial_dims, outputs)
            drop_paths = [next(rates) for _ in range(depth)]
            stage = Stage(spatial_dims, route.out_channels, layout, number, grid=grid, drop_paths=drop_paths)
            self.routes.append(route)
            self.stages.append(stage)
            outputs.append(stage.out_channels)
            grid = stage.grid
            map_grids.append(grid)
        last = layout.stages - 1
        place = Place(stage=last, last=True, grid=grid)
        self.norm: nn.Module = nn.Identity()
        if layout.block == "metaformer" if layout.final_norm is None else layout.final_norm:
            self.norm = adn_at(layout.plug("adn", last), place, spatial_dims, outputs[-1], "last")
        self.channels = tuple(outputs)
        self.strides = _strides(spatial_dims, layout)
        self.grids = tuple(map_grids)

    def forward(self, x: Tensor, state: State | None = None) -> list[Tensor]:
        """(B, c, *S) -> maps (B, channels[i], *S / strides[i]); side tokens are left in ``state``."""
        state = {} if state is None else state
        stem = self.stem(self.input_map(x))
        inputs, maps = [self.stem_pool(stem)], [stem]
        for route, stage in zip(self.routes, self.stages, strict=True):
            y = stage(route(inputs, state), state)
            inputs.append(y)
            maps.append(y)
        maps[-1] = self.norm(maps[-1])
        return maps


class Classifier(nn.Module):
    """Encoder and head: (B, c, *S) -> logits (B, K).

    Args:
        encoder: The encoder.
        num_classes: K.
        head: Plug; it sees the maps of the stages, without the stem's.
        route: Plug of the slot route; makes the last map that the head sees out of all of the encoder's.
        dropout: Before the classes.
    """

    def __init__(
        self,
        encoder: MapEncoder,
        num_classes: int,
        *,
        head: Plug = "mean",
        route: Plug = "last",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        spatial_dims, channels = encoder.spatial_dims, encoder.channels
        self.encoder = encoder
        self.route = route_at(route, spatial_dims, channels)
        seen = [*channels[1:-1], self.route.out_channels]
        self.head = head_for(head, spatial_dims, seen, num_classes, dropout=dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c, *S) -> logits (B, K)."""
        return self.maps_and_logits(x)[1]

    def maps_and_logits(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """(B, c, *S) -> maps of the stages (B, C_i, *S_i), and logits (B, K)."""
        state: State = {}
        maps = self.encoder(x, state)
        return maps[1:], self.head([*maps[1:-1], self.route(maps, state)])


def _stem(
    d: SpatialDims, in_channels: int, layout: EncoderLayout
) -> tuple[nn.Module, nn.Module, nn.Module, list[Grid | None]]:
    """Input map, stem, pool, and the sizes of the maps after stem and pool."""
    grid = layout.input_size
    if grid is not None:
        grid = per_axis(d, tuple(grid), name="input_size")
    input_map: nn.Module = nn.Identity()
    stem_pool: nn.Module = nn.Identity()
    width = layout.stem_width
    if layout.input_map is not None:
        input_map = down_at(layout.input_map, Place(grid=grid), (d, in_channels, in_channels, 1))
        grid = _size_after(input_map, in_channels, grid)
    down = down_at(layout.stem, Place(grid=grid), (d, in_channels, width, layout.stem_stride))
    grid = _size_after(down, in_channels, grid)
    stem = nn.Sequential(down, _after_down(layout, Place(grid=grid), d, width))
    grids = [grid]
    if layout.stem_pool is not None:
        stem_pool = down_at(layout.stem_pool, Place(grid=grid), (d, width, width, layout.stem_pool_stride))
        grid = _size_after(stem_pool, width, grid)
    return input_map, stem, stem_pool, [*grids, grid]


def _after_down(layout: EncoderLayout, place: Place, d: SpatialDims, channels: int) -> nn.Module:
    """The slot adn after the stem and before stages, as far as the skeleton wants it."""
    if not layout.stem_adn:
        return nn.Identity()
    role: Role = "last" if layout.block == "metaformer" else "stem"
    return adn_at(layout.plug("adn", place.stage), place, d, channels, role)


def _down_plug(layout: EncoderLayout, stage: int, strides: tuple[int, ...]) -> Plug | None:
    """The plug before a stage's blocks; None where the first block does its work."""
    plug = at_stage(layout.down, stage, layout.stages, slot="down")
    if plug is None and (layout.block == "metaformer" or len(set(strides)) > 1):
        return "conv"
    return plug


def _size_after(module: nn.Module, channels: int, grid: Grid | None) -> Grid | None:
    """Size of the map that a downsampling makes of a map of this size, without computing it."""
    if grid is None:
        return None
    with torch.no_grad():
        shape = copy.deepcopy(module).to("meta").eval()(torch.empty(1, channels, *grid, device="meta")).shape
    return tuple(shape[2:])


def _strides(d: SpatialDims, layout: EncoderLayout) -> tuple[tuple[int, ...], ...]:
    """Stride of the stem's map and of each stage's, per axis, against the input."""
    current = per_axis(d, layout.stem_stride)
    strides = [current]
    if layout.stem_pool is not None:
        current = _times(current, per_axis(d, layout.stem_pool_stride))
    for stride in layout.strides:
        current = _times(current, per_axis(d, stride))
        strides.append(current)
    return tuple(strides)


def _times(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a * b for a, b in zip(left, right, strict=True))
