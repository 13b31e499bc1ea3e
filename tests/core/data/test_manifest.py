from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tessera.core.data.case import Case, FileRef, Target
from tessera.core.data.dataset_info import DatasetInfo, ListedFile
from tessera.core.data.manifest import Manifest
from tessera.core.data.targets import TargetSpec
from tessera.core.errors import DataError

Edit = Callable[[str], str]


def edited(manifest: Manifest, edit: Edit, name: str = "samples.csv") -> Path:
    """The saved manifest's folder after changing the text of one of its files."""
    path = manifest.folder / name
    path.write_text(edit(path.read_text(encoding="utf-8")), encoding="utf-8")
    return manifest.folder


def lines(edit: Callable[[list[str]], list[str]]) -> Edit:
    return lambda text: "\n".join(edit(text.splitlines())) + "\n"


def test_what_was_saved_is_loaded_again(manifest: Manifest) -> None:
    loaded = Manifest.load(manifest.folder)
    assert loaded.info == manifest.info
    assert loaded.digest == manifest.digest
    assert [case.id for case in loaded.cases] == ["a1", "a2", "b1", "b2"]
    first = loaded.cases[0]
    assert first.path("text").read_text(encoding="utf-8") == "one"
    assert (first.group, first.split, dict(first.targets)) == ("a", "", {"label": "call"})
    assert dict(first.meta) == {"site": "north, hill"}
    assert dict(loaded.cases[2].meta) == {}
    assert loaded.cases[1].targets["label"] == "no"
    assert loaded == Manifest.load(manifest.folder / "dataset.yaml")


def test_sizes_and_hashes_are_those_of_the_files(manifest: Manifest) -> None:
    reference = manifest.cases[2].files["text"]
    assert isinstance(reference, ListedFile)
    assert reference.sha256 == hashlib.sha256(b"three").hexdigest()
    assert (reference.bytes, reference.relative) == (5, "b/1.txt")
    assert manifest.total_bytes == len("onetwothreefour")


