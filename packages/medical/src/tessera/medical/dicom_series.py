"""A DICOM series as one volume: slices sorted by their place along the normal, anything irregular refused.

Space is LPS mm in DICOM and RAS mm here. With the row and column cosines r and c of the orientation,
n = r x c and the step dz along n, the columns of the affine are r * column spacing, c * row spacing,
n * dz and the first slice's position; axis I counts columns, J rows and K slices (PS3.3, C.7.6.2.1.1).
"""

from __future__ import annotations

import filecmp
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from tessera.core.errors import DataError
from tessera.medical.dicom_files import read_header, unreadable
from tessera.medical.dicom_slices import Slice, slices_of
from tessera.medical.geometry import VolumeGeometry
from tessera.medical.stored_volume import (
    NO_HU,
    Stored,
    StoredVolume,
    check_affine,
    check_values,
    shape_remarks,
)

GAP_MM = 0.01  # two steps between slices may differ by this,
GAP_SHARE = 0.01  # or by this share of the step
TILT_MM = 0.05  # slices may drift sideways over the whole series by this,
TILT_SHARE = 0.1  # or by this share of a pixel
SAME_PLACE_MM = 1e-3
COSINES = 1e-3  # error of the direction cosines that rounding may leave
AIR_HU = -1024.0  # padding outside the field of view is stored far below, for instance -2000
NEEDED_HU = -500.0  # every CT shows some air

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class SeriesLayout:
    """Where the slices of a series lie.

    Args:
        slices: Along axis K.
        grid: The volume's grid.
        modality: For instance CT.
    """

    slices: tuple[Slice, ...]
    grid: VolumeGeometry
    modality: str


def open_series(paths: Sequence[Path], *, name: str) -> StoredVolume:
    """Read all slices of a series; raises ``DataError`` when they are no regular volume.

    Args:
        paths: Files of one series, in any order.
        name: The case, for messages.
    """
    layout = series_layout(paths, name=name)
    raw = _pixels(layout.slices, name)
    slope = np.array([one.slope for one in layout.slices])
    intercept = np.array([one.intercept for one in layout.slices])
    is_ct = layout.modality == "CT"
    remarks = shape_remarks(layout.grid)
    volume = StoredVolume(
        raw, layout.grid, slope, intercept, lowest=AIR_HU if is_ct else -np.inf, remarks=remarks
    )
    check_values(volume, name)
    if is_ct and volume.extremes()[0] > NEEDED_HU:
        remarks = (NO_HU, *remarks)
        volume = StoredVolume(raw, layout.grid, slope, intercept, lowest=AIR_HU, remarks=remarks)
    return volume


def series_layout(paths: Sequence[Path], *, name: str) -> SeriesLayout:
    """Check and sort the slices of a series by their headers."""
    slices: list[Slice] = []
    modality = ""
    for path in paths:
        header = read_header(path)
        modality = modality or str(header.get("Modality") or "")
        slices += slices_of(header, path, name)
    _check_alike(slices, name)
    row, column = np.array(slices[0].row), np.array(slices[0].column)
    _check_cosines(row, column, name)
    normal = np.cross(row, column)
    slices.sort(key=lambda one: float(normal @ one.position))
    slices = _without_copies(slices, normal)
    positions = np.array([one.position for one in slices])
    along = positions @ normal
    _check_duplicates(slices, along, name)
    _check_tilt(positions, along, normal, slices[0].spacing, name)
    _check_gaps(along, name)
    step = (along[-1] - along[0]) / (len(along) - 1) if len(along) > 1 else slices[0].thickness
    lps = np.eye(4)
    row_spacing, column_spacing = slices[0].spacing
    lps[:3, 0], lps[:3, 1], lps[:3, 2] = row * column_spacing, column * row_spacing, normal * step
    lps[:3, 3] = positions[0]
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps
    check_affine(affine, name)
    rows, columns = slices[0].size
    return SeriesLayout(tuple(slices), VolumeGeometry.of((columns, rows, len(slices)), affine), modality)


def _check_alike(slices: Sequence[Slice], name: str) -> None:
    localizers = sum(one.localizer for one in slices)
    if localizers:
        raise DataError(
            f"{name} is a localizer" if localizers == len(slices) else f"{name} holds localizers",
            found=f"{localizers} overview images among {len(slices)}",
            expected="a stack of parallel slices",
            hint="take the axial series of the study",
        )
    first = slices[0]
    for what, of, hint in (
        ("patient or study", lambda one: one.study, "the archive put two studies under one series UID"),
        ("size", lambda one: one.size, "separate the images of different size"),
        ("orientation", lambda one: (*one.row, *one.column), "separate the stacks of the series"),
        ("pixel spacing", lambda one: one.spacing, "separate the reconstructions"),
    ):
        others = [one for one in slices if not _same(of(one), of(first))]
        if others:
            detail = "" if what.startswith("pat") else f": {of(first)} and {of(others[0])}"
            raise DataError(
                f"{name} mixes images that differ in {what}",
                found=f"{len(others)} of {len(slices)} images differ from {first.path.name}, for instance "
                f"{others[0].path.name}{detail}",
                expected="one stack of parallel slices",
                hint=hint,
            )


def _same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Equal, or numbers that rounding of the file's decimal text may have changed."""
    return one == other or (isinstance(one[0], float) and np.allclose(one, other, rtol=0, atol=COSINES))


