"""Which measures a pipeline's masks are judged by."""

from __future__ import annotations

from tessera.core.data.targets import TargetSpec
from tessera.medical.airway_mask import airway_class
from tessera.medical.config import AirwayConfig, VolumeConfig
from tessera.medical.mask_scores import AirwayScores, SegmentationScores


def build_volume_scores(config: VolumeConfig, target: TargetSpec) -> SegmentationScores:
    """Dice, surface Dice and HD95 of every class."""
    del config
    return SegmentationScores(target.classes)


def build_airway_scores(config: AirwayConfig, target: TargetSpec) -> AirwayScores:
    """The same of the airway's largest part, which is what is written, and the measures of ATM'22."""
    del config
    return AirwayScores(target.classes, airway=airway_class(target.classes))
