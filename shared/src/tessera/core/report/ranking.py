"""Which cases a person should look at first: the worst where the truth is known, else the least certain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tessera.core.report.page import Cell, Table
from tessera.core.report.stored import Row, number

TargetKind = Literal["class", "tags", "number", "numbers", "mask"]
LABEL_SEPARATOR = "|"
_PREFIX = "p_"
_MEAN, _STD = "mean_", "std_"  # with the name of one of several numbers
_DICE = "dice"
_KEYS = ("case_id", "case", "group", "fold")
_DECISION = 0.5  # from this probability on a tag counts as predicted, where no answer says so
_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Scores:
    """The usable rows of a table of predictions.

    Args:
        rows: As stored.
        kind: What a prediction is.
        classes: K names, none for a number; of masks the names of M scores.
        p: (N, K) probabilities, or (N, 2) mean and standard deviation, or (N, 2 K) means and then standard
            deviations, or (N, M) scores (NaN where unknown).
    """

    rows: tuple[Row, ...]
    kind: TargetKind
    classes: tuple[str, ...]
    p: NDArray[np.float64]

    @property
    def case_ids(self) -> tuple[str, ...]:
        """Ids in the rows' order."""
        return tuple(case_id(row) for row in self.rows)

    def of(self, name: str) -> Scores:
        """What is said of one of several numbers."""
        place = self.classes.index(name)
        rows = tuple({**row, "target": row.get(f"target_{name}", "")} for row in self.rows)
        return Scores(rows, "number", (), self.p[:, [place, place + len(self.classes)]])

    def top(self) -> list[str]:
        """The most probable class of each row."""
        return [self.classes[k] for k in self.p.argmax(axis=1)] if len(self.rows) else []

    def tagged(self) -> NDArray[np.bool_]:
        """Which tags each row has (N, K): its answer where the table has one, by the bundle's thresholds."""
        if not self.rows or "answer" not in self.rows[0]:
            return self.p >= _DECISION
        answers = [row["answer"].split(LABEL_SEPARATOR) for row in self.rows]
        return np.array([[name in answer for name in self.classes] for answer in answers])


def case_id(row: Row) -> str:
    """The id column, whichever of its names it has."""
    return row.get("case_id") or row.get("case") or ""


def read_scores(rows: Sequence[Row], kind: TargetKind | None = None) -> Scores | None:
    """Find the score columns; rows without finite scores (failed cases) are left out."""
    if not rows:
        return None
    if kind == "mask":
        return _mask_scores(rows)
    if any(name.startswith(_MEAN) for name in rows[0]):
        return _many_numbers(rows)
    columns = [name for name in rows[0] if name.startswith(_PREFIX)]
    if not columns and "mean" not in rows[0]:
        return None
    needed = columns or ["mean"]
    usable = [row for row in rows if all(number(row[name]) is not None for name in needed)]
    if not columns:
        spread = [number(row.get("std")) for row in usable]
        values = [
            [float(row["mean"]), np.nan if s is None else s] for row, s in zip(usable, spread, strict=True)
        ]
        return Scores(tuple(usable), "number", (), np.array(values).reshape(-1, 2))
    p = np.array([[float(row[name]) for name in columns] for row in usable]).reshape(-1, len(columns))
    if kind not in ("class", "tags"):
        kind = "class" if np.all(np.abs(p.sum(axis=1) - 1) <= _SUM_TOLERANCE) else "tags"
    return Scores(tuple(usable), kind, tuple(name.removeprefix(_PREFIX) for name in columns), p)


def _many_numbers(rows: Sequence[Row]) -> Scores:
    names = tuple(name.removeprefix(_MEAN) for name in rows[0] if name.startswith(_MEAN))
    usable = tuple(row for row in rows if all(number(row[_MEAN + name]) is not None for name in names))
    columns = [prefix + name for prefix in (_MEAN, _STD) for name in names]
    values = [[_or_nan(number(row.get(column))) for column in columns] for row in usable]
    return Scores(usable, "numbers", names, np.array(values).reshape(-1, len(columns)))


def _mask_scores(rows: Sequence[Row]) -> Scores | None:
    names = tuple(name for name in rows[0] if name not in _KEYS)
    values = [[_or_nan(number(row.get(name))) for name in names] for row in rows]
    return Scores(tuple(rows), "mask", names, np.array(values).reshape(len(rows), -1)) if names else None


