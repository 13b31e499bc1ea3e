"""A local convolution beside global tokens that travel from block to block.

"DualToken-ViT", arXiv 2309.12424. Built from the abstract and a reading note: heads, the number of steps
towards the token grid, how the parts are summed and that tokens start anew where the width changes are
unverified. The bi-dimensional attention after the channel network is not here: put a gate there.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.core.backbone.attention import Attention, to_map, to_tokens
from tessera.core.backbone.blocks import SpatialDims, conv
from tessera.core.backbone.slots.adn_layer_norm import ChannelLayerNorm
from tessera.core.backbone.slots.convolutions import fit_channels
from tessera.core.backbone.slots.ffn import MLPFfn
from tessera.core.backbone.slots.route import State

STATE = "dualtoken"
TOKEN_DEVIATION = 0.02  # of the first tokens

_MEANS: dict[int, Callable[..., Tensor]] = {
    1: F.adaptive_avg_pool1d,
    2: F.adaptive_avg_pool2d,
    3: F.adaptive_avg_pool3d,
}


class DualTokenMixer(nn.Module):
    """Local part plus what each position reads from G^d global tokens; the tokens pass through ``state``.

    The local part, a ConvNeXt block, is averaged down to the grid of tokens and attends to itself there; a
    weighted sum of that and the tokens so far makes the new tokens, which every position then reads by cross
    attention. The first block of a stage has tokens of its own, later blocks change those they find.
    Where c_in differs from c_out or there is a stride, a convolution comes first.

    Args:
        spatial_dims: Number of axes in S.
        c_in: Channels of the input.
        c_out: Channels of the output, C below.
        stride: Stride of the convolution in front.
        first: Whether the block is the first of its stage.
        previous: Channels of the tokens of the stage before, which the first block then adds to its own;
            None starts anew.
        heads: Heads of both attentions; they divide C.
        tokens: G.
        kernel: Size of the depthwise convolution of the local part, odd.
        steps: Halvings, each after a depthwise convolution, on the way to the grid of tokens.
    """

    uses_state = True

    def __init__(
        self,
        spatial_dims: SpatialDims,
        c_in: int,
        c_out: int,
        stride: int = 1,
        *,
        first: bool = True,
        previous: int | None = None,
        heads: int = 4,
        tokens: int = 7,
        kernel: int = 7,
        steps: int = 1,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0 or tokens < 1 or steps < 0:
            raise ValueError(
                f"mixer dualtoken: kernel {kernel} must be odd, tokens {tokens} and steps {steps} positive"
            )
        self.fit = fit_channels(spatial_dims, c_in, c_out, stride)
        self.local = ConvEncoder(spatial_dims, c_out, kernel=kernel)
        self.shrink = nn.ModuleList(
            conv(spatial_dims, c_out, c_out, kernel=3, padding=1, groups=c_out) for _ in range(steps)
        )
        self.grid = (tokens,) * spatial_dims
        self.start: nn.Parameter | None = None
        self.carry: nn.Module | None = None
        if first:
            self.start = nn.Parameter(torch.empty(tokens**spatial_dims, c_out))
            nn.init.trunc_normal_(self.start, std=TOKEN_DEVIATION)
            if previous is not None:
                self.carry = nn.Linear(previous, c_out)
        else:
            self.carry = nn.Sequential(
                nn.LayerNorm(c_out), nn.Linear(c_out, c_out), nn.GELU(), nn.Linear(c_out, c_out)
            )
        self.weights = nn.Parameter(torch.full((2,), 0.5))
        self.gather = Attention(c_out, heads, name="mixer dualtoken")
        self.broadcast = Attention(c_out, heads, name="mixer dualtoken")

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """(B, c_in, *S) -> (B, c_out, *ceil(S / stride)); tokens (B, G^d, C) are left in ``state``."""
        state = {} if state is None else state
        local = self.local(self.fit(x))
        tokens = self.enrich(self._incoming(state, len(x)), local)
        state[STATE] = tokens
        return local + to_map(self.broadcast(to_tokens(local), tokens), local.shape[2:])

    def enrich(self, tokens: Tensor, local: Tensor) -> Tensor:
        """Tokens (B, G^d, C) and map (B, C, *S) -> new tokens."""
        for layer in self.shrink:
            local = layer(local)
            local = _MEANS[local.ndim - 2](local, [-(-size // 2) for size in local.shape[2:]])
        pooled = to_tokens(_MEANS[local.ndim - 2](local, list(self.grid)))
        kept, added = self.weights
        return kept * tokens + added * self.gather(pooled)

    def _incoming(self, state: State, batch: int) -> Tensor:
        if self.start is not None:
            own = self.start.expand(batch, -1, -1)
            return own if self.carry is None or STATE not in state else own + self.carry(state[STATE])
        if STATE not in state or self.carry is None:
            raise ValueError("mixer dualtoken: no tokens arrive; the first block of a stage needs first=True")
        return state[STATE] + self.carry(state[STATE])


class ConvEncoder(nn.Module):
    """ConvNeXt block: depthwise convolution, layer norm, two pointwise layers, add; (B, C, *S).

    Liu et al., "A ConvNet for the 2020s", arXiv 2201.03545, without its layer scale.

    Args:
        spatial_dims: Number of axes in S.
        channels: C.
        kernel: Size of the depthwise convolution, odd.
    """

    def __init__(self, spatial_dims: SpatialDims, channels: int, *, kernel: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            conv(spatial_dims, channels, channels, kernel=kernel, padding=kernel // 2, groups=channels),
            ChannelLayerNorm(channels),
            MLPFfn(spatial_dims, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C, *S)."""
        return x + self.layers(x)
