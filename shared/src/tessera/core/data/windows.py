"""How a case is cut into the network's inputs: the same object serves training and prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np

from tessera.core.data.case import Source
from tessera.core.data.geometry import Geometry, Region

if TYPE_CHECKING:
    from tessera.core.data.sample import Sample


@runtime_checkable
class Windows(Protocol):
    """Cuts a source into fixed-size network inputs."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape (C, *S) of every sample, the same for all cases."""
        ...

    def plan(self, grid: Geometry) -> Sequence[Region]:
        """The regions a prediction covers, in order."""
        ...

    def draw(self, grid: Geometry, rng: np.random.Generator) -> Region:
        """A region for one training sample."""
        ...

    def read(self, source: Source, region: Region) -> Sample:
        """The network's input (C, *S) for that region: resampled, standardised, padded as configured."""
        ...

    def prepare(self, source: Source) -> tuple[np.ndarray, Geometry]:
        """The whole case as (C, *S), ready to be cut at no cost, and its grid; what the cache keeps."""
        ...


@runtime_checkable
class WholeWindows(Windows, Protocol):
    """Windows over the prepared case only: what a window holds depends on the whole (its content, its mean).

    Training and prediction both cut what ``prepare`` gave; ``plan`` and ``draw`` get the prepared grid.
    """

    @property
    def cuts_prepared(self) -> Literal[True]:
        """Marks the kind."""
        ...


@runtime_checkable
class MaskWindows(WholeWindows, Protocol):
    """Windows of a field whose targets are masks.

    ``read`` only cuts, and pads with 0, because the mask is cut with it too: what it does to the image's
    place it does to the mask's.
    """

    @property
    def mirror_swaps(self) -> Mapping[int, Sequence[tuple[int, int]]]:
        """Axis of the input to the pairs of classes, such as left and right, that it exchanges mirrored."""
        ...

    def prepare_mask(self, mask: Source, grid: Geometry) -> np.ndarray:
        """The mask's classes (*S), whole numbers, on the prepared grid of its case."""
        ...

    def draw_at(self, grid: Geometry, place: tuple[int, ...], rng: np.random.Generator) -> Region:
        """A region for one training sample that holds the element ``place`` of the prepared grid."""
        ...
