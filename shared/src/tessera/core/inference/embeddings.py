"""Embeddings: what a network knows of an input just before it names a class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.core.errors import ConfigError
from tessera.core.network import Network


@runtime_checkable
class GivesEmbeddings(Protocol):
    """A body whose last layer sees one vector an input."""

    def embed(self, x: Tensor) -> Tensor:
        """Features (B, ...) -> embeddings (B, E)."""


def check_embeddings(networks: Sequence[nn.Module], *, source: object) -> None:
    """Refuse networks without embeddings; ``source`` is named in the error."""
    for network in networks:
        body = network.body if isinstance(network, Network) else network
        if not isinstance(body, GivesEmbeddings):
            raise ConfigError(
                f"{source}: its network has no embedding",
                found=type(body).__name__,
                expected="a network that gives one",
                hint="train another preset, for instance of model.kind crnn or efficient-tdnn",
            )


def embed(networks: Sequence[nn.Module], input: Tensor) -> Tensor:
    """Input (B, C, *S) -> (B, E) on the CPU: each network's embeddings, of length 1, side by side."""
    found = []
    for network in networks:
        if not isinstance(network, Network) or not isinstance(network.body, GivesEmbeddings):
            raise TypeError(f"{type(network).__name__} has no embedding")
        vectors = network.body.embed(network.front_end(input))
        found.append(F.normalize(vectors.float()))
    return torch.cat(found, dim=1).cpu()
