"""What airway phantoms are drawn from: grid, tree, tissues, scanner and findings (no torch)."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from tessera.core.config import Config

MOST_VOXELS = 2**28


def _ordered(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"the lower bound comes first, found {bounds[0]} before {bounds[1]}")
    return bounds


Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
Size = Annotated[int, Field(ge=8, le=1024)]
Step = Annotated[float, Field(ge=0.2, le=10.0)]
Count = Annotated[int, Field(ge=0, le=50)]


class Densities(Config):
    """Typical values of tissues, HU; small airways read higher because of the blur."""

    air: float = Field(-1000.0, description="in airways and around the body")
    fat: float = Field(-100.0, description="below the skin and in the mediastinum")
    soft_tissue: float = Field(50.0, description="muscle, heart, abdomen")
    blood: float = Field(40.0, description="vessels without contrast medium")
    wall: float = Field(30.0, description="of airways; thin walls read -600 to -170 after the blur")
    bone: float = Field(500.0, description="outer layer of bones")
    marrow: float = Field(180.0, description="inside of bones")
    parenchyma: Range = Field((-885.0, -835.0), description="lung at inspiration; -700 at expiration")
    parenchyma_spread: float = Field(25.0, ge=0.0, description="sd of the lung's texture of about 10 mm")
    gravity: Range = Field((30.0, 60.0), description="lung at the back above the lung at the front")
    emphysema: float = Field(-960.0, description="destroyed lung")
    mucus: float = Field(20.0, description="plugs")
    nodule: float = Field(30.0, description="solid nodules")


class PathologyConfig(Config):
    """How many of each finding a phantom has."""

    mucus_plugs: Count = Field(0, description="5 to 10 mm of an airway filled; the label keeps them as lumen")
    stenoses: Count = Field(0, description="radius times 0.4 over 10 mm")
    bronchiectases: Count = Field(0, description="an airway and all beyond it 1.5 to 2.5 times as wide")
    emphysema: Count = Field(
        0, description="patches of 10 to 25 mm radius beside airways, where networks leak"
    )
    nodules: Count = Field(0, description="balls of 5 to 20 mm that touch an airway")
    motion_mm: float = Field(0.0, ge=0.0, le=20.0, description="two edges this far apart, front to back")


class AirwayConfig(Config):
    """An airway phantom; each pair is (lowest, highest), drawn uniformly for each case."""

    shape: tuple[Size, Size, Size] = Field(
        (256, 256, 256), description="voxels to the right, the front and the top"
    )
    spacing_mm: tuple[Step, Step, Step] = Field((1.2, 1.2, 1.2), description="voxel steps along these axes")
    slice_thickness_mm: float | None = Field(
        None, gt=0.0, le=20.0, description="width of a slice's profile; null means the step between slices"
    )
    tree: Literal["anatomical", "weibel", "horsfield"] = Field(
        "anatomical", description="grown in the lungs with named airways, or a symmetric table"
    )
    generations: int = Field(
        2, ge=0, le=8, description="anatomical: after the segments; table: after the trachea (at most 6)"
    )
    min_diameter_mm: float = Field(1.2, ge=0.5, le=10.0, description="narrower airways do not exist")
    label_min_diameter_mm: float = Field(
        1.5, ge=0.0, le=20.0, description="narrower airways are in the image and not in the label"
    )
    wall_scale: Range = Field((1.0, 1.3), description="wall thickness over 0.25 mm + 0.1 lumen diameter")
    artery_ratio: Range = Field((0.7, 1.1), description="bronchus diameter over artery diameter")
    vessels: int = Field(400, ge=0, le=2000, description="ends of free arteries, and of veins")
    body_scale: Range = Field((0.86, 0.96), description="size of the chest over 340 mm")
    noise_hu: Range = Field(
        (15.0, 25.0), description="sd of the noise; 40 to 80 at low dose or a sharp kernel"
    )
    psf_fwhm_mm: Range = Field((0.8, 1.2), description="in-plane blur, full width at half maximum")
    shift_mm: float = Field(4.0, ge=0.0, le=50.0, description="largest random shift of the field of view")
    densities: Densities = Densities()
    pathology: PathologyConfig = PathologyConfig()
    dicom: bool = Field(False, description="also write every image as a DICOM CT series")
    extras: bool = Field(False, description="also write masks of lungs, walls, arteries and branch ids")

    @model_validator(mode="after")
    def _check(self) -> Self:
        voxels = self.shape[0] * self.shape[1] * self.shape[2]
        if voxels > MOST_VOXELS:
            raise ValueError(f"shape: {voxels} voxels, at most {MOST_VOXELS} can be made at once")
        if self.tree != "anatomical" and self.generations > 6:
            raise ValueError(f"generations: the tables end at 6, found {self.generations}")
        for name in ("wall_scale", "artery_ratio", "body_scale"):
            if getattr(self, name)[0] <= 0.2:
                raise ValueError(f"{name}: at least 0.2, found {getattr(self, name)[0]}")
        for name in ("noise_hu", "psf_fwhm_mm"):
            if getattr(self, name)[0] < 0:
                raise ValueError(f"{name}: not negative, found {getattr(self, name)[0]}")
        return self
