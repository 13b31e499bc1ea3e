"""All-CNN: a convolution with a stride, then ReLU, in the place of a pooling layer.

Springenberg et al., "Striving for Simplicity: The All Convolutional Net", arXiv 1412.6806.
"""

from __future__ import annotations

from torch import nn

from tessera.core.backbone.blocks import Sizes, SpatialDims
from tessera.core.backbone.slots.down import conv_down


def all_cnn_down(
    spatial_dims: SpatialDims, c_in: int, c_out: int, stride: Sizes, *, kernel: Sizes | None = None
) -> nn.Module:
    """Convolution with a stride and ReLU: size S gives ceil(S / stride), as a padded 3/2 pool does.

    Without a kernel each axis takes the smallest odd one that skips no value, at least the paper's 3.
    """
    return nn.Sequential(conv_down(spatial_dims, c_in, c_out, stride, kernel=kernel), nn.ReLU())
