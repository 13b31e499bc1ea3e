"""Convolution whose every kernel value is a learned function of the input: a Kolmogorov-Arnold layer.

Bodner et al., "Convolutional Kolmogorov-Arnold Networks", arXiv 2406.13155. The window's values
phi(x) = w * silu(x) + scale * sum_i c_i B_i(x) are summed. Since silu and the splines B_i act on
single values, this is one ordinary convolution over 1 + n maps per channel. Differences: it
pads with zeros, so that the size stays as it is (``padding=0`` for the paper's networks). A padded zero
counts like a measured one. The splines vanish far outside their range: normalise the input.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims

_CONVS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class ConvKANMixer(nn.Module):
    """Kolmogorov-Arnold convolution with c_in * c_out * kernel^d * (intervals + order + 2) parameters.

    Args:
        spatial_dims: Number of axes in S.
        c_in: Channels of the input.
        c_out: Channels of the output.
        stride: Stride of the convolution.
        kernel: Size of the convolution, odd.
        padding: Zeros around the map; None keeps its size.
        intervals: Intervals of the splines in the range, G.
        order: Degree of the splines, k.
        span: Range of the splines.
    """

    knots: Tensor

    def __init__(
        self,
        spatial_dims: SpatialDims,
        c_in: int,
        c_out: int,
        stride: int = 1,
        *,
        kernel: int = 3,
        padding: int | None = None,
        intervals: int = 5,
        order: int = 3,
        span: tuple[float, float] = (-1.0, 1.0),
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"mixer conv_kan: kernel {kernel} has no middle; give an odd number")
        if intervals < 1 or order < 0 or span[0] >= span[1]:
            raise ValueError(
                f"mixer conv_kan: no splines with intervals {intervals}, order {order}, span {span}"
            )
        self.spatial_dims = spatial_dims
        self.stride = stride
        self.padding = kernel // 2 if padding is None else padding
        self.order = order
        step = (span[1] - span[0]) / intervals
        knots = [span[0] + step * i for i in range(-order, intervals + order + 1)]
        self.register_buffer("knots", torch.tensor(knots), persistent=False)
        size = [kernel] * spatial_dims
        self.base = nn.Parameter(torch.empty(c_out, c_in, *size))
        self.scale = nn.Parameter(torch.empty(c_out, c_in, *size))
        self.coefficients = nn.Parameter(torch.empty(c_out, c_in, intervals + order, *size))
        self._draw_weights(intervals)

    @torch.no_grad()
    def _draw_weights(self, intervals: int) -> None:
        """Base and scale as any convolution; splines near noise of at most 0.05 / intervals at the knots."""
        nn.init.kaiming_uniform_(self.base, a=math.sqrt(5))
        nn.init.kaiming_uniform_(self.scale, a=math.sqrt(5))
        if self.coefficients.is_meta:
            return
        bases = b_splines(self.knots[self.order : self.order + intervals + 1], self.knots, self.order)
        fit = torch.linalg.pinv(bases.double().T).to(bases)  # (coefficients, knots in the range)
        noise = (torch.rand(*self.base.shape, intervals + 1) - 0.5) * (0.1 / intervals)
        self.coefficients.copy_((noise @ fit.T).movedim(-1, 2))

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, *S) -> (B, c_out, *ceil(S / stride)) unless padding says otherwise."""
        x = F.pad(x, [self.padding] * (2 * self.spatial_dims))
        splines = b_splines(x.flatten(2), self.knots, self.order, axis=2)
        maps = torch.cat([F.silu(x).flatten(2).unsqueeze(2), splines], dim=2)
        weights = torch.cat([self.base.unsqueeze(2), self.coefficients * self.scale.unsqueeze(2)], dim=2)
        every = maps.flatten(1, 2).reshape(len(x), -1, *x.shape[2:])
        return _CONVS[self.spatial_dims](every, weights.flatten(1, 2), stride=self.stride)


def b_splines(x: Tensor, knots: Tensor, order: int, *, axis: int = 0) -> Tensor:
    """Values of all B-splines of a degree on equal intervals, along a new axis of len(knots) - 1 - order."""
    x = x.unsqueeze(axis)
    knots = knots.reshape(-1, *[1] * (x.ndim - 1 - axis))
    step = knots[1] - knots[0]
    count = len(knots) - 1
    values = ((x >= knots[:-1]) & (x < knots[1:])).to(x.dtype)
    for degree in range(1, order + 1):
        count -= 1
        rising = (x - knots[:count]) * values.narrow(axis, 0, count)
        falling = (knots[degree + 1 :] - x) * values.narrow(axis, 1, count)
        values = (rising + falling) / (degree * step)
    return values
