"""Weights of timm's encoders come from a loopback mirror on request, and into a network from there."""

from __future__ import annotations

import functools
import http.server
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml
from safetensors.torch import save_file
from typer.testing import CliRunner

from tessera.core.adapters import timm_weights
from tessera.core.adapters.timm_weights import fetch_weights
from tessera.core.backbone_config import TimmEncoderConfig
from tessera.core.cli.app import app
from tessera.core.config import validate
from tessera.core.data.hashing import sha256_file
from tessera.core.errors import ConfigError, DataError

NAME = "test_resnet.r160_in1k"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    folder = tmp_path / "origin"
    folder.mkdir()
    torch.manual_seed(0)
    save_file(timm.create_model("test_resnet").state_dict(), folder / "model.safetensors")
    return folder


@pytest.fixture
def server(origin: Path, serve: Callable[[functools.partial[Quiet]], str]) -> str:
    return serve(functools.partial(Quiet, directory=str(origin)))


@pytest.fixture
def lies_at(monkeypatch: pytest.MonkeyPatch) -> Any:
    def at(address: str | None) -> None:
        values = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25), "address": address}
        monkeypatch.setattr(timm_weights, "expected_input", lambda name: values)

    return at


def test_fetched_weights_are_those_of_the_network_a_config_builds(
    server: str, origin: Path, lies_at: Any, tmp_path: Path
) -> None:
    lies_at(f"{server}/model.safetensors")
    outcome = CliRunner().invoke(app, ["fetch", f"timm:{NAME}", "--dest", str(tmp_path / "w"), "--quiet"])
    assert outcome.exit_code == 0, outcome.output
    values = yaml.safe_load(outcome.stdout)["model"]["encoder"]
    assert Path(values["weights"]) == tmp_path / "w" / f"{NAME}.safetensors"
    encoder = validate(TimmEncoderConfig, values, source="printed").build(2, 3)
    expected = timm.create_model("test_resnet")
    expected.load_state_dict(timm.models.load_state_dict(str(origin / "model.safetensors")))
    x = torch.rand(1, 3, 64, 64)
    found = encoder.eval()(x)[-1]
    torch.testing.assert_close(found, expected.eval().forward_features((x - 0.5) / 0.25))


def test_a_file_that_is_there_is_not_fetched_again(server: str, origin: Path, lies_at: Any) -> None:
    lies_at(f"{server}/model.safetensors")
    first = fetch_weights(NAME)
    assert first.sha256 == sha256_file(origin / "model.safetensors")
    (origin / "model.safetensors").write_bytes(b"another")
    assert fetch_weights(NAME) == first


def test_a_hash_in_the_files_name_is_compared(server: str, origin: Path, lies_at: Any) -> None:
    (origin / "resnet-0123abcd.pth").write_bytes(b"not these weights")
    lies_at(f"{server}/resnet-0123abcd.pth")
    with pytest.raises(DataError, match="another file than its name says"):
        fetch_weights("resnet18.a")
    digest = sha256_file(origin / "resnet-0123abcd.pth")
    (origin / "resnet-0123abcd.pth").rename(origin / f"resnet-{digest[:8]}.pth")
    lies_at(f"{server}/resnet-{digest[:8]}.pth")
    assert fetch_weights("resnet18.a").sha256 == digest


def test_what_cannot_be_fetched_is_told(server: str, lies_at: Any) -> None:
    lies_at(None)
    with pytest.raises(ConfigError, match="names no weights"):
        fetch_weights("resnet18.b")
    lies_at(f"{server}/gone.safetensors")
    with pytest.raises(DataError, match="HTTP 404"):
        fetch_weights("resnet18.b")
