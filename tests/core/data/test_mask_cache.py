from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from tessera.core.data.cache import ArraySource, PreparedCache
from tessera.core.data.case import Case, FileRef
from tessera.core.data.geometry import Geometry, Pixels, Region
from tessera.core.data.loaders import DrawnRegions, EpochBatches, PlannedRegions, ResumableLoader, SampleKey
from tessera.core.data.mask_cache import (
    MaskCache,
    MaskedSource,
    MaskPreparation,
    PreparedMask,
    UnkeptMasks,
    draw_places,
    lost_classes,
)
from tessera.core.errors import DataError

SIDE = 4


class ArrayReader:
    """Opens ``.npy`` files (*S) as one channel, and their masks."""

    def __init__(self) -> None:
        self.masks_opened = 0

    def find(self, path: Path) -> list[Case]:
        raise NotImplementedError

    def open(self, case: Case) -> ArraySource:
        array = np.load(case.path("image")).astype(np.float32)
        return ArraySource(array[None], Pixels(array.shape))

    def open_mask(self, case: Case, target: str) -> ArraySource:
        self.masks_opened += 1
        array = np.load(case.target_file(target).path or "")
        return ArraySource(array[None], Pixels(array.shape))


class LineWindows:
    """Pieces of 4 elements; what reaches over the end is 0."""

    cuts_prepared = True
    input_shape = (1, SIDE)
    crop = 0

    def plan(self, grid: Geometry) -> Sequence[Region]:
        n = grid.shape[0]
        return [Region((a,), (min(a + SIDE, n),)) for a in range(0, n, SIDE)]

    def draw(self, grid: Geometry, rng: np.random.Generator) -> Region:
        return self._at(grid, int(rng.integers(0, grid.shape[0])))

    def draw_at(self, grid: Geometry, place: tuple[int, ...], rng: np.random.Generator) -> Region:
        return self._at(grid, place[0])

    def _at(self, grid: Geometry, start: int) -> Region:
        return Region((start,), (min(start + SIDE, grid.shape[0]),))

    def read(self, source: Any, region: Region) -> Any:
        sample = source.read(region)
        sample["input"] = torch.nn.functional.pad(sample["input"], (0, SIDE - region.shape[0]))
        return sample

    def prepare(self, source: Any) -> tuple[np.ndarray, Geometry]:
        return source.read()["input"].numpy()[:, self.crop :], Pixels((source.grid.shape[0] - self.crop,))

    mirror_swaps: ClassVar[dict[int, tuple[tuple[int, int], ...]]] = {}

    def prepare_mask(self, mask: Any, grid: Geometry) -> np.ndarray:
        return mask.read()["input"].numpy()[0, self.crop :]


def a_case(folder: Path, mask: np.ndarray, name: str = "a") -> Case:
    folder.mkdir(exist_ok=True)
    np.save(folder / f"{name}.npy", np.arange(len(mask), dtype=np.float32))
    np.save(folder / f"{name}-mask.npy", mask)
    return Case(
        id=name,
        files={"image": FileRef(path=folder / f"{name}.npy")},
        targets={"label": FileRef(path=folder / f"{name}-mask.npy")},
        group=name,
    )


def cache_of(folder: Path, *, n_classes: int = 3, windows: LineWindows | None = None) -> MaskCache:
    reader, cut = ArrayReader(), windows or LineWindows()
    preparation = MaskPreparation(reader, cut, "label", n_classes)  # type: ignore[arg-type]
    images = PreparedCache(folder / "cache", reader, cut, "digest")
    return MaskCache(images, preparation, "digest")


MASK = np.array([0, 0, 1, 1, 2, 0, 0, 0, 2], dtype=np.uint8)


def test_a_mask_is_prepared_once_and_kept_small(tmp_path: Path) -> None:
    cache, case = cache_of(tmp_path), a_case(tmp_path, MASK)
    first, again = cache.open(case), cache.open(case)
    assert cache.preparation.reader.masks_opened == 1  # type: ignore[attr-defined]
    for source in (first, again):
        assert isinstance(source, MaskedSource)
        assert source.mask.classes.dtype == np.uint8
        np.testing.assert_array_equal(source.mask.classes, MASK)
        np.testing.assert_array_equal(source.array[0], np.arange(9))
        assert source.mask.kept.tolist() == source.mask.read.tolist() == [5, 2, 2]
        assert sorted(map(tuple, source.mask.places)) == [(1, 2), (1, 3), (2, 4), (2, 8)]
    kept = [path.name.partition(".")[2] for path in (tmp_path / "cache").rglob("*.npy")]
    assert sorted(kept) == ["mask.npy", "npy", "places.npy"]


