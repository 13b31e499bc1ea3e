"""Configs of the networks for volumes and slices (no torch)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from tessera.core.backbone_config import as_config_error
from tessera.core.config import Config
from tessera.core.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

Width = Annotated[int, Field(ge=1, le=4096)]
Depth = Annotated[int, Field(ge=1, le=100)]
Size = Annotated[int, Field(ge=1, le=100_000)]
PerAxis = Annotated[tuple[Annotated[int, Field(ge=1, le=31)], ...], Field(min_length=1, max_length=3)]
FROM_DATA = "; null: planned from the data"


class _StagedConfig(Config):
    """What the networks of nnU-Net and its kin have in common: their stages, finest first."""

    features: tuple[Width, ...] | None = Field(
        None, min_length=2, description="channels of each stage" + FROM_DATA
    )
    strides: tuple[PerAxis, ...] | None = Field(
        None, min_length=2, description="with which each stage begins, per axis; ones first" + FROM_DATA
    )
    kernels: tuple[PerAxis, ...] | None = Field(
        None, min_length=2, description="of each stage's convolutions, per axis, odd" + FROM_DATA
    )
    deep_supervision: bool = Field(True, description="logits of all decoder stages in training")

    def _options(self, spatial_dims: int) -> dict[str, Any]:
        """The fields the network takes; an error where the data has not been asked yet."""
        options = self.model_dump(exclude={"kind"})
        missing = [f"model.{name}" for name in ("features", "strides", "kernels") if options[name] is None]
        if missing:
            raise ConfigError(
                f"the stages of this {self._name} are not known yet",
                found=f"null for {', '.join(missing)}",
                expected="one entry for each stage",
                hint="give all three, or leave them to Pipeline.configure, which plans them from the data",
            )
        axes = len(options["strides"][0])
        if axes != spatial_dims:
            raise ConfigError(
                f"this {self._name} is planned for other data",
                found=f"model.strides of {axes} axes",
                expected=f"{spatial_dims} axes",
                hint="set features, strides and kernels to null to have them planned again",
            )
        return options

    @property
    def _name(self) -> str:
        return str(getattr(self, "kind", "network"))


class PlainUNetConfig(_StagedConfig):
    """nnU-Net's own network (Isensee et al. 2021)."""

    kind: Literal["plain-unet"] = "plain-unet"
    convs: Depth | tuple[Depth, ...] = Field(2, description="of each encoder stage")
    decoder_convs: Depth | tuple[Depth, ...] = Field(2, description="of each decoder stage, deepest first")

    def build(self, in_channels: int, n_outputs: int, spatial_dims: int) -> nn.Module:
        """The network (B, in_channels, *S) -> logits (B, n_outputs, *S)."""
        from tessera.medical.models.plain_unet import PlainConvUNet

        options = self._options(spatial_dims)
        with as_config_error("this plain-unet cannot be built"):
            return PlainConvUNet(in_channels, n_outputs, **options)


class ResidualUNetConfig(_StagedConfig):
    """nnU-Net's network with a residual encoder (Isensee et al. 2024)."""

    kind: Literal["residual-unet"] = "residual-unet"
    blocks: Depth | tuple[Depth, ...] | None = Field(
        None, description="of each encoder stage; null: those of the presets, 1, 3, 4, 6, 6, ..."
    )
    decoder_convs: Depth | tuple[Depth, ...] = Field(1, description="of each decoder stage, deepest first")

    def build(self, in_channels: int, n_outputs: int, spatial_dims: int) -> nn.Module:
        """The network (B, in_channels, *S) -> logits (B, n_outputs, *S)."""
        from tessera.medical.models.residual_unet import ResidualEncoderUNet

        options = self._options(spatial_dims)
        with as_config_error("this residual-unet cannot be built"):
            return ResidualEncoderUNet(in_channels, n_outputs, **options)


class UMambaConfig(_StagedConfig):
    """Residual blocks and Mamba layers on the plan of nnU-Net (Ma et al. 2024)."""

    kind: Literal["u-mamba"] = "u-mamba"
    mamba: Literal["bottleneck", "encoder", "none"] = Field(
        "bottleneck", description="where the Mamba layers are; none: the same network without them"
    )
    version: Literal[1, 2] = Field(2, description="of the released network; published counts are of 1")
    patch: tuple[Size, ...] | None = Field(
        None,
        min_length=1,
        max_length=3,
        description="voxels per axis, which the layers in the encoder of version 2 are made for" + FROM_DATA,
    )

    def build(self, in_channels: int, n_outputs: int, spatial_dims: int) -> nn.Module:
        """The network (B, in_channels, *S) -> logits (B, n_outputs, *S)."""
        from tessera.medical.models.u_mamba import UMamba

        options = self._options(spatial_dims)
        with as_config_error("this u-mamba cannot be built"):
            return UMamba(in_channels, n_outputs, **options)


VolumeModelConfig = Annotated[
    PlainUNetConfig | ResidualUNetConfig | UMambaConfig, Field(discriminator="kind")
]
