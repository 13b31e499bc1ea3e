"""Multiply-adds of a network, counted while it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tessera.core.backbone.scan import operator  # noqa: F401 - defines torch.ops.tessera.selective_scan

Shape = Sequence[int]


def count_macs(network: nn.Module, x: Tensor) -> int:
    """Multiply-adds of a forward pass of x, which may lie on the meta device.

    Counted are convolutions, matrix products, attention, selective scans and reading between grid points;
    biases, norms, activations, pools and sums are not, as is usual in papers.
    """
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=_FORMULAS) as counter:
        network(x)
    return counter.get_total_flops() // 2


def _attention(query: Shape, key: Shape, value: Shape, *_: object, **__: object) -> int:
    """(B, heads, N, C) and (B, heads, M, C): the scores, and the sums they weigh."""
    return 2 * prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _scan(u: Shape, delta: Shape, A: Shape, *_: object, **__: object) -> int:
    """Per channel and step delta * u; per value of the state delta * A, what is added, decay, <C, h>."""
    return 2 * prod(u) * (1 + 4 * A[1])


def _sampling(x: Shape, grid: Shape, *_: object, out_shape: Shape, **__: object) -> int:
    """Each value is a weighted sum of 2^d neighbours."""
    return 2 * prod(out_shape) * 2 ** grid[-1]


_FORMULAS: dict[Any, Callable[..., int]] = {  # two operations a multiply-add, as torch counts them
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten.grid_sampler_2d: _sampling,
    torch.ops.aten.grid_sampler_3d: _sampling,
    torch.ops.tessera.selective_scan: _scan,
}
