"""SKNet: ResNeXt with selective kernels in every block.

Li et al., "Selective Kernel Networks", arXiv 1903.06586, as SK[2, 16, 32] over 32 groups.
"""

from __future__ import annotations

from collections.abc import Sequence

from tessera.core.backbone.blocks import SpatialDims
from tessera.core.backbone.encoders import Classifier, Encoder
from tessera.core.backbone.layout import EncoderLayout
from tessera.core.backbone.plugs import PerStage

DEPTHS_50 = (3, 4, 6, 3)
DEPTHS_101 = (3, 4, 23, 3)
RELEASED_101 = ("sk", {"kind": "sk", "min_hidden": 16}, "sk", "sk")
"""Mixers of the released SKNet-101, which has 16 hidden units in its second stage."""


class SKNet(Classifier):
    """SKNet-50 has 27,479,784 parameters with images of three channels and 1000 classes.

    The released SKNet-101 (`DEPTHS_101`, `RELEASED_101`) has 48,686,760.

    Args:
        spatial_dims: Number of axes in S.
        c_in: Channels of the input.
        num_classes: K.
        depths: Blocks of each stage.
        widths: Channels of each stage.
        mixer: Plug of the slot mixer, or one for each stage.
        dropout: Before the classes.
    """

    def __init__(
        self,
        spatial_dims: SpatialDims,
        c_in: int,
        num_classes: int,
        *,
        depths: Sequence[int] = DEPTHS_50,
        widths: Sequence[int] = (256, 512, 1024, 2048),
        mixer: PerStage = "sk",
        dropout: float = 0.0,
    ) -> None:
        layout = EncoderLayout(
            widths=widths,
            depths=depths,
            strides=[1] + [2] * (len(widths) - 1),
            ratio=0.5,
            mixer=mixer,
        )
        encoder = Encoder(spatial_dims, in_channels=c_in, layout=layout)
        super().__init__(encoder, num_classes, dropout=dropout)
