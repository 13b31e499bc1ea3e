"""Predictions as a table: one row a case, numbers written so that they read back to the same bits."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tessera.core.errors import DataError
from tessera.core.evaluation.mask_predictions import KEYS, MaskPredictions
from tessera.core.evaluation.predictions import (
    LABEL_SEPARATOR,
    ClassPredictions,
    FloatArray,
    ManyValuePredictions,
    Predictions,
    Task,
    ValuePredictions,
    list_some,
)

_PREFIX = "p_"
_TARGET, _MEAN, _STD = "target_", "mean_", "std_"  # each with the name of one of several numbers
_KEYS = ("case_id", "group", "fold", "target")
_ENCODING = "utf-8"


def write_predictions(predictions: Predictions, path: Path) -> None:
    """Write columns case_id, group, fold, and target and ``p_<class>`` or ``mean`` and ``std``, or scores.

    Of several numbers each has its own ``target_<name>``, ``mean_<name>`` and ``std_<name>``.
    """
    columns = _columns(predictions)
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding=_ENCODING, newline="") as stream:
        # "\r\n" makes the writer quote both characters inside a name, so that any name reads back.
        writer = csv.writer(stream, lineterminator="\r\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    temporary.replace(path)


def read_predictions(
    path: Path, *, task: Task
) -> ClassPredictions | ValuePredictions | ManyValuePredictions | MaskPredictions:
    """Read what ``write_predictions`` wrote; ``task`` says how the target column is meant."""
    with path.open(encoding=_ENCODING, newline="") as stream:
        reader = csv.reader(stream)
        header = next(reader, [])
        rows = list(reader)
    many = task == "regression" and any(name.startswith(_MEAN) for name in header)
    needed = {"regression": [*_KEYS, "mean"], "segmentation": list(KEYS)}.get(task, list(_KEYS))
    needed = list(KEYS) if many else needed
    missing = [name for name in needed if name not in header]
    if missing:
        raise DataError(f"{path} lacks columns", found=header, expected=f"also {list_some(missing)}")
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise DataError(
                f"{path}: row {number} is cut short or too long", found=len(row), expected=len(header)
            )
    table = {name: [row[i] for row in rows] for i, name in enumerate(header)}
    if task == "regression":
        return _many_value_predictions(table, path) if many else _value_predictions(table, path)
    if task == "segmentation":
        return _mask_predictions(table, path)
    return _class_predictions(table, path, task)


def _columns(predictions: Predictions) -> dict[str, Sequence[str]]:
    columns: dict[str, Sequence[str]] = {
        "case_id": predictions.case_id,
        "group": predictions.group,
        "fold": predictions.fold,
    }
    if isinstance(predictions, ClassPredictions):
        names = predictions.classes
        joined = [[names[k] for k in np.flatnonzero(row).tolist()] for row in predictions.positive]
        columns["target"] = [LABEL_SEPARATOR.join(labels) for labels in joined]
        for k, name in enumerate(names):
            columns[_PREFIX + name] = _texts(predictions.probabilities[:, k])
    elif isinstance(predictions, MaskPredictions):
        columns |= {name: _texts(predictions.values[:, i]) for i, name in enumerate(predictions.columns)}
    elif isinstance(predictions, ValuePredictions):
        columns["target"] = _texts(predictions.target)
        columns["mean"] = _texts(predictions.mean)
        if predictions.std is not None:
            columns["std"] = _texts(predictions.std)
    elif isinstance(predictions, ManyValuePredictions):
        for place, name in enumerate(predictions.names):
            for prefix, values in (
                (_TARGET, predictions.target),
                (_MEAN, predictions.mean),
                (_STD, predictions.std),
            ):
                if values is not None:
                    columns[prefix + name] = _texts(values[:, place])
    return columns


def _texts(values: object) -> list[str]:
    """The shortest decimal texts that read back to the same float64."""
    return [repr(value) for value in np.asarray(values, dtype=np.float64).tolist()]


def _class_predictions(table: dict[str, list[str]], path: Path, task: Task) -> ClassPredictions:
    columns = [name for name in table if name.startswith(_PREFIX)]
    if not columns:
        raise DataError(f"{path} has no probabilities", found=list(table), expected="columns p_<class>")
    classes = [name.removeprefix(_PREFIX) for name in columns]
    labels = [
        [text] if task == "multiclass" else [part for part in text.split(LABEL_SEPARATOR) if part]
        for text in table["target"]
    ]
    unknown = sorted({label for row in labels for label in row} - set(classes))
    if unknown:
        raise DataError(
            f"{path}: the target names classes without a column", found=list_some(unknown), expected=classes
        )
    index = {name: k for k, name in enumerate(classes)}
    target = np.zeros((len(labels), len(classes)), dtype=np.bool_)
    for row, names in enumerate(labels):
        target[row, [index[name] for name in names]] = True
    return ClassPredictions(
        table["case_id"],
        table["group"],
        target if task == "multilabel" else target.argmax(axis=1),
        np.stack([_numbers(table[name], path, name) for name in columns], axis=1),
        classes,
        fold=table["fold"],
    )


def _value_predictions(table: dict[str, list[str]], path: Path) -> ValuePredictions:
    return ValuePredictions(
        table["case_id"],
        table["group"],
        _numbers(table["target"], path, "target"),
        _numbers(table["mean"], path, "mean"),
        _numbers(table["std"], path, "std") if "std" in table else None,
        fold=table["fold"],
    )


def _many_value_predictions(table: dict[str, list[str]], path: Path) -> ManyValuePredictions:
    names = [column.removeprefix(_MEAN) for column in table if column.startswith(_MEAN)]
    missing = [_TARGET + name for name in names if _TARGET + name not in table]
    if missing:
        raise DataError(f"{path} lacks columns", found=list(table), expected=f"also {list_some(missing)}")

    def values(prefix: str) -> FloatArray:
        columns = [_numbers(table[prefix + name], path, prefix + name) for name in names]
        return np.stack(columns, axis=1)

    return ManyValuePredictions(
        table["case_id"],
        table["group"],
        values(_TARGET),
        values(_MEAN),
        names,
        values(_STD) if all(_STD + name in table for name in names) else None,
        fold=table["fold"],
    )


def _mask_predictions(table: dict[str, list[str]], path: Path) -> MaskPredictions:
    columns = [name for name in table if name not in KEYS]
    values = [_numbers(table[name], path, name) for name in columns]
    n = len(table["case_id"])
    return MaskPredictions(
        table["case_id"],
        table["group"],
        np.stack(values, axis=1) if values else np.empty((n, 0)),
        columns,
        fold=table["fold"],
    )


def _numbers(texts: Sequence[str], path: Path, column: str) -> FloatArray:
    try:
        return np.array([float(text) for text in texts])
    except ValueError as error:
        raise DataError(
            f"{path}: column '{column}' holds something that is no number", found=error
        ) from error
