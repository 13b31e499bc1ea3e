"""All-CNN-C: nothing but convolutions and ReLU, a stride instead of each pool.

Springenberg et al., "Striving for Simplicity: The All Convolutional Net", arXiv 1412.6806. Biases everywhere,
ReLU after every convolution, the one that gives the class scores included. Made for 32 x 32 images (32 -> 16
-> 8 -> 6 -> mean); here for any size and for signals and volumes as well.
"""

from __future__ import annotations

from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims, conv
from tessera.core.backbone.last_map import LastMapNetwork
from tessera.core.backbone.slots.down_all_cnn import all_cnn_down
from tessera.core.backbone.slots.head_conv_mean import ConvMeanHead

WIDTHS = (96, 192)


class AllCNN(LastMapNetwork):
    """All-CNN-C, 1,369,738 parameters with three input channels and ten classes.

    Args:
        spatial_dims: Number of axes in S.
        c_in: Channels of the input.
        num_classes: K.
        input_dropout: Share of the input set to zero in training.
        dropout: Share of the values set to zero in training after each convolution with a stride.
    """

    def __init__(
        self,
        spatial_dims: SpatialDims,
        c_in: int,
        num_classes: int,
        *,
        input_dropout: float = 0.2,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        narrow, wide = WIDTHS
        self.features = nn.Sequential(
            nn.Dropout(input_dropout),
            _conv_relu(spatial_dims, c_in, narrow),
            _conv_relu(spatial_dims, narrow, narrow),
            all_cnn_down(spatial_dims, narrow, narrow, 2),
            nn.Dropout(dropout),
            _conv_relu(spatial_dims, narrow, wide),
            _conv_relu(spatial_dims, wide, wide),
            all_cnn_down(spatial_dims, wide, wide, 2),
            nn.Dropout(dropout),
            _conv_relu(spatial_dims, wide, wide, padding=0),
            _conv_relu(spatial_dims, wide, wide, kernel=1, padding=0),
        )
        self.head = ConvMeanHead(spatial_dims, [wide], num_classes)

    def last_map(self, x: Tensor) -> Tensor:
        """(B, c_in, *S), each axis at least 9 -> the last map (B, C, *S')."""
        return self.features(x)

    def classify(self, last: Tensor) -> Tensor:
        """Last map (B, C, *S') -> logits (B, K)."""
        return self.head([last])


def _conv_relu(
    spatial_dims: SpatialDims, c_in: int, c_out: int, *, kernel: int = 3, padding: int = 1
) -> nn.Module:
    return nn.Sequential(conv(spatial_dims, c_in, c_out, kernel=kernel, padding=padding), nn.ReLU())
