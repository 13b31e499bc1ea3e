from __future__ import annotations

import getpass
import json
import socket
from pathlib import Path

import numpy as np
import pytest
import torch

from tessera.core.training.determinism import derive_seed, isolated
from tessera.core.training.environment import describe_environment, write_environment


def test_the_environment_names_versions_but_neither_host_nor_person(tmp_path: Path) -> None:
    write_environment(tmp_path / "environment.json", {"data": {"id": "x"}})
    text = (tmp_path / "environment.json").read_text()
    content = json.loads(text)
    assert content["versions"]["torch"] == torch.__version__.split("+")[0]
    assert content["data"] == {"id": "x"}
    assert socket.gethostname() not in text
    assert str(Path.home()) not in text
    assert f'"{getpass.getuser()}"' not in text
    assert describe_environment()["threads"] == torch.get_num_threads()


def test_seeds_differ_by_every_argument_and_repeat() -> None:
    seeds = {
        derive_seed(seed, purpose, step=step, rank=rank)
        for seed in (0, 1)
        for purpose in ("weights", "step", "transforms")
        for step in (0, 1, 2)
        for rank in (0, 1)
    }
    assert len(seeds) == 36
    assert derive_seed(1, "step", step=2) == derive_seed(1, "step", step=2)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_isolation_gives_the_state_back_even_after_an_error() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1, generator=torch.Generator().manual_seed(3))
    numpy_state = np.random.get_state()[1].copy()  # type: ignore[index]
    with pytest.raises(ZeroDivisionError), isolated():
        torch.manual_seed(8)
        np.random.seed(8)
        torch.set_grad_enabled(False)
        raise ZeroDivisionError
    assert torch.equal(torch.rand(1), expected)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # type: ignore[index]
    assert torch.is_grad_enabled()
