"""Maps of Quijote: single pixels tell sigma_8, and where the matter is tells more of Omega_m."""

from __future__ import annotations

from pathlib import Path

import pytest

from tessera.astronomy.density_files import DensityReader
from tessera.astronomy.density_rivals import RIVALS, predict_maps
from tessera.core.data.manifest import Manifest
from tessera.core.evaluation import ManyValuePredictions, metrics_of, pool

pytestmark = [pytest.mark.real, pytest.mark.slow]


def r2_of(name: str) -> tuple[float, float]:
    """R2 of Omega_m and sigma_8 over two folds, each left out in turn."""
    manifest, reader, parts = Manifest.load("quijote_density"), DensityReader(), []
    for fold in ("1", "2"):
        found = predict_maps(RIVALS[name], manifest, reader, target="parameters", fold=fold).predictions
        assert isinstance(found, ManyValuePredictions)
        parts.append(found)
    pooled = pool(parts)
    metrics = metrics_of(pooled)
    omega_m, sigma_8 = (metrics[f"r2_{number}"](pooled).value for number in ("omega_m", "sigma_8"))
    return omega_m, sigma_8


def test_the_reference_point_is_found_again_and_the_power_spectrum_is_above_it(real_data: Path) -> None:
    if not (real_data / "quijote_density").is_dir():
        pytest.skip(f"quijote_density is not in {real_data}")
    one, power = r2_of("one-point"), r2_of("power-spectrum")
    assert list(one) == pytest.approx([0.5, 0.92], abs=0.12)  # of the data's description: about 0.5 and 0.9
    assert power[0] > one[0] + 0.05
