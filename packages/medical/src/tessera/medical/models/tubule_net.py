"""Tubule-sensitive CNN: feature recalibration and attention distillation for thin branches.

Qin et al., "Learning Tubule-Sensitive CNNs for Pulmonary Airway and Artery-Vein Segmentation in CT", IEEE TMI
40(6), 2021, arXiv 2012.05767; layers and losses as in the authors' release. Differences: the answer is a pair
of logits (background, airway) instead of a sigmoid, with the same weights; intensity noise on airway voxels
alone, which tells the network the answer, is left out; the attention term is summed over voxels as the paper
writes it unless ``attention="mean"`` asks for the release's mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.core.backbone.pooled_unet import PooledUNet

Reduction = Literal["sum", "mean"]

SMOOTH = 1.0
FOCUS = 2.0  # exponent of the focal loss
POSITIVE_SHARE = 0.25
ATTENTION_WEIGHT = 0.1
_EPS = 1e-6


class Recalibration(nn.Module):
    """(B, C, D, H, W) of one size -> the same: each place and channel weighted by learned projections.

    Args:
        channels: C.
        size: D, H and W, to which the learned projections are bound.
    """

    def __init__(self, channels: int, size: Sequence[int]) -> None:
        super().__init__()
        self.size = tuple(size)
        self.along = nn.ModuleList(nn.Linear(side, 1) for side in self.size)
        self.squeeze = nn.Conv3d(channels, channels // 2, 1)
        self.excite = nn.Conv3d(channels // 2, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) -> the same shape."""
        if tuple(x.shape[2:]) != self.size:
            raise ValueError(
                f"Recalibration: a map of {tuple(x.shape[2:])}; its weights are bound to {self.size}. "
                "Give windows of the size it was built for"
            )
        d, h, w = self.along
        no_d = d(x.movedim(2, -1)).squeeze(-1)  # (B, C, H, W)
        no_h = h(x.movedim(3, -1)).squeeze(-1)  # (B, C, D, W)
        of_w = h(no_d.movedim(2, -1)).squeeze(-1)  # (B, C, W)
        of_h = w(no_d).squeeze(-1)  # (B, C, H)
        of_d = w(no_h).squeeze(-1)  # (B, C, D)
        z = of_d[:, :, :, None, None] + of_h[:, :, None, :, None] + of_w[:, :, None, None, :]
        return x * self.excite(F.relu(self.squeeze(z))).sigmoid()


class TubuleNet(nn.Module):
    """(B, 1 + E, D, H, W) -> logits (B, 2, D, H, W) of background and airway.

    In training the result is a list for ``training_losses``: the airway's logits (B, 1, D, H, W), then those
    of the deep heads, then the maps (B, 1, *S') of attention.

    Args:
        size: D, H and W of every input, multiples of 16.
        extra_channels: E, coordinates for instance.
        recalibrate: Weigh every block's map.
        deep_supervision: Answer from the coarser blocks of the way up as well.
        distill: Let each block of the way up learn where the next one looks.
        attention: Whether that term sums over voxels (paper) or is their mean (release).
    """

    def __init__(
        self,
        size: Sequence[int],
        *,
        extra_channels: int = 3,
        recalibrate: bool = True,
        deep_supervision: bool = True,
        distill: bool = True,
        attention: Reduction = "sum",
    ) -> None:
        super().__init__()
        self.size = tuple(size)
        self.distill = distill
        self.attention: Reduction = attention

        def gate(channels: int, level: int) -> nn.Module:
            return Recalibration(channels, [side // 2**level for side in self.size])

        self.unet = PooledUNet(1, extra_channels=extra_channels, recalibrate=gate if recalibrate else None)
        if any(side % self.unet.divisor for side in self.size):
            raise ValueError(f"TubuleNet: sides {self.size} must be multiples of {self.unet.divisor}")
        self.head = nn.Conv3d(16, 1, 1)
        deep = (128, 64, 32) if deep_supervision else ()
        self.deep_heads = nn.ModuleList(nn.Conv3d(width, 1, 3, padding=1) for width in deep)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """(B, 1 + E, D, H, W) -> (B, 2, D, H, W), or in training the list of the class's docstring."""
        extra = x[:, 1:] if x.shape[1] > 1 else None
        maps, ups = self.unet(x[:, :1], extra)
        airway = self.head(ups[-1])
        if not self.training:
            return torch.cat([torch.zeros_like(airway), airway], dim=1)
        size = list(x.shape[2:])
        deep = [F.interpolate(head(up), size=size) for head, up in zip(self.deep_heads, ups, strict=False)]
        looks = [each.square().sum(dim=1, keepdim=True) for each in maps[-4:]] if self.distill else []
        return [airway, *deep, *looks]

    def training_losses(self, output: Sequence[Tensor], target: Tensor) -> dict[str, Tensor]:
        """What ``forward`` gave in training, and classes (B, D, H, W) -> named losses (B,)."""
        truth = (target > 0).float()[:, None]
        end = 1 + len(self.deep_heads)
        main, deep, looks = output[0].sigmoid(), output[1:end], output[end:]
        losses = {"dice": dice_loss(main, truth), "focal": focal_loss(main, truth)}
        for number, each in enumerate(deep):
            losses[f"dice_deep_{number}"] = dice_loss(each.sigmoid(), truth)
        if looks:
            terms = [attention_loss(a, b, reduction=self.attention) for a, b in pairwise(looks)]
            losses["attention"] = ATTENTION_WEIGHT * torch.stack(terms).sum(dim=0)
        return losses


def dice_loss(probability: Tensor, truth: Tensor) -> Tensor:
    """Soft Dice loss of each row, (B, ...) twice -> (B,)."""
    p, y = probability.flatten(1), truth.flatten(1)
    return 1 - (2 * (p * y).sum(1) + SMOOTH) / (p.sum(1) + y.sum(1) + SMOOTH)


def focal_loss(probability: Tensor, truth: Tensor) -> Tensor:
    """Focal loss with a mean of its own for airway and for background, (B, ...) twice -> (B,).

    A class that does not occur in a row adds nothing.
    """
    p, y = probability.flatten(1).clamp(_EPS, 1 - _EPS), truth.flatten(1)
    airway = -((1 - p) ** FOCUS) * p.log() * y
    rest = -(p**FOCUS) * (1 - p).log() * (1 - y)
    positive = airway.sum(1) / y.sum(1).clamp_min(1)
    negative = rest.sum(1) / (1 - y).sum(1).clamp_min(1)
    return POSITIVE_SHARE * positive + (1 - POSITIVE_SHARE) * negative


def attention_loss(student: Tensor, teacher: Tensor, *, reduction: Reduction = "sum") -> Tensor:
    """How far the student (B, 1, *S) looks from where the finer teacher (B, 1, *T) looks: (B,).

    The student is enlarged; both become shares of the volume by softmax; only the student learns.
    """
    if student.shape != teacher.shape:
        size = list(teacher.shape[2:])
        student = F.interpolate(student, size=size, mode="trilinear", align_corners=False)
    apart = student.flatten(1).softmax(1) - teacher.detach().flatten(1).softmax(1)
    squared = apart.square()
    return squared.sum(1) if reduction == "sum" else squared.mean(1)
