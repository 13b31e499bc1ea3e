"""Pseudonyms: the same for the same key, unlike for another, and nothing else of the patient."""

from __future__ import annotations

import stat
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID

from tessera.core.errors import DataError
from tessera.medical.anonymise import KEPT, SHIFT_DAYS, Pseudonyms, completed, new_uid

from .dicom_files import PATIENT, ct_values, slice_dataset

KEY = bytes(range(32))
SOME = Pseudonyms(KEY, Path("unused"))


def day(text: str) -> date:
    return date(int(text[:4]), int(text[4:6]), int(text[6:]))


@given(st.text(max_size=70))
def test_uids_are_valid_repeatable_and_depend_on_the_key(original: str) -> None:
    found = UID(SOME.uid(original))
    assert found.is_valid
    assert found == SOME.uid(original)
    assert found != Pseudonyms(KEY[::-1], Path("unused")).uid(original)


def test_a_uid_is_made_of_the_digests_first_128_bits() -> None:
    assert new_uid(b"\0" * 15 + b"\x07" + b"rest of the digest") == "2.25.7"
    assert len(new_uid(b"\xff" * 32)) <= 64


@given(
    st.dates(date(1950, 1, 1), date(2040, 1, 1)),
    st.dates(date(1950, 1, 1), date(2040, 1, 1)),
    st.text(max_size=9),
)
def test_dates_of_a_patient_keep_their_distance_and_move_back(
    first: date, second: date, patient: str
) -> None:
    moved = [day(SOME.shifted(one.strftime("%Y%m%d"), patient)) for one in (first, second)]
    assert moved[1] - moved[0] == second - first
    assert 1 <= (first - moved[0]).days <= SHIFT_DAYS


def test_patients_move_by_days_of_their_own_and_no_date_stays_none() -> None:
    assert len({SOME.shifted("20200101", f"patient {n}") for n in range(20)}) > 15
    assert [SOME.shifted(text, "p") for text in ("", "2020", "20209999", "soon")] == [""] * 4


def test_the_key_is_made_once_and_belongs_to_its_owner(tmp_path: Path) -> None:
    folder = tmp_path / "secret"
    first, second = Pseudonyms.open(folder), Pseudonyms.open(folder)
    assert first == second
    assert len(first.key) == 32
    assert [file.name for file in folder.iterdir()] == ["key"]
    assert stat.S_IMODE((folder / "key").stat().st_mode) == 0o600
    assert Pseudonyms.open(tmp_path / "other").key != first.key
    (folder / "key").write_text("cut")
    with pytest.raises(DataError, match="holds no key"):
        Pseudonyms.open(folder)


def test_the_first_of_two_processes_gives_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Pseudonyms.open(tmp_path)
    monkeypatch.setattr(Path, "exists", lambda _: False)  # as the second saw it a moment before
    assert Pseudonyms.open(tmp_path) == first


def test_a_source_keeps_geometry_and_loses_the_rest() -> None:
    header = slice_dataset(
        ct_values((4, 5)),
        PatientAddress="Hauptstrasse 1",
        InstitutionName="Klinikum",
        OperatorsName="Ops^Olga",
    )
    header.private_block(0x0029, "MAKER", create=True).add_new(1, "LO", PATIENT)
    new = SOME.source(header)
    text = str(new)
    for secret in (
        PATIENT,
        "PAT-4711",
        "19610203",
        "Hauptstrasse",
        "Klinikum",
        "Olga",
        "MAKER",
        "20240229",
        "101112",
    ):
        assert secret not in text, secret
    for keyword in ("Rows", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"):
        assert keyword in KEPT
        assert new[keyword].value == header[keyword].value
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
        assert new[keyword].value == SOME.uid(header[keyword].value)
    assert new.PatientBirthDate == new.AccessionNumber == ""


def test_two_studies_of_a_patient_stay_together() -> None:
    studies = [SOME.source(slice_dataset(ct_values((4, 5)), StudyInstanceUID=f"1.2.{n}")) for n in (3, 4)]
    assert studies[0].PatientID == studies[1].PatientID
    assert studies[0].StudyInstanceUID != studies[1].StudyInstanceUID
    other = SOME.source(slice_dataset(ct_values((4, 5)), PatientID="PAT-4712"))
    assert other.PatientID != studies[0].PatientID


def test_the_list_of_who_is_who_names_both_sides(tmp_path: Path) -> None:
    pseudonyms = Pseudonyms.open(tmp_path)
    header = slice_dataset(ct_values((4, 5)))
    new = pseudonyms.source(header)
    pseudonyms.remember("case 1", header, new)
    (entry,) = (tmp_path / "who").iterdir()
    text = entry.read_text()
    assert "case: case 1" in text
    assert f"PatientID: PAT-4711 -> {new.PatientID}" in text


def test_missing_elements_are_completed_in_the_same_way_each_time() -> None:
    def bare() -> object:
        header = slice_dataset(ct_values((4, 5)), StudyInstanceUID="", SeriesInstanceUID="", PatientName=None)
        return completed(header)

    first, second = bare(), bare()
    assert first == second
    assert UID(first.StudyInstanceUID).is_valid  # type: ignore[attr-defined]
    assert first.StudyInstanceUID != first.SeriesInstanceUID  # type: ignore[attr-defined]
    assert first.PatientName == ""  # type: ignore[attr-defined]
