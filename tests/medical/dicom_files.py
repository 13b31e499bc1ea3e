"""Small DICOM series with known values and places, written with pydicom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian

CT = "1.2.840.10008.5.1.4.1.1.2"
PATIENT = "Mustermann^Erika"
ROOT = "1.2.826.0.1.3680043.8.498."
COS5, SIN5 = float(np.cos(np.radians(5))), float(np.sin(np.radians(5)))
# The four orientations of the sheet: row cosines, column cosines.
ORIENTATIONS: Mapping[str, Sequence[float]] = {
    "axial": (1, 0, 0, 0, 1, 0),
    "negated column": (1, 0, 0, 0, -1, 0),
    "oblique": (COS5, SIN5, 0, -SIN5, COS5, 0),
    "coronal": (1, 0, 0, 0, 0, -1),
}


def uid(*parts: object) -> str:
    """A UID that stands for these parts."""
    import hashlib

    return ROOT + str(int(hashlib.sha256(repr(parts).encode()).hexdigest()[:16], 16))


def slice_dataset(
    pixels: npt.NDArray[Any],
    *,
    position: Sequence[float] = (0, 0, 0),
    orientation: Sequence[float] = ORIENTATIONS["axial"],
    spacing: Sequence[float] = (1.0, 1.0),
    series: str = "series",
    number: int = 1,
    slope: float | None = 1.0,
    intercept: float | None = -1024.0,
    **elements: Any,
) -> FileDataset:
    """One CT image (rows, columns), int16 or uint16; further elements by keyword, None leaves one out."""
    instance = uid(series, number, *position)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CT, instance
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    values: dict[str, Any] = {
        "SOPClassUID": CT,
        "SOPInstanceUID": instance,
        "StudyInstanceUID": uid("study"),
        "SeriesInstanceUID": uid(series),
        "FrameOfReferenceUID": uid("frame"),
        "Modality": "CT",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "PatientName": PATIENT,
        "PatientID": "PAT-4711",
        "PatientBirthDate": "19610203",
        "PatientSex": "F",
        "AccessionNumber": "ACC-0099",
        "ReferringPhysicianName": "Hausarzt^Hans",
        "StudyID": "S1",
        "StudyDate": "20240229",
        "StudyTime": "101112",
        "SeriesNumber": 3,
        "InstanceNumber": number,
        "ImagePositionPatient": [float(f"{value:.9f}") for value in position],
        "ImageOrientationPatient": [float(f"{value:.9f}") for value in orientation],
        "PixelSpacing": list(spacing),
        "SliceThickness": 2.0,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "RescaleSlope": slope,
        "RescaleIntercept": intercept,
        "PixelData": np.ascontiguousarray(pixels).tobytes(),
        **elements,
    }
    for keyword, value in values.items():
        if value is not None:
            setattr(dataset, keyword, value)
    return dataset


def series_datasets(
    volume: npt.NDArray[Any],
    *,
    orientation: Sequence[float] = ORIENTATIONS["axial"],
    origin: Sequence[float] = (-10.0, 20.0, 30.0),
    spacing: Sequence[float] = (0.7, 0.8),
    step: float = 2.5,
    **options: Any,
) -> list[FileDataset]:
    """The images of a volume (I columns, J rows, K slices), along the normal of the orientation."""
    normal = np.cross(orientation[:3], orientation[3:])
    return [
        slice_dataset(
            volume[:, :, k].T,
            position=np.array(origin) + k * step * normal,
            orientation=orientation,
            spacing=spacing,
            number=k + 1,
            **options,
        )
        for k in range(volume.shape[2])
    ]


def write_series(folder: Path, datasets: Sequence[FileDataset], *, seed: int = 0) -> Path:
    """Save images in an order and under names that say nothing of their places."""
    folder.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(seed).permutation(len(datasets))
    for name, place in enumerate(order):
        datasets[place].save_as(folder / f"IM{name:04d}", enforce_file_format=True)
    return folder


def ct_values(shape: Sequence[int], *, seed: int = 0) -> npt.NDArray[np.int16]:
    """Stored values of a CT with intercept -1024: air and soft tissue."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 1200, size=tuple(shape)).astype(np.int16)


def enhanced_dataset(values: npt.NDArray[Any], order: Sequence[int]) -> FileDataset:
    """An enhanced multi-frame CT (made by hand: shared and per-frame functional groups)."""
    single = series_datasets(values)
    whole = slice_dataset(values[:, :, 0].T)
    whole.SOPClassUID = whole.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        delattr(whole, keyword)
    del whole.RescaleSlope, whole.RescaleIntercept
    whole.NumberOfFrames = len(order)
    shared = Dataset()
    shared.PlaneOrientationSequence = Items([Dataset()])
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = list(ORIENTATIONS["axial"])
    shared.PixelMeasuresSequence = Items([Dataset()])
    shared.PixelMeasuresSequence[0].PixelSpacing = [0.7, 0.8]
    shared.PixelMeasuresSequence[0].SliceThickness = 2.5
    whole.SharedFunctionalGroupsSequence = Items([shared])
    groups = []
    for k in order:
        group = Dataset()
        group.PlanePositionSequence = Items([Dataset()])
        group.PlanePositionSequence[0].ImagePositionPatient = single[k].ImagePositionPatient
        group.PixelValueTransformationSequence = Items([Dataset()])
        group.PixelValueTransformationSequence[0].RescaleSlope = 1 + k
        group.PixelValueTransformationSequence[0].RescaleIntercept = -1000
        groups.append(group)
    whole.PerFrameFunctionalGroupsSequence = Items(groups)
    whole.PixelData = np.stack([values[:, :, k].T for k in order]).tobytes()
    return whole
