"""Labels of parts of a file: how a field cuts its cases by its own tables (no torch)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from tessera.core.data.case import Case
from tessera.core.data.label_table import Kind, LabelRow


@dataclass(frozen=True, kw_only=True)
class LabelledParts:
    """What a field's tables say.

    Args:
        rows: The labelled parts of each file, by its path below the folder; ``part`` and ``select`` are set.
        kind: What the labels are.
        without_file: Tables or labels whose file is not there.
        warnings: Remarks for a person.
    """

    rows: Mapping[str, tuple[LabelRow, ...]]
    kind: Kind
    without_file: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@runtime_checkable
class PartLabels(Protocol):
    """Cuts cases into labelled parts; also a ``Config`` whose fields a person may set."""

    def reads(self, labels: Path) -> bool:
        """Whether this file or folder of labels is of the field's own kind."""
        ...

    def label(self, cases: Mapping[str, Case], labels: Path) -> LabelledParts:
        """The labelled parts of the cases, given by path below the folder, all of which can be opened."""
        ...
