"""The comparisons with timm's plugs and torch's ELU: what is equal passes, what is not ends the benchmark."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from torch import nn

Script = Callable[[str], ModuleType]
PAIRS = ["gates", "mixers", "others"]


@pytest.mark.slow  # importing timm
@pytest.mark.parametrize("kind", PAIRS)
def test_plugs_and_timms_give_the_same(script: Script, kind: str) -> None:
    benchmark = script("timm_plugs")
    for name, pair in getattr(benchmark, kind)().items():
        record = benchmark.compare(name, pair, repeats=1)
        assert record["plug"] == name
        assert record["times timm"] == pytest.approx(record["ours_ms"] / record["timm_ms"])
        assert record["largest_difference"] <= 1e-5


@pytest.mark.slow  # importing timm
def test_a_plug_unlike_timms_ends_the_benchmark(script: Script) -> None:
    benchmark = script("timm_plugs")
    x = 1, 4, 5, 5
    with pytest.raises(SystemExit, match="another: the outputs differ"):
        benchmark.compare("another", benchmark.Pair(nn.PReLU(4), nn.Conv2d(4, 1, 1, bias=False), x), 1)
    with pytest.raises(SystemExit, match="2 values of ours for 1 of timm"):
        benchmark.compare("more", benchmark.Pair(nn.Conv2d(4, 1, 1), nn.PReLU(4), x), 1)


@pytest.mark.slow  # a network of sound
def test_the_crnn_is_timed_after_its_answers_agreed(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = script("elu")
    record = benchmark.measure("crnn", batch=1, repeats=1)
    assert record["forward, times_faster"] > 0
    assert record["training step, times_faster"] > 0
    assert 0 <= record["largest_difference"] <= benchmark.LARGEST_DIFFERENCE
    monkeypatch.setattr(benchmark.nn, "ELU", nn.SELU)
    with pytest.raises(SystemExit, match="differ by"):
        benchmark.measure("crnn", batch=1, repeats=1)


@pytest.mark.slow  # a network of sound
def test_a_network_without_elu_is_refused(script: Script) -> None:
    with pytest.raises(SystemExit, match="m5 has no ELU"):
        script("elu").measure("m5", batch=1, repeats=1)


@pytest.mark.slow  # importing a network of sound
def test_the_copy_differs_in_its_activations_alone(script: Script) -> None:
    benchmark = script("elu")
    ours = nn.Sequential(nn.Conv1d(1, 2, 3), nn.Sequential(nn.BatchNorm1d(2), benchmark.ELU()))
    theirs = benchmark.plain(ours).eval()
    assert [type(m).__name__ for m in theirs.modules()][-2:] == ["BatchNorm1d", "ELU"]
    assert not any(isinstance(m, benchmark.ELU) for m in theirs.modules())
    assert any(isinstance(m, benchmark.ELU) for m in ours.modules())
    x = torch.randn(2, 1, 9)
    torch.testing.assert_close(ours.eval()(x), theirs(x))
