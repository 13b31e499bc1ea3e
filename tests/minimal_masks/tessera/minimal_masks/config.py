"""Config of the pipeline of masks (no torch)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tessera.core.config import Config
from tessera.core.mask_config import MaskAugmentConfig
from tessera.core.run_config import DataConfig, MaskTaskConfig, RunConfig


class PlaneDataConfig(DataConfig):
    """How a plane becomes the network's inputs."""

    window: int = Field(16, ge=4, multiple_of=2, description="side of the network's input, elements")
    coarse: int = Field(1, ge=1, le=4, description="elements of the plane per element that is learnt from")


class LadderConfig(Config):
    """Size of the network."""

    kind: Literal["ladder"] = "ladder"
    width: int = Field(8, ge=1, description="channels of the finer level")


class MasksConfig(RunConfig):
    """A run of the pipeline of masks."""

    data: PlaneDataConfig = PlaneDataConfig()
    task: MaskTaskConfig = MaskTaskConfig()
    model: LadderConfig = LadderConfig()
    augment: MaskAugmentConfig = MaskAugmentConfig()
