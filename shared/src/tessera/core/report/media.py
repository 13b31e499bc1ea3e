"""What a field shows of a case in the report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from tessera.core.data.case import Case

Borders = tuple[str, str, str, str]


@dataclass(frozen=True, kw_only=True)
class ImageStack:
    """Slices to leaf through, with a mask on top that can be switched off.

    All slices lie in one picture, row by row from the top left, so that the page holds two pictures a case.

    Args:
        title: What is shown, and how.
        image: JPEG or PNG bytes of all slices.
        mask: PNG bytes of the same layout, transparent where there is no mask; or ``None``.
        columns: Slices in a row of the picture.
        labels: What each slice is called, one a slice.
        aspect: Width over height of a slice as a person should see it.
        first: The slice shown at first.
        borders: Words at the left, top, right and bottom border.
        legend: (name, CSS colour) pairs of the mask.
    """

    title: str
    image: bytes
    mask: bytes | None = None
    columns: int
    labels: tuple[str, ...]
    aspect: float = 1.0
    first: int = 0
    borders: Borders = ("", "", "", "")
    legend: tuple[tuple[str, str], ...] = ()

    @property
    def rows(self) -> int:
        """Rows of the picture."""
        return -(-len(self.labels) // self.columns)


@dataclass(frozen=True)
class CaseMedia:
    """Pictures and sound of one case.

    Args:
        images: (title, PNG bytes) pairs, for instance a spectrogram.
        audio: WAV bytes for a player, or ``None``.
        stacks: Slices to leaf through.
    """

    images: tuple[tuple[str, bytes], ...] = ()
    audio: bytes | None = None
    stacks: tuple[ImageStack, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all of it."""
        stacks = sum(len(stack.image) + len(stack.mask or b"") for stack in self.stacks)
        return sum(len(png) for _, png in self.images) + len(self.audio or b"") + stacks


@runtime_checkable
class CaseFigures(Protocol):
    """Draws one case for a person."""

    def draw(self, case: Case) -> CaseMedia:
        """Pictures and sound of the case; raises ``DataError`` when its file cannot be read."""
        ...


@runtime_checkable
class MaskFigures(CaseFigures, Protocol):
    """``CaseFigures`` that can also draw a case with a mask on top."""

    def draw_mask(self, case: Case, *, classes: tuple[str, ...], files: tuple[Path, ...] = ()) -> CaseMedia:
        """The case with the mask among the ``files`` of its prediction, or else with its own mask.

        Args:
            case: The case.
            classes: Names of the mask's classes.
            files: What the prediction wrote for the case.
        """
        ...
