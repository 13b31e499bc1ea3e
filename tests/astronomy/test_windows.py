"""Images and maps as the network's inputs."""

from __future__ import annotations

import numpy as np
import pytest

from tessera.astronomy.config import DensityConfig, DensityDataConfig, SkyConfig, SkyDataConfig
from tessera.astronomy.preprocessing import NO_OBJECT
from tessera.astronomy.preprocessing_config import masked_variant
from tessera.astronomy.windows import DensityWindows, SkyWindows
from tessera.core.data.cache import ArraySource
from tessera.core.data.geometry import Pixels
from tessera.core.errors import DataError


def sky(**data: object) -> SkyWindows:
    return SkyWindows(SkyConfig(pipeline="tidal-features", preset="test", data=SkyDataConfig(**data)))  # type: ignore[arg-type]


def density(**data: object) -> DensityWindows:
    return DensityWindows(DensityConfig(pipeline="cosmology", preset="test", data=DensityDataConfig(**data)))  # type: ignore[arg-type]


def source(image: np.ndarray) -> ArraySource:
    return ArraySource(image.astype(np.float32), Pixels(image.shape[1:]))


@pytest.mark.parametrize("shape", [(20, 21), (9, 30), (8, 8)])
def test_the_centre_is_the_input_and_small_images_lie_in_the_middle_of_zeros(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).uniform(1, 2, (2, *shape))
    windows = sky(n_bands=2, size_px=12)
    prepared, grid = windows.prepare(source(image))
    inner = ArraySource(prepared, grid)
    (region,) = windows.plan(grid)
    assert windows.draw(grid, np.random.default_rng(0)) == region
    sample = windows.read(inner, region)
    expected = np.zeros((2, 12, 12), dtype=np.float32)
    rows, columns = (min(side, 12) for side in shape)
    at = [(side - 12) // 2 if side > 12 else 0 for side in shape]
    top, left = (12 - rows) // 2, (12 - columns) // 2
    cut = image[:, at[0] : at[0] + rows, at[1] : at[1] + columns]
    expected[:, top : top + rows, left : left + columns] = cut
    np.testing.assert_allclose(sample["input"].numpy(), expected, rtol=1e-6)
    corner = grid.invert([[0.0, 0.0]])[0]
    assert corner.tolist() == [float(at[0]), float(at[1])]


def test_an_empty_centre_is_flagged_and_not_inverted() -> None:
    noise = np.random.default_rng(0).normal(0, 1, (1, 64, 64))
    windows = sky(size_px=64, preparation=masked_variant(5.0))
    prepared, grid = windows.prepare(source(noise))
    sample = windows.read(ArraySource(prepared, grid), windows.plan(grid)[0])
    assert sample["flags"] == (NO_OBJECT,)
    assert not sample["input"].any()


def test_another_number_of_bands_is_refused() -> None:
    with pytest.raises(DataError, match=r"(?s)number of bands.*2.*G, R, I"):
        sky(bands=("G", "R", "I")).prepare(source(np.ones((2, 8, 8))))


def test_windows_cover_a_map_and_its_edge() -> None:
    windows = density(size_px=8)
    plan = windows.plan(Pixels((20, 16)))
    covered = np.zeros((20, 16), dtype=int)
    for region in plan:
        covered[region.start[0] : region.stop[0], region.start[1] : region.stop[1]] += 1
    assert covered.min() == 1
    assert {region.shape for region in plan} == {(8, 8)}
    starts = {windows.draw(Pixels((20, 16)), np.random.default_rng(seed)).start for seed in range(300)}
    assert {row for row, _ in starts} == set(range(13))


def test_density_becomes_standardised_logarithms() -> None:
    rho = np.full((1, 8, 8), 100.0)
    rho[0, 0, 0] = 0.0
    prepared, _ = density(size_px=8, log=True, floor=0.01, mean=1.0, std=2.0).prepare(source(rho))
    assert prepared[0, 0, 0] == pytest.approx(-1.5)
    assert prepared[0, 1, 1] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.full((1, 8, 8), np.nan), "64 pixels"),
        (np.ones((2, 8, 8)), "2 channels"),
        (np.ones((1, 4, 8)), "4 x 8 pixels"),
    ],
)
def test_what_is_no_map_is_refused(image: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=words):
        density(size_px=8).prepare(source(image))
