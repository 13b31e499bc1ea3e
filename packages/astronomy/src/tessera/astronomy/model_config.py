"""Which network reads a picture of the sky, and what its front end does to it (no torch)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from tessera.core.backbone_config import ClassifierConfig
from tessera.core.config import Config

if TYPE_CHECKING:
    from torch import nn

Width = Annotated[int, Field(ge=1, le=8192)]


class FrontEndConfig(Config):
    """What happens to a prepared image on the network's device, after the random changes."""

    crop_px: int | None = Field(None, ge=1, description="side of what is kept around the centre; null: all")
    gain: float = Field(1.0, gt=0.0, description="factor of the values, for instance 1/255 for pictures")
    stretch: Literal["none", "log", "asinh"] = Field(
        "none", description="log: negative values become 0, then ln(1 + x); asinh: asinh(x / softening)"
    )
    softening: float = Field(1.0, gt=0.0, description="asinh: where the scale bends, after the gain")
    noise_reduction: Literal["none", "bin2"] = Field("none", description="bin2: means of 2 x 2 pixels")
    half_turn: bool = Field(
        False, description="add how much each channel differs from itself turned by 180 degrees: asymmetry"
    )


class WalmsleyConfig(Config):
    """Three convolutions and a dense layer (Walmsley et al. 2019)."""

    kind: Literal["walmsley"] = "walmsley"
    widths: tuple[Width, ...] = Field((32, 32, 64), min_length=1, description="filters of the convolutions")
    hidden: Width = Field(64, description="units of the dense layer")
    dropout: float = Field(0.5, ge=0.0, lt=1.0)

    def build_for(self, shape: Sequence[int], n_outputs: int) -> nn.Module:
        """The network for images of this shape (C, H, W)."""
        from tessera.astronomy.models.walmsley import WalmsleyCNN

        values = self.model_dump(exclude={"kind"})
        return WalmsleyCNN(n_outputs, in_channels=shape[0], size=tuple(shape[1:]), **values)


class DensityCNNConfig(Config):
    """Strided convolutions with circular padding (Gondhalekar and Moriwaki 2024)."""

    kind: Literal["density-cnn"] = "density-cnn"
    hidden: Width = Field(8, description="half the filters of the first convolution")
    dropout: float = Field(0.0, ge=0.0, lt=1.0)

    def build_for(self, shape: Sequence[int], n_outputs: int) -> nn.Module:
        """The network for maps of this shape (C, H, W)."""
        from tessera.astronomy.models.density_cnn import DensityCNN

        values = self.model_dump(exclude={"kind"})
        return DensityCNN(n_outputs, in_channels=shape[0], size=tuple(shape[1:]), **values)


class SimpleViTConfig(Config):
    """A plain transformer over patches."""

    kind: Literal["simple-vit"] = "simple-vit"
    patch: Width = Field(8, description="side of a patch, pixels")
    width: Width = 64
    depth: Width = 8
    heads: Width = 4
    head_width: Width = 64
    hidden: Width = 1024

    def build_for(self, shape: Sequence[int], n_outputs: int) -> nn.Module:
        """The network for maps of this shape (C, H, W)."""
        from tessera.astronomy.models.simple_vit import SimpleViT

        return SimpleViT(n_outputs, in_channels=shape[0], **self.model_dump(exclude={"kind"}))


class CvTStageConfig(Config):
    """One stage of the convolutional transformer."""

    width: Width
    heads: Width
    depth: Width
    kernel: Width = 3
    stride: Width = 2


class CvTConfig(Config):
    """A transformer whose tokens, queries, keys and values come from convolutions."""

    kind: Literal["cvt"] = "cvt"
    stages: tuple[CvTStageConfig, ...] = Field(
        (
            CvTStageConfig(width=64, heads=1, depth=1, kernel=7, stride=4),
            CvTStageConfig(width=192, heads=3, depth=2),
            CvTStageConfig(width=384, heads=4, depth=10),
        ),
        min_length=1,
    )
    head_width: Width = 64
    ratio: Width = 4

    def build_for(self, shape: Sequence[int], n_outputs: int) -> nn.Module:
        """The network for maps of this shape (C, H, W)."""
        from tessera.astronomy.models.cvt import CvT, CvTStage

        stages = [CvTStage(**stage.model_dump()) for stage in self.stages]
        return CvT(
            n_outputs, in_channels=shape[0], stages=stages, head_width=self.head_width, ratio=self.ratio
        )


class BackboneConfig(ClassifierConfig):
    """An encoder of the backbone, or of timm, and a head."""

    kind: Literal["encoder"] = "encoder"  # type: ignore[assignment]


SkyModel = Annotated[WalmsleyConfig | BackboneConfig, Field(discriminator="kind")]
DensityModel = Annotated[
    DensityCNNConfig | SimpleViTConfig | CvTConfig | BackboneConfig, Field(discriminator="kind")
]
