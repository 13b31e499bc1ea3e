from __future__ import annotations

import errno
import json
import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.core.data.cache import ArraySource, PreparedCache, geometry_from_json, geometry_to_json
from tessera.core.data.case import Case, FileRef, Source
from tessera.core.data.geometry import Geometry, Pixels, Region
from tessera.core.errors import DataError

if TYPE_CHECKING:
    from tessera.core.data.sample import Sample


class Numbers:
    """Opens a case that holds its values in ``select``; counts."""

    def __init__(self) -> None:
        self.opened = 0

    def find(self, path: Path) -> list[Case]:
        return []

    def open(self, case: Case) -> Source:
        self.opened += 1
        values = np.arange(float(case.select["n"]))
        return ArraySource(values[None], Pixels(values.shape))


class Doubled:
    """Prepares by doubling; nothing is cut here."""

    input_shape = (1, 2)

    def plan(self, grid: Geometry) -> Sequence[Region]:
        return [Region((0,), grid.shape)]

    def draw(self, grid: Geometry, rng: np.random.Generator) -> Region:
        return Region((0,), grid.shape)

    def read(self, source: Source, region: Region) -> Sample:
        return source.read(region)

    def prepare(self, source: Source) -> tuple[np.ndarray, Geometry]:
        return source.read()["input"].numpy() * 2, source.grid


def a_case(n: int, name: str = "x", text: str = "content") -> Case:
    digest = text.encode().hex().ljust(64, "0")
    return Case(id=name, files={"file": FileRef(sha256=digest)}, select={"n": n}, group=name)


@pytest.fixture
def cache(tmp_path: Path) -> PreparedCache:
    return PreparedCache(tmp_path / "prepared", Numbers(), Doubled(), "config")


def opened(cache: PreparedCache) -> int:
    assert isinstance(cache.reader, Numbers)
    return cache.reader.opened


def test_an_array_is_read_whole_and_in_regions_as_copies() -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    array.flags.writeable = False
    source = ArraySource(array, Pixels((3, 4)))
    whole = source.read()
    assert np.array_equal(whole["input"].numpy(), array)
    part = source.read(Region((1, 2), (3, 3)))
    assert part["input"].tolist() == [[[6.0], [10.0]], [[18.0], [22.0]]]
    assert part["geometry"] == Pixels((2, 1), origin=(1.0, 2.0))
    whole["input"].zero_()
    assert array[0, 0, 1] == 1.0


def test_a_region_outside_the_array_is_refused() -> None:
    source = ArraySource(np.zeros((1, 5)), Pixels((5,)))
    with pytest.raises(ValueError, match="not inside"):
        source.read(Region((3,), (6,)))
    with pytest.raises(ValueError, match="does not fit"):
        ArraySource(np.zeros((1, 5)), Pixels((4,)))


def test_a_case_is_prepared_once_and_then_mapped(cache: PreparedCache, tmp_path: Path) -> None:
    first = cache.open(a_case(4))
    assert first.read()["input"].tolist() == [[0.0, 2.0, 4.0, 6.0]]
    assert first.array.dtype == np.float32
    other = PreparedCache(tmp_path / "prepared", Numbers(), Doubled(), "config")
    again = other.open(a_case(4))
    assert (opened(cache), opened(other)) == (1, 0)
    assert isinstance(again.array, np.memmap)
    assert again.grid == Pixels((4,))
    assert again.read()["input"].tolist() == first.read()["input"].tolist()