def test_another_mask_is_another_entry_and_the_image_stays(tmp_path: Path) -> None:
    cache, case = cache_of(tmp_path), a_case(tmp_path, MASK)
    cache.open(case)
    changed = a_case(tmp_path, np.roll(MASK, 1))
    np.testing.assert_array_equal(cache.open(changed).mask.classes, np.roll(MASK, 1))
    assert cache.images.key(case) == cache.images.key(changed)


def test_many_classes_take_two_bytes(tmp_path: Path) -> None:
    mask = np.array([0, 300, 1], dtype=np.uint16)
    opened = cache_of(tmp_path, n_classes=301).open(a_case(tmp_path, mask))
    assert opened.mask.classes.dtype == np.uint16
    cut = opened.classes.read(Region((1,), (3,)))["input"]
    assert cut.tolist() == [[300.0, 1.0]]


@pytest.mark.parametrize("suffix", [".mask.npy", ".places.npy", ".mask.json"])
def test_a_damaged_entry_is_prepared_anew(tmp_path: Path, suffix: str) -> None:
    case = a_case(tmp_path, MASK)
    cache_of(tmp_path).open(case)
    (path,) = (tmp_path / "cache").rglob(f"*{suffix}")
    content = path.read_bytes()
    path.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    np.testing.assert_array_equal(cache_of(tmp_path).open(case).mask.classes, MASK)


@pytest.mark.parametrize(
    ("mask", "found"),
    [
        (np.array([0, 7, 5]), "5, 7"),
        (np.array([-1, 0, 1]), "-1"),
        (np.array([0, 1.5, 2]), "1.5"),
        (np.array([0, np.nan, 2]), "nan"),
    ],
)
def test_labels_that_are_no_class_are_named_with_their_case(
    tmp_path: Path, mask: np.ndarray, found: str
) -> None:
    with pytest.raises(DataError, match="case a: its mask label") as caught:
        cache_of(tmp_path).open(a_case(tmp_path, mask))
    assert caught.value.found == found


def test_labels_lost_by_preparing_are_seen_before(tmp_path: Path) -> None:
    windows = LineWindows()
    windows.crop = 5
    mask = cache_of(tmp_path, windows=windows).open(a_case(tmp_path, MASK)).mask
    assert (mask.read.tolist(), mask.kept.tolist()) == ([5, 2, 2], [3, 0, 1])
    names = ("background", "one", "two", "three")
    read, kept = (np.append(values, 0)[None] for values in (mask.read, mask.kept))
    lost, never = lost_classes(read, kept, names)
    assert "class one is lost in 1 of 1" in lost
    assert "element of class three" in never
    with pytest.raises(DataError, match="no class"):  # also where it would be cut away
        cache_of(tmp_path, windows=windows).open(a_case(tmp_path, np.array([9, 0, 0, 0, 0, 0, 1])))


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    case = a_case(tmp_path, MASK)
    np.save(tmp_path / "a-mask.npy", MASK[:5])
    with pytest.raises(DataError, match="does not fit its case"):
        cache_of(tmp_path).open(case)


def test_places_are_up_to_ten_thousand_or_one_in_a_hundred() -> None:
    classes = np.zeros(1_300_000, dtype=np.uint8)
    classes[:1_200_000] = 1
    classes[1_200_000:1_220_000] = 2
    classes[1_220_000:1_220_005] = 3
    counts = np.bincount(classes)
    places = draw_places(classes, counts)
    assert np.bincount(places[:, 0]).tolist() == [0, 12_000, 10_000, 5]
    assert len(np.unique(places[:, 1])) == len(places)
    np.testing.assert_array_equal(classes[places[:, 1]], places[:, 0])
    np.testing.assert_array_equal(places, draw_places(classes, counts))


def test_places_of_three_axes_point_at_their_class() -> None:
    classes = (np.random.default_rng(0).random((5, 6, 7)) < 0.2).astype(np.uint8) * 2
    places = draw_places(classes, np.bincount(classes.reshape(-1)))
    assert places.shape == (int((classes == 2).sum()), 4)
    assert (classes[tuple(places[:, 1:].T)] == 2).all()


