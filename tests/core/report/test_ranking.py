"""What a table of predictions says about tags and masks."""

from __future__ import annotations

from tessera.core.report.predictions_record import distribution
from tessera.core.report.ranking import Scores, least_certain_first, read_scores, worst_first

ROWS = [
    {"case_id": "a", "p_frog": "0.30", "p_owl": "0.60"},
    {"case_id": "b", "p_frog": "0.20", "p_owl": "0.90"},
]
ANSWERS = ("frog", "frog|owl")  # by thresholds such as 0.15 for frogs and 0.8 for owls


def scores_of(rows: list[dict[str, str]]) -> Scores:
    found = read_scores(rows, "tags")
    assert found is not None
    return found


def test_tags_are_those_of_the_answer() -> None:
    scores = scores_of([row | {"answer": answer} for row, answer in zip(ROWS, ANSWERS, strict=True)])
    assert scores.tagged().tolist() == [[True, False], [True, True]]
    assert dict(distribution(scores).rows) == {"frog": 2, "owl": 1}
    table = least_certain_first(scores)
    place = table.columns.index("predicted")
    assert {row[0]: row[place] for row in table.rows} == {"a": "frog", "b": "frog, owl"}


def test_without_answers_one_half_decides() -> None:
    assert scores_of(ROWS).tagged().tolist() == [[False, True], [False, True]]
    assert dict(distribution(scores_of(ROWS)).rows) == {"frog": 0, "owl": 2}


def test_a_row_without_tags_has_none() -> None:
    assert not scores_of([ROWS[0] | {"answer": ""}]).tagged().any()


def test_masks_are_ordered_by_the_mean_dice_of_what_is_there() -> None:
    values = {
        "a": ("0.9", "0.5", "2.0"),
        "b": ("nan", "0.6", ""),
        "c": ("nan", "nan", "1.0"),
        "d": ("0.2", "0.9", "9"),
    }
    columns = ("dice_left", "dice_right", "hd95_mm_left")
    rows = [
        {"case_id": name, "group": "g", **dict(zip(columns, row, strict=True))}
        for name, row in values.items()
    ]
    scores = read_scores(rows, "mask")
    assert scores is not None
    table = worst_first(scores)
    assert [row[0] for row in table.rows] == ["d", "b", "a", "c"]
    assert table.columns == ("case", "mean Dice", *columns)
    assert table.rows[1][1:] == (0.6, None, 0.6, None)
    assert read_scores([{"case_id": "a", "group": "g", "fold": ""}], "mask") is None
