"""DICOM-SEG: a mask on a DICOM series' own grid, one segment a class, written by highdicom."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from tessera.core.data.atomic import replacing
from tessera.core.errors import DataError
from tessera.medical.anonymise import UNKNOWN_DATE, Pseudonyms, completed, mark_pseudonymous, new_uid
from tessera.medical.dicom_files import instance_of, read_header, unreadable
from tessera.medical.dicom_series import SeriesLayout
from tessera.medical.geometry import VolumeGeometry
from tessera.medical.stored_volume import Stored, slices_first

SERIES_NUMBER = 100  # high, so that viewers list it behind the scan's own series
ANATOMY = Code("123037004", "SCT", "Anatomical Structure")
LEARNT = Code("123110", "DCM", "Artificial Intelligence")
# SNOMED CT codes of structures (DICOM PS3.16, CID 4 and CID 7153); other classes are coded by their name.
STRUCTURES = {
    "airway": Code("89187006", "SCT", "Airway structure"),
    "trachea": Code("44567001", "SCT", "Trachea"),
    "lung": Code("39607008", "SCT", "Lung"),
    "liver": Code("10200004", "SCT", "Liver"),
    "spleen": Code("78961009", "SCT", "Spleen"),
    "kidney": Code("64033007", "SCT", "Kidney"),
    "pancreas": Code("15776009", "SCT", "Pancreas"),
    "heart": Code("80891009", "SCT", "Heart"),
    "brain": Code("12738006", "SCT", "Brain"),
}
OWN_SCHEME = "99TESSERA"
TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
ON_GRID = 0.01  # share of a voxel by which a segmentation's frames may miss the voxels of a grid


@dataclass(frozen=True, kw_only=True)
class MaskOrigin:
    """Who made a mask.

    Args:
        name: Pipeline and preset.
        version: Of the software.
        digest: Of the model and its settings.
    """

    name: str
    version: str
    digest: str


def write_seg(
    path: Path,
    mask: Stored,
    layout: SeriesLayout,
    *,
    classes: Sequence[str],
    origin: MaskOrigin,
    omit_empty_frames: bool = True,
    pseudonyms: Pseudonyms | None = None,
    case_id: str = "",
) -> bool:
    """Write a mask; the same bytes each time. An empty mask is not written.

    Args:
        path: Where to.
        mask: Class of each voxel (I, J, K) on the series' grid, 0 the background.
        layout: The series.
        classes: Names, the background first.
        origin: Who made the mask.
        omit_empty_frames: Leave out slices without a segment.
        pseudonyms: Replace what identifies the patient; None: keep it.
        case_id: Under which the list of who is who names the case.

    Returns:
        Whether a file was written.
    """
    if mask.shape != layout.grid.shape:
        raise ValueError(f"a mask {mask.shape} for a series {layout.grid.shape}")
    if not mask.any():
        return False
    sources, frames = _sources(mask, layout, pseudonyms, case_id)
    digest = hashlib.sha256(b"tessera dicom-seg\0")
    for part in (*(instance_of(one) for one in sources), origin.digest, *classes, str(omit_empty_frames)):
        digest.update(f"{part}\0".encode())
    digest.update(frames.data)
    dataset = highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=frames,
        segmentation_type="BINARY",
        segment_descriptions=_segments(classes, origin),
        series_instance_uid=_uid(digest, "series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=_uid(digest, "instance"),
        instance_number=1,
        manufacturer="Tessera",
        manufacturer_model_name=_short(origin.name),
        software_versions=_short(origin.version),
        device_serial_number=origin.digest[:16] or "none",
        content_label="SEGMENTATION",
        series_description=_short(f"Segmentation {origin.name}"),
        omit_empty_frames=omit_empty_frames,
    )
    _without_time_and_chance(dataset, sources[0], _uid(digest, "dimensions"))
    if pseudonyms is not None:
        mark_pseudonymous(dataset)
    with replacing(path) as temporary:
        dataset.save_as(temporary, enforce_file_format=True)
    return True


def read_seg(path: Path, grid: VolumeGeometry | None = None) -> tuple[Stored, VolumeGeometry]:
    """The mask (I, J, K) of a DICOM-SEG, uint8 or uint16, and where it lies.

    Args:
        path: The file; its segments must not overlap.
        grid: Put the mask on this grid, of which the stored frames may be a part; None: on their own.
    """
    try:
        dataset = highdicom.seg.segread(path)
        volume = dataset.get_volume(combine_segments=True, skip_overlap_checks=False)
    except FileNotFoundError:
        raise DataError(f"there is no file {path}") from None
    except (pydicom.errors.InvalidDicomError, ValueError, RuntimeError, AttributeError, KeyError) as error:
        raise unreadable(path, error) from None
    found = np.asarray(volume.array).transpose(2, 1, 0)
    kind = np.uint8 if int(found.max(initial=0)) < 256 else np.uint16
    affine = TO_LPS @ np.asarray(volume.affine)[:, [2, 1, 0, 3]]
    own = VolumeGeometry.of(found.shape, affine)
    if grid is None:
        return np.ascontiguousarray(found, dtype=kind), own
    return paste(found.astype(kind), own, grid, name=str(path)), grid


def paste(mask: Stored, own: VolumeGeometry, grid: VolumeGeometry, *, name: str = "the mask") -> Stored:
    """Put a mask whose voxels are some of a grid's on that grid; the axes may be in another order."""
    move = np.linalg.solve(grid.matrix, own.matrix)
    for axis in np.flatnonzero(np.array(own.shape) == 1):  # the step of a single slice says nothing
        move[:3, axis] /= np.abs(move[:3, axis]).max()
    steps = np.rint(move)
    error = np.abs(move[:3, :3] - steps[:3, :3]) * np.array(own.shape)
    turn = np.abs(steps[:3, :3])
    if max(error.max(), np.abs(move - steps)[:3, 3].max()) > ON_GRID or (turn.sum(0) != 1).any():
        raise DataError(f"{name} was not made on this grid", found=f"voxel steps {move[:3].tolist()}")
    voxels = np.argwhere(mask)
    places = (voxels @ steps[:3, :3].T + steps[:3, 3]).astype(np.intp)
    if len(places) and ((places < 0) | (places >= grid.shape)).any():
        raise DataError(f"{name} holds voxels outside the grid", expected=f"within {grid.shape}")
    whole = np.zeros(grid.shape, dtype=mask.dtype)
    whole[tuple(places.T)] = mask[tuple(voxels.T)]
    return whole


