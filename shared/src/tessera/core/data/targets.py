"""What is known of a case as numbers: a class, tags, one measured number or several, or a mask (no torch)."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator, model_validator

from tessera.core.config import Config
from tessera.core.data.case import Target
from tessera.core.errors import DataError

TAG_SEPARATOR = "|"


class TargetSpec(Config):
    """One target column of a manifest."""

    kind: Literal["class", "tags", "number", "numbers", "mask"] = Field(
        description="class: exactly one; tags: any number of them, none too; number: a measured value; "
        "numbers: several of them, which are learnt together; mask: a file with one class an element"
    )
    classes: tuple[str, ...] = Field(
        (),
        description="class, tags, numbers, mask: the names, in the network's order; a mask's elements hold "
        "the place in this list, and the first name is the background",
    )
    unit: str = Field("", description="number and numbers: unit of the values, for instance s or dB")
    partial: bool = Field(
        False, description="cases may lack the value (empty cell); they are left out of training"
    )

    @field_validator("classes", mode="before")
    @classmethod
    def _whole_numbers_are_names(cls, value: Any) -> Any:
        """Take ``classes: [0, 1]`` as the names '0' and '1'."""
        if not isinstance(value, list | tuple):
            return value
        return [str(item) if type(item) is int else item for item in value]

    @model_validator(mode="after")
    def _kind_and_classes_agree(self) -> Self:
        if self.kind == "number":
            if self.classes:
                raise ValueError("a number has no classes")
            return self
        if not self.classes:
            what = "names" if self.kind == "numbers" else "classes"
            raise ValueError(f"kind {self.kind} needs the list of {what}")
        for name in self.classes:
            if not name or name != name.strip() or TAG_SEPARATOR in name:
                raise ValueError(f"'{name}' cannot be a class: empty, outer spaces or '{TAG_SEPARATOR}'")
        twice = sorted({name for name in self.classes if self.classes.count(name) > 1})
        if twice:
            raise ValueError(f"classes given twice: {', '.join(twice)}")
        if self.kind == "mask" and len(self.classes) < 2:
            raise ValueError("a mask needs two classes or more, the background first")
        if self.kind == "tags" and self.partial:
            raise ValueError("tags cannot be partial: an empty cell means that no tag applies")
        return self

    @property
    def is_measured(self) -> bool:
        """Whether the values are measured numbers, so that there is no class to tell from others."""
        return self.kind in ("number", "numbers")


def n_outputs(spec: TargetSpec) -> int:
    """Width K of the network's raw output.

    P numbers take 2 P: their means, then their log variances. A mask has K values an element, the
    background's among them.
    """
    if spec.is_measured:
        return 2 * (len(spec.classes) or 1)
    return len(spec.classes)


def class_columns(classes: Sequence[str]) -> tuple[str, ...]:
    """The classes as parts of column names: letters, digits and '_' only, each once."""
    plain = [re.sub(r"[^0-9A-Za-z]+", "_", name).strip("_") for name in classes]
    return tuple(
        name if name and plain.count(name) == 1 else f"{name}_{place}".lstrip("_")
        for place, name in enumerate(plain)
    )


def encode_target(spec: TargetSpec, value: Target, *, case_id: str = "?") -> npt.NDArray[Any]:
    """A target as the loss wants it: int64 () of a class, float32 (K,) of tags, () of a number, (P,) of P.

    Args:
        spec: The target column.
        value: The case's value.
        case_id: Named in errors.
    """
    if spec.kind == "mask":
        raise TypeError(f"case {case_id}: a mask is read with its region, not encoded as a whole")
    if spec.kind == "number":
        return np.asarray(_finite(value, case_id=case_id), dtype=np.float32)
    if spec.kind == "numbers":
        return _finite_numbers(spec, value, case_id=case_id)
    if spec.kind == "class":
        return np.asarray(_class_index(spec, value, case_id=case_id), dtype=np.int64)
    if not isinstance(value, tuple | list):
        raise DataError(
            f"case {case_id}: tags must be a tuple of names", found=repr(value), expected="('a', 'b') or ()"
        )
    hot = np.zeros(len(spec.classes), dtype=np.float32)
    for tag in value:
        hot[_class_index(spec, tag, case_id=case_id)] = 1.0
    return hot


def _finite(value: object, *, case_id: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(
            f"case {case_id}: the target is not a finite number",
            found=repr(value),
            expected="a number such as 0.62",
            hint="correct the cell in samples.csv, or leave the case out",
        )
    return float(value)


def _finite_numbers(spec: TargetSpec, value: object, *, case_id: str) -> npt.NDArray[np.float32]:
    if not isinstance(value, tuple | list) or len(value) != len(spec.classes):
        raise DataError(
            f"case {case_id}: the target is not {len(spec.classes)} numbers",
            found=repr(value),
            expected=f"one number each for {', '.join(spec.classes)}",
            hint=f"correct the cell in samples.csv; the numbers are separated by '{TAG_SEPARATOR}'",
        )
    return np.array([_finite(one, case_id=case_id) for one in value], dtype=np.float32)


def _class_index(spec: TargetSpec, value: object, *, case_id: str) -> int:
    if isinstance(value, str) and value in spec.classes:
        return spec.classes.index(value)
    raise DataError(
        f"case {case_id}: {value!r} is not a known class",
        found=repr(value),
        expected=f"one of {', '.join(spec.classes)}",
        hint="correct the cell in samples.csv, or add the class to dataset.yaml",
    )
