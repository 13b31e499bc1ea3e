"""Weight conditioning: layers compute with weights whose rows have norm 1.

Saratchandran et al., "Weight Conditioning for Smooth Optimization of Neural Networks",
arXiv 2409.03424. No diagonal scaling from the left gives a matrix of m rows a condition number smaller
by more than a factor of sqrt(m). No public code was found: that gradients pass through the norms, and
which layers are conditioned, is unverified.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_ATTENTION_WEIGHTS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")


class UnitRows(nn.Module):
    """Divide each row of a weight (out, in, *kernel) by its Euclidean norm; rows of zeros stay."""

    def __init__(self, *, eps: float = 1e-12) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, weight: Tensor) -> Tensor:
        """(out, in, *kernel) -> the same shape."""
        norms = torch.linalg.vector_norm(weight.flatten(1), dim=1).clamp_min(self.eps)
        return weight / norms.reshape(-1, *[1] * (weight.ndim - 1))


def condition(module: nn.Module, *, eps: float = 1e-12, skip: Sequence[str] = ()) -> nn.Module:
    """Give the weights of linear layers, convolutions and attention in `module` rows of norm 1, in place.

    The state dict keeps the raw weights, which are trained; biases stay as they are, transposed
    convolutions too. Layers with a wide input and no norm after them give larger values than before.

    Args:
        module: Any network; it can then be saved by its state dict only.
        eps: Smallest norm to divide by.
        skip: Dotted names of parts to leave alone, such as layers whose weights start at zero.
    """
    skipped = {id(part) for name in skip for part in module.get_submodule(name).modules()}
    for layer, weight in [found for found in _weights(module) if id(found[0]) not in skipped]:
        parametrize.register_parametrization(layer, weight, UnitRows(eps=eps))
    return module


def merge_conditioning(module: nn.Module) -> nn.Module:
    """Replace the raw weights by those the layers compute with, in place; outputs stay the same."""
    for layer, weight in [found for found in _weights(module) if _is_conditioned(*found)]:
        _unshare_class(layer)
        parametrize.remove_parametrizations(layer, weight)
    return module


def _unshare_class(layer: nn.Module) -> None:
    """Give a layer a class of its own: torch's removal edits the class, and deep copies have the same one."""
    made = type(layer)
    entries = {k: v for k, v in vars(made).items() if k not in ("__dict__", "__weakref__")}
    layer.__class__ = type(made.__name__, made.__bases__, entries)


def _weights(module: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    for part in module.modules():
        if isinstance(part, _LAYERS):
            yield part, "weight"
        elif isinstance(part, nn.MultiheadAttention):
            yield from ((part, name) for name in _ATTENTION_WEIGHTS if getattr(part, name) is not None)


def _is_conditioned(layer: nn.Module, weight: str) -> bool:
    if not parametrize.is_parametrized(layer, weight):
        return False
    return any(isinstance(step, UnitRows) for step in layer.parametrizations[weight])  # type: ignore[index]
