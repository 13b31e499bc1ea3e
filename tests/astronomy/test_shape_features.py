from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tessera.astronomy.shape_features import (
    BINS,
    SHAPE_NAMES,
    FeatureTable,
    features_of,
    features_of_manifest,
    measure_cases,
    picture_features,
)
from tessera.core.data.cache import ArraySource
from tessera.core.data.case import Case, FileRef
from tessera.core.data.dataset_info import DatasetInfo
from tessera.core.data.geometry import Pixels
from tessera.core.data.manifest import Manifest
from tessera.core.data.targets import TargetSpec
from tessera.core.errors import DataError

Image = npt.NDArray[np.float32]


class ArrayReader:
    """Reads NPY files; counts how often."""

    def __init__(self) -> None:
        self.opened = 0

    def find(self, path: Path) -> Iterable[Case]:
        return ()

    def open(self, case: Case) -> ArraySource:
        self.opened += 1
        image = np.load(case.path("image"), allow_pickle=False)
        if image.ndim != 3:
            raise DataError(f"{case.id} is no image", found=image.shape)
        return ArraySource(image, Pixels(image.shape[1:]))


def picture(seed: int = 0, size: int = 40) -> Image:
    y, x = np.mgrid[:size, :size] - size // 2
    light = 60 * np.exp(-np.hypot(y, x) / 4)
    noise = np.random.default_rng(seed).normal(0, 1, (3, size, size))
    return np.stack([light * share for share in (1.0, 2.0, 4.0)]).astype(np.float32) + noise.astype(
        np.float32
    )


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    cases = []
    for number in range(4):
        path = tmp_path / f"{number}.npy"
        np.save(path, picture(number) if number != 2 else np.zeros(3))
        label = {"label": "tidal" if number % 2 else "none"}
        cases.append(
            Case(id=f"g{number}", files={"image": FileRef(path=path)}, targets=label, group=str(number))
        )
    info = DatasetInfo(id="few", targets={"label": TargetSpec(kind="class", classes=("none", "tidal"))})
    return Manifest.create(info, cases, folder=tmp_path)


def test_histograms_are_shares_of_the_pixels() -> None:
    found = picture_features(picture())
    for name in ("band0", "band1", "band2", "gradient"):
        assert sum(found[f"{name}_{place}"] for place in range(BINS)) == pytest.approx(1)
    even = picture_features(np.full((2, 8, 8), 5, dtype=np.float32))
    assert even["band0_11"] == even["band1_11"] == even["gradient_0"] == 1


def test_colours_are_differences_in_magnitude() -> None:
    found = picture_features(picture())
    assert found["colour0"] == pytest.approx(2.5 * math.log10(2), abs=0.05)
    assert found["colour1"] == pytest.approx(2.5 * math.log10(2), abs=0.05)
    assert math.isnan(picture_features(np.zeros((2, 8, 8), dtype=np.float32))["colour0"])


def test_neither_exposure_nor_orientation_matter() -> None:
    image = picture()
    for other in (image * np.float32(9), image[:, ::-1], np.rot90(image, axes=(1, 2))):
        assert picture_features(other) == pytest.approx(picture_features(image), abs=1e-3)


def test_a_steep_picture_has_steep_gradients() -> None:
    board = (np.indices((16, 16)).sum(axis=0) // 2 % 2).astype(np.float32)[None]
    assert picture_features(board)["gradient_11"] > 0.5


def test_features_join_shape_and_picture() -> None:
    found = features_of(picture())
    assert tuple(found)[: len(SHAPE_NAMES)] == SHAPE_NAMES
    assert len(found) == len(SHAPE_NAMES) + 4 * BINS + 2
    assert all(math.isfinite(value) for value in found.values())


def test_a_case_that_cannot_be_read_is_named_and_left_out(manifest: Manifest) -> None:
    done: list[int] = []
    table = measure_cases(manifest.cases, ArrayReader(), progress=done.append)
    assert table.case_id == ("g0", "g1", "g3") and done == [1, 2, 3, 4]
    assert "g2 is no image" in table.failures["g2"]
    assert table.values.shape == (3, len(table.names))
    with pytest.raises(DataError, match="not one case"):
        measure_cases(manifest.cases[2:3], ArrayReader())


def test_a_table_is_stored_once_and_read_back_to_the_bit(manifest: Manifest, tmp_path: Path) -> None:
    reader = ArrayReader()
    first, second = (
        features_of_manifest(manifest, reader, target="label", cache=tmp_path / "kept") for _ in range(2)
    )
    assert reader.opened == 4
    assert (first.case_id, first.names, first.failures) == (second.case_id, second.names, second.failures)
    assert np.array_equal(first.values, second.values, equal_nan=True)
    (file,) = (tmp_path / "kept").iterdir()
    file.write_bytes(b"damaged")
    again = features_of_manifest(manifest, reader, target="label", cache=tmp_path / "kept")
    assert reader.opened == 8 and np.array_equal(first.values, again.values, equal_nan=True)


def test_rows_and_columns_are_taken_by_name() -> None:
    table = FeatureTable(("a", "b"), ("x", "y", "z"), np.arange(6.0).reshape(2, 3))
    assert table.take(["b", "a"], ["z", "x"]).tolist() == [[5, 3], [2, 0]]
    with pytest.raises(DataError, match="no feature w"):
        table.take(["a"], ["w"])
