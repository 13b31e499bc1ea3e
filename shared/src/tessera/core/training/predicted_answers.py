"""What answers predicted earlier are worth: the table of a prediction's folder beside a labelled data set."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tessera.core.data.case import Case
from tessera.core.data.hashing import InputHasher
from tessera.core.data.targets import TargetSpec, encode_target
from tessera.core.errors import DataError
from tessera.core.evaluation import ClassPredictions, ManyValuePredictions, ValuePredictions
from tessera.core.inference.ledger import Ledger

PREDICTIONS = "predictions.csv"

Answers = ClassPredictions | ValuePredictions | ManyValuePredictions


def read_answers(
    folder: Path, spec: TargetSpec, cases: Sequence[Case], *, target_name: str
) -> tuple[Answers, dict[str, str]]:
    """Labelled answers from a prediction's folder, and why cases have none.

    A case's answer is found by the content of its files, whatever its name was in the prediction; else, as
    with rows of a catalogue that were cut from a mosaic, by its id.
    """
    with Ledger.read(folder) as ledger:
        rows = list(ledger.rows(full=False))
    by_content = {row.input_hash: row for row in rows if row.input_hash}
    by_id = {row.case.id: row for row in rows}
    table = _table(folder / PREDICTIONS)
    hasher = InputHasher()
    found: list[tuple[Case, Mapping[str, str]]] = []
    failures: dict[str, str] = {}
    for case in cases:
        row = by_content.get(hasher.hash(case.all_files(), case.select)) or by_id.get(case.id)
        if row is None:
            failures[case.id] = "it was not predicted"
        elif row.case.id not in table:
            failures[case.id] = row.error or f"it has no answer ({row.status})"
        else:
            found.append((case, table[row.case.id]))
    if not found:
        raise DataError(
            f"no answer in {folder} belongs to a labelled case",
            found="; ".join(f"{name}: {cause}" for name, cause in list(failures.items())[:3]),
            hint="predict the same files that the manifest lists",
        )
    return _predictions(folder, spec, found, target_name=target_name), failures


def _table(path: Path) -> dict[str, Mapping[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return {row["case_id"]: row for row in csv.DictReader(stream)}
    except (OSError, KeyError) as error:
        raise DataError(
            f"cannot read {path}", found=error, expected="the table that tessera predict wrote"
        ) from None


def _predictions(
    folder: Path, spec: TargetSpec, found: Sequence[tuple[Case, Mapping[str, str]]], *, target_name: str
) -> Answers:
    ids, groups = [case.id for case, _ in found], [case.group for case, _ in found]
    folds = [case.split for case, _ in found]
    target = np.stack([encode_target(spec, case.targets[target_name], case_id=case.id) for case, _ in found])

    def values(columns: Sequence[str]) -> np.ndarray:
        try:
            return np.array([[float(row[column]) for column in columns] for _, row in found])
        except (KeyError, ValueError, TypeError) as error:
            raise DataError(
                f"{folder / PREDICTIONS} lacks a number", found=error, expected=", ".join(columns)
            ) from None

    if spec.kind == "number":
        mean, std = values(["mean", "std"]).T
        return ValuePredictions(ids, groups, target.astype(np.float64), mean, std, fold=folds)
    if spec.kind == "numbers":
        means, stds = (values([f"{part}_{name}" for name in spec.classes]) for part in ("mean", "std"))
        return ManyValuePredictions(
            ids, groups, target.astype(np.float64), means, spec.classes, stds, fold=folds
        )
    p = values([f"p_{name}" for name in spec.classes])
    return ClassPredictions(ids, groups, target, p, spec.classes, fold=folds)
