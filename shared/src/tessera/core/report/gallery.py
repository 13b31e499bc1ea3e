"""A gallery of cases, from what was predicted of them and what their field can draw."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tessera.core.data.case import Case
from tessera.core.report.case_media import MEDIA_BYTES, draw_each
from tessera.core.report.media import CaseFigures, GalleryFigures, Thumbnail
from tessera.core.report.page import Gallery, Tile
from tessera.core.report.ranking import LABEL_SEPARATOR, Scores, case_id
from tessera.core.report.stored import Row, number, show_number

GALLERY_CASES = 200  # pictures at most
NAMED = 5  # classes whose score the larger view tells
DISAGREEMENT = "disagreement with the label"
By = Literal["score", "disagreement"]

Values = NDArray[np.float64]
Pairs = tuple[tuple[str, str], ...]


def gallery_of(
    scores: Scores,
    cases: Mapping[str, Case],
    drawing: CaseFigures | None,
    *,
    by: By,
    files: Mapping[str, tuple[Path, ...]] | None = None,
    limit: int = GALLERY_CASES,
) -> Gallery | None:
    """The first cases of an order; None where their field makes no gallery, or none can be drawn.

    Args:
        scores: What was predicted.
        cases: By id.
        drawing: Of the field.
        by: The first order; where no label is known, there is only the other one.
        files: What a prediction wrote, by case id.
        limit: Pictures at most.
    """
    if not isinstance(drawing, GalleryFigures) or scores.kind == "mask" or not scores.rows:
        return None
    orders = _orders(scores, first=by)
    keys = np.stack(list(orders.values()), axis=1)
    ids = scores.case_ids
    places: dict[str, int] = {}
    for i in _descending(keys[:, 0], ids):
        places.setdefault(ids[i], i)  # of a case with several rows the first
    written = files or {}

    def draw(case: Case) -> Thumbnail:
        return drawing.thumbnail(case, files=written.get(case.id, ()))

    drawn, problems = draw_each(places, draw, cases=cases, limit=limit, limit_bytes=MEDIA_BYTES)
    if not drawn:
        return None
    said = {name: _said(scores, places[name]) for name in drawn}
    filters = _filters(said.values())
    return Gallery(
        caption="Cases as pictures",
        tiles=tuple(
            Tile(
                id=name,
                caption=said[name].caption,
                thumbnail=thumbnail,
                keys=tuple(number(round(key, 6)) for key in keys[places[name]].tolist()),
                kinds=tuple(said[name].kinds[kind] for kind in filters),
                facts=said[name].facts + thumbnail.facts,
            )
            for name, thumbnail in drawn.items()
        ),
        orders=tuple(orders),
        filters=filters,
        note=_note(len(drawn), len(places), next(iter(orders)), problems),
    )


@dataclass(frozen=True)
class _Said:
    """What is known of one case, in words."""

    caption: str
    facts: Pairs
    kinds: Mapping[str, tuple[str, ...]]


def _orders(scores: Scores, *, first: By) -> dict[str, Values]:
    """What cases can be sorted by, the largest on top; NaN where it is unknown."""
    by_score = {_score_name(scores): _score(scores)}
    disagreement = _disagreement(scores)
    by_label = {} if np.isnan(disagreement).all() else {DISAGREEMENT: disagreement}
    return by_label | by_score if first == "disagreement" else by_score | by_label


def _score_name(scores: Scores) -> str:
    return {
        "class": f"score of {scores.classes[-1]}" if scores.classes else "",
        "tags": "highest score",
        "number": "predicted value",
    }.get(scores.kind, "largest uncertainty")


def _score(scores: Scores) -> Values:
    if scores.kind == "class":
        return scores.p[:, -1]
    if scores.kind == "tags":
        return scores.p.max(axis=1)
    if scores.kind == "number":
        return scores.p[:, 0]
    spreads = np.split(scores.p, 2, axis=1)[1]
    return (spreads / np.median(spreads, axis=0).clip(min=np.finfo(np.float64).tiny)).max(axis=1)


def _disagreement(scores: Scores) -> Values:
    """1 - the label's score; of tags the largest error; of numbers the largest in standard deviations."""
    if scores.kind in ("number", "numbers"):
        single = [scores] if scores.kind == "number" else [scores.of(name) for name in scores.classes]
        return np.max([_deviations(one) for one in single], axis=0)
    place = {name: k for k, name in enumerate(scores.classes)}
    found = np.full(len(scores.rows), np.nan)
    if not any(row.get("target") for row in scores.rows):  # no tag at all would be a label, too
        return found
    for i, row in enumerate(scores.rows):
        known = [place[name] for name in _label(row, scores) if name in place]
        if scores.kind == "class" and known:
            found[i] = 1 - scores.p[i, known[0]]
        if scores.kind == "tags":
            found[i] = np.abs(np.isin(range(len(place)), known) - scores.p[i]).max()
    return found


