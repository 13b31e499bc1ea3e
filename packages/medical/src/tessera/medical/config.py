"""Configs of the pipelines for volumes: data, networks, and what must fit together (no torch)."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from tessera.core.mask_config import MaskAugmentConfig
from tessera.core.run_config import MaskTaskConfig, RunConfig
from tessera.medical.model_config import PlainUNetConfig, ResidualUNetConfig, UMambaConfig
from tessera.medical.network_config import AirwayNetConfig, HiFormerConfig, TubuleNetConfig
from tessera.medical.planning.data_config import CTConfig, NormalisationConfig, VolumeDataConfig
from tessera.medical.seen_scans import SeenScans

AIR_BELOW_HU = -320.0  # between lung (-500 and less) and soft tissue (-100 and more)

StagedModel = PlainUNetConfig | ResidualUNetConfig | UMambaConfig
VolumeModel = Annotated[StagedModel | HiFormerConfig, Field(discriminator="kind")]
AirwayModel = Annotated[StagedModel | AirwayNetConfig | TubuleNetConfig, Field(discriminator="kind")]


class ScanConfig(RunConfig):
    """What a run on scans knows of those it was trained on."""

    modalities: tuple[str, ...] | None = Field(
        None,
        description="DICOM modalities whose series are taken, such as [CT]; []: any; null: those of the "
        "training scans, or what data.channels says",
    )
    scans: SeenScans | None = Field(
        None, description="what the training scans look like, for remarks on others; null: measured"
    )


class VolumeConfig(ScanConfig):
    """A run of the volumes pipeline."""

    data: VolumeDataConfig = VolumeDataConfig()
    task: MaskTaskConfig = MaskTaskConfig()
    augment: MaskAugmentConfig = MaskAugmentConfig()
    model: VolumeModel = PlainUNetConfig()


class AirwayDataConfig(VolumeDataConfig):
    """How a chest CT becomes inputs."""

    lung_margin_mm: float | None = Field(
        None,
        ge=0.0,
        description="room around the lungs, open to the head; what lies outside is background without "
        "being looked at; null: the whole scan",
    )
    depth: bool = Field(False, description="a channel with the depth inside the lungs, 0 to 1")
    coordinates: bool = Field(False, description="three channels with the place in the volume, -1 to 1")


class AirwayConfig(ScanConfig):
    """A run of the airway pipeline."""

    data: AirwayDataConfig = AirwayDataConfig()
    task: MaskTaskConfig = MaskTaskConfig()
    augment: MaskAugmentConfig = MaskAugmentConfig()
    model: AirwayModel = PlainUNetConfig()

    @model_validator(mode="after")
    def _lungs_can_be_seen(self) -> Self:
        schemes = self.data.normalisation
        if self.data.depth and schemes is not None and air_edge(schemes[0]) is None:
            raise ValueError(
                f"data.depth looks for lungs below {AIR_BELOW_HU:g} HU: data.normalisation must be one of "
                "kind ct that does not clip there, such as low -1000 and high 600"
            )
        return self


def air_edge(scheme: NormalisationConfig) -> float | None:
    """What air is darker than after a normalisation; None where it leaves no such value."""
    if isinstance(scheme, CTConfig) and scheme.low < AIR_BELOW_HU < scheme.high and scheme.std > 0:
        return (AIR_BELOW_HU - scheme.mean) / scheme.std
    return None
