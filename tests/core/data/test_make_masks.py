"""Manifests of cases with masks: one root for both folders, copies in one group, reasons for refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from tessera.core.data.case import Case, FileRef
from tessera.core.data.make_masks import MaskPairs, make_mask_manifest
from tessera.core.data.manifest import Manifest
from tessera.core.errors import DataError


def pairs(folder: Path, contents: dict[str, str]) -> MaskPairs:
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    cases = []
    for name, content in contents.items():
        (folder / "images" / f"{name}.npy").write_text(content)
        (folder / "labels" / f"{name}.npy").write_text(f"mask of {content}")
        cases.append(
            Case(
                id=name,
                files={"image": FileRef(path=folder / "images" / f"{name}.npy")},
                targets={"label": FileRef(path=folder / "labels" / f"{name}.npy")},
                group=name,
            )
        )
    return MaskPairs(cases=tuple(cases), classes=("background", "disc"), unreadable=(("c", "broken"),))


def make(found: MaskPairs, folder: Path) -> Manifest:
    folders = (folder / "images", folder / "labels")
    made = make_mask_manifest(found, folders=folders, out=folder / "manifests" / "mine")
    assert made.unreadable == found.unreadable
    return made.manifest


def test_a_manifest_holds_images_and_masks_below_their_common_folder(tmp_path: Path) -> None:
    manifest = make(pairs(tmp_path, {"a": "1", "b": "2"}), tmp_path)
    loaded = Manifest.load(manifest.folder)
    assert loaded.target("label").kind == "mask"
    assert loaded.target("label").classes == ("background", "disc")
    masks = [case.target_file("label").path for case in loaded.cases]
    assert [mask.resolve() for mask in masks if mask] == [tmp_path / f"labels/{name}.npy" for name in "ab"]
    assert not loaded.verify()
    assert loaded.info.root == "../.."


def test_copies_of_one_image_share_a_group(tmp_path: Path) -> None:
    manifest = make(pairs(tmp_path, {"a": "same", "b": "same", "c": "other"}), tmp_path)
    groups = {case.id: case.group for case in manifest.cases}
    assert groups["a"] == groups["b"] != groups["c"]


def test_nothing_usable_names_the_reasons(tmp_path: Path) -> None:
    found = MaskPairs(cases=(), classes=("background", "disc"), unreadable=(("c", "broken affine"),))
    with pytest.raises(DataError, match="c: broken affine"):
        make_mask_manifest(found, folders=(tmp_path,), out=tmp_path / "mine")
