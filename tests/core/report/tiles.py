"""A field that offers a gallery, and predictions with labels."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from tessera.core.data.case import Case
from tessera.core.errors import DataError
from tessera.core.report.media import CaseMedia, ColourScale, Thumbnail

FACT = "<b onclick='x'>7.5 deg</b>"


class TileFigures:
    """Shows the same picture for every case, every other one with a heat map; some cases are broken."""

    def __init__(self, picture: bytes, broken: Sequence[str] = ()) -> None:
        self.picture = picture
        self.broken = broken
        self.asked: dict[str, tuple[Path, ...]] = {}

    def draw(self, case: Case) -> CaseMedia:
        raise AssertionError("the gallery has all pictures")

    def thumbnail(self, case: Case, *, files: tuple[Path, ...] = ()) -> Thumbnail:
        self.asked[case.id] = files
        if case.id in self.broken:
            raise DataError(f"cannot read {case.id}", found="0 bytes")
        scale = ColourScale(title="what <u>speaks</u>", low="0", high="1.5", colours=("#440154", "#fde725"))
        return Thumbnail(
            image=self.picture,
            overlay=self.picture if int(case.id[-1]) % 2 == 0 else None,
            facts=(("position", FACT), ("number", case.id[-3:])),
            scales=(scale,),
        )


def label_cases(folder: Path, classes: Sequence[str], *, known: int = 20) -> None:
    """Write the labels of the first cases into a table of predictions, each class in turn."""
    path = folder / "predictions.csv"
    with path.open(encoding="utf-8", newline="") as text:
        rows = list(csv.DictReader(text))
    for i, row in enumerate(rows[:known]):
        row["target"] = classes[i % len(classes)]
    with path.open("w", encoding="utf-8", newline="") as text:
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
