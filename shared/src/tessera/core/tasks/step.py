"""What one step of any task returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from tessera.core.data.geometry import Region

Stage = Literal["train", "val", "test"]


@dataclass(frozen=True, kw_only=True)
class StepOutput:
    """One step's outcome; the same for training, validation and test.

    Args:
        loss: Scalar that is minimised.
        losses: Named parts of it, detached.
        output: What the network said, raw (logits; mean and log variance).
        target: What it should have said.
        case_id: One id a row.
        region: One region a row.
        weight: (B,) weight of each row.
    """

    loss: Tensor
    losses: dict[str, Tensor]
    output: Any
    target: Any
    case_id: list[str]
    region: list[Region]
    weight: Tensor
