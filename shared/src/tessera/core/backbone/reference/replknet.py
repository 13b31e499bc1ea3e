"""RepLKNet: blocks with depthwise kernels of up to 31 x 31.

Ding et al., "Scaling Up Your Kernels to 31x31", arXiv 2203.06717. `merge_branches` turns a trained network
into the one for inference, with one large kernel in each block.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims, batch_norm
from tessera.core.backbone.drop_path import DropPath, rising_rates
from tessera.core.backbone.last_map import LastMapNetwork
from tessera.core.backbone.slots.convolutions import conv_norm
from tessera.core.backbone.slots.mixer_replk import RepLKMixer

FFN_RATIO = 4


class RepLKNet(LastMapNetwork):
    """RepLKNet-31B, by default: 79,864,168 parameters with three input channels and 1000 classes.

    Merged 79,527,272. See `replknet_31l` and `replknet_xl` for the others.

    Args:
        spatial_dims: Number of axes in S.
        c_in: Channels of the input.
        num_classes: K.
        widths: Channels of each stage.
        depths: Pairs of a large-kernel block and a channel network in each stage.
        kernels: Size of the large kernel in each stage.
        small_kernel: Size of the kernel beside it in training, or None.
        ratio: Channels of the large kernel over those outside the block.
        drop_path: Probability of skipping the last branch, rising evenly from 0 at the first.
    """

    def __init__(
        self,
        spatial_dims: SpatialDims,
        c_in: int,
        num_classes: int,
        *,
        widths: Sequence[int] = (128, 256, 512, 1024),
        depths: Sequence[int] = (2, 2, 18, 2),
        kernels: Sequence[int] = (31, 29, 27, 13),
        small_kernel: int | None = 5,
        ratio: float = 1.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        d = spatial_dims
        rates = iter(rising_rates(drop_path, sum(depths)))
        layers: list[nn.Module] = [
            conv_norm(d, c_in, widths[0], kernel=3, stride=2),
            conv_norm(d, widths[0], widths[0], kernel=3, groups=widths[0]),
            conv_norm(d, widths[0], widths[0], kernel=1),
            conv_norm(d, widths[0], widths[0], kernel=3, stride=2, groups=widths[0]),
        ]
        before = widths[0]
        for stage, (width, depth, kernel) in enumerate(zip(widths, depths, kernels, strict=True)):
            if stage > 0:
                layers.append(conv_norm(d, before, width, kernel=1))
                layers.append(conv_norm(d, width, width, kernel=3, stride=2, groups=width))
            for _ in range(depth):
                end = DropPath(next(rates))
                sizes = (kernel, small_kernel)
                layers.append(RepLKBlock(d, width, round(width * ratio), sizes=sizes, end=end))
                layers.append(ConvFFN(d, width, end=end))
            before = width
        self.layers = nn.Sequential(*layers)
        self.norm = batch_norm(d, before)
        self.linear = nn.Linear(before, num_classes)

    def last_map(self, x: Tensor) -> Tensor:
        """(B, c_in, *S) -> the last map (B, C, *S')."""
        return self.norm(self.layers(x))

    def classify(self, last: Tensor) -> Tensor:
        """Last map (B, C, *S') -> logits (B, K)."""
        return self.linear(last.flatten(2).mean(-1))


def replknet_31l(spatial_dims: SpatialDims, c_in: int, num_classes: int) -> RepLKNet:
    """RepLKNet-31L, 172,671,016 parameters, merged 172,165,672."""
    return RepLKNet(spatial_dims, c_in, num_classes, widths=(192, 384, 768, 1536))


def replknet_xl(spatial_dims: SpatialDims, c_in: int, num_classes: int) -> RepLKNet:
    """RepLKNet-XL, 335,435,752 parameters, merged 335,399,656."""
    return RepLKNet(
        spatial_dims,
        c_in,
        num_classes,
        widths=(256, 512, 1024, 2048),
        kernels=(27, 27, 27, 13),
        small_kernel=None,
        ratio=1.5,
    )


class RepLKBlock(nn.Module):
    """x + 1x1, large kernel, 1x1 of the normalised x.

    Args:
        spatial_dims: Number of axes in S.
        channels: C.
        inner: Channels of the large kernel.
        sizes: Of the large kernel and of the small one beside it.
        end: Stochastic depth.
    """

    def __init__(
        self,
        spatial_dims: SpatialDims,
        channels: int,
        inner: int,
        *,
        sizes: tuple[int, int | None],
        end: nn.Module,
    ) -> None:
        super().__init__()
        kernel, small = sizes
        self.norm = batch_norm(spatial_dims, channels)
        self.expand = conv_norm(spatial_dims, channels, inner, kernel=1)
        self.large = RepLKMixer(spatial_dims, inner, inner, kernel=kernel, small_kernel=small)
        self.project = conv_norm(spatial_dims, inner, channels, kernel=1, activation=None)
        self.end = end

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C, *S)."""
        mixed = torch.relu(self.large(self.expand(self.norm(x))))
        return x + self.end(self.project(mixed))


class ConvFFN(nn.Module):
    """x + two 1x1 convolutions of the normalised x, each with its norm, GELU between them.

    Args:
        spatial_dims: Number of axes in S.
        channels: C.
        end: Stochastic depth.
    """

    def __init__(self, spatial_dims: SpatialDims, channels: int, *, end: nn.Module) -> None:
        super().__init__()
        inner = FFN_RATIO * channels
        self.norm = batch_norm(spatial_dims, channels)
        self.expand = conv_norm(spatial_dims, channels, inner, kernel=1, activation=nn.GELU)
        self.project = conv_norm(spatial_dims, inner, channels, kernel=1, activation=None)
        self.end = end

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C, *S)."""
        return x + self.end(self.project(self.expand(self.norm(x))))
