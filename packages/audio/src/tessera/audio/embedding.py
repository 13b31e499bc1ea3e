"""Embeddings of recordings by a trained network: what it knows of a sound before it names a class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tessera.core.bundle.bundle import Bundle
from tessera.core.data.case import Case
from tessera.core.inference.embeddings import check_embeddings, embed
from tessera.core.inference.steps import choose_device

Floats = npt.NDArray[np.float32]


class Embedder:
    """One vector of length 1 a recording.

    The mean over its windows of the embeddings, each of length 1; those of several members lie side by side,
    so that a cosine is the mean of theirs.

    Args:
        bundle: Of networks that have an embedding.
        device: auto, cpu or cuda.
    """

    def __init__(self, bundle: Bundle, *, device: str = "auto") -> None:
        self.device = choose_device(device)
        self.networks = [network.eval() for network in bundle.networks(self.device)]
        check_embeddings(self.networks, source=bundle.path)
        self.reader = bundle.pipeline.resolve("reader")(bundle.config)
        self.windows = bundle.pipeline.resolve("windows")(bundle.config)
        self.batch_size = bundle.config.inference.batch_size

    @classmethod
    def from_bundle(cls, path: Path, *, device: str = "auto") -> Embedder:
        """Open a bundle."""
        return cls(Bundle.load(path), device=device)

    def embed(self, cases: Sequence[Case]) -> Floats:
        """(R, E) of recordings, in their order; raises ``DataError`` for one that cannot be read."""
        sums: list[Any] = [0.0] * len(cases)
        inputs = self._inputs(cases)
        while batch := list(islice(inputs, self.batch_size)):
            vectors = self._vectors(torch.stack([input for _, input in batch]))
            for (number, _), vector in zip(batch, vectors, strict=True):
                sums[number] = sums[number] + vector
        rows = np.stack(sums)
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    def _inputs(self, cases: Sequence[Case]) -> Iterator[tuple[int, Tensor]]:
        for number, case in enumerate(cases):
            source = self.reader.open(case)
            try:
                for region in self.windows.plan(source.grid):
                    yield number, self.windows.read(source, region)["input"]
            finally:
                source.close()

    def _vectors(self, input: Tensor) -> npt.NDArray[np.float64]:
        """(n, C, T) -> (n, E); the network always sees ``batch_size`` rows."""
        missing = self.batch_size - len(input)
        padded = torch.cat([input, torch.zeros(missing, *input.shape[1:])]).to(self.device)
        with torch.inference_mode():
            return embed(self.networks, padded)[: len(input)].double().numpy()
