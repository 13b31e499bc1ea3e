"""Enlarging maps to a given size, odd ones included."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims

UpMode = Literal["interpolate", "nearest", "transposed"]

_SMOOTH = {1: "linear", 2: "bilinear", 3: "trilinear"}
_TRANSPOSED: dict[int, Callable[..., nn.Module]] = {
    1: nn.ConvTranspose1d,
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}


class Upsample(nn.Module):
    """(B, c_in, *S) -> (B, out_channels, *size).

    "interpolate" is linear along each axis and "nearest" repeats values, both without parameters and with
    c_in channels; "transposed" is a transposed convolution to c_out channels with kernel and stride
    ``strides``, whose surplus at the end is cut off (zeros fill up what pools without padding left out).

    Args:
        spatial_dims: Number of axes in S.
        c_in: Channels of the input.
        c_out: Channels of a transposed convolution.
        strides: Factor per axis, rounded up where ``size`` is no multiple of S.
        mode: As above.
    """

    def __init__(
        self,
        spatial_dims: SpatialDims,
        c_in: int,
        c_out: int,
        strides: tuple[int, ...],
        *,
        mode: UpMode = "interpolate",
    ) -> None:
        super().__init__()
        modes = {"interpolate": _SMOOTH[spatial_dims], "nearest": "nearest", "transposed": ""}
        if mode not in modes:
            raise ValueError(f"upsampling {mode!r} is not known; choose one of: {', '.join(modes)}")
        self.mode = modes[mode]
        self.conv = _TRANSPOSED[spatial_dims](c_in, c_out, strides, strides) if not self.mode else None
        self.out_channels = c_in if self.conv is None else c_out

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """(B, c_in, *S) -> (B, out_channels, *size)."""
        if self.conv is not None:
            x = self.conv(x)
            surplus = [length - new for length, new in zip(x.shape[2:], size, strict=True)]
            ends = [end for extra in reversed(surplus) for end in (0, -extra)]
            return F.pad(x, ends) if any(surplus) else x
        if tuple(x.shape[2:]) == tuple(size):
            return x
        corners = None if self.mode == "nearest" else False
        return F.interpolate(x, size=list(size), mode=self.mode, align_corners=corners)
