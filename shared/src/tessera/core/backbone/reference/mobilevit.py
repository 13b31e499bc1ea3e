"""MobileViT: inverted residual blocks, and attention over patches in the last three stages.

Mehta and Rastegari, "MobileViT: Light-weight, General-purpose, and Mobile-friendly Vision Transformer", arXiv
2110.02178, with the sizes of the authors' code.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims
from tessera.core.backbone.slots.convolutions import conv_norm
from tessera.core.backbone.slots.head import MeanHead
from tessera.core.backbone.slots.mixer_mobilevit import MobileViTMixer

STEM = 16  # channels
DEPTHS = (2, 4, 3)  # layers of each transformer

Variant = Literal["xxs", "xs", "s"]


class Sizes(NamedTuple):
    """Channels of the five stages, transformer widths, expansion of the blocks, channels of the last map."""

    channels: tuple[int, int, int, int, int]
    widths: tuple[int, int, int]
    expand: int
    last: int


SIZES: dict[Variant, Sizes] = {
    "xxs": Sizes((16, 24, 48, 64, 80), (64, 80, 96), 2, 320),
    "xs": Sizes((32, 48, 64, 80, 96), (96, 120, 144), 4, 384),
    "s": Sizes((32, 64, 96, 128, 160), (144, 192, 240), 4, 640),
}


class MobileViT(nn.Module):
    """(B, c_in, *S) -> logits (B, K); 1,272,024, 2,317,848 and 5,578,632 parameters in 2-D with 1000 classes.

    Args:
        spatial_dims: Number of axes in S.
        c_in: Channels of the input.
        num_classes: K.
        variant: Size.
        dropout: Before the classes.
    """

    def __init__(
        self,
        spatial_dims: SpatialDims,
        c_in: int,
        num_classes: int,
        *,
        variant: Variant = "s",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if variant not in SIZES:
            raise ValueError(f"there is no MobileViT {variant!r}; choose one of: {', '.join(SIZES)}")
        sizes = SIZES[variant]
        first, second, *others = sizes.channels
        self.stem = conv_norm(spatial_dims, c_in, STEM, kernel=3, stride=2, activation=nn.SiLU)
        layers: list[nn.Module] = [
            InvertedResidual(spatial_dims, STEM, first, expand=sizes.expand),
            InvertedResidual(spatial_dims, first, second, stride=2, expand=sizes.expand),
            InvertedResidual(spatial_dims, second, second, expand=sizes.expand),
            InvertedResidual(spatial_dims, second, second, expand=sizes.expand),
        ]
        before = second
        for channels, width, depth in zip(others, sizes.widths, DEPTHS, strict=True):
            layers += [
                InvertedResidual(spatial_dims, before, channels, stride=2, expand=sizes.expand),
                MobileViTMixer(spatial_dims, channels, channels, width=width, depth=depth),
            ]
            before = channels
        self.features = nn.Sequential(*layers)
        self.last = conv_norm(spatial_dims, before, sizes.last, kernel=1, activation=nn.SiLU)
        self.head = MeanHead(spatial_dims, [sizes.last], num_classes, dropout=dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, *S) -> logits (B, K)."""
        return self.head([self.last(self.features(self.stem(x)))])


class InvertedResidual(nn.Module):
    """1x1 to ``expand`` times the channels, depthwise 3^d, linear 1x1; plus the input where shapes agree.

    Sandler et al., "MobileNetV2", arXiv 1801.04381, with SiLU.

    Args:
        spatial_dims: Number of axes in S.
        c_in: Channels of the input.
        c_out: Channels of the output.
        stride: Stride of the depthwise convolution.
        expand: Hidden channels over c_in.
    """

    def __init__(
        self, spatial_dims: SpatialDims, c_in: int, c_out: int, *, stride: int = 1, expand: int
    ) -> None:
        super().__init__()
        hidden = expand * c_in
        self.layers = nn.Sequential(
            conv_norm(spatial_dims, c_in, hidden, kernel=1, activation=nn.SiLU),
            conv_norm(
                spatial_dims, hidden, hidden, kernel=3, stride=stride, groups=hidden, activation=nn.SiLU
            ),
            conv_norm(spatial_dims, hidden, c_out, kernel=1, activation=None),
        )
        self.adds = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, *S) -> (B, c_out, *ceil(S / stride))."""
        return x + self.layers(x) if self.adds else self.layers(x)
