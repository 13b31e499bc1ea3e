"""Free memory and a measured step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from tessera.medical.planning import memory
from tessera.medical.planning.memory import free_bytes, measure_step


def test_free_memory_is_what_the_system_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = tmp_path / "meminfo"
    listing.write_text("MemTotal:  100 kB\nMemFree: 3 kB\nMemAvailable:   2048 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", listing)
    assert free_bytes() == 2 * 2**20
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "none")
    assert free_bytes() is None


class Wide(nn.Module):
    """Keeps so many maps for the backward pass that they cannot be overlooked."""

    def __init__(self, *, heads: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv3d(1, 64, 1)
        self.last = nn.Conv3d(64, 2, 1)
        self.norm = nn.BatchNorm3d(64)
        self.heads = heads

    def forward(self, input: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        logits = self.last(torch.relu(self.norm(self.first(input))))
        return logits if self.heads == 1 else [logits] * self.heads


def test_a_step_is_timed_and_its_memory_seen() -> None:
    found = measure_step(Wide(), (32, 32, 32), 2)
    maps = 2 * 64 * 32**3 * 4
    assert found.seconds > 0
    assert 2 * maps < found.peak_bytes < 12 * maps  # three maps are kept, and their gradients come


def test_the_network_is_as_before() -> None:
    network = Wide(heads=3).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    measure_step(network, (4, 4, 4), 2)
    assert not network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_step_on_the_gpu() -> None:
    network = Wide().cuda()
    free = free_bytes("cuda")
    found = measure_step(network, (48, 48, 48), 2)
    assert free is not None and free > 0
    assert found.peak_bytes > 2 * 64 * 48**3 * 2
