"""Settings of how volumes become the network's inputs; null means "from the training data" (no torch)."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from tessera.core.config import Config
from tessera.core.run_config import DataConfig, Fraction

FROM_DATA = "; null: planned from the training data"
AxisNumber = Annotated[int, Field(ge=0, le=2)]
ClassNumber = Annotated[int, Field(ge=1)]
Triple = Field(min_length=3, max_length=3)


class CTConfig(Config):
    """Clip to the training foreground's range, then subtract its mean and divide by its deviation."""

    kind: Literal["ct"] = "ct"
    low: float = Field(description="0.5th percentile of the training foreground, as stored (HU)")
    high: float = Field(description="99.5th percentile, as stored (HU)")
    mean: float = Field(description="mean of the training foreground, as stored (HU)")
    std: float = Field(ge=0.0, description="standard deviation of the training foreground, as stored (HU)")


class ZScoreConfig(Config):
    """Each image by its own mean and deviation."""

    kind: Literal["zscore"] = "zscore"
    masked: bool = Field(
        False, description="only where a channel is not zero, holes filled; the rest stays 0"
    )


class RescaleConfig(Config):
    """Each image from its least to its greatest value: 0 to 1."""

    kind: Literal["rescale"] = "rescale"


class BytesConfig(Config):
    """Stored 0 to 255 becomes 0 to 1."""

    kind: Literal["bytes"] = "bytes"


class AsStoredConfig(Config):
    """Values as stored."""

    kind: Literal["as-stored"] = "as-stored"


NormalisationConfig = Annotated[
    CTConfig | ZScoreConfig | RescaleConfig | BytesConfig | AsStoredConfig, Field(discriminator="kind")
]


class VolumeDataConfig(DataConfig):
    """How a volume is reoriented, cropped, normalised, resampled and cut.

    Volumes are turned to right, anterior, superior (RAS) first; ``axes`` then puts the axis of the thickest
    voxels in front. Spacing and patch are in that order.
    """

    axes: Annotated[tuple[AxisNumber, ...], Triple] | None = Field(
        None, description="order of the RAS axes (0 right, 1 anterior, 2 superior) in the network" + FROM_DATA
    )
    spacing_mm: Annotated[tuple[PositiveFloat | None, ...], Triple] | None = Field(
        None,
        description="voxel spacing, in the order of axes; an entry of null keeps the image's own" + FROM_DATA,
    )
    patch: Annotated[tuple[PositiveInt, ...], Triple] | None = Field(
        None, description="voxels of the network's input; the first is 1 in 2-D networks" + FROM_DATA
    )
    channels: tuple[str, ...] | None = Field(
        None, min_length=1, description="what each channel is, ct decides its normalisation" + FROM_DATA
    )
    normalisation: tuple[NormalisationConfig, ...] | None = Field(
        None, min_length=1, description="one for each channel" + FROM_DATA
    )
    fix_affine: bool = Field(
        False, description="give labels of the image's shape that only lie elsewhere the image's place"
    )
    image_order: Literal[1, 3] = Field(3, description="spline of the image's resampling: linear or cubic")
    crop: bool = Field(True, description="cut to the box in which a channel is not zero")
    overlap: float = Field(0.5, ge=0.0, lt=1.0, description="of neighbouring patches in a prediction")
    # null until the training cases are known; a run's loaders get the config after that
    regions_per_case: PositiveInt | None = Field(  # type: ignore[assignment]
        None, description="patches drawn from a case in an epoch; null: so many that it has about 250 steps"
    )
    foreground: Fraction = Field(1 / 3, description="share of a batch's patches that must hold a class")
    mirrors: tuple[AxisNumber, ...] | None = Field(
        None, description="axes of the network along which patches may be mirrored" + FROM_DATA
    )
    sides: tuple[tuple[ClassNumber, ClassNumber], ...] | None = Field(
        None, description="classes that change places when left and right are mirrored" + FROM_DATA
    )
    spatial_dims: Literal[2, 3] = Field(3, description="whole volumes, or slices across the first axis")
    planner: Literal["default", "resenc-m", "resenc-l", "resenc-xl"] | None = Field(
        None, description="rules of the plan; null: resenc-m for residual encoders, else default"
    )
    shrink_rule: Literal["current", "old"] | None = Field(
        None, description="when the plan shrinks a patch; null: the planner's own"
    )
    memory_gb: float | None = Field(
        None, gt=0.0, description="memory the plan may take; null: the planner's, or what is free if less"
    )
    plan_batch: bool = Field(True, description="let the plan set trainer.batch_size")

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if self.axes is not None and sorted(self.axes) != [0, 1, 2]:
            raise ValueError(f"axes {self.axes} must name 0, 1 and 2 once each")
        if self.patch is not None and (self.patch[0] == 1) != (self.spatial_dims == 2):
            raise ValueError(
                f"patch {self.patch} does not fit spatial_dims {self.spatial_dims}: "
                "the first axis is 1 for slices and larger for volumes"
            )
        counts = {len(part) for part in (self.channels, self.normalisation) if part is not None}
        if len(counts) > 1:
            raise ValueError("channels and normalisation need one entry for each channel")
        return self
