"""AirwayNet: is a voxel connected to each of its 26 neighbours?

Qin et al., "AirwayNet", MICCAI 2019, arXiv 1907.06852. The paper's code is not public; network, further maps
and smooth Dice follow the first author's later release (arXiv 2012.05767). Unverified, and therefore options:
how the two sides of a pair are joined, and that coordinates and distances join before the last block.
Difference: connectivity is joined window by window to the score of a voxel, so that windows can be averaged
and the arg-max taken like any network's; in one window the mask is that of the paper's rule.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Literal

import torch
from torch import Tensor, nn

from tessera.core.backbone.pooled_unet import PooledUNet

Agreement = Literal["mean", "product", "min"]
Offset = tuple[int, int, int]

OFFSETS: tuple[Offset, ...] = tuple(
    (a, b, c) for a, b, c in product((-1, 0, 1), repeat=3) if (a, b, c) != (0, 0, 0)
)
"""The neighbour each channel asks about, in lexicographic order; channel 25 - i asks about the opposite."""

SMOOTH = 1.0
_EPS = 1e-6


class AirwayNet(nn.Module):
    """(B, 1 + E, D, H, W) -> logits (B, 2, D, H, W) of background and airway; in training of the 26 pairs.

    The first channel is the scan; the others (coordinates, distance to the lungs' border) join late. In
    training the result is (B, 26, D, H, W), for ``training_losses``.

    Args:
        extra_channels: E.
        agreement: How the two answers about a pair become one.
        threshold: Lowest score of a connected pair.
    """

    def __init__(
        self, *, extra_channels: int = 4, agreement: Agreement = "mean", threshold: float = 0.5
    ) -> None:
        super().__init__()
        self.agreement: Agreement = agreement
        self.threshold = threshold
        self.unet = PooledUNet(1, extra_channels=extra_channels)
        self.head = nn.Conv3d(16, len(OFFSETS), 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1 + E, D, H, W) -> (B, 2, D, H, W), or (B, 26, D, H, W) in training."""
        extra = x[:, 1:] if x.shape[1] > 1 else None
        pairs = self.head(self.unet(x[:, :1], extra)[1][-1])
        if self.training:
            return pairs
        score = voxel_score(pairs.sigmoid(), agreement=self.agreement).clamp(_EPS, 1 - _EPS)
        airway = score.logit() - torch.tensor(self.threshold).logit()
        return torch.stack([torch.zeros_like(airway), airway], dim=1)

    def training_losses(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Pair logits (B, 26, *S) and classes (B, *S) -> the mean over pairs of soft Dice losses, (B,).

        The paper sums over pairs; the mean has the same minimum and suits usual learning rates.
        """
        return {"connectivity": connectivity_loss(output.sigmoid(), encode(target > 0))}


def encode(mask: Tensor) -> Tensor:
    """Mask (B, D, H, W) -> (B, 26, D, H, W), 1 where the voxel and that neighbour both belong to it."""
    inside = mask.to(torch.bool)
    return torch.stack([inside & _neighbour(inside, offset) for offset in OFFSETS], dim=1).float()


def decode(pairs: Tensor, *, threshold: float = 0.5, agreement: Agreement = "mean") -> Tensor:
    """Probabilities (B, 26, D, H, W) -> mask (B, D, H, W) of all voxels in a connected pair."""
    return voxel_score(pairs, agreement=agreement) >= threshold


def voxel_score(pairs: Tensor, *, agreement: Agreement = "mean") -> Tensor:
    """Probabilities (B, 26, D, H, W) -> the score (B, D, H, W) of each voxel's best pair.

    A pair is judged from both sides, so 13 directions suffice; pairs that leave the volume count 0.
    """
    join = _AGREEMENTS[agreement]
    best = torch.zeros_like(pairs[:, 0])
    for channel, offset in enumerate(OFFSETS[: len(OFFSETS) // 2]):
        here, there = _overlap(offset, best.shape[1:])
        pair = join(pairs[:, channel][here], pairs[:, len(OFFSETS) - 1 - channel][there])
        best[here] = torch.maximum(best[here], pair)
        best[there] = torch.maximum(best[there], pair)
    return best


def connectivity_loss(pairs: Tensor, target: Tensor) -> Tensor:
    """Soft Dice loss of each of the 26 maps, their mean: (B, 26, *S) twice -> (B,)."""
    both = (pairs * target).flatten(2).sum(-1)
    total = pairs.flatten(2).sum(-1) + target.flatten(2).sum(-1)
    return (1 - (2 * both + SMOOTH) / (total + SMOOTH)).mean(dim=1)


def _mean(a: Tensor, b: Tensor) -> Tensor:
    return (a + b) / 2


_AGREEMENTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": _mean,
    "product": torch.mul,
    "min": torch.minimum,
}


def _neighbour(values: Tensor, offset: Offset) -> Tensor:
    """Values (B, D, H, W) of the neighbour at that offset, 0 outside."""
    moved = torch.zeros_like(values)
    here, there = _overlap(offset, values.shape[1:])
    moved[here] = values[there]
    return moved


def _overlap(offset: Offset, size: torch.Size) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where voxels have a neighbour at that offset, and where those neighbours are."""
    here = [slice(max(0, -step), side - max(0, step)) for step, side in zip(offset, size, strict=True)]
    there = [slice(max(0, step), side - max(0, -step)) for step, side in zip(offset, size, strict=True)]
    return (slice(None), *here), (slice(None), *there)
