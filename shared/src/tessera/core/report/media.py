"""What a field shows of a case in the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from tessera.core.data.case import Case


@dataclass(frozen=True)
class CaseMedia:
    """Pictures and sound of one case.

    Args:
        images: (title, PNG bytes) pairs, for instance a spectrogram.
        audio: WAV bytes for a player, or ``None``.
    """

    images: tuple[tuple[str, bytes], ...] = ()
    audio: bytes | None = None


@runtime_checkable
class CaseFigures(Protocol):
    """Draws one case for a person."""

    def draw(self, case: Case) -> CaseMedia:
        """Pictures and sound of the case; raises ``DataError`` when its file cannot be read."""
        ...
