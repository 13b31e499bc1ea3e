"""What predicted masks are worth: scores of each case, which a field computes against its reference mask."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tessera.core.data.geometry import Geometry
from tessera.core.errors import DataError
from tessera.core.evaluation.metrics._score import Metric, Score, all_once, mean_of_classes, ratio, scored
from tessera.core.evaluation.predictions import FloatArray, Predictions, Task, list_some

DICE = "dice_"  # columns that begin so are a class's Dice; their mean is the metric ``dice``
KEYS = ("case_id", "group", "fold")
_UNDEFINED = "no case has a value"


@runtime_checkable
class MaskScores(Protocol):
    """What a field computes of a mask; the same columns for every case."""

    def case(
        self, predicted: NDArray[Any], reference: NDArray[Any], geometry: Geometry
    ) -> Mapping[str, float]:
        """Scores of one case by column, such as ``dice_liver`` or ``hd95_mm_liver``; NaN: not defined.

        Args:
            predicted: Class of each element (*S) of the source's own grid.
            reference: The same as it is known.
            geometry: That grid.
        """
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class MaskPredictions(Predictions):
    """Scores of N cases.

    Args:
        values: (N, M) scores; NaN where one is not defined, as with a class that neither mask has.
        columns: M names.
    """

    values: FloatArray
    columns: Sequence[str]

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("columns", tuple(self.columns))
        self._set("values", np.array(self.values, dtype=np.float64))
        expected = (len(self), len(self.columns))
        if self.values.shape != expected:
            raise DataError(
                "the scores have another shape than cases x columns",
                found=self.values.shape,
                expected=expected,
            )
        wrong = [name for name in self.columns if name in KEYS or list(self.columns).count(name) > 1]
        if wrong or not self.columns:
            raise DataError(
                "scores of masks need columns with names of their own",
                found=list_some(wrong),
                expected=f"names such as dice_liver, each once, none of {', '.join(KEYS)}",
            )
        finite = np.asarray(~np.isinf(self.values).any(axis=1))
        self._check_rows("values", finite, "numbers; NaN where a score is not defined, never infinity")

    @classmethod
    def of(
        cls,
        rows: Sequence[Mapping[str, float]],
        *,
        case_id: Sequence[str],
        group: Sequence[str],
        fold: Sequence[str] = (),
    ) -> MaskPredictions:
        """From one mapping a case; a column that a case lacks is NaN there."""
        columns = tuple(dict.fromkeys(name for row in rows for name in row))
        values = np.array([[row.get(name, np.nan) for name in columns] for row in rows], dtype=np.float64)
        return cls(case_id, group, values.reshape(len(rows), len(columns)), columns, fold=fold)

    @property
    def task(self) -> Task:
        """Masks."""
        return "segmentation"


def mask_metrics(columns: Sequence[str]) -> dict[str, Metric[MaskPredictions]]:
    """The mean of each column over the cases that have it, led by ``dice``, the mean over the classes."""
    found: dict[str, Metric[MaskPredictions]] = {}
    if any(name.startswith(DICE) for name in columns) and "dice" not in columns:
        found["dice"] = mean_dice
    return found | {name: ColumnMean(name) for name in columns}


@dataclasses.dataclass(frozen=True)
class ColumnMean:
    """Mean of a column over the cases of each resample that have a value.

    Args:
        column: Its name.
    """

    column: str

    def __call__(self, predictions: MaskPredictions, counts: FloatArray | None = None, /) -> Score:
        """Predictions of N cases and counts (R, N) -> R values."""
        values = predictions.values[:, [predictions.columns.index(self.column)]]
        return scored(_means(values, all_once(predictions, counts))[:, 0], _UNDEFINED)


def mean_dice(predictions: MaskPredictions, counts: FloatArray | None = None, /) -> Score:
    """Mean over the classes of their mean Dice over the cases; a class that no case has is left out."""
    chosen = [place for place, name in enumerate(predictions.columns) if name.startswith(DICE)]
    return mean_of_classes(_means(predictions.values[:, chosen], all_once(predictions, counts)), _UNDEFINED)


def _means(values: FloatArray, counts: FloatArray) -> FloatArray:
    """Means (R, M) of values (N, M) over the cases of each resample (R, N) that have one."""
    there = ~np.isnan(values)
    return ratio(counts @ np.where(there, values, 0.0), counts @ there.astype(np.float64))
