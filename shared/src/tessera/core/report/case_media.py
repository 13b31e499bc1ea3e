"""Finds the cases a report names and lets their field draw them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tessera.core import pipeline as pipelines
from tessera.core.config import validate
from tessera.core.data.case import Case
from tessera.core.errors import TesseraError
from tessera.core.report.media import CaseFigures, CaseMedia, MaskFigures

MEDIA_CASES = 24  # cases with pictures and sound; more make the page too large to send
MEDIA_BYTES = 24 * 2**20  # and never more than this in all


def cases_of_dataset(name: str) -> Mapping[str, Case]:
    """Cases of a manifest, given by name or path; none when it cannot be found."""
    from tessera.core.data.manifest import Manifest

    try:
        return {case.id: case for case in Manifest.load(name).cases}
    except (TesseraError, OSError):
        return {}


def figures_of(config: Mapping[str, Any]) -> CaseFigures | None:
    """What the pipeline of a config shows of a case; ``None`` when the pipeline is not installed."""
    try:
        pipeline = pipelines.get(str(config.get("pipeline")))
        typed = validate(pipeline.resolve("config"), config, source="config.yaml")
        return pipeline.resolve("figures")(typed)
    except (TesseraError, ImportError):
        return None


@dataclass(frozen=True)
class MaskDrawing:
    """Draws every case with its mask on top.

    Args:
        figures: Of the pipeline.
        classes: Names of the mask's classes.
        files: What a prediction wrote, by case id; where there is nothing, the case's own mask is drawn.
    """

    figures: MaskFigures
    classes: tuple[str, ...]
    files: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)

    def draw(self, case: Case) -> CaseMedia:
        """The case and its mask."""
        return self.figures.draw_mask(case, classes=self.classes, files=self.files.get(case.id, ()))


def with_masks(
    figures: CaseFigures | None,
    card: Mapping[str, Any],
    files: Mapping[str, tuple[Path, ...]] | None = None,
) -> CaseFigures | None:
    """The same figures with masks on top, where they can draw them and the model makes some."""
    target = card.get("target")
    if (
        not isinstance(figures, MaskFigures)
        or not isinstance(target, Mapping)
        or target.get("kind") != "mask"
    ):
        return figures
    return MaskDrawing(figures, tuple(map(str, target.get("classes") or ())), files or {})


def draw_cases(
    ids: Iterable[str],
    *,
    cases: Mapping[str, Case],
    figures: CaseFigures | None,
    limit: int = MEDIA_CASES,
    limit_bytes: int = MEDIA_BYTES,
) -> tuple[dict[str, CaseMedia], dict[str, str]]:
    """Media of the first ``limit`` cases that can be drawn, and why others among them cannot."""
    if figures is None:
        return {}, {}
    return draw_each(ids, figures.draw, cases=cases, limit=limit, limit_bytes=limit_bytes)


class Sized(Protocol):
    """Something drawn."""

    @property
    def size(self) -> int:
        """Bytes of all of it."""
        ...


Drawn = TypeVar("Drawn", bound=Sized)


def draw_each(
    ids: Iterable[str],
    draw: Callable[[Case], Drawn],
    *,
    cases: Mapping[str, Case],
    limit: int,
    limit_bytes: int,
) -> tuple[dict[str, Drawn], dict[str, str]]:
    """What ``draw`` makes of the first ``limit`` cases, and why it makes nothing of others among them."""
    drawn: dict[str, Drawn] = {}
    problems: dict[str, str] = {}
    room = limit_bytes
    if not cases:
        return drawn, problems
    for name in ids:
        if len(drawn) + len(problems) >= limit:
            break
        if name not in cases:
            problems[name] = "its file is no longer where it was"
            continue
        try:
            made = draw(cases[name])
        except TesseraError as error:
            problems[name] = error.one_line()
            continue
        except Exception as error:  # one odd file must not cost the whole page
            problems[name] = f"{type(error).__name__}: {error}"
            continue
        room -= made.size
        if room < 0:
            break
        drawn[name] = made
    return drawn, problems
