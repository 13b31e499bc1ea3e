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


@dataclass(frozen=True, kw_only=True)
class ColourScale:
    """What the colours of a picture mean.

    Args:
        title: The quantity, with its unit.
        low: What the first colour stands for, in words.
        high: What the last one stands for.
        colours: CSS colours at equal distances.
    """

    title: str
    low: str
    high: str
    colours: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Thumbnail:
    """A case as one small picture, and what its field knows of it.

    Args:
        image: JPEG or PNG bytes, so small that 200 of them fit into a page.
        overlay: PNG bytes over the same extent, transparent where there is nothing, for instance a heat map.
        facts: (name, value) pairs, for instance the position.
        scales: Of the picture's colours and the overlay's, where they have a scale.
    """

    image: bytes
    overlay: bytes | None = None
    facts: tuple[tuple[str, str], ...] = ()
    scales: tuple[ColourScale, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all of it."""
        return len(self.image) + len(self.overlay or b"")


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


@runtime_checkable
class GalleryFigures(CaseFigures, Protocol):
    """``CaseFigures`` of a field whose cases are best looked at side by side."""

    def thumbnail(self, case: Case, *, files: tuple[Path, ...] = ()) -> Thumbnail:
        """The case small; raises ``DataError`` when its file cannot be read.

        Args:
            case: The case.
            files: What a prediction wrote for the case, for instance a heat map.
        """
        ...