def _sources(
    mask: Stored, layout: SeriesLayout, pseudonyms: Pseudonyms | None, case_id: str
) -> tuple[list[Dataset], Stored]:
    """Source images and the mask's frames (frames, rows, columns) in the same order."""
    frames = slices_first(mask)
    paths = list(dict.fromkeys(one.path for one in layout.slices))
    headers = [read_header(path) for path in paths]
    if len(paths) == 1 and len(layout.slices) > 1:  # enhanced: frames in the order of the file
        frames = frames[np.argsort([one.frame for one in layout.slices])]
    if pseudonyms is None:
        sources = [completed(header) for header in headers]
    else:
        sources = [pseudonyms.source(completed(header)) for header in headers]
        pseudonyms.remember(case_id, headers[0], sources[0])
    return sources, np.ascontiguousarray(frames)


def _segments(classes: Sequence[str], origin: MaskOrigin) -> list[Any]:
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=_short(origin.name), family=LEARNT, version=_short(origin.version)
    )
    return [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=_short(name),
            segmented_property_category=ANATOMY,
            segmented_property_type=structure_code(name),
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            display_color=_colour(number),
        )
        for number, name in enumerate(classes[1:], start=1)
    ]


def structure_code(name: str) -> Code:
    """The code of a class: SNOMED's where its name is known, else the name itself."""
    known = STRUCTURES.get(name.lower().removesuffix("s"))
    value = "".join(sign if sign.isalnum() else "_" for sign in name.upper())[:16]
    return known or Code(value, OWN_SCHEME, _short(name))


def _colour(number: int) -> Any:
    """A colour of its own for each segment: steps of the golden angle on a circle in CIELab."""
    angle = np.radians(137.50776 * number)
    return highdicom.color.CIELabColor(65.0, float(60 * np.cos(angle)), float(60 * np.sin(angle)))


def _without_time_and_chance(dataset: Dataset, source: Dataset, dimensions: str) -> None:
    """Replace what highdicom takes from the clock and from chance, so that the same mask is the same file."""
    day, clock = str(source.get("StudyDate") or UNKNOWN_DATE), str(source.get("StudyTime") or "000000")
    for keyword, value in (
        ("InstanceCreationDate", day),
        ("InstanceCreationTime", clock),
        ("ContentDate", day),
        ("ContentTime", clock),
    ):
        setattr(dataset, keyword, value)
    for item in _items(dataset):
        if "ContributionDateTime" in item:
            item.ContributionDateTime = day + clock
        if "DimensionOrganizationUID" in item:
            item.DimensionOrganizationUID = dimensions


def _items(dataset: Dataset) -> Iterator[Dataset]:
    for keyword in (
        "ContributingEquipmentSequence",
        "DimensionOrganizationSequence",
        "DimensionIndexSequence",
    ):
        yield from dataset.get(keyword) or ()


def _uid(digest: Any, role: str) -> str:
    return new_uid(hashlib.sha256(digest.digest() + role.encode()).digest())


def _short(text: str) -> str:
    """Text that fits DICOM's long strings."""
    return text[:64]
