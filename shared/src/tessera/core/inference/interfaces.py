"""The parts of a prediction that every engine calls, and what they hand to each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from tessera.core.data.case import Case
from tessera.core.data.geometry import Geometry, Region

if TYPE_CHECKING:
    from tessera.core.inference.extras import MapRule


@dataclass(frozen=True)
class CaseResult:
    """A case's answer in the input's geometry.

    Args:
        case: The case.
        grid: The source's own grid.
        regions: The regions read, in order.
        scores: One row a region (R, K): probabilities, or (mean, log variance) for regression; no row for
            a mask.
        summary: The regions fused to one row (K,), float32; for a mask the elements of each class, int64.
        flags: Remarks for the ledger, for instance ``silent``; any flag makes the case suspicious.
        mask: For segmentation the class of each element of ``grid``, uint8 or uint16.
        embeddings: One row a region (R, E), where the writer takes them.
        maps: What in each region spoke for an output (R, *S), on the grid of the network's input, where the
            writer takes them.
    """

    case: Case
    grid: Geometry
    regions: tuple[Region, ...]
    scores: npt.NDArray[np.float32]
    summary: npt.NDArray[Any]
    flags: tuple[str, ...] = ()
    mask: npt.NDArray[Any] | None = None
    embeddings: npt.NDArray[np.float32] | None = None
    maps: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Written:
    """What a writer made of one case.

    Args:
        files: Relative to the output folder.
        rows: For the tables, by the table's name.
        flags: Further remarks for the ledger, beside those of the result.
    """

    files: tuple[str, ...] = ()
    rows: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How a case ended, for tables that list the cases without a result too.

    Args:
        case: The case.
        status: ok, suspicious, empty, failed, skipped or pending (not tried yet).
        reason: The cause of a failure, or remarks; empty when there is nothing to say.
        written: What the writer made of it.
    """

    case: Case
    status: str
    reason: str
    written: Written


@runtime_checkable
class Stitcher(Protocol):
    """Collects the network's outputs of one case, in any order."""

    def add(self, index: int, raw: Any) -> None:
        """Take the raw output of region ``index``: an array, or a tensor of logits for masks."""
        ...

    def finish(self) -> CaseResult:
        """All regions together; raises when one is missing."""
        ...


@runtime_checkable
class Writer(Protocol):
    """Writes results in the field's own formats; same result, same bytes."""

    def write(self, result: CaseResult, out: Path) -> Written:
        """Write one case's files atomically below ``out``."""
        ...

    def collect(self, cases: Iterator[tuple[Case, Written]], out: Path) -> tuple[str, ...]:
        """Write the tables over all cases, which come sorted by id; returns their names."""
        ...


@runtime_checkable
class EmbeddingWriter(Protocol):
    """A ``Writer`` that can also write the network's embeddings of the regions."""

    @property
    def takes_embeddings(self) -> bool:
        """Whether it wants them."""
        ...


@runtime_checkable
class MapWriter(Protocol):
    """A ``Writer`` that can also write what in an input spoke for an output."""

    @property
    def explained(self) -> MapRule | None:
        """What it wants explained, and how; None: nothing."""
        ...


@runtime_checkable
class OutcomeWriter(Protocol):
    """A ``Writer`` that also makes tables over all cases, those without a result among them."""

    def collect_outcomes(self, outcomes: Iterator[Outcome], out: Path) -> tuple[str, ...]:
        """Write the tables over all cases, which come sorted by id; returns their names."""
        ...
