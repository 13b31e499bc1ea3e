from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import torch

Script = Callable[[str], ModuleType]


def test_short_scans_are_timed_after_their_results_agreed(script: Script) -> None:
    scan = script("scan")
    found = scan.selective_on_cpu(20, 1), scan.ssd_on_cpu(20, 1)
    for record, name in zip(found, ("speed over loop", "times_faster"), strict=True):
        assert record[name] > 0
        assert 0 <= record["largest_difference"] <= scan.LARGEST_DIFFERENCE


def test_mambapy_is_a_peer_where_it_is_installed(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = script("scan")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    name = "speed over mambapy"
    assert scan.selective_on_cpu(20, 1)[name] == "mambapy not installed"
    monkeypatch.undo()
    pytest.importorskip("mambapy")
    found = scan.selective_on_cpu(20, 1)
    assert found[name] > 0
    assert found["with gradients, speed over mambapy 2"] > 0
    monkeypatch.setattr(scan, "mambapy_scan", lambda *inputs: scan.selective_scan(*inputs) * 1.01)
    with pytest.raises(SystemExit, match="mambapy: the results differ"):
        scan.selective_on_cpu(20, 1)


def test_different_results_end_the_benchmark(script: Script) -> None:
    check = script("scan").check
    assert check("same", [torch.ones(3)], [torch.ones(3)]) == 0
    with pytest.raises(SystemExit, match=r"other: the results differ by 1\.0e\+00"):
        check("other", [torch.ones(3), torch.zeros(3)], [torch.ones(3), torch.ones(3)])
