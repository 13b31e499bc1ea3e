from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

pytestmark = [
    pytest.mark.slow,  # importing MONAI takes seconds
    pytest.mark.filterwarnings("ignore"),  # its own warnings, many and changing
]
Script = Callable[[str], ModuleType]


@pytest.fixture
def tiling(script: Script, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The benchmark with small windows."""
    found = script("tiling")
    monkeypatch.setattr(found, "PATCH", (16, 16, 16))
    return found


def volume() -> torch.Tensor:
    return torch.randn(1, 1, 32, 24, 40, generator=torch.Generator().manual_seed(0))


def test_masks_are_compared_and_both_timed(tiling: Any) -> None:
    record = tiling.compare("lines", tiling.Lines(3), volume(), 3, repeats=1)
    assert record["share_of_different_voxels"] == 0
    assert record["times_faster"] == pytest.approx(record["monai_ms"] / record["tessera_ms"])


def test_different_masks_end_the_benchmark(tiling: Any) -> None:
    network = tiling.Lines(3)
    mask, logits = tiling.tessera(network, volume(), 3), tiling.monai(network, volume())
    assert len(np.unique(mask)) > 1
    with pytest.raises(SystemExit, match="the masks differ where the logits do"):
        tiling.check(np.roll(mask, 1, axis=0), logits)


def test_the_peak_is_what_a_run_adds(tiling: Any) -> None:
    assert tiling.peak("tessera", volume(), 3) >= 0
    assert tiling.peak("monai", volume(), 3) >= 0
