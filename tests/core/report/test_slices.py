"""Slices to leaf through: what is drawn of which case, and what the page holds without scripts."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tessera.core.report.case_media import draw_cases
from tessera.core.report.media import CaseFigures, CaseMedia, ImageStack, MaskFigures
from tessera.core.report.report import Report

IDS = [f"case_{i:03d}" for i in range(6)]
SUSPICIOUS_FIRST = ["case_002", "case_000", "case_001", "case_003", "case_004", "case_005"]


def page_of(folder: Path, figures: Any) -> str:
    return Report(folder, figures=figures).write().read_text(encoding="utf-8")


def test_a_stack_knows_its_rows_and_its_bytes() -> None:
    stack = ImageStack(title="", image=b"12345", mask=b"678", columns=4, labels=("",) * 9)
    assert stack.rows == 3
    assert replace(stack, columns=3).rows == 3
    assert CaseMedia(images=(("", b"1"),), audio=b"22", stacks=(stack, replace(stack, mask=None))).size == 16


def test_each_case_is_drawn_with_the_files_of_its_prediction(
    new_masks: Callable[..., Path], slice_figures: Any
) -> None:
    folder = new_masks()
    page_of(folder, slice_figures)
    assert isinstance(slice_figures, MaskFigures)
    assert list(slice_figures.asked) == [
        "case_002",
        "case_000",
        "case_001",
        "case_003",
        "case_004",
        "case_005",
    ]
    classes, files = slice_figures.asked["case_001"]
    assert classes == ("background", "lung")
    assert files == (folder / "masks/case_001.nii.gz", folder / "thumbnails/case_001.png")
    assert slice_figures.asked["case_005"][1] == ()  # it failed


def test_figures_that_draw_no_masks_are_used_as_before(
    new_masks: Callable[..., Path], tone_figures: Any
) -> None:
    figures = tone_figures()
    assert not isinstance(figures, MaskFigures)
    assert isinstance(figures, CaseFigures)
    assert "look and listen" in page_of(new_masks(), figures)
    assert figures.drawn[0] == "case_002"


def test_models_that_make_no_masks_get_none_drawn(predictions_folder: Path, slice_figures: Any) -> None:
    page_of(predictions_folder, slice_figures)
    assert {classes for classes, _ in slice_figures.asked.values()} == {()}


@pytest.mark.parametrize("summary", [True, False])
def test_masks_are_listed_with_suspicious_cases_first(
    new_masks: Callable[..., Path], slice_figures: Any, summary: bool
) -> None:
    folder = new_masks(summary=summary)
    page = page_of(folder, slice_figures)
    assert "Suspicious cases first" in page
    assert "probab" not in page
    assert "look and listen" not in page
    assert "Pictures are shown for 6 of 6 cases" in page
    with (folder / "report/listed.csv").open(newline="") as text:
        rows = list(csv.reader(text))
    assert [row[0] for row in rows[1:]] == [
        "case_002",
        "case_000",
        "case_001",
        "case_003",
        "case_004",
        "case_005",
    ]
    assert rows[1][1:3] == ["suspicious", "nothing found"]
    assert len(rows[0]) == (6 if summary else 3)
    if summary:
        assert rows[1][3:] == ["8x8x8", "7", "0.5"]


def test_a_summary_with_many_columns_is_cut_and_the_page_says_so(
    new_masks: Callable[..., Path], slice_figures: Any
) -> None:
    folder = new_masks(summary=False)
    names = ["case_id", "status", "flags", *(f"ml_{i}" for i in range(105))]
    line = ["case_000", "ok", "", *map(str, range(105))]
    (folder / "summary.csv").write_text(",".join(names) + "\n" + ",".join(line) + "\n")
    page = page_of(folder, slice_figures)
    assert "98 more columns are in summary.csv" in page
    assert "ml_6" in page
    assert "ml_7" not in page


def test_without_scripts_the_first_slice_is_in_view(shown_slices: Path) -> None:
    page = (shown_slices / "report.html").read_text(encoding="utf-8")
    styles = re.findall(r'class="frame"[^>]*style="([^"]*)"', page)
    assert len(styles) == 6
    wanted = "--aspect: 2.0; --columns: 4; --rows: 3; --column: 1; --row: 1"  # slice 5 of rows of four
    assert set(styles) == {wanted}
    assert "Ten &lt;slices&gt;" in page
    assert "&lt;b&gt;lung&lt;/b&gt;" in page
    assert "<b>lung" not in page


def test_stacks_count_towards_the_room_of_the_page(slice_figures: Any, make_cases: Any) -> None:
    cases = make_cases(IDS)
    one = slice_figures.draw(cases["case_000"]).size
    drawn, problems = draw_cases(IDS, cases=cases, figures=slice_figures, limit_bytes=2 * one)
    assert list(drawn) == IDS[:2]
    assert not problems
