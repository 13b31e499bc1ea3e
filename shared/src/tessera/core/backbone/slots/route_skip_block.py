"""Skip blocks of SkipNet: an early, fine map is handed to a later stage.

Abrahamyan et al., "Bias Loss for Mobile Neural Networks", arXiv 2107.11170. The paper pools to 28 and 14
pixels; here to the size of the map the result is added to, which is the same for its 224 x 224 images.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims
from tessera.core.backbone.inverted_residual import InvertedResidual
from tessera.core.backbone.slots.route import Route, State, resize_map


class SkipBlockRoute(Route):
    """The last output plus an early one: means over its cells, then an inverted residual.

    Where the early output is itself the last one, as for the first stage, nothing is added.

    Args:
        spatial_dims: Number of axes in S.
        channels: C_i of every output.
        source: Number of the early output; 0 is the stem.
        kernel: Odd kernel of the depthwise convolution; 5 and 3 in the paper.
        expand: Expanded channels over those of the early output; 6 and 2.3 in the paper.
        se: Whether the inverted residual has a gate; not in the paper.
        hard_swish: Hard swish as activation instead of ReLU; unverified.
    """

    def __init__(
        self,
        spatial_dims: SpatialDims,
        channels: Sequence[int],
        *,
        source: int = 0,
        kernel: int = 5,
        expand: float = 6,
        se: bool = False,
        hard_swish: bool = True,
    ) -> None:
        super().__init__(spatial_dims, channels)
        if source < 0:
            raise ValueError(f"route skip_block: source {source} is negative; 0 is the stem")
        self.source = source
        self.block: InvertedResidual | None = None
        if source < len(channels) - 1:
            self.block = InvertedResidual(
                spatial_dims,
                channels[source],
                channels[-1],
                kernel=kernel,
                expand=expand,
                se=se,
                activation=nn.Hardswish if hard_swish else nn.ReLU,
            )

    def forward(self, features: Sequence[Tensor], state: State) -> Tensor:
        """(B, C_i, *S_i), ... -> (B, C_last, *S_last)."""
        last = features[-1]
        if self.block is None:
            return last
        return last + self.block(resize_map(features[self.source], last.shape[2:]))
