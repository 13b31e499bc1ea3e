"""MobileViT: inverted residual blocks with SiLU, and attention over patches in the last three stages.

Mehta and Rastegari, "MobileViT: Light-weight, General-purpose, and Mobile-friendly Vision Transformer", arXiv
2110.02178, with the sizes of the authors' code.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims
from tessera.core.backbone.inverted_residual import InvertedResidual
from tessera.core.backbone.last_map import LastMapNetwork
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


class MobileViT(LastMapNetwork):
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
        block: dict[str, Any] = {"expand": sizes.expand, "activation": nn.SiLU}
        self.stem = conv_norm(spatial_dims, c_in, STEM, kernel=3, stride=2, activation=nn.SiLU)
        layers: list[nn.Module] = [
            InvertedResidual(spatial_dims, STEM, first, **block),
            InvertedResidual(spatial_dims, first, second, stride=2, **block),
            InvertedResidual(spatial_dims, second, second, **block),
            InvertedResidual(spatial_dims, second, second, **block),
        ]
        before = second
        for channels, width, depth in zip(others, sizes.widths, DEPTHS, strict=True):
            layers += [
                InvertedResidual(spatial_dims, before, channels, stride=2, **block),
                MobileViTMixer(spatial_dims, channels, channels, width=width, depth=depth),
            ]
            before = channels
        self.features = nn.Sequential(*layers)
        self.last = conv_norm(spatial_dims, before, sizes.last, kernel=1, activation=nn.SiLU)
        self.head = MeanHead(spatial_dims, [sizes.last], num_classes, dropout=dropout)

    def last_map(self, x: Tensor) -> Tensor:
        """(B, c_in, *S) -> the last map (B, C, *S')."""
        return self.last(self.features(self.stem(x)))

    def classify(self, last: Tensor) -> Tensor:
        """Last map (B, C, *S') -> logits (B, K)."""
        return self.head([last])
