"""The slices in one DICOM file: one of a classic image, many of an enhanced multi-frame object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tessera.core.errors import DataError
from tessera.medical.dicom_files import Dataset, class_of, instance_of

# Elements that tell images at one place apart, for the message that refuses them.
PHASES = (
    "AcquisitionNumber",
    "TemporalPositionIdentifier",
    "EchoNumbers",
    "EchoTime",
    "TriggerTime",
    "DiffusionBValue",
    "ConvolutionKernel",
    "ImageType",
    "ContentTime",
)
OVERVIEWS = {"LOCALIZER", "SCOUT", "TOPOGRAM"}  # values of ImageType


@dataclass(frozen=True)
class Slice:
    """One slice and its place in the patient, LPS mm.

    Args:
        path: The file.
        frame: Its number in the file.
        instance: SOP Instance UID.
        study: Study UID and patient's ID, to be compared only.
        position: Centre of the first pixel.
        row: Direction in which the column index grows.
        column: Direction in which the row index grows.
        spacing: Distance of rows and of columns, mm.
        thickness: Step to the next slice if there is but this one, mm.
        size: Rows and columns.
        slope: Factor of stored values.
        intercept: Added after the factor.
        dtype: Of stored values.
        localizer: Whether it is an overview image.
        phase: What may tell it from another slice at the same place.
    """

    path: Path
    frame: int
    instance: str
    study: tuple[str, str]
    position: tuple[float, ...]
    row: tuple[float, ...]
    column: tuple[float, ...]
    spacing: tuple[float, float]
    thickness: float
    size: tuple[int, int]
    slope: float
    intercept: float
    dtype: str
    localizer: bool
    phase: Mapping[str, str] = field(default_factory=dict)


def slices_of(header: Dataset, path: Path, name: str) -> list[Slice]:
    """The slices of one file; raises ``DataError`` when it cannot be part of a volume.

    Args:
        header: The file's content without pixels.
        path: The file.
        name: The case, for messages.
    """
    photometric = str(header.get("PhotometricInterpretation") or "MONOCHROME2")
    if int(header.get("SamplesPerPixel") or 1) != 1 or not photometric.startswith("MONOCHROME"):
        raise DataError(
            f"{name} holds colour images",
            found=f"{photometric} in {path.name} ({_kind(header)})",
            expected="one grey value a pixel, as CT and MR store",
            hint="screenshots and coloured overlays are no scan; take the original series",
        )
    frames = int(header.get("NumberOfFrames") or 1)
    groups = header.get("PerFrameFunctionalGroupsSequence")
    if groups is not None:
        shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
        return [_slice(header, path, name, k, [group, shared, header]) for k, group in enumerate(groups)]
    if frames > 1:
        raise DataError(
            f"{name} is a film of {frames} frames that does not say where each frame lies",
            found=_kind(header),
            expected="single images, or an enhanced multi-frame object",
            hint="export the series as single images",
        )
    return [_slice(header, path, name, 0, [header])]


def _slice(header: Dataset, path: Path, name: str, frame: int, groups: Sequence[Any]) -> Slice:
    place = _value(groups, "PlanePositionSequence", "ImagePositionPatient")
    cosines = _value(groups, "PlaneOrientationSequence", "ImageOrientationPatient")
    types = _value(groups, "", "ImageType") or ()
    localizer = bool(OVERVIEWS & {str(value).strip().upper() for value in types})
    if place is None or cosines is None:
        raise DataError(
            f"{name} has images without a place in the patient",
            found=f"{_kind(header)} without ImagePositionPatient or ImageOrientationPatient: {path.name}",
            expected="slices of a scan, as CT and MR",
            hint="projections, films and screenshots cannot become a volume; take the original series",
        )
    spacing = _value(groups, "PixelMeasuresSequence", "PixelSpacing")
    if spacing is None or min(float(value) for value in spacing) <= 0:
        raise DataError(
            f"{name} does not say how large its pixels are",
            found=f"PixelSpacing {spacing} in {path.name}",
            expected="two lengths in mm",
            hint="fetch the series from the archive again",
        )
    slope = _value(groups, "PixelValueTransformationSequence", "RescaleSlope")
    intercept = _value(groups, "PixelValueTransformationSequence", "RescaleIntercept")
    if slope is not None and (float(slope) == 0 or not np.isfinite(float(slope))):
        raise DataError(f"{name}: RescaleSlope is {slope} in {path.name}", expected="a factor other than 0")
    between = _value(groups, "PixelMeasuresSequence", "SpacingBetweenSlices")
    thickness = _value(groups, "PixelMeasuresSequence", "SliceThickness")
    return Slice(
        path=path,
        frame=frame,
        instance=instance_of(header),
        study=(str(header.get("StudyInstanceUID") or ""), str(header.get("PatientID") or "")),
        position=tuple(float(value) for value in place),
        row=tuple(float(value) for value in cosines[:3]),
        column=tuple(float(value) for value in cosines[3:]),
        spacing=(float(spacing[0]), float(spacing[1])),
        thickness=abs(float(between or 0)) or abs(float(thickness or 0)) or 1.0,
        size=(int(header.Rows), int(header.Columns)),
        slope=1.0 if slope is None else float(slope),
        intercept=0.0 if intercept is None else float(intercept),
        dtype=_dtype(header),
        localizer=localizer,
        phase={key: str(header[key].value) for key in PHASES if key in header},
    )


def _value(groups: Sequence[Any], sequence: str, keyword: str) -> Any:
    """The element of the frame's own groups, of the shared ones, or of the object itself; None if empty."""
    for group in groups:
        if group is None:
            continue
        inner = (
            group[sequence].value[0] if sequence and sequence in group and group[sequence].value else group
        )
        value = inner.get(keyword)
        if value is not None and value != "":
            return value
    return None


def _dtype(header: Dataset) -> str:
    bits = max(8, int(header.get("BitsAllocated") or 16))
    return f"{'i' if int(header.get('PixelRepresentation') or 0) else 'u'}{bits // 8}"


def _kind(header: Dataset) -> str:
    from pydicom.uid import UID

    return UID(class_of(header)).name
