"""Tiny folders of files, cases and a reader for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest

from tessera.core.data.cache import ArraySource
from tessera.core.data.case import Case, FileRef
from tessera.core.data.dataset_info import DatasetInfo
from tessera.core.data.geometry import Pixels
from tessera.core.data.manifest import Manifest
from tessera.core.data.targets import TargetSpec
from tessera.core.errors import DataError

LABEL = TargetSpec(kind="class", classes=("call", "no"))


class TextReader:
    """Reads ``.txt`` files: every byte is a sample of the one channel; counts how often it opened one."""

    def __init__(self) -> None:
        self.opened: list[str] = []

    def find(self, path: Path) -> Iterable[Case]:
        for file in sorted(path.rglob("*.txt")):
            yield Case(
                id=file.relative_to(path).as_posix(), files={"text": FileRef(path=file)}, group=file.stem
            )

    def open(self, case: Case) -> ArraySource:
        self.opened.append(case.id)
        values = np.frombuffer(case.path("text").read_bytes(), dtype=np.uint8).astype(np.float32)
        if values.size == 0:
            raise DataError(f"{case.id} is empty", found="0 bytes", expected="text")
        return ArraySource(values[None], Pixels(values.shape))


@pytest.fixture
def reader() -> TextReader:
    return TextReader()


@pytest.fixture(autouse=True)
def own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees this machine's data, manifests, cache or proxies."""
    for name in ("TESSERA_DATA_ROOT", "TESSERA_MANIFESTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TESSERA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("tessera.core.pipeline.discover", dict)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Mapping[str, str]], Path]:
    """Write {path: text} below a folder of recordings and return the folder."""

    def writer(texts: Mapping[str, str]) -> Path:
        folder = tmp_path / "recordings"
        for name, text in texts.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return folder

    return writer


@pytest.fixture
def manifest(tmp_path: Path, write: Callable[[Mapping[str, str]], Path]) -> Manifest:
    """Four files, two classes, two groups, saved in ``tmp_path/sets/demo``."""
    folder = write({"a/1.txt": "one", "a/2.txt": "two", "b/1.txt": "three", "b/2.txt": "four"})
    info = DatasetInfo(id="demo", root="../../recordings", role="text", targets={"label": LABEL})
    cases = [
        Case(
            id=f"{name}{number}",
            files={"text": FileRef(path=folder / name / f"{number}.txt")},
            targets={"label": "call" if number == 1 else "no"},
            group=name,
            meta={"site": "north, hill" if name == "a" else ""},
        )
        for name in "ab"
        for number in (1, 2)
    ]
    made = Manifest.create(info, cases, folder=tmp_path / "sets" / "demo")
    made.save(tmp_path / "sets" / "demo")
    return made
