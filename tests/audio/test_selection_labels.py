"""Selection tables as labels: which window gets which tag, which table belongs to which recording."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tessera.audio.config import SoundConfig
from tessera.audio.label_files import Recordings
from tessera.audio.readers import SoundReader
from tessera.audio.selection_labels import SelectionLabels
from tessera.audio.windows import SoundWindows
from tessera.core.data.case import Case, FileRef
from tessera.core.data.make import MadeManifest, make_manifest
from tessera.core.data.manifest import Manifest
from tessera.core.data.part_labels import PartLabels
from tessera.core.errors import DataError

RATE = 1000
HEADER = "Begin Time (s)\tEnd Time (s)\tLabel\n"
Place = Callable[..., tuple[Path, Path]]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Writes recordings of so many seconds, every sample its own number, and tables; gives both folders."""

    def write(recordings: dict[str, float], tables: dict[str, str]) -> tuple[Path, Path]:
        for name, seconds in recordings.items():
            path = tmp_path / "audio" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            sound = np.arange(round(seconds * RATE), dtype=np.int16)
            sound[0] += sum(name.encode())  # no two recordings are equal
            soundfile.write(path, sound, RATE, subtype="PCM_16")
        for name, text in tables.items():
            path = tmp_path / "tables" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return tmp_path / "audio", tmp_path / "tables"

    return write


def make(folders: tuple[Path, Path], **options: object) -> MadeManifest:
    folder, labels = folders
    parts = SelectionLabels.model_validate({"window_s": 1.0, "min_overlap_s": 0.25} | options)
    out = folder.parent / "data_manifests/mine"
    return make_manifest(
        reader=SoundReader(), folder=folder, labels=labels, parts=parts, out=out, overwrite=True
    )


def tags_of(made: MadeManifest) -> dict[str, object]:
    return {case.id: case.targets["label"] for case in made.manifest.cases}


def test_it_satisfies_the_core_protocol(tmp_path: Path) -> None:
    assert isinstance(SelectionLabels(), PartLabels)
    assert not SelectionLabels().reads(tmp_path / "labels.csv")


def test_windows_have_the_tags_of_selections_that_overlap_them_enough(place: Place) -> None:
    table = HEADER + "0.2\t1.25\tfrog\n1.9\t2.2\twind\n2.5\t2.6\tclick\n0.9\t3.0\train\n0.8\t1.1\twind\n"
    made = make(place({"a.wav": 4.0}, {"a.Table.1.selections.txt": table}))
    assert tags_of(made) == {
        "a.wav#0000-1000": ("frog",),  # rain and wind share 0.1 and 0.2 s only
        "a.wav#1000-2000": ("frog", "rain"),  # frog shares exactly 0.25 s
        "a.wav#2000-3000": ("click", "rain"),  # a short one is inside as a whole
        "a.wav#3000-4000": (),
    }
    assert made.manifest.target("label").kind == "tags"
    assert {case.group for case in made.manifest.cases} == {"a"}
    (warning,) = (text for text in made.warnings if "share 0.25 s with no window" in text)
    assert "2 selections" in warning
    assert "wind in a.wav at 1.900 s" in warning


def test_the_last_window_is_moved_back_and_short_recordings_are_one_window(place: Place) -> None:
    tables = {"long.txt": HEADER + "2.4\t2.5\tfrog\n", "short.txt": HEADER + "0\t0.1\tfrog\n"}
    made = make(place({"long.wav": 2.5, "short.wav": 0.4}, tables))
    assert tags_of(made) == {
        "long.wav#0000-1000": (),
        "long.wav#1000-2000": (),
        "long.wav#1500-2500": ("frog",),
        "short.wav#000-400": ("frog",),
    }


def test_the_manifest_reads_back_and_its_windows_are_the_samples_it_names(place: Place) -> None:
    folders = place({"a.wav": 3.0}, {"a.txt": HEADER + "1.2\t1.9\tfrog\n"})
    made = make(folders)
    loaded = Manifest.load(made.manifest.folder)
    assert loaded.verify() == []
    assert loaded.total_bytes == (folders[0] / "a.wav").stat().st_size  # one file, three cases
    case = loaded.cases[1]
    assert (case.id, case.select) == ("a.wav#1000-2000", {"start_sample": 1000, "stop_sample": 2000})
    source = SoundReader().open(case)
    assert (source.grid.n_samples, source.grid.origin) == (1000, 1000)
    np.testing.assert_array_equal(source.samples(0, 1000)[0] * 32768, np.arange(1000, 2000))
    config = SoundConfig(pipeline="sound", preset="x")
    windows = SoundWindows(config)
    (region,) = windows.plan(source.grid)
    assert windows.read(source, region)["geometry"].origin == 1000  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "select", [{"start_sample": 5, "stop_sample": 3001}, {"start_sample": "5"}, {"stop_sample": 0}]
)
def test_a_selection_that_the_file_does_not_have_is_refused(place: Place, select: dict[str, int]) -> None:
    folder, _ = place({"a.wav": 3.0}, {})
    case = Case(id="a", files={"audio": FileRef(path=folder / "a.wav")}, group="a", select=select)
    with pytest.raises(DataError, match="selects samples that its file does not have"):
        SoundReader().open(case)


