"""U-Mamba: nnU-Net's plan, residual blocks, and selective scans of the maps in row-major order.

Ma, Li, Wang, "U-Mamba: Enhancing Long-range Dependency for Biomedical Image Segmentation",
arXiv 2401.04722. There are two versions of the released network; the published parameter counts belong to
the first. The Mamba layer is that of Gu and Dao, arXiv 2312.00752.

Differences: the pointwise convolution of an enlarged map comes before the enlarging (the same values for
less work); the network without Mamba layers, ``mamba="none"``, is the twin that "nnU-Net Revisited",
arXiv 2404.09556, compares with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims
from tessera.core.backbone.scan.directional import DirectionalScan
from tessera.core.backbone.staged_unet import (
    StagedUNet,
    Topology,
    conv_norm_act,
    he_conv,
    he_transposed,
    instance_norm,
    leaky_relu,
    residual_stack,
)

MambaPlace = Literal["bottleneck", "encoder", "none"]
Version = Literal[1, 2]

ORDER, KERNEL, EXPANSION = 16, 4, 2  # of the Mamba layer, released code
BLOCKS = 2  # of a stage


class Mamba(nn.Module):
    """Tokens as columns (B, C, L) -> the same shape: causal convolution, selective scan and a gate.

    Args:
        width: C.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = EXPANSION * width
        self.project_in = nn.Linear(width, 2 * inner, bias=False)
        self.conv = nn.Conv1d(inner, inner, KERNEL, padding=KERNEL - 1, groups=inner)
        self.scan = DirectionalScan(inner, directions=1, order=ORDER, rank=-(-width // 16))
        self.project_out = nn.Linear(inner, width, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, C, L) -> (B, C, L)."""
        inward, gating = self.project_in.weight.chunk(2)
        x = F.silu(self.conv(_project(inward, tokens))[..., : tokens.shape[2]])
        y = self.scan(x[:, None])[:, 0] * F.silu(_project(gating, tokens))
        return _project(self.project_out.weight, y)


def _project(weight: Tensor, tokens: Tensor) -> Tensor:
    """A linear layer of columns (B, C, L) -> (B, C', L), without turning them into rows and back."""
    return torch.bmm(weight.expand(len(tokens), -1, -1), tokens)


class MambaLayer(nn.Module):
    """Layer norm and Mamba in place of a map: (B, C, *S) -> the same shape, without a shortcut.

    Never autocast: in half precision the scan's neighbours overflow.

    Args:
        width: Values of a token: C, or the positions of a map where the channels are the tokens.
        channel_tokens: Whether each channel is a token, and not each position.
    """

    def __init__(self, width: int, *, channel_tokens: bool = False) -> None:
        super().__init__()
        self.channel_tokens = channel_tokens
        self.norm = nn.LayerNorm(width)
        self.mamba = Mamba(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C, *S)."""
        with _full_precision(x):
            rows = x.to(torch.promote_types(x.dtype, torch.float32)).flatten(2)
            if self.channel_tokens:
                y = self.mamba(self.norm(rows).transpose(1, 2)).transpose(1, 2)
            else:
                y = self.mamba(self.norm(rows.transpose(1, 2)).transpose(1, 2))
            return y.reshape(x.shape)


def _full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Autocast off; it knows no meta device."""
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


class ProjectedBlock(nn.Module):
    """Two convolutions added to a pointwise one of the input, which has no norm; then activated.

    Args:
        spatial_dims: Number of axes in S.
        c_in: Channels of the input.
        c_out: Channels of the output.
        kernel: Of the two convolutions.
        stride: Of the first convolution and of the pointwise one.
    """

    def __init__(
        self,
        spatial_dims: SpatialDims,
        c_in: int,
        c_out: int,
        *,
        kernel: Sequence[int],
        stride: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        d = spatial_dims
        self.first = conv_norm_act(d, c_in, c_out, kernel=kernel, stride=stride)
        self.second = he_conv(d, c_out, c_out, kernel=tuple(kernel))
        self.norm = instance_norm(d, c_out)
        self.shortcut = he_conv(d, c_in, c_out, kernel=1, stride=1 if stride is None else tuple(stride))
        self.act = leaky_relu()

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, *S) -> (B, c_out, *S / stride)."""
        return self.act(self.norm(self.second(self.first(x))) + self.shortcut(x))


class UMamba(StagedUNet):
    """(B, c, *S) -> logits (B, K, *S); S must be a multiple of the strides' product per axis.

    In training with deep supervision a list of logits, one a stage of the decoder, finest first. With
    ``mamba="encoder"`` in version 2, a stage with no more positions than channels has its channels as
    tokens; its weights are made for one size, and the network then takes inputs of ``patch`` only.

    Args:
        in_channels: c.
        num_classes: K.
        features: Channels of each stage, finest first.
        strides: Stride with which each stage begins, per axis; ones for the first.
        kernels: Kernel of each stage, per axis.
        mamba: Where the Mamba layers are: behind the deepest stage, behind the stages of the encoder (in
            2-D of version 2 behind every other one), or nowhere.
        version: Of the released network.
        patch: S, needed for layers in the encoder of version 2.
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
        mamba: MambaPlace = "bottleneck",
        version: Version = 2,
        patch: Sequence[int] | None = None,
        deep_supervision: bool = True,
    ) -> None:
        topology = Topology(features=features, strides=strides, kernels=kernels)
        if version not in (1, 2):
            raise ValueError(f"UMamba: there is no version {version!r}; choose 1 or 2")
        parts = (_first_version if version == 1 else _second_version)(topology, in_channels)
        layers = _mamba_layers(topology, mamba, version, patch)
        super().__init__(
            topology,
            num_classes,
            encoder=[  # weights keep their names whether or not there is a layer
                nn.Sequential(stage, layers.get(i, nn.Identity())) for i, stage in enumerate(parts.encoder)
            ],
            ups=parts.ups,
            decoder=parts.decoder,
            deep_supervision=deep_supervision,
            finest_skip=parts.finest_skip,
        )
        fixed = patch is not None and any(layer.channel_tokens for layer in layers.values())
        self.only_size = tuple(patch) if patch is not None and fixed else None

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """(B, c, *S) -> logits (B, K, *S), or a list of logits, finest first."""
        if self.only_size is not None and tuple(x.shape[2:]) != self.only_size:
            raise ValueError(
                f"UMamba: the input's size is {tuple(x.shape[2:])}, but channels are tokens in a deep stage, "
                f"whose weights fit {self.only_size} only; cut the input into such patches"
            )
        return super().forward(x)


class _Parts(NamedTuple):
    encoder: list[nn.Module]
    ups: list[nn.Module]
    decoder: list[nn.Module]
    finest_skip: bool


def _first_version(t: Topology, in_channels: int) -> _Parts:
    """Residual blocks everywhere, transposed convolutions."""
    d, features, levels = t.spatial_dims, t.features, range(t.stages - 2, -1, -1)
    wide = [features[0], *features]

    def blocks(c_in: int, i: int, stride: Sequence[int] | None = None) -> nn.Module:
        c_out, kernel = features[i], t.kernels[i]
        return residual_stack(
            d, c_in, c_out, kernel=kernel, stride=stride, depth=BLOCKS, begins_as_shortcut=False
        )

    encoder = [blocks(wide[i], i, t.strides[i]) for i in range(t.stages)]
    stem = conv_norm_act(d, in_channels, features[0], kernel=t.kernels[0])
    return _Parts(
        encoder=[nn.Sequential(stem, encoder[0]), *encoder[1:]],
        ups=[he_transposed(d, features[i + 1], features[i], t.strides[i + 1]) for i in levels],
        decoder=[blocks(2 * features[i], i) for i in levels],
        finest_skip=True,
    )


def _second_version(t: Topology, in_channels: int) -> _Parts:
    """Each stage begins with a projected block; the second half of the stages ends there."""
    d, features, levels = t.spatial_dims, t.features, range(t.stages - 2, -1, -1)
    wide = [features[0], *features]
    half = -(-t.stages // 2)

    def blocks(c_in: int, i: int, stride: Sequence[int] | None = None, *, depth: int) -> nn.Module:
        c_out, kernel = features[i], t.kernels[i]
        begin = ProjectedBlock(d, c_in, c_out, kernel=kernel, stride=stride)
        rest = residual_stack(d, c_out, c_out, kernel=kernel, depth=depth - 1, begins_as_shortcut=False)
        return nn.Sequential(begin, *rest)

    def depth(position: int) -> int:
        return BLOCKS if position < half else 1

    def enlarge(i: int) -> nn.Module:
        steps = tuple(map(float, t.strides[i + 1]))
        return nn.Sequential(
            he_conv(d, features[i + 1], features[i], kernel=1), nn.Upsample(scale_factor=steps)
        )

    finest_skip = d != 2
    encoder = [blocks(wide[i], i, t.strides[i], depth=depth(i)) for i in range(t.stages)]
    stem = blocks(in_channels, 0, depth=BLOCKS)
    return _Parts(
        encoder=[nn.Sequential(stem, encoder[0]), *encoder[1:]],
        ups=[enlarge(i) for i in levels],
        decoder=[
            blocks((2 if i or finest_skip else 1) * features[i], i, depth=depth(j))
            for j, i in enumerate(levels)
        ],
        finest_skip=finest_skip,
    )


def _mamba_layers(
    t: Topology, place: MambaPlace, version: Version, patch: Sequence[int] | None
) -> dict[int, MambaLayer]:
    """The Mamba layers by the stage they follow."""
    if place not in ("bottleneck", "encoder", "none"):
        raise ValueError(f"UMamba: mamba={place!r} is not known; choose bottleneck, encoder or none")
    if place == "none":
        return {}
    if place == "bottleneck":
        return {t.stages - 1: MambaLayer(t.features[-1])}
    if version == 1:
        return {i: MambaLayer(c) for i, c in enumerate(t.features)}
    if patch is None:
        raise ValueError("UMamba: mamba='encoder' of version 2 needs patch, the size of its inputs")
    layers = {}
    for i, (c, size) in enumerate(zip(t.features, t.sizes(patch), strict=True)):
        if t.spatial_dims == 3 or i % 2 != t.stages % 2:
            positions = math.prod(size)
            swapped = positions <= c
            layers[i] = MambaLayer(positions if swapped else c, channel_tokens=swapped)
    return layers