def test_every_class_is_drawn_as_often_however_small() -> None:
    classes = np.repeat(np.array([0, 1, 3], dtype=np.uint8), [100, 800, 2])
    counts = np.bincount(classes, minlength=4)
    mask = PreparedMask(classes, draw_places(classes, counts), counts, counts)
    rng = np.random.default_rng(1)
    drawn = [int(classes[mask.draw_place(rng)]) for _ in range(400)]
    assert np.bincount(drawn, minlength=4)[[0, 2]].tolist() == [0, 0]
    assert 160 < drawn.count(3) < 240
    empty = PreparedMask(classes, draw_places(classes[:50], counts[:1]), counts[:1], counts[:1])
    assert empty.draw_place(rng) is None


def parts(opener: Any) -> dict[str, Any]:
    return {"open_source": opener, "windows": LineWindows(), "targets": {}}


def test_image_and_mask_are_cut_and_padded_alike(tmp_path: Path) -> None:
    cases = [a_case(tmp_path, MASK)]
    planned = PlannedRegions(cases, **parts(cache_of(tmp_path).open))
    last = planned[SampleKey(0, 2)]
    assert not isinstance(last, Exception)
    assert last["input"].tolist() == [[8.0, 0.0, 0.0, 0.0]]
    assert last["target"].tolist() == [2, 0, 0, 0]
    assert last["target"].dtype == torch.int64


def test_a_share_of_the_regions_holds_the_foreground(tmp_path: Path) -> None:
    mask = np.zeros(200, dtype=np.uint8)
    mask[150] = 1
    cases = [a_case(tmp_path, mask)]
    options = parts(cache_of(tmp_path).open)
    hits = {}
    for share in (0.0, 0.5, 1.0):
        drawn = DrawnRegions(cases, seed=1, per_case=120, foreground=share, **options)
        assert len(drawn) == 120
        hits[share] = sum(bool(drawn[SampleKey(0, i)]["target"].any()) for i in range(120))  # type: ignore[index]
    assert hits[0.0] < 12
    assert 40 < hits[0.5] < 80
    assert hits[1.0] == 120


def test_a_region_follows_from_its_key_alone(tmp_path: Path) -> None:
    cases = [a_case(tmp_path, np.roll(MASK, i), f"c{i}") for i in range(3)]
    options = {"seed": 4, "per_case": 2, "foreground": 0.5, **parts(cache_of(tmp_path).open)}
    one, other = DrawnRegions(cases, **options), DrawnRegions(cases, **options)
    keys = [SampleKey(epoch, place) for epoch in range(3) for place in range(6)]
    expected = {key: one[key] for key in keys}
    for key in reversed(keys):
        again, first = other[key], expected[key]
        assert again["region"] == first["region"]  # type: ignore[index]
        assert again["case_id"] == f"c{key.place // 2}"  # type: ignore[index]
        assert torch.equal(again["target"], first["target"])  # type: ignore[index]


def test_an_epoch_has_every_region_of_every_case_once(tmp_path: Path) -> None:
    cases = [a_case(tmp_path, MASK, f"c{i}") for i in range(3)]
    drawn = DrawnRegions(cases, seed=0, per_case=2, **parts(cache_of(tmp_path).open))
    loader = ResumableLoader(drawn, EpochBatches(len(drawn), batch_size=4, seed=0))
    ids = [name for each in loader for name in each["case_id"]]
    assert sorted(ids) == ["c0", "c0", "c1", "c1", "c2", "c2"]


def test_without_a_cache_the_same_is_read(tmp_path: Path) -> None:
    cache, case = cache_of(tmp_path), a_case(tmp_path, MASK)
    reader, windows = ArrayReader(), LineWindows()

    def image(case: Case) -> ArraySource:
        source = reader.open(case)
        return ArraySource(*windows.prepare(source))

    unkept = UnkeptMasks(image, cache.preparation)(case)
    np.testing.assert_array_equal(unkept.mask.classes, cache.open(case).mask.classes)
    np.testing.assert_array_equal(unkept.mask.places, cache.open(case).mask.places)


def test_a_full_disk_costs_time_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, case = cache_of(tmp_path), a_case(tmp_path, MASK)
    cache.images.open(case)

    def full(*args: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(cache, "_store", full)
    np.testing.assert_array_equal(cache.open(case).mask.classes, MASK)


def test_a_case_without_its_mask_says_so(tmp_path: Path) -> None:
    case = replace(a_case(tmp_path, MASK), targets={"label": "a word"})
    with pytest.raises(ValueError, match="target label is not a file"):
        cache_of(tmp_path).open(case)


def test_the_head_of_an_entry_is_plain_json(tmp_path: Path) -> None:
    cache_of(tmp_path).open(a_case(tmp_path, MASK))
    (path,) = (tmp_path / "cache").rglob("*.mask.json")
    assert json.loads(path.read_text())["kept"] == [5, 2, 2]
