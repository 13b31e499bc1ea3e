"""Two layers along the positions of a map, shared by all channels.

Tolstikhin et al., "MLP-Mixer: An all-MLP Architecture for Vision", arXiv 2105.01601.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims, per_axis
from tessera.core.backbone.slots.convolutions import fit_channels


class TokenMLPMixer(nn.Module):
    """N positions -> hidden units -> N positions, with biases and a GELU between; made for one size of map.

    Where c_in differs from c_out or there is a stride, a convolution comes first.

    Args:
        spatial_dims: Number of axes in S.
        c_in: Channels of the input.
        c_out: Channels of the output.
        stride: Stride of the convolution in front.
        grid: S, the size of the input.
        hidden: Units between the layers; None takes c_out / 2.
    """

    def __init__(
        self,
        spatial_dims: SpatialDims,
        c_in: int,
        c_out: int,
        stride: int = 1,
        *,
        grid: tuple[int, ...],
        hidden: int | None = None,
    ) -> None:
        super().__init__()
        hidden = max(1, c_out // 2) if hidden is None else hidden
        if hidden < 1:
            raise ValueError(
                f"mixer token_mlp: hidden {hidden} is not positive; the paper has half the channels"
            )
        self.grid = per_axis(spatial_dims, tuple(grid), name="grid")
        tokens = math.prod(-(-size // stride) for size in self.grid)
        self.fit = fit_channels(spatial_dims, c_in, c_out, stride)
        self.fc1 = nn.Linear(tokens, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, tokens)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, *grid) -> (B, c_out, *ceil(grid / stride))."""
        if tuple(x.shape[2:]) != self.grid:
            raise ValueError(
                f"mixer token_mlp was built for maps of {self.grid}, not {tuple(x.shape[2:])}; "
                "resize the input or build it with this grid"
            )
        x = self.fit(x)
        return self.fc2(self.act(self.fc1(x.flatten(2)))).reshape(x.shape)