def worst_first(scores: Scores) -> Table:
    """Cases by how wrong they are, the worst on top."""
    rank: dict[TargetKind, Callable[[Scores], _Ranking]] = {
        "class": _wrong_class,
        "tags": _wrong_tag,
        "number": _wrong_number,
        "numbers": _wrong_numbers,
        "mask": _wrong_mask,
    }
    return _ordered(scores, rank[scores.kind](scores), caption="Test cases, the worst first")


def least_certain_first(scores: Scores) -> Table:
    """Cases by how unsure the model is, the least certain on top."""
    rank: dict[TargetKind, Callable[[Scores], _Ranking]] = {
        "class": _doubtful_class,
        "tags": _doubtful_tag,
        "number": _doubtful_number,
        "numbers": _doubtful_numbers,
        "mask": _wrong_mask,  # nothing is known of its doubts
    }
    return _ordered(scores, rank[scores.kind](scores), caption="Cases, the least certain first")


@dataclass(frozen=True)
class _Ranking:
    """Columns beside the case's own, and the key that puts the highest value on top."""

    columns: dict[str, Sequence[Cell]]
    key: NDArray[np.float64]
    note: str
    bars: tuple[str, ...] = ()


def _ordered(scores: Scores, ranking: _Ranking, *, caption: str) -> Table:
    own: dict[str, Sequence[Cell]] = {"case": scores.case_ids}
    for name in ("group", "fold"):
        values = [row.get(name, "") for row in scores.rows]
        if len(set(values)) > 1 and values != list(scores.case_ids):
            own[name] = values
    columns = own | ranking.columns
    key = np.where(np.isnan(ranking.key), -np.inf, ranking.key)
    order = sorted(range(len(scores.rows)), key=lambda i: (-key[i], scores.case_ids[i]))
    return Table(
        name="cases",
        caption=caption,
        columns=tuple(columns),
        rows=tuple(tuple(values[i] for values in columns.values()) for i in order),
        bars=frozenset(ranking.bars),
        note=ranking.note,
    )


def _wrong_class(scores: Scores) -> _Ranking:
    place = {name: k for k, name in enumerate(scores.classes)}
    truth = [row.get("target", "") for row in scores.rows]
    given = np.array(
        [scores.p[i, place[name]] if name in place else 0.0 for i, name in enumerate(truth)], dtype=float
    )
    columns: dict[str, Sequence[Cell]] = {
        "true": truth,
        "predicted": scores.top(),
        "probability of true": given.tolist(),
        "probability of predicted": scores.p.max(axis=1).tolist() if len(scores.p) else [],
    }
    note = "Ordered by the probability the model gave to the true class, lowest first."
    return _Ranking(columns, 1 - given, note, ("probability of true", "probability of predicted"))


def _wrong_tag(scores: Scores) -> _Ranking:
    truth = [{part for part in row.get("target", "").split(LABEL_SEPARATOR) if part} for row in scores.rows]
    positive = np.array([[name in known for name in scores.classes] for known in truth], dtype=float)
    error = np.abs(positive.reshape(scores.p.shape) - scores.p)
    worst = error.argmax(axis=1)
    columns: dict[str, Sequence[Cell]] = {
        "true": [", ".join(sorted(known)) for known in truth],
        "predicted": _tags(scores),
        "worst label": [scores.classes[k] for k in worst],
        "its probability": [float(scores.p[i, k]) for i, k in enumerate(worst)],
    }
    note = "Ordered by the largest difference between a label (0 or 1) and its probability."
    return _Ranking(columns, error.max(axis=1), note, ("its probability",))


def _wrong_number(scores: Scores) -> _Ranking:
    truth = np.array([_or_nan(number(row.get("target"))) for row in scores.rows])
    error = np.abs(scores.p[:, 0] - truth)
    columns: dict[str, Sequence[Cell]] = {
        "true": _cells(truth),
        "predicted": _cells(scores.p[:, 0]),
        "standard deviation": _cells(scores.p[:, 1]),
        "absolute error": _cells(error),
        "error in standard deviations": _cells(error / scores.p[:, 1]),
    }
    return _Ranking(columns, error, "Ordered by the absolute error, largest first.")


