"""What a page consists of: plain data between the record of a run and the template that shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from tessera.core.report.media import CaseMedia, Thumbnail

NOT_RECORDED = "not recorded"
SHOWN_ROWS = 200  # rows a table shows; its CSV always holds all

Cell = str | int | float | None


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of the page and the CSV file beside it.

    Args:
        name: Stem of the CSV file.
        caption: What the rows are.
        columns: Headings.
        rows: Cells; ``None`` is shown as a dash and written empty.
        bars: Columns with values from 0 to 1 that get a bar behind the number.
        note: A sentence below the table.
    """

    kind: ClassVar[str] = "table"
    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    bars: frozenset[str] = frozenset()
    note: str = ""

    def column(self, name: str) -> list[Cell]:
        """All cells of one column."""
        place = self.columns.index(name)
        return [row[place] for row in self.rows]

    @property
    def shown(self) -> tuple[tuple[Cell, ...], ...]:
        """The rows the page holds."""
        return self.rows[:SHOWN_ROWS]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawing with its text alternative and the numbers it was drawn from.

    Args:
        title: Heading.
        alternative: What a person who cannot see it should know.
        svg: Inline SVG.
        data: Exactly what is drawn.
        wide: Takes the page's full width.
    """

    kind: ClassVar[str] = "figure"
    title: str
    alternative: str
    svg: str
    data: Table
    wide: bool = False


@dataclass(frozen=True, kw_only=True)
class Cases:
    """A table of cases, some of them with pictures and sound.

    Args:
        table: One row a case; the first column is its id.
        media: Case id to what the field shows of it.
        problems: Case id to the reason why nothing could be shown.
    """

    kind: ClassVar[str] = "cases"
    table: Table
    media: Mapping[str, CaseMedia] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_stacks(self) -> bool:
        """Whether there are slices to leaf through; they need more room than a column."""
        return any(case.stacks for case in self.media.values())

    @property
    def heading(self) -> str:
        """Of the column of media."""
        return "look and listen" if any(case.audio for case in self.media.values()) else "look"


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One case of a gallery.

    Args:
        id: Of the case.
        caption: The few words below its picture.
        thumbnail: What the field shows of it.
        keys: One number for each of the gallery's orders, ``None`` where it is unknown.
        kinds: Words for each of the gallery's filters, none where nothing is known.
        facts: (name, value) pairs of its larger view, the field's own last.
    """

    id: str
    caption: str
    thumbnail: Thumbnail
    keys: tuple[float | None, ...]
    kinds: tuple[tuple[str, ...], ...] = ()
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Pictures of cases side by side; each opens a larger view.

    Args:
        caption: What the pictures are.
        tiles: In the order they are shown at first.
        orders: What they can be sorted by, the largest number on top; they come in the first of these.
        filters: What they can be chosen by.
        note: How many of how many there are, and which.
    """

    kind: ClassVar[str] = "gallery"
    caption: str
    tiles: tuple[Tile, ...]
    orders: tuple[str, ...]
    filters: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Names and values; a missing value reads "not recorded"."""

    kind: ClassVar[str] = "facts"
    title: str = ""
    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Note:
    """A sentence, for instance why something is absent."""

    kind: ClassVar[str] = "note"
    text: str


@dataclass(frozen=True)
class Code:
    """Text shown as it is, folded away until asked for."""

    kind: ClassVar[str] = "code"
    title: str
    text: str


Block = Table | Figure | Cases | Gallery | Facts | Note | Code


@dataclass(frozen=True)
class Section:
    """A headed part of the page."""

    id: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The one number of the page.

    Args:
        name: Of the metric.
        value: Its value, as shown.
        detail: Interval and number of cases in words.
        low: Lower end of the interval on a scale from 0 to 1, ``None`` when there is no such scale.
        high: Upper end.
        point: The value itself.
    """

    name: str
    value: str
    detail: str
    low: float | None = None
    high: float | None = None
    point: float | None = None


@dataclass(frozen=True, kw_only=True)
class Page:
    """The whole report.

    Args:
        title: Heading of the page.
        subtitle: One line below it.
        banner: A warning nobody may miss, empty when there is none.
        headline: The one number.
        facts: The short list at the top.
        sections: Everything else.
    """

    title: str
    subtitle: str
    banner: str = ""
    headline: Headline | None = None
    facts: Facts
    sections: tuple[Section, ...]

    def tables(self) -> dict[str, Table]:
        """Every table and every figure's numbers, by the name of their CSV file."""
        found: dict[str, Table] = {}
        for section in self.sections:
            for block in section.blocks:
                if isinstance(block, Table):
                    found[block.name] = block
                elif isinstance(block, Cases):
                    found[block.table.name] = block.table
                elif isinstance(block, Figure):
                    found[block.data.name] = block.data
        return found
