"""Configs of the networks that are not planned stage by stage (no torch)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from tessera.core.backbone_config import as_config_error
from tessera.core.config import Config
from tessera.core.errors import ConfigError
from tessera.medical.model_config import FROM_DATA, Size

if TYPE_CHECKING:
    from torch import nn

_VARIANTS: dict[str, dict[str, Any]] = {
    "s": {"resnet": "resnet34", "depths": (1, 1), "heads": (3, 3), "ratio": 1},
    "b": {"resnet": "resnet50", "depths": (1, 2), "heads": (6, 12), "ratio": 2},
    "l": {"resnet": "resnet34", "depths": (1, 4), "heads": (6, 6), "ratio": 4},
}


class HiFormerConfig(Config):
    """Residual network and Swin transformer for slices (Heidari et al. 2023)."""

    kind: Literal["hiformer"] = "hiformer"
    variant: Literal["s", "b", "l"] = Field("b", description="of the paper: small, base or large")
    patch: tuple[Size, ...] | None = Field(
        None,
        min_length=2,
        max_length=2,
        description="pixels of every slice; multiples of 16 windows" + FROM_DATA,
    )
    window: int | None = Field(None, ge=2, le=64, description="side of Swin's windows" + FROM_DATA)

    def build(self, in_channels: int, n_outputs: int, spatial_dims: int) -> nn.Module:
        """The network (B, in_channels, H, W) -> logits (B, n_outputs, H, W)."""
        from tessera.medical.models.hiformer import HiFormer

        if spatial_dims != 2 or in_channels not in (1, 3):
            raise ConfigError(
                "hiformer reads slices of one or three channels",
                found=f"{in_channels} channels, {spatial_dims} axes",
                hint="--set data.spatial_dims=2",
            )
        if self.patch is None or self.window is None:
            raise ConfigError(
                "the size of this hiformer is not known yet",
                found="null for model.patch or model.window",
                hint="give both, or leave them to Pipeline.configure, which plans them from the data",
            )
        with as_config_error("this hiformer cannot be built"):
            return HiFormer(n_outputs, size=self.patch, window=self.window, **_VARIANTS[self.variant])


class AirwayNetConfig(Config):
    """Connectivity to 26 neighbours (Qin et al. 2019)."""

    kind: Literal["airwaynet"] = "airwaynet"
    agreement: Literal["mean", "product", "min"] = Field(
        "mean", description="how the two answers about a pair of voxels become one"
    )
    threshold: float = Field(0.5, gt=0.0, lt=1.0, description="lowest score of a connected pair")

    def build(self, in_channels: int, n_outputs: int, spatial_dims: int) -> nn.Module:
        """The network (B, in_channels, D, H, W) -> logits (B, 2, D, H, W)."""
        from tessera.medical.models.airwaynet import AirwayNet

        _check_two(self.kind, n_outputs, spatial_dims)
        return AirwayNet(extra_channels=in_channels - 1, agreement=self.agreement, threshold=self.threshold)


class TubuleNetConfig(Config):
    """Feature recalibration and attention distillation (Qin et al. 2021)."""

    kind: Literal["tubule"] = "tubule"
    patch: tuple[Size, ...] | None = Field(
        None,
        min_length=3,
        max_length=3,
        description="voxels of every input, multiples of 16; null: data.patch",
    )
    recalibrate: bool = Field(True, description="weigh places and channels of every block")
    deep_supervision: bool = Field(True, description="coarser blocks answer as well in training")
    distill: bool = Field(True, description="each block learns where the next one looks")
    attention: Literal["sum", "mean"] = Field(
        "sum", description="of that term over the voxels: the paper's sum or the release's mean"
    )

    def build(self, in_channels: int, n_outputs: int, spatial_dims: int) -> nn.Module:
        """The network (B, in_channels, D, H, W) -> logits (B, 2, D, H, W)."""
        from tessera.medical.models.tubule_net import TubuleNet

        _check_two(self.kind, n_outputs, spatial_dims)
        options = self.model_dump(exclude={"kind", "patch"})
        if self.patch is None:
            raise ConfigError(
                "the size of this tubule is not known yet",
                found="null for model.patch",
                hint="give it, or leave it to Pipeline.configure, which takes data.patch",
            )
        with as_config_error("this tubule cannot be built"):
            return TubuleNet(self.patch, extra_channels=in_channels - 1, **options)


def _check_two(kind: str, n_outputs: int, spatial_dims: int) -> None:
    if n_outputs != 2 or spatial_dims != 3:
        raise ConfigError(
            f"{kind} tells one organ from the background, in volumes",
            found=f"{n_outputs} classes, {spatial_dims} axes",
            expected="2 classes, 3 axes",
            hint="take pipeline volumes for more classes",
        )
