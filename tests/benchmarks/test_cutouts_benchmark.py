"""The benchmark of cut-outs at a small size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

Script = Callable[[str], ModuleType]


def test_cut_outs_are_compared_then_timed(script: Script, tmp_path: Path) -> None:
    (record,) = script("cutouts").measure(tmp_path, cutouts=30, peer=5, side=300, size=16)
    assert (record["cut-outs"], record["cut-outs of the loops"]) == (30, 5)
    by_position = record["Cutout2D by position, ms"] / record["ours, ms a cut-out"]
    assert record["times faster than by position"] == pytest.approx(by_position)
    assert record["memory growth, MiB"] >= 0


def test_other_cut_outs_end_the_benchmark(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark = script("cutouts")
    monkeypatch.setattr(benchmark, "by_pixel", lambda *_: np.zeros((16, 16), dtype=np.float32))
    with pytest.raises(SystemExit, match="differ from those of Cutout2D, pixels"):
        benchmark.measure(tmp_path, cutouts=3, peer=1, side=300, size=16)
