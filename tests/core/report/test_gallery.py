"""The gallery: which pictures it holds, in which order, and what it says of each."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tessera.core.report.gallery import DISAGREEMENT, gallery_of
from tessera.core.report.media import CaseFigures, GalleryFigures
from tessera.core.report.page import Cases, Gallery, Note
from tessera.core.report.ranking import read_scores
from tessera.core.report.report import Report

from .conftest import CLASSES, cases_for
from .test_report import Elements, text_of
from .tiles import FACT, TileFigures, label_cases

LAST = CLASSES[-1]


def gallery(rows: list[dict[str, str]], kind: Any, figures: TileFigures, **options: Any) -> Gallery:
    scores = read_scores(rows, kind)
    assert scores is not None
    found = gallery_of(scores, cases_for(scores.case_ids), figures, **{"by": "score", **options})
    assert found is not None
    return found


def orders(found: Gallery) -> dict[str, list[str]]:
    """Ids in each order, the largest known number first."""
    placed = {}
    for place, name in enumerate(found.orders):
        known = [tile for tile in found.tiles if tile.keys[place] is not None]
        placed[name] = [tile.id for tile in sorted(known, key=lambda tile: -(tile.keys[place] or 0))]
    return placed


def table_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))


def blocks(folder: Path, figures: Any, **options: Any) -> dict[str, Any]:
    page = Report(folder, figures=figures, **options).build()
    return {section.id: section.blocks for section in page.sections}


def test_predictions_come_by_the_score_of_the_last_class(shown_gallery: Path) -> None:
    page = Elements((shown_gallery / "report.html").read_text(encoding="utf-8"))
    shown = [item["data-id"] for item in page.of("li") if "data-id" in item]
    rows = table_rows(shown_gallery)
    expected = sorted(rows, key=lambda row: -float(row[f"p_{LAST}"]))
    assert shown == [row["case_id"] for row in expected]
    assert len(shown) == 30


def test_labels_that_are_known_give_a_second_order(shown_gallery: Path) -> None:
    (box,) = [
        part
        for part in Elements((shown_gallery / "report.html").read_text()).of("div")
        if part.get("data-orders")
    ]
    assert json.loads(box["data-orders"] or "") == [f"score of {LAST}", DISAGREEMENT]
    tiles = [
        item for item in Elements((shown_gallery / "report.html").read_text()).of("li") if "data-id" in item
    ]
    rows = {row["case_id"]: row for row in table_rows(shown_gallery)}
    for tile in tiles:
        row = rows[tile["data-id"] or ""]
        _, disagreement = json.loads(tile["data-keys"] or "")
        if not row["target"]:
            assert disagreement is None
            continue
        assert disagreement == pytest.approx(1 - float(row[f"p_{row['target']}"]), abs=1e-6)


def test_a_run_comes_by_disagreement_and_its_table_stays_without_pictures(
    new_run: Callable[..., Path], tile_figures: TileFigures
) -> None:
    folder = new_run(n=40)
    found = blocks(folder, tile_figures, cases=cases_for([f"case_{i:03d}" for i in range(40)]))
    (shown,) = found["gallery"]
    assert shown.orders[0] == DISAGREEMENT
    note, table = found["cases"]
    assert isinstance(note, Note)
    assert "in the gallery" in note.text
    assert isinstance(table, Cases)
    assert not table.media
    assert [tile.id for tile in shown.tiles] == [row[0] for row in table.table.rows]  # both the worst first


def test_without_labels_there_is_only_the_score(tile_figures: TileFigures) -> None:
    rows = [
        {"case_id": f"case_{i}", "target": "", "p_none": f"{1 - p}", "p_tidal": f"{p}"}
        for i, p in enumerate((0.2, 0.9))
    ]
    found = gallery(rows, "class", tile_figures, by="disagreement")
    assert found.orders == ("score of tidal",)
    assert [tile.caption for tile in found.tiles] == ["tidal 0.90", "tidal 0.20"]
    assert found.filters == ("answer",)
    assert [tile.kinds for tile in found.tiles] == [(("tidal",),), (("none",),)]


def test_numbers_come_by_their_largest_error_in_deviations(tile_figures: TileFigures) -> None:
    values = {"case_0": (0.30, 0.02, 0.33, 0.80, 0.01, 0.80), "case_1": (0.30, 0.02, 0.31, 0.80, 0.01, 0.84)}
    names = ("mean_om", "std_om", "target_om", "mean_s8", "std_s8", "target_s8")
    rows = [{"case_id": c, **dict(zip(names, map(str, row), strict=True))} for c, row in values.items()]
    found = gallery(rows, "numbers", tile_figures, by="disagreement")
    assert found.orders == (DISAGREEMENT, "largest uncertainty")
    assert [(tile.id, tile.keys[0]) for tile in found.tiles] == [
        ("case_1", pytest.approx(4)),
        ("case_0", pytest.approx(1.5)),
    ]
    assert found.tiles[0].facts[:4] == (
        ("om", "0.300 ± 0.020"),
        ("label om", "0.310"),
        ("s8", "0.800 ± 0.010"),
        ("label s8", "0.840"),
    )
    assert found.tiles[0].caption == "om 0.300 ± 0.020, s8 0.800 ± 0.010"
    assert found.filters == ()


def test_one_number_comes_by_its_value_or_its_error(tile_figures: TileFigures) -> None:
    rows = [
        {"case_id": "case_0", "target": "5", "mean": "9", "std": "2"},
        {"case_id": "case_1", "target": "", "mean": "10", "std": "1"},
        {"case_id": "case_2", "target": "4", "mean": "8", "std": "1"},
    ]
    found = orders(gallery(rows, "number", tile_figures))
    assert found == {"predicted value": ["case_1", "case_0", "case_2"], DISAGREEMENT: ["case_2", "case_0"]}


def test_tags_come_by_their_best_score_or_worst_error(tile_figures: TileFigures) -> None:
    rows = [
        {"case_id": "case_0", "target": "frog|owl", "p_frog": "0.9", "p_owl": "0.8"},
        {"case_id": "case_1", "target": "", "p_frog": "0.4", "p_owl": "0.1"},
        {"case_id": "case_2", "target": "owl", "p_frog": "0.7", "p_owl": "0.6"},
    ]
    found = gallery(rows, "tags", tile_figures)
    assert orders(found) == {
        "highest score": ["case_0", "case_2", "case_1"],
        DISAGREEMENT: ["case_2", "case_1", "case_0"],
    }
    assert [tile.caption for tile in found.tiles] == [
        "frog, owl · label frog, owl",
        "frog, owl · label owl",
        "no tag",
    ]
    assert found.tiles[0].kinds == (("frog", "owl"), ("frog", "owl"))


def test_of_many_cases_the_first_are_shown_and_the_page_says_so(tile_figures: TileFigures) -> None:
    rows = [{"case_id": f"case_{i:03d}", "p_a": f"{1 - i / 300}", "p_b": f"{i / 300}"} for i in range(300)]
    found = gallery(rows, "class", tile_figures)
    assert [tile.id for tile in found.tiles] == [f"case_{i:03d}" for i in range(299, 99, -1)]
    assert "The first 200 of 300 cases by score of b" in found.note
    assert len(tile_figures.asked) == 200
    assert "All cases" in gallery(rows[:5], "class", tile_figures).note


def test_a_broken_case_is_named_and_the_others_are_shown(tile_figures: TileFigures) -> None:
    rows = [{"case_id": f"case_{i}", "p_a": "0.5", "p_b": "0.5"} for i in range(4)]
    tile_figures.broken = ("case_1", "case_2")
    found = gallery(rows, "class", tile_figures)
    assert [tile.id for tile in found.tiles] == ["case_0", "case_3"]
    assert "2 of 4 cases" in found.note
    assert "2 cannot be drawn, first case_1: cannot read case_1" in found.note


def test_a_case_with_several_rows_is_shown_once_as_its_first(tile_figures: TileFigures) -> None:
    rows = [{"case_id": "case_0", "p_a": f"{1 - p}", "p_b": f"{p}", "fold": str(p)} for p in (0.2, 0.7)]
    (tile,) = gallery(rows, "class", tile_figures).tiles
    assert tile.caption == "b 0.70"
    assert ("fold", "0.7") in tile.facts


def test_fields_without_thumbnails_masks_and_lost_files_give_none(
    tone_figures: Any, tile_figures: TileFigures
) -> None:
    assert isinstance(tile_figures, GalleryFigures)
    assert isinstance(tile_figures, CaseFigures)
    assert not isinstance(tone_figures(), GalleryFigures)
    scores = read_scores([{"case_id": "case_0", "p_a": "0.5", "p_b": "0.5"}], "class")
    assert scores is not None
    cases = cases_for(["case_0"])
    assert gallery_of(scores, cases, tone_figures(), by="score") is None
    assert gallery_of(scores, {}, tile_figures, by="score") is None
    assert gallery_of(scores, cases_for(["case_1"]), tile_figures, by="score") is None
    assert gallery_of(dataclasses.replace(scores, kind="mask"), cases, tile_figures, by="score") is None
    nothing = dataclasses.replace(scores, rows=(), p=np.zeros((0, 2)))
    assert gallery_of(nothing, cases, tile_figures, by="score") is None


def test_files_of_a_prediction_reach_the_field(tile_figures: TileFigures) -> None:
    rows = [{"case_id": f"case_{i}", "p_a": "0.5", "p_b": "0.5"} for i in range(2)]
    gallery(rows, "class", tile_figures, files={"case_1": (Path("heatmaps/case_1.fits"),)})
    assert tile_figures.asked == {"case_0": (), "case_1": (Path("heatmaps/case_1.fits"),)}


def test_text_from_anywhere_never_becomes_markup(shown_gallery: Path) -> None:
    html = (shown_gallery / "report.html").read_text(encoding="utf-8")
    page = Elements(html)
    assert len(page.of("script")) == 1
    assert not page.of("b")
    assert not page.of("u")
    assert FACT in text_of(html)
    assert "what <u>speaks</u>" in text_of(html)
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    (box,) = [part for part in page.of("div") if part.get("data-orders")]
    assert json.loads(box["data-filters"] or "") == ["answer", "label"]


def test_without_scripts_every_fact_and_heat_map_is_there(shown_gallery: Path) -> None:
    page = Elements((shown_gallery / "report.html").read_text(encoding="utf-8"))
    kinds = [image.get("class") for image in page.of("img")]
    assert (kinds.count("sight"), kinds.count("heat")) == (30, 15)
    text = text_of((shown_gallery / "report.html").read_text(encoding="utf-8"))
    assert text.count(f"position {FACT} number") == 30
    assert text.count("score of chirp") >= 30
    assert "flags silent" in text
    assert "dialog" not in [name for name, _ in page.tags]


def test_pictures_count_towards_the_room_of_the_page(
    new_predictions: Callable[..., Path], tile_figures: TileFigures, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = new_predictions()
    label_cases(folder, CLASSES)
    monkeypatch.setattr("tessera.core.report.gallery.MEDIA_BYTES", 5 * 2 * len(tile_figures.picture))
    (found,) = blocks(folder, tile_figures)["gallery"]
    assert 5 <= len(found.tiles) <= 10
    assert "of 30 cases" in found.note
