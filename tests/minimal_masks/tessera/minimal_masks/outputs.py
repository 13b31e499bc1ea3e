"""Masks out: writer, figures and what a mask is worth."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from tessera.core.data.atomic import replacing, write_atomic
from tessera.core.data.case import Case
from tessera.core.data.geometry import Geometry
from tessera.core.data.targets import TargetSpec, class_columns
from tessera.core.errors import DataError
from tessera.core.inference.interfaces import CaseResult, Written
from tessera.core.report.media import CaseMedia
from tessera.minimal_masks.config import MasksConfig
from tessera.minimal_masks.planes import load_plane


class PlaneWriter:
    """One ``.npy`` file a plane, and a table of how many elements each class has."""

    def __init__(self, config: MasksConfig, target: TargetSpec) -> None:
        self.classes = target.classes

    def write(self, result: CaseResult, out: Path) -> Written:
        """Write ``<id>-mask.npy``."""
        if result.mask is None:
            raise DataError(f"case {result.case.id} has no mask")
        name = f"{Path(result.case.id).with_suffix('').as_posix()}-mask.npy"
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        with replacing(out / name) as temporary, temporary.open("wb") as file:
            np.save(file, result.mask, allow_pickle=False)
        counts = np.bincount(result.mask.reshape(-1), minlength=len(self.classes)).tolist()
        row = {"case_id": result.case.id, **dict(zip(self.classes, counts, strict=True))}
        return Written((name,), {"cases": [row]})

    def collect(self, cases: Iterator[tuple[Case, Written]], out: Path) -> tuple[str, ...]:
        """Write ``cases.csv``."""
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, ("case_id", *self.classes), lineterminator="\n")
        table.writeheader()
        for _, written in cases:
            table.writerows(written.rows["cases"])
        write_atomic(out / "cases.csv", text.getvalue())
        return ("cases.csv",)


class PlaneFigures:
    """Shows the plane."""

    def __init__(self, config: MasksConfig) -> None:
        del config

    def draw(self, case: Case) -> CaseMedia:
        """The plane as PNG."""
        plane = load_plane(case.path("image")).astype(np.float64)
        grey = 255 * (plane - plane.min()) / max(float(np.ptp(plane)), 1e-6)
        png = io.BytesIO()
        Image.fromarray(grey.astype(np.uint8)).save(png, "PNG")
        return CaseMedia(images=((case.id, png.getvalue()),))


class PlaneScores:
    """Dice of each class, undefined where neither mask has it, and the error of its area in elements."""

    def __init__(self, config: MasksConfig, spec: TargetSpec) -> None:
        self.columns = class_columns(spec.classes)

    def case(
        self, predicted: npt.NDArray[Any], reference: npt.NDArray[Any], geometry: Geometry
    ) -> dict[str, float]:
        """Scores of one case by column."""
        del geometry
        scores = {}
        for k, name in list(enumerate(self.columns))[1:]:
            found, true = predicted == k, reference == k
            size = float(found.sum() + true.sum())
            scores[f"dice_{name}"] = 2 * float((found & true).sum()) / size if size else float("nan")
            scores[f"area_error_{name}"] = float(found.sum()) - float(true.sum())
        return scores
