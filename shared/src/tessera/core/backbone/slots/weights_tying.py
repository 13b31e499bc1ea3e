"""Transposed tying: a layer and its counterpart around a nonlinearity share one matrix.

"Do deep neural networks utilise the weight space efficiently?", arXiv 2401.16438. A feed-forward block
becomes W' f(W x + b) + c, a bottleneck W' g(W x) + x, with W' the transpose of W. Works where input and
output are equally wide: not in the first block of a stage. The cost in operations stays the same.
The paper's halving is not reached on a ResNet-50, where it leaves 77 to 86 % of the parameters. No public
code was found: the pairing inside attention is unverified.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PAIRS = (
    ("reduce", "expand"),  # of our bottleneck
    ("ffn.1.fc1", "ffn.1.fc2"),  # of our metaformer
    ("conv1", "conv3"),  # of the ResNets of torchvision and timm
    ("mlp.fc1", "mlp.fc2"),  # of timm's vision transformers
)
_CONVS = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}


class Tied(nn.Module):
    """Linear layer or 1x1 convolution with the weight of another layer, or its transpose.

    The weight stays a parameter of the other layer alone, so that a state dict holds it once.

    Args:
        source: Layer with a weight (out, in, 1, ...).
        bias: Own bias, or None.
        transpose: Whether to exchange the weight's first two axes.
    """

    def __init__(self, source: nn.Module, bias: nn.Parameter | None, *, transpose: bool) -> None:
        super().__init__()
        self._source = (source,)  # in a tuple: not a child
        self.bias = bias
        self.transpose = transpose

    @property
    def weight(self) -> Tensor:
        """The weight of the other layer, as used here."""
        weight: Tensor = self._source[0].weight  # type: ignore[assignment]
        return weight.transpose(0, 1) if self.transpose else weight

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, *S) -> (B, C_out, *S), or (..., C_in) -> (..., C_out) with a linear source."""
        weight = self.weight
        if weight.ndim == 2:
            return F.linear(x, weight, self.bias)
        return _CONVS[weight.ndim](x, weight, self.bias)


class TiedAttention(nn.Module):
    """Queries, keys and values (..., C) -> (..., 3C) with keys from the transposed matrix of the queries."""

    def __init__(self, qkv: nn.Linear) -> None:
        super().__init__()
        query, _, value = qkv.weight.detach().chunk(3)
        self.query, self.value = _linear(query), _linear(value)
        self.bias = qkv.bias

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., 3C)."""
        weight = torch.cat([self.query.weight, self.query.weight.T, self.value.weight])
        return F.linear(x, weight, self.bias)


def tie_transposed(
    module: nn.Module,
    *,
    pairs: Sequence[tuple[str, str]] = PAIRS,
    per_stage: bool = False,
    attention: bool = False,
) -> nn.Module:
    """Tie the second layer of each pair to the transpose of the first, in place.

    Args:
        module: Any network that has at least one pair.
        pairs: Names, inside a block, of a linear layer or 1x1 convolution and its counterpart. Pairs whose
            shapes are not transposes of each other, as in the first block of a stage, are left alone. The
            default knows this package's blocks and those of timm and torchvision.
        per_stage: Whether blocks side by side in one container also share the matrix of the first.
        attention: Whether blocks with linear layers ``qkv`` and ``proj`` use the transposed query matrix
            for the keys and the transposed value matrix for the projection. Unverified.
    """
    blocks = [(block, pair) for block in module.modules() for pair in pairs if _is_pair(block, *pair)]
    tied_attentions = _tie_attentions(module) if attention else 0
    if not blocks and not tied_attentions:
        raise ValueError(f"weights: no block has layers to tie; looked for the pairs {tuple(pairs)}")
    for block, (first, second) in blocks:
        _replace(block, second, block.get_submodule(first), transpose=True)
    if per_stage:
        _share_in_stages(module, blocks)
    return module


def _share_in_stages(module: nn.Module, blocks: Sequence[tuple[nn.Module, tuple[str, str]]]) -> None:
    pair_of = {id(block): pair for block, pair in blocks}
    for stage in module.modules():
        owners: dict[tuple[object, ...], nn.Module] = {}
        for block in stage.children():
            if id(block) not in pair_of:
                continue
            first, second = pair_of[id(block)]
            layer = block.get_submodule(first)
            key = (first, second, tuple(layer.weight.shape))  # type: ignore[arg-type]
            owner = owners.setdefault(key, layer)
            if owner is not layer:
                _replace(block, first, owner, transpose=False)
                _replace(block, second, owner, transpose=True)


def _tie_attentions(module: nn.Module) -> int:
    found = [
        block
        for block in module.modules()
        if isinstance(qkv := getattr(block, "qkv", None), nn.Linear)
        and isinstance(proj := getattr(block, "proj", None), nn.Linear)
        and qkv.out_features == 3 * qkv.in_features
        and proj.in_features == proj.out_features == qkv.in_features
    ]
    for block in found:
        tied = TiedAttention(block.get_submodule("qkv"))  # type: ignore[arg-type]
        block.qkv = tied
        _replace(block, "proj", tied.value, transpose=True)
    return len(found)


def _linear(weight: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = nn.Parameter(weight.clone())
    return layer


def _is_pair(block: nn.Module, first: str, second: str) -> bool:
    try:
        one, other = block.get_submodule(first), block.get_submodule(second)
    except AttributeError:
        return False
    if type(one) is not type(other) or not (_is_pointwise(one) and _is_pointwise(other)):
        return False
    sizes = tuple(one.weight.shape), tuple(other.weight.shape)  # type: ignore[arg-type]
    return sizes[0] == (sizes[1][1], sizes[1][0], *sizes[1][2:])


def _is_pointwise(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Linear):
        return True
    if not isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        return False
    return layer.groups == 1 and {*layer.kernel_size, *layer.stride} == {1}


def _replace(block: nn.Module, name: str, source: nn.Module, *, transpose: bool) -> None:
    bias = block.get_submodule(name).bias
    tied = Tied(source, bias if isinstance(bias, nn.Parameter) else None, transpose=transpose)
    block.set_submodule(name, tied)
