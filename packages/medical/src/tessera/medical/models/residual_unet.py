"""ResidualEncoderUNet: nnU-Net with residual blocks on the way down ("ResEnc").

Isensee et al., "nnU-Net Revisited", arXiv 2404.09556. No difference to its network is known; the depths
of its presets M, L and XL are `PRESET_BLOCKS`.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from tessera.core.backbone.staged_unet import (
    StagedUNet,
    Topology,
    conv_norm_act,
    conv_stack,
    he_transposed,
    residual_stack,
)

PRESET_BLOCKS = (1, 3, 4, 6)  # of each stage; deeper stages as the last


class ResidualEncoderUNet(StagedUNet):
    """(B, c, *S) -> logits (B, K, *S); S must be a multiple of the strides' product per axis.

    In training with deep supervision a list of logits, one a stage of the decoder, finest first.

    Args:
        in_channels: c.
        num_classes: K.
        features: Channels of each stage, finest first.
        strides: Stride with which each stage begins, per axis; ones for the first.
        kernels: Kernel of each stage, per axis.
        blocks: Residual blocks of each stage of the encoder; None: those of the presets.
        decoder_convs: Convolutions of each stage of the decoder, deepest first.
        deep_supervision: Whether all stages of the decoder answer in training.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        features: Sequence[int],
        strides: Sequence[Sequence[int]],
        kernels: Sequence[Sequence[int]],
        blocks: int | Sequence[int] | None = None,
        decoder_convs: int | Sequence[int] = 1,
        deep_supervision: bool = True,
    ) -> None:
        topology = Topology(features=features, strides=strides, kernels=kernels)
        d, deepest = topology.spatial_dims, topology.stages - 1
        if blocks is None:
            blocks = [PRESET_BLOCKS[min(i, len(PRESET_BLOCKS) - 1)] for i in range(topology.stages)]
        down = topology.per_stage(blocks, name="blocks")
        up = topology.per_stage(decoder_convs, name="decoder_convs", stages=deepest)
        wide = [features[0], *features]
        stages = [
            residual_stack(d, wide[i], features[i], kernel=kernels[i], stride=strides[i], depth=down[i])
            for i in range(topology.stages)
        ]
        stem = conv_norm_act(d, in_channels, features[0], kernel=kernels[0])
        levels = range(deepest - 1, -1, -1)
        super().__init__(
            topology,
            num_classes,
            encoder=[nn.Sequential(stem, stages[0]), *stages[1:]],
            ups=[he_transposed(d, features[i + 1], features[i], strides[i + 1]) for i in levels],
            decoder=[
                conv_stack(d, 2 * features[i], features[i], kernel=kernels[i], depth=depth)
                for i, depth in zip(levels, up, strict=True)
            ],
            deep_supervision=deep_supervision,
        )
