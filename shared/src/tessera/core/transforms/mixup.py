"""Mixup: every row is blended with another row of its batch (Zhang et al., 2018)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tessera.core.errors import ConfigError


@dataclass(frozen=True)
class MixupParams:
    """One draw for a batch.

    Args:
        share: (B,) share of the row itself, at least one half.
        partner: (B,) row it is blended with.
    """

    share: Tensor
    partner: Tensor


class Mixup:
    """Blend rows and targets; the share follows Beta(alpha, alpha), folded to one half and more.

    Args:
        alpha: Parameter of the Beta distribution.
    """

    def __init__(self, alpha: float) -> None:
        if alpha <= 0:
            raise ConfigError("augment.mixup_alpha must be above 0 to mix", found=alpha)
        self.alpha = alpha

    def draw(self, shape: torch.Size, generator: torch.Generator) -> MixupParams:
        """Parameters for a batch of ``shape`` (B, ...)."""
        rows = shape[0]
        # Beta is a ratio of Gamma(alpha) variables; in logarithms, since a small alpha underflows them
        above = torch._standard_gamma(torch.full((rows, 2), 1 + self.alpha), generator=generator)
        log_gamma = above.log() + torch.rand((rows, 2), generator=generator).log() / self.alpha
        share = (log_gamma[:, 0] - log_gamma[:, 1]).sigmoid()
        return MixupParams(torch.maximum(share, 1 - share), torch.randperm(rows, generator=generator))

    def apply(self, x: Tensor, params: MixupParams) -> Tensor:
        """Blend (B, ...), data and soft targets alike."""
        share = params.share.to(x.device, x.dtype).reshape(-1, *[1] * (x.ndim - 1))
        return share * x + (1 - share) * x[params.partner.to(x.device)]
