"""The parts of the benchmark of memory that a person does not see."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import nibabel
import numpy as np
import pytest
import torch

Script = Callable[[str], ModuleType]


def test_the_network_set_by_hand_finds_air_and_nothing_else(script: Script, tmp_path: Path) -> None:
    benchmark = script("volume_memory")
    (network,) = benchmark.air_finder(tmp_path).networks()
    hu = torch.full((1, 1, 64, 64, 64), benchmark.TISSUE_HU, dtype=torch.float32)
    hu[..., 20:26, 30:34, 5:60] = benchmark.AIR_HU
    for window, air in ((hu, hu < 0), (torch.full_like(hu, benchmark.TISSUE_HU), torch.zeros_like(hu) > 0)):
        with torch.inference_mode():
            found = network((window + 1000) / 1600).argmax(1, keepdim=True) > 0
        assert torch.equal(found, air)


def test_both_scans_are_the_same_noise(script: Script, tmp_path: Path) -> None:
    script("volume_memory").write_scans(tmp_path / "scans", (6, 5, 4))
    first, second = (nibabel.load(path) for path in sorted((tmp_path / "scans").iterdir()))
    assert first.shape == (6, 5, 4)
    assert first.header.get_zooms() == pytest.approx((0.75, 0.75, 1.0))
    assert np.array_equal(first.dataobj, second.dataobj)
    assert first.get_data_dtype() == np.int16
