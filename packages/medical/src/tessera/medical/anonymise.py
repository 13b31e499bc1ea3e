"""Pseudonyms for DICOM outputs: keyed, the same in every run that has the key, who is who kept elsewhere.

What a DICOM output takes from its source is a short list of elements (geometry, class, modality). Everything
else of the Basic Application Level Confidentiality Profile (DICOM PS3.15, annex E) is replaced or left empty,
private elements are never taken. Dates move by a number of days of the patient's own.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items

from tessera.core.data.atomic import write_atomic
from tessera.core.errors import DataError
from tessera.medical.dicom_files import class_of, instance_of

KEY_FILE = "key"
KEY_BYTES = 32
SHIFT_DAYS = 3650  # dates move back by 1 to this many days
UNKNOWN_DATE = "19000101"
METHOD = "Tessera: only geometry kept; UIDs, ids and dates by keyed hash"  # 64 characters at most
METHODS = (  # PS3.16, CID 7050
    ("113100", "Basic Application Confidentiality Profile"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
)
# What an output may know of its source as it is.
KEPT = (
    "Modality",
    "Rows",
    "Columns",
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SliceThickness",
    "SpacingBetweenSlices",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "LossyImageCompression",
)
KEPT_OF_FRAMES = ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
# Elements of the patient and study that DICOM-SEG requires, perhaps empty (type 2).
REQUIRED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyID",
    "StudyDate",
    "StudyTime",
)


@dataclass(frozen=True)
class Pseudonyms:
    """Replacements that only the key's owner can repeat.

    Args:
        key: The secret.
        folder: Where the key and the list of who is who lie.
    """

    key: bytes
    folder: Path

    @classmethod
    def open(cls, folder: Path) -> Pseudonyms:
        """The pseudonyms of a folder; makes the key when there is none, readable by its owner only."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / KEY_FILE
        if not path.exists():
            fresh = folder / f".{KEY_FILE}.{secrets.token_hex(8)}"
            try:
                fresh.touch(mode=0o600)
                fresh.write_text(secrets.token_hex(KEY_BYTES), encoding="ascii")
                path.hardlink_to(fresh)  # appears whole, and only if no other process was first
            except FileExistsError:
                pass
            finally:
                fresh.unlink(missing_ok=True)
        try:
            key = bytes.fromhex(path.read_text(encoding="ascii").strip())
        except (OSError, ValueError):
            key = b""
        if len(key) < KEY_BYTES:
            raise DataError(
                f"{path} holds no key",
                expected=f"{2 * KEY_BYTES} hex digits",
                hint="restore it from a copy: another key gives patients other pseudonyms",
            )
        return cls(key, folder)

    def uid(self, original: str) -> str:
        """A new UID, derived from a UUID (PS3.5, B.2)."""
        return new_uid(self._digest("uid", original))

    def patient(self, original: str) -> str:
        """A new identifier of a patient."""
        return f"P{self._digest('patient', original)[:6].hex().upper()}"

    def shifted(self, day: str, patient: str) -> str:
        """A date (YYYYMMDD) moved by the patient's own number of days; empty when it is no date."""
        days = 1 + int.from_bytes(self._digest("days", patient)[:4]) % SHIFT_DAYS
        try:
            found = date(int(day[:4]), int(day[4:6]), int(day[6:8]))
        except ValueError:
            return ""
        return (found - timedelta(days=days)).strftime("%Y%m%d")

    def source(self, header: Dataset) -> Dataset:
        """What an output may know of one source image, under pseudonyms."""
        patient = f"{header.get('IssuerOfPatientID') or ''} {header.get('PatientID') or ''}"
        if not patient.strip():
            patient = str(header.get("StudyInstanceUID") or "")
        new = _kept(header)
        new.file_meta = FileMetaDataset()
        new.file_meta.TransferSyntaxUID = header.file_meta.get("TransferSyntaxUID")
        new.SOPClassUID, new.SOPInstanceUID = class_of(header), self.uid(instance_of(header))
        for keyword in UIDS:
            if header.get(keyword):
                setattr(new, keyword, self.uid(str(header.get(keyword))))
        for keyword in REQUIRED:
            setattr(new, keyword, "")
        new.PatientID = self.patient(patient)
        new.PatientName = f"{new.PatientID}^"  # a family name alone
        new.StudyDate = self.shifted(str(header.get("StudyDate") or ""), patient)
        return new

    def remember(self, case_id: str, original: Dataset, new: Dataset) -> None:
        """Write who is who of one case to the folder."""
        names = ("PatientID", "PatientName", "StudyInstanceUID", "SeriesInstanceUID", "StudyDate")
        lines = [f"{name}: {original.get(name, '')} -> {new.get(name, '')}" for name in names]
        name = hashlib.sha256(case_id.encode()).hexdigest()[:12]
        write_atomic(self.folder / "who" / f"{name}.txt", "\n".join([f"case: {case_id}", *lines, ""]))

    def _digest(self, kind: str, text: str) -> bytes:
        return hmac.new(self.key, f"{kind}\0{text}".encode(), hashlib.sha256).digest()


def mark_pseudonymous(dataset: Dataset) -> None:
    """Say in a dataset that the patient's identity was removed, and how."""
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = METHOD
    dataset.LongitudinalTemporalInformationModified = "MODIFIED"
    items = []
    for value, meaning in METHODS:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
        items.append(item)
    dataset.DeidentificationMethodCodeSequence = Items(items)


def completed(header: Dataset) -> Dataset:
    """A source image as it is, with what an anonymised archive left out: empty, or the same on each run."""
    header.SOPClassUID, header.SOPInstanceUID = class_of(header), instance_of(header)
    for keyword in REQUIRED:
        if keyword not in header:
            setattr(header, keyword, "")
    for keyword in UIDS[:2]:
        if not header.get(keyword):
            known = str(header.get("FrameOfReferenceUID") or "") or instance_of(header)
            setattr(header, keyword, new_uid(hashlib.sha256(f"{keyword}\0{known}".encode()).digest()))
    return header


def new_uid(digest: bytes) -> str:
    """A UID made of the first 128 bits of a digest (PS3.5, B.2)."""
    return f"2.25.{int.from_bytes(digest[:16])}"


def _kept(header: Dataset) -> Dataset:
    new = Dataset()
    for keyword in KEPT:
        if keyword in header:
            setattr(new, keyword, header[keyword].value)
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        if keyword in header:
            setattr(new, keyword, Items([_kept_of_frame(item) for item in header[keyword].value]))
    return new


def _kept_of_frame(group: Dataset) -> Dataset:
    new = Dataset()
    for keyword in KEPT_OF_FRAMES:
        if keyword in group:
            inner: Any = Items([_kept(item) for item in group[keyword].value])
            setattr(new, keyword, inner)
    return new
