from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import torch

Script = Callable[[str], ModuleType]


def test_short_scans_are_timed_after_their_results_agreed(script: Script) -> None:
    scan = script("scan")
    for record in (scan.selective_on_cpu(20, 1), scan.ssd_on_cpu(20, 1)):
        assert record["times_faster"] > 0
        assert 0 <= record["largest_difference"] <= scan.LARGEST_DIFFERENCE


def test_different_results_end_the_benchmark(script: Script) -> None:
    check = script("scan").check
    assert check("same", [torch.ones(3)], [torch.ones(3)]) == 0
    with pytest.raises(SystemExit, match=r"other: the results differ by 1\.0e\+00"):
        check("other", [torch.ones(3), torch.zeros(3)], [torch.ones(3), torch.ones(3)])