def _deviations(scores: Scores) -> Values:
    truth = np.array([number(row.get("target")) for row in scores.rows], dtype=np.float64)
    spread = np.where(scores.p[:, 1] > 0, scores.p[:, 1], np.nan)
    return np.abs(scores.p[:, 0] - truth) / spread


def _descending(key: Values, ids: Sequence[str]) -> list[int]:
    known = np.where(np.isnan(key), -np.inf, key)
    return sorted(range(len(ids)), key=lambda i: (-known[i], ids[i]))


def _label(row: Row, scores: Scores) -> tuple[str, ...]:
    text = row.get("target", "")
    parts = text.split(LABEL_SEPARATOR) if scores.kind == "tags" else [text]
    return tuple(part for part in parts if part)


def _said(scores: Scores, i: int) -> _Said:
    if scores.kind in ("number", "numbers"):
        return _said_of_numbers(scores, i)
    p, label, answer = scores.p[i], _label(scores.rows[i], scores), _answer(scores, i)
    best = np.argsort(-p, kind="stable")[:NAMED].tolist()
    if scores.kind == "tags":
        caption = ", ".join(answer) or "no tag"
    else:  # of two classes always the score by which they are sorted
        shown = 1 if len(scores.classes) == 2 else best[0]
        caption = f"{scores.classes[shown]} {p[shown]:.2f}"
    facts = (
        *((("label", ", ".join(label)),) if label else ()),
        ("answer", ", ".join(answer) or "none"),
        *((f"score of {scores.classes[k]}", show_number(float(p[k]))) for k in best),
        *_noted(scores.rows[i]),
    )
    words = f"{caption} · label {', '.join(label)}" if label else caption
    return _Said(words, facts, {"answer": answer, "label": label})


def _answer(scores: Scores, i: int) -> tuple[str, ...]:
    if scores.kind == "class":
        return (scores.classes[int(scores.p[i].argmax())],)
    (hits,) = dataclasses.replace(scores, rows=scores.rows[i : i + 1], p=scores.p[i : i + 1]).tagged()
    return tuple(name for name, hit in zip(scores.classes, hits, strict=True) if hit)


def _said_of_numbers(scores: Scores, i: int) -> _Said:
    row, n = scores.rows[i], scores.p.shape[1] // 2
    captions, facts = [], []
    for k, name in enumerate(scores.classes or ("",)):
        mean, std = float(scores.p[i, k]), float(scores.p[i, n + k])
        value = f"{show_number(mean)} ± {show_number(std)}" if np.isfinite(std) else show_number(mean)
        truth = number(row.get(f"target_{name}" if name else "target"))
        captions.append(f"{name} {value}".strip())
        facts.append((name or "predicted", value))
        if truth is not None:
            facts.append((f"label {name}".strip(), show_number(truth)))
    return _Said(", ".join(captions), (*facts, *_noted(row)), {})


def _noted(row: Row) -> Pairs:
    """What else the table of predictions says of a case."""
    name = case_id(row)
    found = [(key, row.get(key, "")) for key in ("group", "fold", "flags")]
    return tuple(
        (key, value.replace(LABEL_SEPARATOR, ", ")) for key, value in found if value not in ("", name)
    )


def _filters(said: Collection[_Said]) -> tuple[str, ...]:
    """The kinds of words of which the cases have more than one."""
    return tuple(
        kind
        for kind in ("answer", "label")
        if len({word for one in said for word in one.kinds.get(kind, ())}) > 1
    )


def _note(shown: int, total: int, order: str, problems: Mapping[str, str]) -> str:
    which = "All" if shown == total else f"{shown} of {total}"
    note = f"{which} cases, by {order}; a picture opens a larger view."
    if shown + len(problems) < total:
        note = f"The first {shown} of {total} cases by {order}; a picture opens a larger view."
    if problems:
        name, reason = next(iter(problems.items()))
        note += f" {len(problems)} cannot be drawn, first {name}: {reason}"
    return note
