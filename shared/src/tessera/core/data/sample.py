"""One sample as it travels from a source to a batch."""

from __future__ import annotations

from typing import Any, TypedDict

from torch import Tensor

from tessera.core.data.geometry import Geometry, Region


class Sample(TypedDict, total=False):
    """A piece of a case; ``input`` is (C, *S), ``target`` is absent at prediction time."""

    input: Tensor
    target: Any
    geometry: Geometry
    case_id: str
    region: Region
    weight: float
    flags: tuple[str, ...]


class Batch(TypedDict, total=False):
    """Samples side by side: tensors stacked (B, ...), geometry, regions and ids as lists."""

    input: Tensor
    target: Any
    geometry: list[Geometry]
    case_id: list[str]
    region: list[Region]
    weight: Tensor
