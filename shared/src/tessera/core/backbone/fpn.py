"""Feature pyramid for detection: every map as wide as the others, told by the coarser ones what it shows.

Lin et al., "Feature Pyramid Networks for Object Detection", arXiv 1612.03144.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims, conv
from tessera.core.backbone.encoders import MapEncoder
from tessera.core.backbone.upsampling import Upsample


class FeaturePyramid(nn.Module):
    """Maps (B, channels[i], *S_i), finest first -> maps (B, width, *S_i).

    Each map goes through a 1x1 convolution, the coarser result is repeated to its size and added, a 3x3
    convolution follows. Extra maps are made of the last result by a stride of 2, without weights.

    Args:
        spatial_dims: Number of axes in S.
        channels: Of the maps.
        width: Channels of the results.
        extra: Coarser maps at the end.
    """

    def __init__(
        self, spatial_dims: SpatialDims, channels: Sequence[int], *, width: int = 256, extra: int = 0
    ) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(conv(spatial_dims, c, width, kernel=1) for c in channels)
        self.smooth = nn.ModuleList(conv(spatial_dims, width, width, kernel=3, padding=1) for _ in channels)
        self.up = Upsample(spatial_dims, width, width, (2,) * spatial_dims, mode="nearest")
        self.extra = extra
        for layer in (*self.lateral, *self.smooth):
            nn.init.kaiming_uniform_(layer.weight, a=1)
            nn.init.zeros_(layer.bias)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps (B, channels[i], *S_i) -> maps (B, width, *S_i), then the extra ones."""
        if len(maps) != len(self.lateral):
            raise ValueError(f"feature pyramid: {len(maps)} maps, but it was built for {len(self.lateral)}")
        inner = self.lateral[-1](maps[-1])
        results = [self.smooth[-1](inner)]
        for number in range(len(maps) - 2, -1, -1):
            lateral = self.lateral[number](maps[number])
            inner = lateral + self.up(inner, lateral.shape[2:])
            results.insert(0, self.smooth[number](inner))
        every_other = (..., *[slice(None, None, 2)] * (maps[-1].ndim - 2))
        for _ in range(self.extra):
            results.append(results[-1][every_other])
        return results


class PyramidEncoder(nn.Module):
    """Encoder and feature pyramid, as detectors want their backbone: name -> map, finest first.

    Args:
        encoder: The encoder; its stem's map is left out.
        width: Channels of the maps.
        extra: Coarser maps at the end; Faster R-CNN has one.

    Attributes:
        out_channels: Channels of every map.
        strides: Size of the input over the size of each map, per axis.
    """

    def __init__(self, encoder: MapEncoder, *, width: int = 256, extra: int = 1) -> None:
        super().__init__()
        self.encoder = encoder
        self.pyramid = FeaturePyramid(encoder.spatial_dims, encoder.channels[1:], width=width, extra=extra)
        self.out_channels = width
        coarsest = encoder.strides[-1]
        more = [tuple(s * 2 ** (i + 1) for s in coarsest) for i in range(extra)]
        self.strides = (*encoder.strides[1:], *more)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(B, c, *S) -> "0", "1", ...: maps (B, out_channels, *S / strides[i])."""
        maps = self.pyramid(self.encoder(x)[1:])
        return {str(number): y for number, y in enumerate(maps)}
