"""What a person can choose of the files of masks (no torch)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from tessera.core.config import Config

Format = Literal["nifti", "nrrd", "mha", "dicom-seg"]
Level = Literal["keep", "pseudo", "none"]


class VolumeOutput(Config):
    """Formats of masks, and what they may say of the patient."""

    formats: tuple[Format, ...] = Field(
        ("nifti",),
        min_length=1,
        description="nifti: masks/<case>.nii.gz; nrrd, mha: the same with that ending; "
        "dicom-seg: seg/<case>.dcm beside it, for cases that are DICOM series",
    )
    anonymise: Level = Field(
        "keep",
        description="of DICOM-SEG. keep: UIDs and patient as in the study, so that a viewer finds them "
        "together; pseudo: new UIDs, identifiers and shifted dates, the same in all runs with one key; "
        "none: no DICOM at all",
    )
    pseudonyms: Path | None = Field(
        None,
        description="pseudo: folder of the secret key and of the list of who is who, outside the outputs; "
        "null: beside the output folder, <name>.pseudonyms",
    )
    omit_empty_frames: bool = Field(
        True, description="DICOM-SEG without the slices that hold nothing; some viewers need them all"
    )

    @field_validator("formats", mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        """Take ``nifti,dicom-seg`` as a list."""
        return (
            [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        )

    @model_validator(mode="after")
    def _levels_fit_formats(self) -> Self:
        if self.anonymise == "none" and "dicom-seg" in self.formats:
            raise ValueError(
                "a DICOM-SEG always belongs to a patient: anonymise with pseudo, or write nifti, nrrd or mha"
            )
        return self


class AirwayOutput(VolumeOutput):
    """The same, what is kept of the mask, and whether the airway tree is measured."""

    largest_component: bool = Field(
        True,
        description="keep the airway's largest connected part (26 neighbours), as ATM'22 scores it; "
        "false: every part",
    )
    branches: bool = Field(
        True, description="branches/<case>.csv and .json: length, diameter and generation of each branch"
    )
