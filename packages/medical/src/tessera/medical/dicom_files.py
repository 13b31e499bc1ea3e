"""Single DICOM files: known by their content, read without pixels, grouped into series."""

from __future__ import annotations

import hashlib
import logging
import struct
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pydicom
from pydicom.uid import UID

from tessera.core.data.case import Case, FileRef
from tessera.core.errors import DataError

ID_DIGITS = 12  # hex digits of a case's id
# Storage classes of PS3.4 table B.5-1 that hold pixels or values but no scan.
NO_SCAN = (
    "1.2.840.10008.5.1.4.1.1.66.",  # registrations, fiducials, segmentations
    "1.2.840.10008.5.1.4.1.1.481.",  # radiotherapy: dose, structures, plans, images
    "1.2.840.10008.5.1.4.1.1.30",  # parametric maps
    "1.2.840.10008.5.1.4.1.1.68.",  # surfaces
    "1.2.840.10008.5.1.4.1.1.88.",  # structured reports
    "1.2.840.10008.5.1.4.1.1.9.",  # waveforms
    "1.2.840.10008.5.1.4.1.1.11.",  # presentation states
    "1.2.840.10008.5.1.4.1.1.104.",  # encapsulated documents
)
_FOUND_BY = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "Rows",
    "SpecificCharacterSet",
)

Dataset = Any

log = logging.getLogger(__name__)


def looks_like_dicom(path: Path) -> bool:
    """Whether the name or the first bytes are those of a DICOM file, with or without the preamble."""
    if path.name.lower().endswith((".dcm", ".dicom", ".ima")):
        return True
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError:
        return False
    if start[128:132] == b"DICM":
        return True
    if len(start) < 8:
        return False
    group, element = struct.unpack("<HH", start[:4])
    explicit = start[4:6].isalpha() and start[4:6].isupper()
    short = struct.unpack("<I", start[4:8])[0] <= 64  # implicit: the length of a short element
    return group in (2, 8) and element < 0x0020 and (explicit or short)


def read_header(path: Path, *, only: Iterable[str] | None = None) -> Dataset:
    """Everything before the pixels.

    Args:
        path: The file.
        only: Keywords of the elements wanted; None: all.
    """
    wanted: Any = None if only is None else list(only)
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=wanted, force=True)
    except FileNotFoundError:
        raise DataError(f"there is no file {path}") from None
    except Exception as error:  # of damaged bytes pydicom raises errors of many kinds
        raise unreadable(path, error) from None
    if not class_of(header):
        raise unreadable(path, ValueError("it does not say what kind of object it is (SOP Class UID)"))
    return header


def unreadable(path: Path, error: Exception) -> DataError:
    """The error of a damaged file."""
    return DataError(
        f"cannot read the DICOM file {path}",
        found=" ".join(f"{type(error).__name__}: {error}".split()),
        expected="a complete DICOM file",
        hint="fetch the series from the archive again",
    )


def class_of(header: Dataset) -> str:
    """SOP Class UID, also where only the file's meta part has it; empty when nothing says it."""
    return str(header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID") or "")


def instance_of(header: Dataset) -> str:
    """SOP Instance UID, also where only the file's meta part has it."""
    return str(header.get("SOPInstanceUID") or header.file_meta.get("MediaStorageSOPInstanceUID") or "")


def find_series(paths: Iterable[Path], root: Path) -> list[Case]:
    """One case a series; objects that are never a volume are left out and counted in the log.

    Args:
        paths: DICOM files.
        root: Damaged files are named by their path below this folder.
    """
    series: dict[str, list[tuple[Path, Dataset]]] = {}
    left_out: Counter[str] = Counter()
    cases = []
    for path in sorted(paths):
        try:
            header = read_header(path, only=_FOUND_BY)
        except DataError:  # a case of its own, so that its failure is seen
            name = path.relative_to(root).as_posix()
            cases.append(Case(id=name, files={"image": (FileRef(path=path),)}, group=name))
            continue
        if kind := _no_scan(header):
            left_out[kind] += 1
            continue
        key = str(header.get("SeriesInstanceUID") or "") or f"{path.parent}"
        series.setdefault(key, []).append((path, header))
    for kind, n in sorted(left_out.items()):
        log.info("%d DICOM files that are no scan are left out: %s", n, kind)
    return cases + [_case(members) for members in series.values()]


def short_digest(text: str) -> str:
    """Twelve hex digits that stand for a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:ID_DIGITS]


def _no_scan(header: Dataset) -> str:
    """What the object is when it is never a volume, else nothing."""
    kind = class_of(header)
    if "Rows" in header and not kind.startswith(NO_SCAN):
        return ""
    return UID(kind).name


def _case(members: list[tuple[Path, Dataset]]) -> Case:
    first = members[0][1]
    series = str(first.get("SeriesInstanceUID") or "")
    if not series:  # anonymised away; the instances' own UIDs do not depend on where the files lie
        series = " ".join(sorted(instance_of(header) for _, header in members))
    return Case(
        id=short_digest(series),
        files={"image": tuple(FileRef(path=path) for path, _ in members)},
        group=short_digest(str(first.get("StudyInstanceUID") or series)),
        meta={"modality": str(first.get("Modality") or "")},
    )
