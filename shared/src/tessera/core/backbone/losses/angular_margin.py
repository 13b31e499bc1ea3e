"""Additive angular margin: a class counts as right only when its angle is smaller by a margin.

Deng, Guo, Xue, Zafeiriou, "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", arXiv
1801.07698; the straight line for angles near pi, where the margin would turn back, is that of their code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

_LEAST = 1e-7  # of a squared sine: the square root has no gradient at 0


@runtime_checkable
class GivesCosines(Protocol):
    """A network whose logits are cosines between an embedding and each class, times a scale."""

    @property
    def cosine_scale(self) -> float | None:
        """The scale; None where its logits are something else."""


@dataclass(frozen=True)
class AngularMargin:
    """Logits (B, K) that are scaled cosines -> those that cross-entropy is taken of in training.

    Args:
        margin: Added to the angle of the right class, rad, from 0 to below pi / 2.
        scale: Of the cosines.
    """

    margin: float = 0.2
    scale: float = 30.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.margin < math.pi / 2 or self.scale <= 0:
            raise ValueError(
                f"angular margin: margin {self.margin} and scale {self.scale}; give a margin from 0 to below "
                "pi / 2 and a scale above 0"
            )

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits (B, K), target (B, K) in 0 to 1 -> (B, K); a soft target takes its share of the margin."""
        cosine = logits / self.scale
        sine = (1 - cosine.square()).clamp_min(_LEAST).sqrt()
        turned = cosine * math.cos(self.margin) - sine * math.sin(self.margin)
        line = cosine - self.margin * math.sin(self.margin)
        moved = torch.where(cosine > -math.cos(self.margin), turned, line)
        return self.scale * torch.lerp(cosine, moved, target.to(cosine.dtype))
