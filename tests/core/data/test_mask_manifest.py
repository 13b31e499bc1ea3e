"""A mask is a file of its own among a case's targets."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tessera.core.data.case import Case, FileRef
from tessera.core.data.dataset_info import DatasetInfo, ListedFile
from tessera.core.data.fetch import fetch
from tessera.core.data.hashing import InputHasher
from tessera.core.data.manifest import Manifest
from tessera.core.data.splits import check_classes, make_split
from tessera.core.data.targets import TargetSpec
from tessera.core.errors import ConfigError, DataError

MASK = TargetSpec(kind="mask", classes=("background", "disc"))
NAMES = ("a", "b", "c", "d", "e", "f")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        for kind, text in (("images", f"image {name}"), ("masks", f"mask {name}")):
            file = tmp_path / "set" / kind / f"{name}.bin"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    return tmp_path / "set"


def a_case(folder: Path, name: str, *, mask: str | None = None) -> Case:
    return Case(
        id=name,
        files={"image": FileRef(path=folder / "images" / f"{name}.bin")},
        targets={"label": FileRef(path=folder / "masks" / f"{mask or name}.bin")},
        group=name,
    )


def make(folder: Path, cases: list[Case] | None = None, *, spec: TargetSpec = MASK) -> Manifest:
    info = DatasetInfo(id="set", title="discs", role="image", targets={"label": spec})
    manifest = Manifest.create(info, cases or [a_case(folder, name) for name in NAMES], folder=folder)
    manifest.save(folder)
    return manifest


def test_a_mask_is_listed_with_path_hash_and_size_and_loaded_again(folder: Path) -> None:
    made = make(folder)
    head, first, *_ = (folder / "samples.csv").read_text(encoding="utf-8").splitlines()
    assert "target.label,target.label_sha256,target.label_bytes" in head
    digest = hashlib.sha256(b"mask a").hexdigest()
    assert f"masks/a.bin,{digest},6" in first
    loaded = Manifest.load(folder)
    assert loaded.cases == made.cases
    assert loaded.digest == made.digest
    mask = loaded.cases[0].target_file("label")
    assert mask == ListedFile(folder / "masks" / "a.bin", (), digest, 6, "masks/a.bin")
    assert loaded.cases[0].target_files() == (mask,)
    assert loaded.total_bytes == len(NAMES) * (len("image a") + len("mask a"))


def test_a_mask_that_changed_or_is_gone_is_told(folder: Path) -> None:
    manifest = make(folder)
    assert manifest.verify() == []
    (folder / "masks" / "a.bin").write_text("mask A")
    (folder / "masks" / "b.bin").unlink()
    problems = Manifest.load(folder).verify()
    assert [(p.case_id, p.path) for p in problems] == [("a", "masks/a.bin"), ("b", "masks/b.bin")]


def test_a_mask_is_fetched_with_its_image(folder: Path, tmp_path: Path) -> None:
    manifest = make(folder)
    report = fetch(manifest, dest=tmp_path / "here")
    assert report.present == 2 * len(NAMES)
    (folder / "masks" / "a.bin").unlink()
    with pytest.raises(DataError, match="names no address"):
        fetch(Manifest.load(folder), dest=tmp_path / "here")


def test_the_input_of_a_prediction_does_not_depend_on_the_mask(folder: Path) -> None:
    case = make(folder).cases[0]
    hasher = InputHasher()
    without = replace(case, targets={})
    assert hasher.hash(case.all_files(), case.select) == hasher.hash(without.all_files(), without.select)


def test_the_digest_follows_the_mask(folder: Path, tmp_path: Path) -> None:
    first = make(folder).digest
    (folder / "masks" / "a.bin").write_text("mask A")
    again = Manifest.create(
        DatasetInfo(id="set", title="discs", role="image", targets={"label": MASK}),
        [a_case(folder, name) for name in NAMES],
        folder=folder,
    )
    assert again.digest != first


def test_one_image_with_two_masks_is_refused_and_a_copied_mask_is_not(folder: Path) -> None:
    (folder / "images" / "b.bin").write_text("image a")
    with pytest.raises(DataError, match="different labels: a, b"):
        make(folder)
    (folder / "masks" / "b.bin").write_text("mask a")
    assert "different groups" in make(folder).warnings[0]


def test_a_mask_outside_the_root_cannot_be_listed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "far.bin").write_text("far")
    case = replace(a_case(folder, "a"), targets={"label": FileRef(path=tmp_path / "far.bin")})
    with pytest.raises(DataError, match="outside the data root"):
        make(folder, [case])


def test_cases_without_a_mask_are_refused_unless_the_target_is_partial(folder: Path) -> None:
    cases = [a_case(folder, name) for name in NAMES]
    cases[0] = replace(cases[0], targets={})
    with pytest.raises(DataError, match="without a label"):
        make(folder, cases)
    partial = make(folder, cases, spec=MASK.model_copy(update={"partial": True}))
    assert [case.id for case in partial.training_cases("label")] == list(NAMES[1:])


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda text: text.replace("masks/a.bin", "../a.bin"), "target label: the path leaves"),
        (lambda text: text.replace("target.label_bytes", "target.label_size"), "missing columns"),
        (lambda text: text.replace("masks/a.bin," + hashlib.sha256(b"mask a").hexdigest(), "masks/a.bin,x"),
         "target label: this is no SHA-256"),
    ],
)  # fmt: skip
def test_a_bad_row_is_refused_with_its_place(folder: Path, edit: Callable[[str], str], words: str) -> None:
    make(folder)
    table = folder / "samples.csv"
    table.write_text(edit(table.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(DataError, match=words):
        Manifest.load(folder)


def test_two_targets_cannot_share_a_column() -> None:
    with pytest.raises((ConfigError, ValueError), match="label_sha256"):
        DatasetInfo(id="x", targets={"label": MASK, "label_sha256": TargetSpec(kind="number")})


def test_cases_with_masks_are_split_by_group(folder: Path) -> None:
    cases = [replace(case, group=case.id if i else "b") for i, case in enumerate(make(folder).cases)]
    split = make_split(cases, n_folds=3, target="label", val_fraction=0.3)
    assert split.roles["a"] == split.roles["b"]
    assert set(split.roles.values()) == {"train", "val", "test"}
    assert check_classes(cases, split, "label") == []