def test_saving_twice_gives_the_same_bytes_whatever_the_order_of_the_cases(
    manifest: Manifest, tmp_path: Path
) -> None:
    turned = Manifest.create(manifest.info, reversed(manifest.cases), folder=manifest.folder)
    turned.save(tmp_path / "again")
    for name in ("dataset.yaml", "samples.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (manifest.folder / name).read_bytes()
    assert b"\r" not in (manifest.folder / "samples.csv").read_bytes()
    assert sorted(p.name for p in manifest.folder.iterdir()) == ["dataset.yaml", "samples.csv"]


def test_a_different_manifest_is_only_overwritten_on_purpose(manifest: Manifest) -> None:
    manifest.save(manifest.folder)
    fewer = replace(manifest, cases=manifest.cases[:2])
    with pytest.raises(DataError, match="another manifest"):
        fewer.save(manifest.folder)
    assert len(Manifest.load(manifest.folder).cases) == 4
    fewer.save(manifest.folder, overwrite=True)
    assert len(Manifest.load(manifest.folder).cases) == 2


def test_the_digest_follows_content_and_not_places_or_prose(manifest: Manifest, tmp_path: Path) -> None:
    moved = tmp_path / "some" / "where" / "demo"
    shutil.copytree(manifest.folder, moved)
    assert Manifest.load(moved).cases[0].files["text"].path is None  # type: ignore[union-attr]
    assert Manifest.load(moved).digest == manifest.digest
    prose = manifest.info.model_copy(update={"title": "New", "urls": ("https://x.org",), "root": "/data"})
    assert replace(manifest, info=prose).digest == manifest.digest
    turned = replace(manifest, cases=manifest.cases[::-1])
    assert turned.digest == manifest.digest
    relabelled = replace(manifest.cases[0], targets={"label": "no"})
    assert replace(manifest, cases=(relabelled, *manifest.cases[1:])).digest != manifest.digest
    regrouped = replace(manifest.cases[0], group="c")
    assert replace(manifest, cases=(regrouped, *manifest.cases[1:])).digest != manifest.digest
    assert replace(manifest, cases=manifest.cases[:3]).digest != manifest.digest


def test_verify_names_missing_shorter_and_changed_files(manifest: Manifest, tmp_path: Path) -> None:
    assert manifest.verify() == []
    folder = tmp_path / "recordings"
    (folder / "a/1.txt").unlink()
    (folder / "a/2.txt").write_text("tw", encoding="utf-8")
    (folder / "b/1.txt").write_text("THREE", encoding="utf-8")
    problems = Manifest.load(manifest.folder).verify()
    assert [(p.case_id, p.path) for p in problems] == [
        ("a1", "a/1.txt"),
        ("a2", "a/2.txt"),
        ("b1", "b/1.txt"),
    ]
    assert "not found in" in problems[0].what
    assert "2 bytes instead of 3" in problems[1].what
    assert "another content" in problems[2].what
    quick = Manifest.load(manifest.folder).verify(rehash=False)
    assert [p.case_id for p in quick] == ["a1", "a2"]


def test_verify_tells_every_byte(manifest: Manifest) -> None:
    told: list[int] = []
    manifest.verify(told.append)
    assert sum(told) == manifest.total_bytes


def test_several_files_of_a_case_are_told_by_role(tmp_path: Path) -> None:
    for name in ("x", "y", "z"):
        (tmp_path / f"{name}.bin").write_text(name, encoding="utf-8")
    refs = {name: FileRef(path=tmp_path / f"{name}.bin") for name in "xyz"}
    case = Case(
        id="scan",
        files={"mask": refs["x"], "slices": (refs["z"], refs["y"])},
        select={"series": "1.2.840", "hdu": 2, "start_s": 1.5, "code": "007"},
        group="patient",
    )
    Manifest.create(DatasetInfo(id="scans", root=".."), [case], folder=tmp_path / "m").save(tmp_path / "m")
    loaded = Manifest.load(tmp_path / "m").cases[0]
    slices = loaded.files["slices"]
    assert isinstance(slices, tuple)
    assert [ref.path and ref.path.name for ref in slices] == ["z.bin", "y.bin"]
    assert loaded.path("mask").name == "x.bin"
    assert dict(loaded.select) == {"series": "1.2.840", "hdu": 2, "start_s": 1.5, "code": "007"}


def test_tags_numbers_and_missing_values_survive(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_text("x", encoding="utf-8")
    (tmp_path / "y.bin").write_text("y", encoding="utf-8")
    targets = {
        "heard": TargetSpec(kind="tags", classes=("rain", "wind")),
        "rt60": TargetSpec(kind="number", unit="s", partial=True),
        "size": TargetSpec(kind="numbers", classes=("height", "width"), unit="m", partial=True),
    }
    values: list[dict[str, Target]] = [
        {"heard": ("wind", "rain"), "rt60": 0.1 + 0.2, "size": (1 / 3, 4.0)},
        {"heard": ()},
    ]
    cases = [
        Case(id=name, files={"file": FileRef(path=tmp_path / f"{name}.bin")}, targets=value, group=name)
        for name, value in zip("xy", values, strict=True)
    ]
    info = DatasetInfo(id="rooms", root="..", targets=targets)
    Manifest.create(info, cases, folder=tmp_path / "m").save(tmp_path / "m")
    loaded = Manifest.load(tmp_path / "m")
    assert [dict(case.targets) for case in loaded.cases] == values
    assert "wind|rain" in (tmp_path / "m/samples.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lines(lambda rows: [*rows, rows[1]]), ["line 6", "duplicate id 'a1'", "line 2"]),
        (lines(lambda rows: [row.replace("a2,", "a1,", 1) for row in rows]), ["duplicate id 'a1'"]),
        (lambda text: text.replace("group", "grp", 1), ["missing columns group", "columns id, role, path"]),
        (lambda text: text.replace("meta.site", "site", 1), ["unknown columns site", "meta."]),
        (lambda text: text.replace("target.label", "target.labl", 1), ["missing columns target.label"]),
        (lambda text: text.replace("meta.site", "target.site", 1), ["does not declare target.site"]),
        (lambda text: text.replace("meta.site", "split", 1), ["columns given twice split"]),
        (lambda text: text.replace(",call,", ",cal,", 1), ["line 2", "'cal'", "call, no"]),
        (lambda text: text.replace(",call,", ",,", 1), ["a1", "file without a label"]),
        (lambda text: text.replace("a/1.txt", "", 1), ["a1", "label without a file"]),
        (lambda text: text.replace("a/1.txt", "../1.txt", 1), ["line 2", "leaves the data root"]),
        (lambda text: text.replace("a/1.txt", "/etc/passwd", 1), ["leaves the data root"]),
        (lambda text: text.replace("a/1.txt", "C:/1.txt", 1), ["leaves the data root"]),
        (lambda text: text.replace("a/1.txt", "..\\1.txt", 1), ["leaves the data root"]),
        (lambda text: text.replace("a/1.txt", "a//1.txt", 1), ["not plain"]),
        (lambda text: text.replace("a1,", "../a1,", 1), ["cannot be an id"]),
        (lambda text: text.replace("a1,", ",", 1), ["cannot be an id"]),
        (lambda text: text.replace(",3,a,", ",3,,", 1), ["a1", "no group"]),
        (lambda text: text.replace(",3,a,", ",3 kB,a,", 1), ["no size", "3 kB"]),
        (lambda text: text.replace(hashlib.sha256(b"one").hexdigest(), "abc", 1), ["no SHA-256", "abc"]),
        (lambda text: text.replace('"north, hill"', "north, hill", 1), ["line 2", "does not fit the header"]),
        (lambda text: text.replace(",", ";"), ["missing columns", "separated by commas"]),
        (lines(lambda rows: rows[:1]), ["lists no files"]),
        (lambda text: "", ["missing columns", "(none)"]),
    ],
)
def test_a_bad_table_is_refused_with_its_place(manifest: Manifest, edit: Edit, words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        Manifest.load(edited(manifest, edit))
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda text: text + "\nlicense: MIT\n", ["license", "licence"]),
        (lambda text: text + "id: again\n", ["duplicate key 'id'"]),
        (lambda text: text.replace("id: demo", "id: ../demo"), ["id"]),
        (lambda text: text + "urls: [ftp://x.org]\n", ["http"]),
        (lambda text: text.replace("classes: [call, ", "classes: [call, call, "), ["call"]),
    ],
)
def test_a_bad_head_is_refused_with_its_field(manifest: Manifest, edit: Edit, words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        Manifest.load(edited(manifest, edit, "dataset.yaml"))
    assert [word for word in words if word not in str(caught.value)] == []


def test_a_table_saved_by_a_spreadsheet_with_a_byte_order_mark_is_read(manifest: Manifest) -> None:
    path = manifest.folder / "samples.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert Manifest.load(manifest.folder).digest == manifest.digest


def test_a_link_out_of_the_root_is_refused(manifest: Manifest, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("one", encoding="utf-8")
    inside = tmp_path / "recordings/a/1.txt"
    inside.unlink()
    inside.symlink_to(secret)
    with pytest.raises(DataError, match="link that leaves the data root"):
        Manifest.load(manifest.folder)


def test_a_root_that_is_itself_a_link_is_fine(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "recordings").rename(tmp_path / "real")
    (tmp_path / "recordings").symlink_to(tmp_path / "real", target_is_directory=True)
    assert Manifest.load(manifest.folder).verify() == []


def test_equal_contents_in_two_groups_are_a_warning_and_with_two_labels_an_error(
    manifest: Manifest, tmp_path: Path
) -> None:
    copy = tmp_path / "recordings/b/1.txt"
    copy.write_text("one", encoding="utf-8")  # the content of a/1.txt, also a call
    cases = [replace(case, files={"text": FileRef(path=case.path("text"))}) for case in manifest.cases]
    made = Manifest.create(manifest.info, cases, folder=manifest.folder)
    assert len(made.warnings) == 1
    assert all(word in made.warnings[0] for word in ("a1", "b1", "(a, b)"))
    cases[2] = replace(cases[2], targets={"label": "no"})
    with pytest.raises(DataError, match="the same content has different labels: a1, b1"):
        Manifest.create(manifest.info, cases, folder=manifest.folder)


def test_two_parts_of_one_file_are_not_doubled(manifest: Manifest) -> None:
    first = manifest.cases[0]
    parts = [
        replace(first, id="x", select={"start_s": 0}, group="g0"),
        replace(first, id="y", select={"start_s": 5}, group="g1", targets={"label": "no"}),
    ]
    assert Manifest.create(manifest.info, parts, folder=manifest.folder).warnings == ()


def test_one_class_loads_but_does_not_train(manifest: Manifest) -> None:
    loaded = Manifest.load(edited(manifest, lambda text: text.replace(",call,", ",no,")))
    with pytest.raises(DataError) as caught:
        loaded.training_cases("label")
    assert all(word in str(caught.value) for word in ("one class only", "4 cases, all no", "at least two"))
    assert len(manifest.training_cases("label")) == 4


def test_partial_targets_leave_unlabelled_cases_out_of_training(manifest: Manifest) -> None:
    edited(
        manifest, lambda text: text.replace("kind: class", "kind: class\n    partial: true"), "dataset.yaml"
    )
    loaded = Manifest.load(edited(manifest, lambda text: text.replace(",call,", ",,", 1)))
    assert "label" not in loaded.cases[0].targets
    assert [case.id for case in loaded.training_cases("label")] == ["a2", "b1", "b2"]


def test_an_unknown_target_lists_the_known_ones(manifest: Manifest) -> None:
    with pytest.raises(DataError, match="label"):
        manifest.target("species")
    assert manifest.target("label").classes == ("call", "no")


def test_files_outside_the_root_cannot_be_listed(manifest: Manifest, tmp_path: Path) -> None:
    stray = tmp_path / "stray.txt"
    stray.write_text("x", encoding="utf-8")
    case = Case(id="s", files={"text": FileRef(path=stray)}, targets={"label": "no"}, group="s")
    with pytest.raises(DataError, match="outside the data root"):
        Manifest.create(manifest.info, [case], folder=manifest.folder)


def test_mirrors_become_addresses_of_each_file(manifest: Manifest) -> None:
    head = edited(manifest, lambda text: text + "urls: [https://x.org/d/, http://y.org]\n", "dataset.yaml")
    edited(manifest, lambda text: text.replace("a/1.txt", "a/1 #é.txt"))
    reference = Manifest.load(head).cases[0].files["text"]
    assert isinstance(reference, ListedFile)
    assert reference.urls == ("https://x.org/d/a/1%20%23%C3%A9.txt", "http://y.org/a/1%20%23%C3%A9.txt")


def test_reading_manifests_and_splits_needs_no_torch() -> None:
    modules = "manifest, splits, fetch, make, cache, targets, hashing, locate"
    code = f"import sys; from tessera.core.data import {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
