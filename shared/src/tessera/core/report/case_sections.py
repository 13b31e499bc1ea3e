"""The parts of a page that show cases one by one: a table with pictures, or a gallery beside a table."""

from __future__ import annotations

from collections.abc import Mapping

from tessera.core.data.case import Case
from tessera.core.report.case_media import MEDIA_CASES, draw_cases
from tessera.core.report.media import CaseFigures
from tessera.core.report.page import NOT_RECORDED, Block, Cases, Gallery, Note, Section, Table


def case_sections(
    table: Table,
    cases: Mapping[str, Case],
    drawing: CaseFigures | None,
    *,
    title: str,
    gallery: Gallery | None = None,
) -> tuple[Section, ...]:
    """A ranking with media of its first rows; below a gallery, which has the pictures, the ranking alone."""
    if gallery is None:
        return (Section("cases", title, cases_blocks(table, cases, drawing)),)
    beside: list[Block] = [Note(f"{table.note} Pictures are in the gallery."), Cases(table=table)]
    return (Section("gallery", "Gallery", [gallery]), Section("cases", title, beside))


def cases_blocks(table: Table, cases: Mapping[str, Case], drawing: CaseFigures | None) -> list[Block]:
    """A ranking with media for its first rows, and how many those are."""
    ids = [str(row[0]) for row in table.rows]
    media, problems = draw_cases(ids, cases=cases, figures=drawing)
    silent = bool(media) and not any(case.audio for case in media.values())
    what = "Pictures" if silent else "Pictures and sound"
    if media:
        shown = f"{what} are shown for {len(media)} of {len(ids)} cases, at most {MEDIA_CASES}."
    elif drawing is None:
        shown = f"{what}: {NOT_RECORDED} (the pipeline that can draw the cases is not installed)."
    else:
        shown = f"{what}: {NOT_RECORDED} (the cases' files are not where they were)."
    return [Note(f"{table.note} {shown}"), Cases(table=table, media=media, problems=problems)]