def test_begin_path_and_file_offset_place_rows_of_one_table_over_several_recordings(place: Place) -> None:
    table = (
        "Selection\tBegin Time (s)\tEnd Time (s)\tBegin Path\tFile Offset (s)\tSpecies\n"
        "1\t0,5\t0,9\tD:\\moved\\site1\\A.WAV\t0,5\tfrog\n"
        "2\t4,1\t4,7\tD:\\moved\\site2\\a.wav\t1,1\towl\n"
        "3\t9\t9,5\tD:\\moved\\site3\\a.wav\t0\towl\n"
    )
    made = make(place({"site1/a.WAV": 3.0, "site2/a.wav": 2.0}, {"all.selections.txt": table}))
    found = {name: tags for name, tags in tags_of(made).items() if tags}
    assert found == {"site1/a.WAV#0000-1000": ("frog",), "site2/a.wav#1000-2000": ("owl",)}
    assert made.without_file == ("D:\\moved\\site3\\a.wav",)


@pytest.mark.parametrize(
    ("text", "recording"),
    [
        ("/mnt/usb/site1/0500.wav", "site1/0500.wav"),
        ("/mnt/usb/site9/0500.wav", None),  # another site's: recorders name files by the time of day
        ("0500.wav", None),
        ("0600.wav", "site2/0600.wav"),
        ("SITE2\\0600.WAV", "site2/0600.wav"),
        ("/home/ann/here/top.wav", "top.wav"),
        ("two/Case.wav", "two/Case.wav"),
        ("two/case.wav", "two/case.wav"),
        ("two/CASE.wav", None),
    ],
)
def test_a_path_in_a_row_means_one_recording_or_none(place: Place, text: str, recording: str | None) -> None:
    names = ("site1/0500.wav", "site2/0500.wav", "site2/0600.wav", "top.wav", "two/Case.wav", "two/case.wav")
    folder, _ = place(dict.fromkeys(names, 1.0), {})
    cases = {name: Case(id=name, files={"audio": FileRef(path=folder / name)}, group=name) for name in names}
    found = Recordings(cases).named(text)
    assert (found and found.path) == recording


def test_several_recordings_without_offsets_are_not_guessed(place: Place) -> None:
    table = "Begin Time (s)\tEnd Time (s)\tBegin File\tLabel\n0\t1\ta.wav\tx\n1\t2\tb.wav\tx\n"
    with pytest.raises(DataError, match="does not say where in each") as caught:
        make(place({"a.wav": 2.0, "b.wav": 2.0}, {"all.txt": table}))
    assert "File Offset (s)" in str(caught.value)


def test_one_recording_named_in_every_row_needs_no_offset(place: Place) -> None:
    table = "Begin Time (s)\tEnd Time (s)\tBegin File\tLabel\n0\t1\tb.wav\tx\n"
    made = make(place({"a.wav": 2.0, "b.wav": 2.0}, {"notes.txt": table}))
    assert tags_of(made) == {"b.wav#0000-1000": ("x",), "b.wav#1000-2000": ()}
    assert made.unlabelled == ("a.wav",)


@pytest.mark.parametrize(
    ("table", "recording"),
    [
        ("night1.txt", "x/night1.wav"),
        ("night1.Table.1.selections.txt", "x/night1.wav"),
        ("night1.b.BirdNET.selection.table.TXT", "x/night1.b.flac"),
        ("night1.wav.txt", "x/night1.wav"),
        ("y/same.txt", "y/same.wav"),
        ("same.txt", None),
        ("night12.txt", None),
    ],
)
def test_a_table_belongs_to_the_recording_whose_name_it_begins_with(
    place: Place, table: str, recording: str | None
) -> None:
    names = ("x/night1.wav", "x/night1.b.flac", "y/same.wav", "z/same.wav")
    other = {"other.txt": HEADER + "0\t1\tx\n"}
    made = make(
        place(dict.fromkeys(names, 1.0) | {"other.wav": 1.0}, {table: HEADER + "0\t1\tfrog\n"} | other)
    )
    found = [name.partition("#")[0] for name, tags in tags_of(made).items() if tags == ("frog",)]
    assert found == ([] if recording is None else [recording])
    assert made.without_file == ((table,) if recording is None else ())


