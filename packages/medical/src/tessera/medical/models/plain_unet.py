"""PlainConvUNet: nnU-Net's own network, strided convolutions down and transposed ones up.

Isensee et al., "nnU-Net", Nature Methods 18, 203-211 (2021). No difference to its network is known.
"""

from __future__ import annotations

from collections.abc import Sequence

from tessera.core.backbone.staged_unet import StagedUNet, Topology, conv_stack, he_transposed


class PlainConvUNet(StagedUNet):
    """(B, c, *S) -> logits (B, K, *S); S must be a multiple of the strides' product per axis.

    In training with deep supervision a list of logits, one a stage of the decoder, finest first.

    Args:
        in_channels: c.
        num_classes: K.
        features: Channels of each stage, finest first.
        strides: Stride with which each stage begins, per axis; ones for the first.
        kernels: Kernel of each stage, per axis.
        convs: Convolutions of each stage of the encoder.
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
        convs: int | Sequence[int] = 2,
        decoder_convs: int | Sequence[int] = 2,
        deep_supervision: bool = True,
    ) -> None:
        topology = Topology(features=features, strides=strides, kernels=kernels)
        d, deepest = topology.spatial_dims, topology.stages - 1
        down = topology.per_stage(convs, name="convs")
        up = topology.per_stage(decoder_convs, name="decoder_convs", stages=deepest)
        wide = [in_channels, *features]
        levels = range(deepest - 1, -1, -1)
        super().__init__(
            topology,
            num_classes,
            encoder=[
                conv_stack(d, wide[i], features[i], kernel=kernels[i], stride=strides[i], depth=down[i])
                for i in range(topology.stages)
            ],
            ups=[he_transposed(d, features[i + 1], features[i], strides[i + 1]) for i in levels],
            decoder=[
                conv_stack(d, 2 * features[i], features[i], kernel=kernels[i], depth=depth)
                for i, depth in zip(levels, up, strict=True)
            ],
            deep_supervision=deep_supervision,
        )
