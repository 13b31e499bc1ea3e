"""The class with the highest value of each element, class after class, without all values at once."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def label_type(classes: int) -> torch.dtype:
    """The smallest type that holds the classes; int16 stands for uint16 up to 32767."""
    if classes > torch.iinfo(torch.int16).max:
        raise ValueError(f"{classes} classes are too many for a mask; at most 32767")
    return torch.uint8 if classes <= 256 else torch.int16


def best_labels(values: Iterable[Tensor], dtype: torch.dtype) -> Tensor:
    """Values of class 0, 1, ... of equal shape -> the first class of the highest value, of that shape.

    A tensor is used before the next one is asked for, so they may share memory; the first is kept.
    """
    best = labels = better = own = None
    for number, value in enumerate(values):
        if best is None or labels is None or better is None or own is None:
            best = value.clone()
            labels = torch.zeros(value.shape, dtype=dtype, device=value.device)
            better = torch.empty(value.shape, dtype=torch.bool, device=value.device)
            own = torch.empty_like(labels)
            continue
        torch.gt(value, best, out=better)
        torch.maximum(best, value, out=best)
        # Numbers ascend, so the latest better class is the highest one; quicker than a masked fill.
        torch.mul(better.view(torch.uint8) if dtype == torch.uint8 else better.to(dtype), number, out=own)
        torch.maximum(labels, own, out=labels)
    if labels is None:
        raise ValueError("no values of any class")
    return labels