def test_a_table_without_rows_says_that_there_is_nothing_to_hear(place: Place) -> None:
    tables = {"a.txt": HEADER + "0\t1\tfrog\n", "b.txt": HEADER}
    made = make(place({"a.wav": 1.0, "b.wav": 2.0, "c.wav": 1.0}, tables))
    assert tags_of(made) == {"a.wav#0000-1000": ("frog",), "b.wav#0000-1000": (), "b.wav#1000-2000": ()}
    assert made.unlabelled == ("c.wav",)


def test_label_tracks_of_audacity_are_labels_too(place: Place) -> None:
    track = "0.1\t0.2\tfrog\n\\\t100\t900\n1.5\t1.5\tclick\n1.6\t1.7\t\n"
    made = make(place({"a.wav": 2.0}, {"a.txt": track}))
    assert tags_of(made) == {"a.wav#0000-1000": ("frog",), "a.wav#1000-2000": ("click",)}


def test_two_people_may_have_labelled_one_recording(place: Place) -> None:
    tables = {"ann/a.txt": HEADER + "0\t1\tfrog\n", "ben/a.txt": HEADER + "0\t1\tfrog\n1.1\t1.9\towl\n"}
    assert tags_of(make(place({"a.wav": 2.0}, tables))) == {
        "a.wav#0000-1000": ("frog",),
        "a.wav#1000-2000": ("owl",),
    }


def test_a_selection_after_the_end_is_an_error_and_one_over_it_a_warning(place: Place) -> None:
    made = make(place({"a.wav": 2.0}, {"a.txt": HEADER + "1.2\t2.0004\tfrog\n1.3\t2.5\towl\n"}))
    assert tags_of(made)["a.wav#1000-2000"] == ("frog", "owl")
    (warning,) = (text for text in made.warnings if "it ends after" in text)
    assert "line 3" in warning
    assert "2.500 s" in warning
    with pytest.raises(DataError, match=r"line 2: it begins after the end of a\.wav") as caught:
        make(place({}, {"a.txt": HEADER + "2.0\t2.5\tfrog\n"}))
    assert "less than 2.000 s" in str(caught.value)


def test_the_column_of_labels_is_guessed_only_when_it_is_sure(place: Place) -> None:
    both = "Begin Time (s)\tEnd Time (s)\tSpecies Code\tObserver\n0\t1\tfrog\tann\n0\t1\t\tben\n"
    folders = place({"a.wav": 1.0}, {"a.txt": both})
    with pytest.raises(DataError, match="no column is surely the label") as caught:
        make(folders)
    assert "label_column" in str(caught.value)
    made = make(folders, label_column="Species Code")
    assert tags_of(made) == {"a.wav#0000-1000": ("frog",)}
    assert any("1 selections have no Species Code" in text for text in made.warnings)
    with pytest.raises(DataError, match="no column Sort"):
        make(folders, label_column="Sort")


def test_texts_that_are_no_tables_and_folders_without_any_are_refused(place: Place) -> None:
    folders = place({"a.wav": 1.0}, {"notes.txt": "rain in the morning\n"})
    with pytest.raises(DataError, match="neither a selection table nor a label track"):
        make(folders)
    (folders[1] / "notes.txt").rename(folders[1] / "notes.md")
    with pytest.raises(DataError, match="no tables of selections"):
        make(folders)


def test_recordings_that_cannot_be_read_are_reported(place: Place) -> None:
    folders = place({"a.wav": 1.0}, {"a.txt": HEADER + "0\t1\tfrog\n", "b.txt": HEADER})
    (folders[0] / "b.wav").write_bytes(b"")
    made = make(folders)
    assert [path for path, _ in made.unreadable] == ["b.wav"]
    assert made.without_file == ("b.txt",)


def test_steps_smaller_than_a_window_are_exact_after_hours(place: Place) -> None:
    made = make(place({"a.wav": 30.0}, {"a.txt": HEADER + "29\t30\tfrog\n"}), window_s=2.9, hop_s=0.1)
    starts = [case.select["start_sample"] for case in made.manifest.cases]
    assert starts == [100 * k for k in range(272)]
    assert list(tags_of(made).values()).count(("frog",)) == 8  # those that end after 29.25 s
