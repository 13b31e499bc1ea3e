"""Foveated retinotopy: a log-polar map of the image in front of the first layer.

Jeremie et al., "Retinotopic mapping enhances the robustness of convolutional neural networks", arXiv
2402.15480. The grid is our own, because those of OpenCV, scikit-image and torch differ: radii are spaced
evenly in log rho from ``r_min`` to ``r_max``, both ends included; angles evenly from 0 (towards larger column
numbers), growing towards larger row numbers. Grid sizes and radii of the paper are unverified and so are
options here.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.core.backbone.blocks import Sizes, SpatialDims, conv, per_axis, require_dims


def log_polar(
    x: Tensor, shape: tuple[int, int], *, r_min: float, r_max: float, fixation: Tensor | None = None
) -> Tensor:
    """Sample (B, C, H, W) on rings around a fixation -> (B, C, *shape): radii as rows, angles as columns.

    Bilinear; what lies outside the image is 0. A rotation of the image shifts the columns in a circle, a zoom
    shifts the rows.

    Args:
        x: The image; rows and columns of pixel middles are whole numbers from 0.
        shape: Number of radii and of angles.
        r_min: Radius of the first row in pixels.
        r_max: Radius of the last row in pixels.
        fixation: Row and column of the centre in pixels, (2,) or one for each image (B, 2); the image's
            middle without it.
    """
    (radii, angles), (height, width) = shape, x.shape[-2:]
    if radii < 2 or angles < 1 or not 0 < r_min < r_max or min(height, width) < 2:
        raise ValueError(
            f"log-polar map: {radii} radii from {r_min} to {r_max} px with {angles} angles give no map of "
            f"{height} x {width} px; give at least 2 radii, 1 angle and 0 < r_min < r_max"
        )
    dtype = torch.promote_types(x.dtype, torch.float32)  # half precision cannot tell pixels apart
    middle = torch.tensor([(height - 1) / 2, (width - 1) / 2], device=x.device, dtype=dtype)
    centre = middle if fixation is None else fixation.to(middle)
    offsets = _rings(radii, angles, r_min, r_max).to(middle)
    places = centre.expand(x.shape[0], 2)[:, None, None] + offsets
    grid = (places - middle) / middle  # -1 and 1 are the middles of the first and the last pixel
    sampled = F.grid_sample(
        x.to(dtype), grid.flip(-1), mode="bilinear", padding_mode="zeros", align_corners=True
    )
    return sampled.to(x.dtype)


def _rings(radii: int, angles: int, r_min: float, r_max: float) -> Tensor:
    """Offsets from the fixation, rows and columns in pixels, (radii, angles, 2)."""
    rho = torch.logspace(math.log(r_min), math.log(r_max), radii, base=math.e, dtype=torch.float64)
    theta = torch.arange(angles, dtype=torch.float64) * (2 * math.pi / angles)
    return rho[:, None, None] * torch.stack([theta.sin(), theta.cos()], dim=-1)


class LogPolarDown(nn.Module):
    """Log-polar map of an image; belongs in front of the first layer and has stride 1.

    The rows of the result are radii and its columns are angles, so that the next convolutions best pad
    columns in a circle.

    Args:
        spatial_dims: 2.
        c_in: Channels of the image.
        c_out: Channels of the result; another number than ``c_in`` adds a 1x1 convolution.
        stride: 1.
        radii: Rows of the result; None keeps the number of the image's rows.
        angles: Columns of the result; None keeps the number of the image's columns.
        r_min: Smallest radius in pixels.
        r_max: Largest radius in pixels; None reaches the nearest border.
    """

    def __init__(
        self,
        spatial_dims: SpatialDims,
        c_in: int,
        c_out: int,
        stride: Sizes = 1,
        *,
        radii: int | None = None,
        angles: int | None = None,
        r_min: float = 1.0,
        r_max: float | None = None,
    ) -> None:
        super().__init__()
        require_dims("down 'log_polar'", spatial_dims, supported=(2,))
        if per_axis(spatial_dims, stride) != (1, 1):
            raise ValueError(
                f"down log_polar: it maps an image and has stride 1, not {stride}; set radii and angles"
            )
        self.radii, self.angles = radii, angles
        self.r_min, self.r_max = r_min, r_max
        self.project = nn.Identity() if c_in == c_out else conv(spatial_dims, c_in, c_out, kernel=1)

    def forward(self, x: Tensor, fixation: Tensor | None = None) -> Tensor:
        """(B, c_in, H, W), fixation rows and columns (B, 2) in pixels -> (B, c_out, radii, angles)."""
        height, width = x.shape[-2:]
        shape = (self.radii or height, self.angles or width)
        r_max = (min(height, width) - 1) / 2 if self.r_max is None else self.r_max
        return self.project(log_polar(x, shape, r_min=self.r_min, r_max=r_max, fixation=fixation))
