from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from tessera.core.data.locate import cache_folder, find_manifest, manifest_ids
from tessera.core.data.manifest import Manifest
from tessera.core.errors import DataError


def place(manifest: Manifest, folder: Path) -> Path:
    shutil.copytree(manifest.folder, folder)
    return folder


def test_an_id_is_looked_up_in_the_working_folder_then_in_the_named_places(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = place(manifest, tmp_path / "data_manifests/demo")
    far = place(manifest, tmp_path / "one/demo")
    other = place(manifest, tmp_path / "two/other")
    monkeypatch.setenv("TESSERA_MANIFESTS", os.pathsep.join([str(tmp_path / "one"), str(tmp_path / "two")]))
    assert find_manifest("demo").resolve() == near
    shutil.rmtree(near)
    assert find_manifest("demo") == far
    assert find_manifest("other") == other
    assert manifest_ids() == ["demo", "other"]


def test_an_id_is_looked_up_in_installed_packages_last(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "package"
    place(manifest, package / "data_manifests/demo")
    monkeypatch.setattr("tessera.core.pipeline.discover", lambda: {"p": SimpleNamespace(domain="field")})
    monkeypatch.setattr("tessera.core.data.locate.files", lambda name: {"tessera.field": package}[name])
    assert Manifest.load("demo").digest == manifest.digest
    assert manifest_ids() == ["demo"]


def test_an_unknown_id_lists_the_places_and_the_known_ids(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place(manifest, tmp_path / "one/demo")
    monkeypatch.setenv("TESSERA_MANIFESTS", str(tmp_path / "one"))
    with pytest.raises(DataError) as caught:
        Manifest.load("dmeo")
    text = str(caught.value)
    assert all(
        word in text for word in ("'dmeo'", "data_manifests/dmeo", str(tmp_path / "one/dmeo"), ": demo")
    )
    with pytest.raises(DataError, match="no manifest 'some/folder'"):
        Manifest.load("some/folder")


def test_a_data_folder_of_the_same_name_does_not_hide_the_manifest(
    manifest: Manifest, tmp_path: Path
) -> None:
    (tmp_path / "demo").mkdir()
    place(manifest, tmp_path / "data_manifests/demo")
    assert len(Manifest.load("demo").cases) == 4


def test_files_are_taken_from_the_data_root_then_beside_the_manifest_then_from_the_cache(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = manifest.folder / "dataset.yaml"
    head.write_text(head.read_text(encoding="utf-8").replace("../../recordings", "demo"), encoding="utf-8")
    copies = [tmp_path / "root/demo", manifest.folder / "demo", tmp_path / "cache/data/demo"]
    for copy in copies:
        shutil.copytree(tmp_path / "recordings", copy)
    monkeypatch.setenv("TESSERA_DATA_ROOT", str(tmp_path / "root"))
    for copy in copies:
        assert Manifest.load(manifest.folder).cases[0].path("text").resolve() == copy / "a/1.txt"
        shutil.rmtree(copy)
    missing = Manifest.load(manifest.folder)
    with pytest.raises(ValueError, match="not one local file"):
        missing.cases[0].path("text")
    assert all(str(tmp_path / "root/demo") in problem.what for problem in missing.verify())


def test_a_root_that_climbs_is_never_joined_to_the_data_root(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap = tmp_path / "x/y"
    shutil.copytree(tmp_path / "recordings", tmp_path / "recordings2")
    (tmp_path / "recordings").rename(tmp_path / "x_recordings")
    trap.mkdir(parents=True)
    (tmp_path / "recordings2").rename(tmp_path / "recordings")
    monkeypatch.setenv("TESSERA_DATA_ROOT", str(trap))  # trap/../../recordings exists
    shutil.copytree(manifest.folder, tmp_path / "deep/er/still/demo")
    assert Manifest.load(tmp_path / "deep/er/still/demo").cases[0].files["text"].path is None  # type: ignore[union-attr]


def test_the_cache_is_where_the_variable_says_else_in_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("TESSERA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert "tessera" in str(cache_folder())
