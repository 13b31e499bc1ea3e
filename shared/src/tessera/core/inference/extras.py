"""What a prediction tells of an input beside the answer: where it was seen, and an embedding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tessera.core.inference.embeddings import embed
from tessera.core.network import Network

if TYPE_CHECKING:
    from tessera.core.explain import Explanation

Rows = npt.NDArray[np.float32]


@dataclass(frozen=True)
class MapRule:
    """Which output is explained, and how.

    Args:
        output: Place of the output among the K.
        method: See `tessera.core.explain`.
        exclusive: The outputs are logits of classes that exclude each other; the log-odds are explained.
    """

    output: int
    method: Explanation
    exclusive: bool = False


class Parts(NamedTuple):
    """Rows taken apart: answers (R, K), maps (R, *S) and embeddings (R, E), where there are some."""

    answers: Rows
    maps: Rows | None
    embeddings: Rows | None


@dataclass(frozen=True, kw_only=True)
class Extras:
    """Numbers that follow each answer: the map's, then the embedding's.

    Args:
        answers: Width K of an answer.
        shape: (*S) of an input.
        maps: What is explained; None: nothing.
        embeddings: Whether an embedding follows.
    """

    answers: int
    shape: tuple[int, ...]
    maps: MapRule | None = None
    embeddings: bool = False

    def of(self, networks: Sequence[nn.Module], batch: Tensor) -> Rows:
        """Inputs (B, C, *S) -> (B, M + E): the mean over the networks' maps, and their embeddings."""
        found: list[Rows] = []
        if self.maps is not None:
            found.append(self._maps(self.maps, networks, batch).flatten(1).cpu().numpy())
        if self.embeddings:
            with torch.inference_mode():
                found.append(embed(networks, batch).numpy())
        return np.concatenate(found, axis=1)

    def split(self, rows: Rows) -> Parts:
        """(R, K + M + E) -> its parts."""
        width = int(np.prod(self.shape)) if self.maps is not None else 0
        answers, maps, embeddings = np.split(rows, [self.answers, self.answers + width], axis=1)
        return Parts(
            answers,
            None if self.maps is None else maps.reshape(-1, *self.shape),
            embeddings if self.embeddings else None,
        )

    @staticmethod
    def _maps(rule: MapRule, networks: Sequence[nn.Module], batch: Tensor) -> Tensor:
        from tessera.core.explain import explain, log_odds

        maps = []
        for network in networks:
            if not isinstance(network, Network):
                raise TypeError(f"{type(network).__name__} cannot be explained: it has no front end and body")
            activation = log_odds if rule.exclusive else None
            maps.append(explain(network, batch, rule.output, method=rule.method, activation=activation))
        return torch.stack(maps).mean(dim=0)
