"""Phantoms on disk: NIfTI volumes, DICOM CT series and JSON truth; the same phantom gives the same bytes."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from tessera.core.data.atomic import replacing
from tessera.medical.simulate.tubes import Grid

INTERCEPT, SLOPE = -1024, 1
"""HU = slope x stored + intercept, the usual pair of CT scanners."""
FASTEST, SMALLEST = 1, 6
"""Levels of compression: noise hardly shrinks, masks do."""
UNKNOWN = (
    "AccessionNumber",
    "AcquisitionNumber",
    "Manufacturer",
    "PatientBirthDate",
    "PatientSex",
    "PositionReferenceIndicator",
    "ReferringPhysicianName",
    "StudyDate",
    "StudyTime",
)
"""Elements that a CT image must have and that may be empty."""
WINDOW_CENTRE, WINDOW_WIDTH = -500, 1500


def write_nifti(path: Path, volume: npt.NDArray[Any], grid: Grid) -> None:
    """Write a volume (I, J, K) as ``.nii.gz`` with its place in both forms; no time enters the file."""
    make: Any = nibabel.Nifti1Image  # nibabel publishes its types only in part
    image = make(volume, grid.affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_qform(grid.affine, code=1)
    image.set_sform(grid.affine, code=1)
    image.header["descrip"] = b"simulated by tessera"
    level = FASTEST if volume.dtype.kind == "i" else SMALLEST
    with replacing(path) as temporary:
        temporary.write_bytes(gzip.compress(image.to_bytes(), level, mtime=0))


def write_json(path: Path, truth: dict[str, Any]) -> None:
    """Write plain values, one short line each where they are lists of numbers."""
    text = json.dumps(truth, separators=(",", ":"), allow_nan=False)
    with replacing(path) as temporary:
        temporary.write_text(text.replace('},{"', '},\n{"') + "\n", encoding="utf-8", newline="\n")


def write_dicom_series(
    folder: Path, volume: npt.NDArray[np.int16], grid: Grid, *, case: str, seed: int, thickness_mm: float
) -> tuple[Path, ...]:
    """Write HU (I, J, K) as one CT file a slice, the top one first.

    Rows run to the back of the patient, columns to the left, as scanners write them.

    Args:
        folder: Of this series alone.
        volume: HU, -1024 to 3071.
        grid: Place of the voxels.
        case: Name of the patient.
        seed: Enters the identifiers, which are the same for the same case and seed.
        thickness_mm: Width of a slice's profile.
    """
    paths = []
    for instance in range(1, volume.shape[2] + 1):
        k = volume.shape[2] - instance
        data = _slice(volume[::-1, ::-1, k].T, grid, k)
        data.InstanceNumber = instance
        data.SliceThickness = _decimal(thickness_mm)
        _identify(data, case=case, seed=seed, instance=instance)
        buffer = io.BytesIO()
        dcmwrite(buffer, data, enforce_file_format=True)
        path = folder / f"{instance:04d}.dcm"
        with replacing(path) as temporary:
            temporary.write_bytes(buffer.getvalue())
        paths.append(path)
    return tuple(paths)


def _slice(hu: npt.NDArray[np.int16], grid: Grid, k: int) -> Dataset:
    """One axial image of HU (rows, columns) at slice ``k`` of the grid; DICOM space is LPS."""
    right, front, _ = (axis[-1] for axis in grid.axes)
    data = Dataset()
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.Modality = "CT"
    data.Rows, data.Columns = hu.shape
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    place = (-float(right), -float(front), grid.origin_mm[2] + k * grid.spacing_mm[2])
    data.ImagePositionPatient = [_decimal(value) for value in place]
    data.PixelSpacing = [_decimal(grid.spacing_mm[1]), _decimal(grid.spacing_mm[0])]
    data.SpacingBetweenSlices = _decimal(grid.spacing_mm[2])
    data.SliceLocation = _decimal(place[2])
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.RescaleIntercept, data.RescaleSlope, data.RescaleType = INTERCEPT, SLOPE, "HU"
    data.WindowCenter, data.WindowWidth = WINDOW_CENTRE, WINDOW_WIDTH
    data.KVP = "120"
    data.PixelData = (hu.astype(np.int32) - INTERCEPT).astype("<u2").tobytes()
    return data


def _identify(data: Dataset, *, case: str, seed: int, instance: int) -> None:
    """Patient, study and series; elements that must stand there and are unknown stay empty."""
    data.PatientName = f"Simulated^{case}"
    data.PatientID = case
    data.SeriesDescription = "simulated thorax"
    data.StudyID, data.SeriesNumber = "1", 1
    data.PatientPosition = "HFS"
    for name in UNKNOWN:
        setattr(data, name, "")
    data.SOPClassUID = CTImageStorage
    data.StudyInstanceUID = _uid(case, seed, "study")
    data.SeriesInstanceUID = _uid(case, seed, "series")
    data.FrameOfReferenceUID = _uid(case, seed, "frame")
    data.SOPInstanceUID = _uid(case, seed, f"instance {instance}")
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID


def _uid(case: str, seed: int, what: str) -> str:
    return generate_uid(entropy_srcs=["tessera airway phantom", case, str(seed), what])


def _decimal(value: float) -> str:
    """At most 16 characters, to 0.1 um."""
    return f"{value:.4f}"
