"""Normalised intensities in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tessera.core.errors import DataError
from tessera.medical.normalisation import body, normalise
from tessera.medical.planning.data_config import (
    AsStoredConfig,
    BytesConfig,
    CTConfig,
    NormalisationConfig,
    RescaleConfig,
    ZScoreConfig,
)


def image(*values: float) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32).reshape(1, -1, 1, 1)


def test_ct_is_clipped_then_shifted_and_scaled() -> None:
    scheme = CTConfig(low=-100, high=300, mean=100, std=50)
    assert normalise(image(-1000, 0, 100, 3000), [scheme]).ravel().tolist() == [-4, -2, 0, 4]


def test_zscore_has_mean_zero_and_variance_one() -> None:
    found = normalise(image(1, 2, 3, 10), [ZScoreConfig()])
    assert found.dtype == np.float32
    assert found.mean() == pytest.approx(0, abs=1e-6)
    assert found.std() == pytest.approx(1, abs=1e-6)


def test_masked_zscore_leaves_the_outside_at_zero() -> None:
    found = normalise(image(0, 0, 4, 6), [ZScoreConfig(masked=True)])
    assert found.ravel().tolist() == [0, 0, -1, 1]


def test_a_hole_belongs_to_the_body() -> None:
    solid = np.ones((1, 5, 5, 5), dtype=np.float32)
    solid[0, 2, 2, 2] = 0
    solid[0, 0] = 0
    assert body(solid)[2, 2, 2]
    assert not body(solid)[0].any()
    assert normalise(solid, [ZScoreConfig(masked=True)])[0, 2, 2, 2] < 0


def test_other_schemes() -> None:
    assert normalise(image(-2, 0, 2), [RescaleConfig()]).ravel().tolist() == [0, 0.5, 1]
    assert normalise(image(0, 51, 255), [BytesConfig()]).ravel().tolist() == pytest.approx([0, 0.2, 1])
    assert normalise(image(3, 4), [AsStoredConfig()]).ravel().tolist() == [3, 4]


@pytest.mark.parametrize("scheme", [ZScoreConfig(), ZScoreConfig(masked=True), RescaleConfig()])
def test_a_constant_image_stays_finite(scheme: ZScoreConfig | RescaleConfig) -> None:
    for value in (0.0, 5.0):
        assert np.isfinite(normalise(image(value, value), [scheme])).all()


def test_each_channel_has_its_own_scheme() -> None:
    both = np.concatenate([image(0, 255), image(1, 3)])
    found = normalise(both, [BytesConfig(), ZScoreConfig()])
    assert found.reshape(2, 2).tolist() == [[0, 1], [-1, 1]]


def test_a_wrong_number_of_channels_is_refused() -> None:
    with pytest.raises(DataError, match="1 channels"):
        normalise(image(1, 2), [RescaleConfig(), RescaleConfig()])


def test_bytes_out_of_range_are_refused() -> None:
    with pytest.raises(DataError, match="does not hold bytes"):
        normalise(image(-1, 300), [BytesConfig()])


@pytest.mark.parametrize(
    "scheme",
    [
        ZScoreConfig(),
        ZScoreConfig(masked=True),
        CTConfig(low=0, high=1, mean=0.5, std=2),
        RescaleConfig(),
        BytesConfig(),
    ],
)
def test_the_images_own_memory_is_used(scheme: NormalisationConfig) -> None:
    values = image(0, 1, 7)
    assert normalise(values, [scheme]) is values
    assert values.ravel().tolist() != [0, 1, 7]
