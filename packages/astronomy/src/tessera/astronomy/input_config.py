"""What a person can choose of the reading of images and catalogues (no torch)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from tessera.core.config import Config
from tessera.core.run_config import Fraction


class SkyInput(Config):
    """Where a catalogue's pixels are, what its columns are called, and which pixels count."""

    images: Path | None = Field(
        None,
        description="a folder of cut-outs (named as the ids) or of mosaics, or one mosaic; "
        "null: the catalogue's path column says where the pixels are",
    )
    id_column: str | None = Field(None, description="column of unique names; null: objid, id, name, ...")
    ra_column: str | None = Field(None, description="right ascension, degrees or with a unit; null: ra, ...")
    dec_column: str | None = Field(None, description="declination, degrees or with a unit; null: dec, ...")
    path_column: str | None = Field(None, description="each row's file; null: path, file, filename, ...")
    label_column: str | None = Field(
        None, description="what is known of each row; null: label, or the target"
    )
    group_column: str | None = Field(
        None, description="what belongs together; null: group, else each row alone"
    )
    size_px: int | None = Field(
        None, ge=1, le=20_000, description="side of a cut-out around a position; null: the network's"
    )
    size_arcsec: float | None = Field(
        None, gt=0.0, description="the same on the sky, rounded to whole pixels"
    )
    bands: tuple[str, ...] = Field(
        (),
        description="names of the extensions (or FILTER), or endings of file names, in the network's order",
    )
    one_file_a_band: bool = Field(
        False, description="files that differ in the ending _<band> alone are one case, for instance a_g.fits"
    )
    hdu: int | str | None = Field(None, description="number or name of the image in each file; null: found")
    masks: bool = Field(True, description="use the mask planes of a file, extensions MASK or DQ")
    mask_bits: int | None = Field(
        None, ge=1, description="bits of a mask plane that make a pixel unusable, added up; null: any"
    )
    min_coverage: Fraction = Field(
        0.5, description="least share of an image's pixels that must be usable: inside, not masked, not blank"
    )

    @field_validator("bands", mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        """Take ``g,r,i`` as a list."""
        return (
            [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        )

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.size_px is not None and self.size_arcsec is not None:
            raise ValueError("size_px and size_arcsec both say how large a cut-out is; give one")
        if self.one_file_a_band and not self.bands:
            raise ValueError(
                "one_file_a_band needs bands, the endings of the files' names, for instance g,r,i"
            )
        if self.one_file_a_band and self.hdu is None and len(set(self.bands)) < len(self.bands):
            raise ValueError(f"bands {', '.join(self.bands)} names one twice")
        return self
