"""What a model said about labelled cases: the input of every metric."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from tessera.core.errors import DataError

FloatArray = NDArray[np.float64]
Task = Literal["multiclass", "multilabel", "regression", "segmentation"]
LABEL_SEPARATOR = "|"
SHARED = ("classes", "columns", "names")  # fields that are the same for all cases

# Probabilities of one case may miss 1 by what float32 or a rounded table costs; logits miss it by far more.
_SUM_TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """Labelled cases in one order; N of them, with the group that resampling must keep together.

    Args:
        case_id: N unique names.
        group: N names of the patient, recording, field or site a case comes from.
        fold: N names of the fold that tested the case, or empty where there are no folds.
    """

    case_id: Sequence[str]
    group: Sequence[str]
    fold: Sequence[str] = dataclasses.field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        n = len(self.case_id)
        self._set("case_id", tuple(self.case_id))
        self._set("group", tuple(self.group))
        self._set("fold", tuple(self.fold) or ("",) * n)
        for name in ("group", "fold"):
            self._check_length(name, len(getattr(self, name)))
        repeated = [case for case, times in Counter(self.case_id).items() if times > 1]
        if repeated:
            raise DataError(
                "the same case is predicted more than once",
                found=list_some(repeated),
                expected="one row for each case_id",
                hint="join the windows of a case before evaluating, or number the cases",
            )

    def __len__(self) -> int:
        return len(self.case_id)

    @property
    def task(self) -> Task:
        """Which family of metrics applies."""
        raise NotImplementedError

    @property
    def n_groups(self) -> int:
        """Number of different groups."""
        return len(set(self.group))

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _check_length(self, name: str, length: int) -> None:
        if length != len(self):
            raise DataError(
                f"'{name}' has another length than 'case_id'", found=length, expected=f"{len(self)} entries"
            )

    def _check_rows(self, name: str, good: NDArray[np.bool_], expected: str) -> None:
        """Name the cases whose values cannot be evaluated; ``good`` is (N,)."""
        if not good.all():
            bad = [self.case_id[i] for i in np.flatnonzero(~good).tolist()]
            raise DataError(f"'{name}' is not usable for {list_some(bad)}", expected=expected)


@dataclasses.dataclass(frozen=True, eq=False)
class ClassPredictions(Predictions):
    """Probabilities of K classes for N cases.

    Args:
        target: (N,) class index for one label a case, or (N, K) 0/1 for any number of labels.
        probabilities: (N, K) in [0, 1]; rows sum to 1 when there is one label a case.
        classes: K names.
    """

    target: NDArray[Any]
    probabilities: FloatArray
    classes: Sequence[str]

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("classes", tuple(self.classes))
        self._set("probabilities", np.array(self.probabilities, dtype=np.float64))
        target = np.asarray(self.target)
        self._set("target", target.astype(np.bool_ if target.ndim == 2 else np.int64))
        self._check_classes()
        p, expected = self.probabilities, (len(self), len(self.classes))
        if p.shape != expected:
            raise DataError(
                "probabilities have another shape than cases x classes", found=p.shape, expected=expected
            )
        if self.target.shape not in (expected[:1], expected):
            raise DataError(
                "the target has a wrong shape",
                found=self.target.shape,
                expected=f"{expected[:1]} class indices, or {expected} zeros and ones",
            )
        self._check_rows(
            "probabilities", np.asarray(((p >= 0) & (p <= 1)).all(axis=1)), "finite numbers from 0 to 1"
        )
        if self.target.ndim == 1:
            known = np.isin(self.target, np.arange(expected[1]))
            self._check_rows("target", known, f"an index from 0 to {expected[1] - 1}")
            one = np.asarray(np.abs(p.sum(axis=1) - 1) <= _SUM_TOLERANCE)
            self._check_rows("probabilities", one, "a sum of 1 over the classes (softmax, not logits)")

    def _check_classes(self) -> None:
        if not self.classes:
            raise DataError("the predictions have no classes", expected="one name for each column")
        if len(set(self.classes)) != len(self.classes):
            raise DataError("two classes have the same name", found=list(self.classes))
        split = [name for name in self.classes if LABEL_SEPARATOR in name]
        if split:
            raise DataError(
                f"a class name contains '{LABEL_SEPARATOR}', which separates the labels of a case",
                found=list_some(split),
                hint="rename the class",
            )

    @property
    def positive(self) -> NDArray[np.bool_]:
        """Target as (N, K) booleans."""
        if self.task == "multilabel":
            return self.target.astype(np.bool_)
        return self.target[:, None] == np.arange(len(self.classes))

    @property
    def task(self) -> Task:
        """One label a case, or any number."""
        return "multilabel" if self.target.ndim == 2 else "multiclass"


@dataclasses.dataclass(frozen=True, eq=False)
class ValuePredictions(Predictions):
    """A predicted number for each of N cases, with or without its standard deviation.

    Args:
        target: (N,) true values.
        mean: (N,) predicted values, in the target's unit.
        std: (N,) predicted standard deviations, ``exp(log_variance / 2)``, in the target's unit.
    """

    target: FloatArray
    mean: FloatArray
    std: FloatArray | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("target", "mean", "std"):
            if getattr(self, name) is None:
                continue
            values = np.array(getattr(self, name), dtype=np.float64)
            self._set(name, values)
            if values.ndim != 1:
                raise DataError(f"'{name}' is not one number a case", found=f"shape {values.shape}")
            self._check_length(name, len(values))
            self._check_rows(name, np.isfinite(values), "finite numbers")
            if name == "std":
                self._check_rows(name, values > 0, "numbers above 0")

    @property
    def error(self) -> FloatArray:
        """Predicted minus true, (N,)."""
        return self.mean - self.target

    @property
    def task(self) -> Task:
        """One number a case."""
        return "regression"


@dataclasses.dataclass(frozen=True, eq=False)
class ManyValuePredictions(Predictions):
    """P predicted numbers for each of N cases, with or without their standard deviations.

    Args:
        target: (N, P) true values.
        mean: (N, P) predicted values, in the targets' units.
        names: P names.
        std: (N, P) predicted standard deviations, in the targets' units.
    """

    target: FloatArray
    mean: FloatArray
    names: Sequence[str]
    std: FloatArray | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("names", tuple(self.names))
        for name in ("target", "mean", "std"):
            if getattr(self, name) is None:
                continue
            values = np.array(getattr(self, name), dtype=np.float64)
            self._set(name, values)
            if values.shape != (len(self), len(self.names)):
                raise DataError(
                    f"'{name}' is not one number for each case and name",
                    found=values.shape,
                    expected=(len(self), len(self.names)),
                )
        for name in self.names:
            self.of(name)  # checks the values

    def of(self, name: str) -> ValuePredictions:
        """What is predicted of one of the numbers."""
        place = self.names.index(name)
        std = None if self.std is None else self.std[:, place]
        values = self.target[:, place], self.mean[:, place], std
        return ValuePredictions(self.case_id, self.group, *values, fold=self.fold)

    @property
    def task(self) -> Task:
        """Numbers."""
        return "regression"


P = TypeVar("P", bound=Predictions)


def take(predictions: P, index: Sequence[int] | NDArray[np.int64]) -> P:
    """The chosen cases, in the order of ``index``."""
    rows = np.asarray(index, dtype=np.int64)
    chosen: dict[str, Any] = {}
    for field in dataclasses.fields(predictions):
        value = getattr(predictions, field.name)
        if field.name in SHARED or value is None:
            continue
        chosen[field.name] = value[rows] if isinstance(value, np.ndarray) else [value[i] for i in rows]
    return dataclasses.replace(predictions, **chosen)


def pool(parts: Sequence[P]) -> P:
    """All cases of several predictions, for instance of the folds of one study; no case may occur twice."""
    first = parts[0]
    joined: dict[str, Any] = {}
    for field in dataclasses.fields(first):
        values = [getattr(part, field.name) for part in parts]
        if field.name in SHARED:
            if len(set(values)) > 1:
                raise DataError(f"the predictions to pool have different {field.name}", found=values)
        elif any(value is None for value in values):
            joined[field.name] = None
        elif isinstance(values[0], np.ndarray):
            joined[field.name] = np.concatenate(values)
        else:
            joined[field.name] = [entry for value in values for entry in value]
    return dataclasses.replace(first, **joined)


def list_some(names: Sequence[str], limit: int = 5) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return (", ".join(map(repr, names[:limit])) or "none") + more
