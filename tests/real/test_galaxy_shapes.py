"""Classical measures of real galaxies: asymmetry is what a perturbation shows first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tessera.astronomy.metrics import roc
from tessera.astronomy.readers import SkyReader
from tessera.astronomy.shape_features import measure_cases
from tessera.core.data.manifest import Manifest

pytestmark = [pytest.mark.real, pytest.mark.slow]


def test_perturbed_galaxies_are_more_asymmetric(real_data: Path) -> None:
    if not (real_data / "efigi_galaxies").is_dir():
        pytest.skip(f"efigi_galaxies is not in {real_data}")
    cases = Manifest.load("efigi_galaxies").training_cases("label")[::8]
    table = measure_cases(cases, SkyReader())
    assert not table.failures and len(table.case_id) == 332
    tidal = np.array([case.targets["label"] == "tidal" for case in cases])
    for name, least in (("asymmetry", 0.72), ("mask_asymmetry", 0.68)):
        values = table.take(table.case_id, [name])[:, 0]
        known = np.isfinite(values)
        assert known.mean() > 0.97
        assert roc(values[known], tidal[known]).auc > least
