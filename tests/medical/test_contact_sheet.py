"""Sheets with a tile of every case, and the summary with a row of each."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from tessera.core.data.case import Case
from tessera.core.inference.interfaces import Outcome, Written
from tessera.medical.contact_sheet import (
    HEIGHT,
    MARGIN,
    WIDTH,
    Tile,
    write_sheets,
    write_summary,
)
from tessera.medical.pictures import GAP, PANE, palette_png

ORANGE, RED = (0xE6, 0x9F, 0x00), (0xD5, 0x5E, 0x00)
COLUMNS = ("shape", "spacing_mm", "voxels_airway")


def outcome(name: str, status: str = "ok", reason: str = "") -> Outcome:
    rows = {"summary": [{"shape": "3x4x5", "voxels_airway": 7, "spacing_mm": "1x1x2"}]}
    written = Written((f"masks/{name}.nii.gz", f"thumbnails/{name}.png"), rows)
    case = Case(id=name, files={}, group="g")
    return Outcome(case, status, reason, written if status in ("ok", "suspicious") else Written())


def thumbnail(folder: Path, name: str, grey: int) -> None:
    (folder / "thumbnails").mkdir(exist_ok=True)
    picture = np.full((PANE, 3 * PANE + 2 * GAP), grey, dtype=np.uint8)
    (folder / f"thumbnails/{name}.png").write_bytes(palette_png(picture))


def test_every_case_has_one_row_whatever_became_of_it(tmp_path: Path) -> None:
    found = [
        outcome("a", "suspicious", "nothing found; same content as b"),
        outcome("b"),
        outcome("c", "failed", "cannot read c, or its end"),
        outcome("d", "pending"),
    ]
    tiles = list(write_summary(found, tmp_path, COLUMNS))
    with (tmp_path / "summary.csv").open(newline="") as text:
        rows = list(csv.reader(text))
    assert rows == [
        ["case_id", "status", "flags", *COLUMNS],
        ["a", "suspicious", "nothing found; same content as b", "3x4x5", "1x1x2", "7"],
        ["b", "ok", "", "3x4x5", "1x1x2", "7"],
        ["c", "failed", "cannot read c, or its end", "", "", ""],
        ["d", "pending", "", "", "", ""],
    ]
    assert [tile.case_id for tile in tiles] == ["a", "b", "c"]
    assert tiles[0].thumbnail == tmp_path / "thumbnails/a.png"
    assert tiles[2].thumbnail is None


def test_tiles_lie_in_rows_of_four_with_a_bar_for_what_needs_a_look(tmp_path: Path) -> None:
    for grey in range(5):
        thumbnail(tmp_path, f"case{grey}", 40 * grey)
    status = ("ok", "suspicious", "failed", "ok", "suspicious")
    tiles = [
        Tile(f"case{i}", each, "", None if each == "failed" else tmp_path / f"thumbnails/case{i}.png")
        for i, each in enumerate(status)
    ]
    assert write_sheets(tiles, tmp_path) == ("contact-sheet.png",)
    sheet = np.asarray(Image.open(tmp_path / "contact-sheet.png").convert("RGB"))
    assert sheet.shape == (2 * (HEIGHT + MARGIN) + MARGIN, 4 * (WIDTH + MARGIN) + MARGIN, 3)
    bars: dict[str, tuple[int, ...]] = {"suspicious": ORANGE, "failed": RED}
    for i, each in enumerate(status):
        top, left = MARGIN + i // 4 * (HEIGHT + MARGIN), MARGIN + i % 4 * (WIDTH + MARGIN)
        if each != "failed":
            assert (sheet[top : top + PANE, left + 8 : left + WIDTH] == round(40 * i * 255 / 223)).all()
        if each in bars:
            assert (sheet[top : top + HEIGHT, left : left + 4] == bars[each]).all()
        caption = sheet[top + PANE : top + HEIGHT, left + 8 : left + WIDTH]
        assert caption.min() < 60  # something is written
    assert (sheet[MARGIN + HEIGHT + MARGIN :, MARGIN + WIDTH + MARGIN :] == 255).all()  # no sixth case


def test_a_sheet_holds_a_hundred_cases_and_older_sheets_go(tmp_path: Path) -> None:
    tiles = [Tile(f"case{i:03d}", "failed", "x" * 300, None) for i in range(101)]
    assert write_sheets(tiles, tmp_path) == ("contact-sheet.png", "contact-sheet-2.png")
    first = (tmp_path / "contact-sheet.png").read_bytes()
    (tmp_path / "contact-sheet-of-mine.png").write_bytes(b"mine")
    assert write_sheets(tiles[:100], tmp_path) == ("contact-sheet.png",)
    assert (tmp_path / "contact-sheet.png").read_bytes() == first
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "contact-sheet-of-mine.png",
        "contact-sheet.png",
    ]
    assert write_sheets([], tmp_path) == ()


def test_odd_names_and_remarks_are_written_somehow(tmp_path: Path) -> None:
    thumbnail(tmp_path, "a", 10)
    tiles = [
        Tile("肺/\udcff\n" * 40, "ok", "", tmp_path / "thumbnails/a.png"),
        Tile("b", "suspicious", "word " * 200, tmp_path / "thumbnails/missing.png"),
    ]
    assert write_sheets(tiles, tmp_path) == ("contact-sheet.png",)