def test_the_entry_follows_content_selection_and_configuration_and_not_the_name(
    cache: PreparedCache, tmp_path: Path
) -> None:
    base = cache.key(a_case(4))
    assert cache.key(a_case(4, "another name")) == base
    assert cache.key(a_case(5)) != base
    assert cache.key(a_case(4, text="changed")) != base
    assert PreparedCache(tmp_path, Numbers(), Doubled(), "other").key(a_case(4)) != base


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        (".npy", lambda data: data[:-4]),
        (".npy", lambda data: data[:-1] + bytes([data[-1] ^ 1])),
        (".npy", lambda data: b""),
        (".json", lambda data: data[:-5]),
        (".json", lambda data: b"[]"),
        (".json", lambda data: data.replace(b"tessera.core.data.geometry:Pixels", b"pathlib:Path")),
        (".json", lambda data: data.replace(b'"shape": [1, 4]', b'"shape": [4, 1]')),
        (".json", lambda data: data.replace(b'"size"', b'"sise"')),
        (".json", lambda data: data.replace(b"geometry:Pixels", b"moved:Pixels")),
    ],
)
def test_a_damaged_entry_is_prepared_anew(
    cache: PreparedCache, tmp_path: Path, suffix: str, damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    cache.open(a_case(4))
    (path,) = (tmp_path / "prepared").rglob(f"*{suffix}")
    before = path.read_bytes()
    path.write_bytes(damage(before))
    assert path.read_bytes() != before
    fresh = PreparedCache(tmp_path / "prepared", Numbers(), Doubled(), "config")
    assert fresh.open(a_case(4)).read()["input"].tolist() == [[0.0, 2.0, 4.0, 6.0]]
    assert opened(fresh) == 1
    assert path.read_bytes() == before
    assert "damaged" in caplog.text


def test_an_interrupted_write_leaves_no_entry_and_no_rest(
    cache: PreparedCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: Any, array: Any, **_: Any) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    assert cache.open(a_case(4)).read()["input"].tolist() == [[0.0, 2.0, 4.0, 6.0]]
    assert [path for path in (tmp_path / "prepared").rglob("*") if path.is_file()] == []
    monkeypatch.undo()
    cache.open(a_case(4))
    assert len(list((tmp_path / "prepared").rglob("*.npy"))) == 1


def prepare_all(folder: str) -> list[float]:
    cache = PreparedCache(Path(folder), Numbers(), Doubled(), "config")
    return [float(cache.open(a_case(n)).read()["input"].sum()) for n in range(1, 40)]


@pytest.mark.slow
def test_several_processes_prepare_the_same_cases_at_once(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        results = pool.map(prepare_all, [str(tmp_path)] * 6)
    assert all(result == [float(n * (n - 1)) for n in range(1, 40)] for result in results)
    assert len(list(tmp_path.rglob("*.npy"))) == len(list(tmp_path.rglob("*.json"))) == 39
    assert list(tmp_path.rglob("*.tmp")) == []


numbers = st.floats(-1e9, 1e9)
steps = st.floats(1e-6, 1e6)


@given(size=st.lists(st.integers(0, 2**40), min_size=1, max_size=3), data=st.data())
def test_a_geometry_survives_json_exactly(size: list[int], data: st.DataObject) -> None:
    def axes(values: st.SearchStrategy[float]) -> tuple[float, ...]:
        return tuple(data.draw(st.lists(values, min_size=len(size), max_size=len(size))))

    grid = Pixels(tuple(size), axes(numbers), axes(steps))
    assert geometry_from_json(json.loads(json.dumps(geometry_to_json(grid)))) == grid


@pytest.mark.parametrize(
    "reference",
    ["os:system", "tessera.core.data.geometry:Region", "tessera.core.data.geometry:Geometry", "tessera..x:Y"],
)
def test_only_geometries_of_this_project_are_built(reference: str) -> None:
    with pytest.raises(DataError, match="not a geometry"):
        geometry_from_json({"class": reference, "fields": {}})


@dataclass(frozen=True)
class Foreign(Pixels):
    """A geometry from outside the project."""


def test_a_geometry_that_would_not_come_back_is_refused() -> None:
    with pytest.raises(DataError):
        geometry_to_json(Foreign((3,)))
    with pytest.raises(DataError, match="cannot be cached"):
        geometry_to_json(Pixels((3,), origin=(np.float32(0.5),)))  # type: ignore[arg-type]