def _wrong_numbers(scores: Scores) -> _Ranking:
    columns: dict[str, Sequence[Cell]] = {}
    errors = []
    for name in scores.classes:
        one = scores.of(name)
        truth = np.array([_or_nan(number(row.get("target"))) for row in one.rows])
        spread = truth.std() or 1.0
        errors.append(np.abs(one.p[:, 0] - truth) / spread)
        columns |= {f"true {name}": _cells(truth), f"predicted {name}": _cells(one.p[:, 0])}
        columns[f"standard deviation {name}"] = _cells(one.p[:, 1])
    note = "Ordered by the largest error of a number, in units of its own spread over these cases."
    return _Ranking(columns, np.max(errors, axis=0), note)


def _wrong_mask(scores: Scores) -> _Ranking:
    dice = [place for place, name in enumerate(scores.classes) if name.startswith(_DICE)] or [0]
    chosen = scores.p[:, dice]
    there = np.isfinite(chosen)
    total, defined = np.where(there, chosen, 0.0).sum(axis=1), there.sum(axis=1)
    mean = np.divide(total, defined, out=np.full(len(total), np.nan), where=defined > 0)
    columns: dict[str, Sequence[Cell]] = {"mean Dice": _cells(mean)} if len(dice) > 1 else {}
    columns |= {name: _cells(scores.p[:, place]) for place, name in enumerate(scores.classes)}
    bars = ("mean Dice", *(scores.classes[place] for place in dice))
    note = "Ordered by the mean Dice of the classes that are there, lowest first."
    return _Ranking(columns, -mean, note, tuple(name for name in bars if name in columns))


def _doubtful_class(scores: Scores) -> _Ranking:
    best = scores.p.argmax(axis=1)
    others = scores.p.copy()
    others[np.arange(len(best)), best] = -1.0
    second = others.argmax(axis=1) if len(scores.classes) > 1 else best
    rows = np.arange(len(best))
    columns: dict[str, Sequence[Cell]] = {
        "predicted": scores.top(),
        "probability": scores.p[rows, best].tolist(),
        "second": [scores.classes[k] for k in second],
        "probability of second": scores.p[rows, second].tolist(),
    }
    note = "Ordered by the probability of the predicted class, lowest first."
    return _Ranking(columns, -scores.p[rows, best], note, ("probability", "probability of second"))


def _doubtful_tag(scores: Scores) -> _Ranking:
    distance = np.abs(scores.p - _DECISION)
    closest = distance.argmin(axis=1)
    columns: dict[str, Sequence[Cell]] = {
        "predicted": _tags(scores),
        "least certain label": [scores.classes[k] for k in closest],
        "its probability": [float(scores.p[i, k]) for i, k in enumerate(closest)],
    }
    note = f"Ordered by how close a label's probability is to {_DECISION}."
    return _Ranking(columns, -distance.min(axis=1), note, ("its probability",))


def _doubtful_number(scores: Scores) -> _Ranking:
    columns: dict[str, Sequence[Cell]] = {
        "predicted": _cells(scores.p[:, 0]),
        "standard deviation": _cells(scores.p[:, 1]),
    }
    return _Ranking(columns, scores.p[:, 1], "Ordered by the standard deviation, largest first.")


def _doubtful_numbers(scores: Scores) -> _Ranking:
    means, spreads = np.split(scores.p, 2, axis=1)
    columns: dict[str, Sequence[Cell]] = {}
    for place, name in enumerate(scores.classes):
        columns[f"predicted {name}"] = _cells(means[:, place])
        columns[f"standard deviation {name}"] = _cells(spreads[:, place])
    typical = np.median(spreads, axis=0) if len(spreads) else 1.0
    doubt = (spreads / np.where(typical > 0, typical, 1.0)).max(axis=1)
    return _Ranking(columns, doubt, "Ordered by the largest standard deviation, beside its median, first.")


def _tags(scores: Scores) -> list[str]:
    return [", ".join(np.array(scores.classes)[row]) for row in scores.tagged()]


def _cells(values: NDArray[np.float64]) -> list[Cell]:
    return [number(value) for value in values.tolist()]


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
