"""Res2Net: ResNet with hierarchical convolutions in every block.

Gao et al., "Res2Net: A New Multi-scale Backbone Architecture", arXiv 1904.01169. The names of the networks
say the width w of a group in the first stage and the number s of groups: 26w4s.
"""

from __future__ import annotations

from collections.abc import Sequence

from tessera.core.backbone.blocks import SpatialDims
from tessera.core.backbone.encoders import Classifier, Encoder
from tessera.core.backbone.layout import EncoderLayout

DEPTHS_50 = (3, 4, 6, 3)
DEPTHS_101 = (3, 4, 23, 3)


class Res2Net(Classifier):
    """Res2Net-50 26w4s has 25,699,120 parameters with images of three channels and 1000 classes.

    Args:
        spatial_dims: Number of axes in S.
        c_in: Channels of the input.
        num_classes: K.
        depths: Blocks of each stage.
        width: Channels of a group in the first stage; they double from stage to stage.
        scale: Number of groups.
        cardinality: Groups within each convolution; Res2NeXt-50 has width 32, scale 4 and 8 of them.
        widths: Channels of each stage.
        dropout: Before the classes.
    """

    def __init__(
        self,
        spatial_dims: SpatialDims,
        c_in: int,
        num_classes: int,
        *,
        depths: Sequence[int] = DEPTHS_50,
        width: int = 26,
        scale: int = 4,
        cardinality: int = 1,
        widths: Sequence[int] = (256, 512, 1024, 2048),
        dropout: float = 0.0,
    ) -> None:
        layout = EncoderLayout(
            widths=widths,
            depths=depths,
            strides=[1] + [2] * (len(widths) - 1),
            ratio=width * scale / widths[0],
            mixer={"kind": "res2net", "scale": scale, "groups": cardinality},
            pointwise=True,
        )
        encoder = Encoder(spatial_dims, in_channels=c_in, layout=layout)
        super().__init__(encoder, num_classes, dropout=dropout)