def _check_cosines(row: npt.NDArray[np.float64], column: npt.NDArray[np.float64], name: str) -> None:
    error = max(abs(row @ row - 1), abs(column @ column - 1), abs(row @ column))
    if error > COSINES:
        raise DataError(
            f"{name}: rows and columns are not at right angles",
            found=f"ImageOrientationPatient {(*row.tolist(), *column.tolist())}",
            expected=f"unit vectors at right angles, to {COSINES}",
            hint="the header is damaged; fetch the series again",
        )


def _without_copies(slices: Sequence[Slice], normal: npt.NDArray[np.float64]) -> list[Slice]:
    """Leave out files that are the same, byte for byte, as another of the same instance."""
    kept: dict[tuple[str, int], Slice] = {}
    extra = []
    for one in slices:
        known = kept.setdefault((one.instance, one.frame), one) if one.instance else one
        if known is not one:
            same = filecmp.cmp(known.path, one.path, shallow=False)
            if same:
                log.info("%s is a copy of %s and is left out", one.path, known.path)
            else:
                extra.append(one)
        elif not one.instance:
            extra.append(one)
    return sorted([*kept.values(), *extra], key=lambda one: float(normal @ one.position))


def _check_duplicates(slices: Sequence[Slice], along: npt.NDArray[np.float64], name: str) -> None:
    again = np.flatnonzero(np.diff(along) < SAME_PLACE_MM)
    if not len(again):
        return
    first, second = slices[again[0]], slices[again[0] + 1]
    differ = [key for key, value in first.phase.items() if second.phase.get(key) != value]
    cause = f"; the two differ in {', '.join(differ)}" if differ else ""
    raise DataError(
        f"{name} has several images at the same place",
        found=f"{len(again)} of {len(slices)} images lie where another does, the first at "
        f"{along[again[0]]:.3f} mm{cause}",
        expected="one image a place",
        hint="it holds several phases, echoes or reconstructions: send them as series of their own",
    )


def _check_tilt(
    positions: npt.NDArray[np.float64],
    along: npt.NDArray[np.float64],
    normal: npt.NDArray[np.float64],
    spacing: tuple[float, float],
    name: str,
) -> None:
    sideways = positions - positions[0] - np.outer(along - along[0], normal)
    drift = float(np.linalg.norm(sideways, axis=1).max())
    if drift <= max(TILT_MM, TILT_SHARE * min(spacing)):
        return
    degrees = np.degrees(np.arctan2(drift, abs(along[-1] - along[0])))
    raise DataError(
        f"{name} is tilted: its slices are not stacked at right angles (gantry tilt)",
        found=f"slices drift sideways by {drift:.2f} mm, {degrees:.1f} degrees",
        expected=f"at most {max(TILT_MM, TILT_SHARE * min(spacing)):.2f} mm",
        hint="convert it with dcm2niix, which resamples tilted series, and give the NIfTI file",
    )


def _check_gaps(along: npt.NDArray[np.float64], name: str) -> None:
    steps = np.diff(along)
    if not len(steps):
        return
    step = float(np.median(steps))
    wrong = np.flatnonzero(np.abs(steps - step) > max(GAP_MM, GAP_SHARE * step))
    if not len(wrong):
        return
    at = wrong[0]
    lost = int(sum(max(0, round(steps[k] / step) - 1) for k in wrong))
    whole = all(abs(steps[k] / step - round(steps[k] / step)) < 0.05 for k in wrong)
    raise DataError(
        f"{name} misses slices" if lost and whole else f"{name} has slices at uneven distances",
        found=f"a step of {steps[at]:.3f} mm at {along[at]:.3f} mm where the others are {step:.3f} mm"
        + (f"; {lost} of {len(along) + lost} slices are not there" if lost and whole else ""),
        expected=f"steps that agree to {max(GAP_MM, GAP_SHARE * step):.3f} mm",
        hint="fetch the whole series again, or export it resampled to even distances",
    )


def _pixels(slices: Sequence[Slice], name: str) -> Stored:
    """Stored values (I, J, K, 1), decoded file after file."""
    kind = np.result_type(*{one.dtype for one in slices})
    rows, columns = slices[0].size
    stack = np.empty((len(slices), rows, columns, 1), dtype=kind)
    by_file: dict[Path, list[int]] = {}
    for k, one in enumerate(slices):
        by_file.setdefault(one.path, []).append(k)
    for path, places in by_file.items():
        frames = _decoded(path, name).reshape(-1, rows, columns)
        for k in places:
            np.copyto(stack[k, ..., 0], frames[slices[k].frame], casting="same_kind")
    return stack.transpose(2, 1, 0, 3)


def _decoded(path: Path, name: str) -> Stored:
    try:
        dataset = pydicom.dcmread(path, force=True)
        if "TransferSyntaxUID" not in dataset.file_meta:  # a file without its meta part
            implicit = dataset.original_encoding[0]
            dataset.file_meta.TransferSyntaxUID = (
                ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
            )
        return dataset.pixel_array
    except MemoryError:
        raise
    except Exception as error:  # each decoder has its own errors
        problem = unreadable(path, error)
        raise DataError(
            f"{name}: {problem.problem}", found=problem.found, expected=problem.expected, hint=problem.hint
        ) from None
