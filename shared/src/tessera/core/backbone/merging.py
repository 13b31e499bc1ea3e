"""Branches that only training needs, folded into fewer weights for inference."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Mergeable(nn.Module):
    """Module that `merge` turns in place into a smaller one with the same output in evaluation."""

    def merge(self) -> None:
        """Fold the branches together; a second call does nothing."""
        raise NotImplementedError


def merge_branches(module: nn.Module) -> nn.Module:
    """Merge every mergeable part of a trained module in place, and return the module.

    The names in its state dict change: merged weights load into a module that is merged, too.
    """
    for part in list(module.modules()):
        if isinstance(part, Mergeable):
            part.merge()
    return module


def fold_norm(conv_and_norm: nn.Sequential) -> tuple[Tensor, Tensor]:
    """Convolution without bias, batch norm -> kernel and bias (C,) that do the same in evaluation.

    In double precision, because the sums of several folded kernels follow.
    """
    weight, norm = conv_and_norm[0].get_parameter("weight"), conv_and_norm[1]
    if not isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
        raise ValueError(f"only a batch norm can be folded, not {type(norm).__name__}")
    variance, mean = norm.get_buffer("running_var").double(), norm.get_buffer("running_mean").double()
    scale = norm.weight.double() / torch.sqrt(variance + norm.eps)
    kernel = weight.double() * scale.reshape(-1, *[1] * (weight.ndim - 1))
    return kernel, norm.bias.double() - mean * scale
