"""All cases of a prediction at a glance: a picture of each with its remarks, and a table with a row of each.

``contact-sheet.png``, then ``contact-sheet-2.png`` and so on: 100 cases a picture, sorted by case_id, each
with the sagittal, coronal and axial plane that hold most of the mask, its outline, its id and its remarks. A
bar at the left is orange for suspicious cases and red for failed ones. Cases not tried yet are absent.

``summary.csv``, one row a case, sorted by case_id:
    case_id; status (ok, suspicious, empty, failed, skipped or pending); flags (the remarks, or why it failed,
    joined by ``; ``); shape (voxels, ``x`` between); spacing_mm (the same); then what the writer measured.
"""

from __future__ import annotations

import csv
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from tessera.core.data.atomic import replacing
from tessera.core.inference.interfaces import Outcome
from tessera.medical.pictures import COLOURS, GAP, GREYS, PANE, Picture, font, palette_png

SHEET, SUMMARY = "contact-sheet", "summary.csv"
THUMBNAILS = "thumbnails"  # folder of the cases' pictures
CASES = 100  # on a sheet
COLUMNS = 4
CAPTION = 48  # dots below a thumbnail: the id and two lines of remarks
MARGIN = 10
LINE = 15  # dots of a line of text
LETTERS = 56  # of a line
BAR = 4  # dots
WIDTH, HEIGHT = 3 * PANE + 2 * GAP, PANE + CAPTION
MARKS = {"suspicious": COLOURS.index("#e69f00"), "failed": COLOURS.index("#d55e00")}
HEAD = ("case_id", "status", "flags", "shape", "spacing_mm")
_OTHER_SHEET = re.compile(rf"{SHEET}-[0-9]+\.png")


@dataclass(frozen=True)
class Tile:
    """What the sheet shows of a case."""

    case_id: str
    status: str
    remarks: str
    thumbnail: Path | None


def write_summary(outcomes: Iterable[Outcome], out: Path, columns: Sequence[str]) -> Iterator[Tile]:
    """Write the table while the cases pass by, and give what the sheets show of them.

    Args:
        outcomes: All cases; the row ``summary`` of what was written of one holds its further columns.
        out: The output folder.
        columns: Names of these, after ``HEAD``'s first three.
    """
    with (
        replacing(out / SUMMARY) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as text,
    ):
        table = csv.writer(text)
        table.writerow((*HEAD[:3], *columns))
        for outcome in outcomes:
            (row,) = outcome.written.rows.get("summary", ({},))
            cells = (row.get(column, "") for column in columns)
            table.writerow((outcome.case.id, outcome.status, outcome.reason, *cells))
            if outcome.status != "pending":
                thumbnails = [name for name in outcome.written.files if name.startswith(f"{THUMBNAILS}/")]
                thumbnail = out / thumbnails[0] if thumbnails else None
                yield Tile(outcome.case.id, outcome.status, outcome.reason, thumbnail)


def write_sheets(tiles: Iterable[Tile], out: Path) -> tuple[str, ...]:
    """Write the pictures, and remove those of an earlier run with more cases; returns their names."""
    names: list[str] = []
    left = iter(tiles)
    while some := list(islice(left, CASES)):
        names.append(f"{SHEET}-{len(names) + 1}.png" if names else f"{SHEET}.png")
        with replacing(out / names[-1]) as temporary:
            temporary.write_bytes(palette_png(_sheet(some)))
    for path in out.glob(f"{SHEET}*.png"):
        if path.name not in names and (_OTHER_SHEET.fullmatch(path.name) or path.name == f"{SHEET}.png"):
            path.unlink()
    return tuple(names)


def _sheet(tiles: Sequence[Tile]) -> Picture:
    """Indices (H, W) into the palette; the width does not depend on the number of cases."""
    rows = -(-len(tiles) // COLUMNS)
    size = (COLUMNS * (WIDTH + MARGIN) + MARGIN, rows * (HEIGHT + MARGIN) + MARGIN)
    canvas = Image.new("L", size, GREYS - 1)
    draw = ImageDraw.Draw(canvas)
    places = [
        (MARGIN + i % COLUMNS * (WIDTH + MARGIN), MARGIN + i // COLUMNS * (HEIGHT + MARGIN))
        for i in range(len(tiles))
    ]
    for (left, top), tile in zip(places, tiles, strict=True):
        _write_caption(draw, tile, left, top)
    sheet = np.array(canvas)
    for (left, top), tile in zip(places, tiles, strict=True):
        picture = _thumbnail(tile.thumbnail)
        sheet[top : top + PANE, left : left + WIDTH] = picture if picture is not None else GREYS * 7 // 8
        if tile.status in MARKS:
            sheet[top : top + HEIGHT, left : left + BAR] = GREYS + MARKS[tile.status]
    return sheet


def _write_caption(draw: ImageDraw.ImageDraw, tile: Tile, left: int, top: int) -> None:
    """Write the case's id and remarks below its picture's place."""
    name = tile.case_id if len(tile.case_id) <= LETTERS else f"…{tile.case_id[1 - LETTERS :]}"
    words = tile.remarks or tile.status
    if tile.status not in ("ok", "suspicious") and tile.remarks:
        words = f"{tile.status}: {tile.remarks}"
    lines = textwrap.wrap(_plain(words), LETTERS, max_lines=2, placeholder=" …")
    for number, line in enumerate((_plain(name), *lines)):
        place = (left + BAR + 4, top + PANE + 2 + number * LINE)
        draw.text(place, line, fill=0 if number == 0 else GREYS // 3, font=font(12))


def _plain(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _thumbnail(path: Path | None) -> Picture | None:
    """The case's picture as indices; None when there is none."""
    if path is None or not path.is_file():
        return None
    with Image.open(path) as image:
        return np.asarray(image)
