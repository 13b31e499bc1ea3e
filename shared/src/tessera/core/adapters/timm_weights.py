"""Weights of timm's encoders, fetched on request only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from tessera.core.adapters.timm import expected_input
from tessera.core.data.fetch import Progress, download
from tessera.core.data.locate import cache_folder
from tessera.core.errors import ConfigError, DataError


@dataclass(frozen=True)
class FetchedWeights:
    """A weights file and what a config says to use it.

    Args:
        name: The model's name in timm.
        path: The file.
        sha256: Of the file; timm states none to compare it with, so note it beside your results.
        mean: Of each channel of the inputs in [0, 1] that the weights were trained with.
        std: Likewise.
    """

    name: str
    path: Path
    sha256: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def encoder(self) -> dict[str, Any]:
        """The values of ``model.encoder`` in a config."""
        return {
            "kind": "timm",
            "name": self.name,
            "weights": str(self.path),
            "mean": list(self.mean),
            "std": list(self.std),
        }


def fetch_weights(name: str, *, dest: Path | None = None, progress: Progress | None = None) -> FetchedWeights:
    """Download the weights of a timm model, for instance resnet50.a1_in1k; may be called again.

    Args:
        name: The model with the tag of its weights.
        dest: Folder; the fetch cache when not given.
        progress: Called with the bytes that arrived.
    """
    expected = expected_input(name)
    address = expected["address"]
    if address is None:
        raise ConfigError(
            f"timm names no weights for {name}",
            hint="give a name with a tag that timm.list_pretrained() shows, such as resnet50.a1_in1k",
        )
    folder = cache_folder() / "weights" / "timm" if dest is None else dest
    path = folder / (name + PurePosixPath(urlsplit(address).path).suffix)
    sha256 = download(address, path, progress=progress)
    stated = re.search(r"-([0-9a-f]{8})\.\w+$", address)  # the habit of torch's own weight files
    if stated and not sha256.startswith(stated[1]):
        path.unlink()
        raise DataError(
            f"{address} gave another file than its name says",
            found=f"SHA-256 {sha256}",
            expected=f"one that begins with {stated[1]}",
            hint="fetch again",
        )
    return FetchedWeights(name, path, sha256, expected["mean"], expected["std"])
