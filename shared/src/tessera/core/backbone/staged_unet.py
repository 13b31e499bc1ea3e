"""U-Nets whose stages are given one by one, with logits at every stage of the decoder.

Isensee et al., "nnU-Net", Nature Methods 18, 203-211 (2021): the way down and the way up are lists of
modules, one a stage; sizes, strides and kernels of the stages come from the data, per axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from tessera.core.backbone.blocks import Sizes, SpatialDims, avg_pool, conv

SLOPE = 0.01  # of the leaky ReLU, nnU-Net
_TRANSPOSED: dict[int, Callable[..., nn.Module]] = {
    1: nn.ConvTranspose1d,
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}
_NORMS: dict[int, Callable[..., nn.Module]] = {
    1: nn.InstanceNorm1d,
    2: nn.InstanceNorm2d,
    3: nn.InstanceNorm3d,
}


@dataclass(frozen=True, kw_only=True)
class Topology:
    """What the stages of a U-Net are, finest first.

    Args:
        features: Channels of each stage.
        strides: Stride with which each stage begins, per axis; ones for the first stage.
        kernels: Kernel of each stage's convolutions, per axis; odd.
    """

    features: Sequence[int]
    strides: Sequence[Sequence[int]]
    kernels: Sequence[Sequence[int]]

    def __post_init__(self) -> None:
        """Refuse what no U-Net can be made of."""
        counts = len(self.features), len(self.strides), len(self.kernels)
        if len(set(counts)) != 1 or counts[0] < 2:
            raise ValueError(
                f"topology: {counts[0]} features, {counts[1]} strides and {counts[2]} kernels; "
                "give one of each for every stage, for two stages or more"
            )
        axes = {len(sizes) for sizes in (*self.strides, *self.kernels)}
        if len(axes) != 1 or not axes <= {1, 2, 3}:
            raise ValueError("topology: give every stride and kernel one number per axis, for 1 to 3 axes")
        if set(self.strides[0]) != {1}:
            raise ValueError(
                f"topology: the first stage has stride {tuple(self.strides[0])}; it must have ones, for the "
                "logits have the input's size"
            )
        kernels = [k for kernel in self.kernels for k in kernel]
        if min(*self.features, *kernels, *map(min, self.strides)) < 1 or not all(k % 2 for k in kernels):
            raise ValueError("topology: features and strides must be 1 or more, kernels 1 or more and odd")

    @property
    def spatial_dims(self) -> SpatialDims:
        """Number of axes."""
        return cast("SpatialDims", len(self.strides[0]))

    @property
    def stages(self) -> int:
        """Number of stages, the deepest one included."""
        return len(self.features)

    @property
    def divisors(self) -> tuple[int, ...]:
        """What an input's size must be a multiple of, per axis."""
        return tuple(math.prod(axis) for axis in zip(*self.strides, strict=True))

    def sizes(self, size: Sequence[int]) -> list[tuple[int, ...]]:
        """Size of each stage's map for an input of this size; an error names the sizes that fit."""
        if len(size) != self.spatial_dims:
            raise ValueError(f"the input has {len(size)} axes of space; the network has {self.spatial_dims}")
        divisors = self.divisors
        nearest = tuple(-(-max(n, 1) // d) * d for n, d in zip(size, divisors, strict=True))
        if tuple(size) != nearest:
            raise ValueError(
                f"the input's size {tuple(size)} does not fit the strides: give multiples of "
                f"{' x '.join(map(str, divisors))}, for instance {' x '.join(map(str, nearest))}"
            )
        sizes = [tuple(size)]
        for stride in self.strides[1:]:
            sizes.append(tuple(n // s for n, s in zip(sizes[-1], stride, strict=True)))
        if math.prod(sizes[-1]) < 2:
            raise ValueError(
                f"the input's size {tuple(size)} leaves one value to the deepest stage, which instance "
                "norm makes zero: give a larger input or fewer strides"
            )
        return sizes

    def per_stage(self, counts: int | Sequence[int], *, name: str, stages: int | None = None) -> list[int]:
        """One count per stage (all of them by default); a single number counts for all."""
        stages = self.stages if stages is None else stages
        values = [counts] * stages if isinstance(counts, int) else list(counts)
        if len(values) != stages or min(values) < 1:
            raise ValueError(f"{name}={counts}: give one number, or one for each of {stages} stages, >= 1")
        return values


def he_conv(d: SpatialDims, c_in: int, c_out: int, *, kernel: Sizes, stride: Sizes = 1) -> nn.Module:
    """Convolution with bias that keeps (or divides) the size; first values as in nnU-Net."""
    padding = kernel // 2 if isinstance(kernel, int) else tuple(k // 2 for k in kernel)
    return he_init(conv(d, c_in, c_out, kernel=kernel, stride=stride, padding=padding))


def he_transposed(d: SpatialDims, c_in: int, c_out: int, stride: Sequence[int]) -> nn.Module:
    """Transposed convolution (B, c_in, *S) -> (B, c_out, *S x stride), kernel = stride."""
    return he_init(_TRANSPOSED[d](c_in, c_out, tuple(stride), tuple(stride)))


def he_init(layer: nn.Module) -> nn.Module:
    """Draw a convolution's weight for leaky ReLUs (He et al., arXiv 1502.01852); its bias becomes 0."""
    nn.init.kaiming_normal_(cast("Tensor", layer.weight), a=SLOPE)
    if layer.bias is not None:
        nn.init.zeros_(cast("Tensor", layer.bias))
    return layer


def instance_norm(d: SpatialDims, channels: int) -> nn.Module:
    """Each channel of each sample standardised, then scaled and shifted."""
    return _NORMS[d](channels, affine=True)


def leaky_relu() -> nn.Module:
    """The activation of all stages, in place."""
    return nn.LeakyReLU(SLOPE, inplace=True)


def conv_norm_act(
    d: SpatialDims, c_in: int, c_out: int, *, kernel: Sequence[int], stride: Sequence[int] | None = None
) -> nn.Sequential:
    """Convolution, instance norm, leaky ReLU."""
    steps = tuple(stride) if stride is not None else 1
    layer = he_conv(d, c_in, c_out, kernel=tuple(kernel), stride=steps)
    return nn.Sequential(layer, instance_norm(d, c_out), leaky_relu())


def conv_stack(
    d: SpatialDims,
    c_in: int,
    c_out: int,
    *,
    kernel: Sequence[int],
    stride: Sequence[int] | None = None,
    depth: int,
) -> nn.Sequential:
    """``depth`` times convolution, instance norm, leaky ReLU; the first one has the stride."""
    first = conv_norm_act(d, c_in, c_out, kernel=kernel, stride=stride)
    return nn.Sequential(first, *[conv_norm_act(d, c_out, c_out, kernel=kernel) for _ in range(depth - 1)])


class ResidualBlock(nn.Module):
    """(B, c_in, *S) -> (B, c_out, *S / stride): two convolutions added to a shortcut, then activated.

    He et al., arXiv 1512.03385, with the shortcut of He et al., arXiv 1812.01187 ("D"): average pool, then
    1x1 convolution and norm where the channels change.

    Args:
        spatial_dims: Number of axes in S.
        c_in: Channels of the input.
        c_out: Channels of the output.
        kernel: Of both convolutions.
        stride: Of the first convolution.
        begins_as_shortcut: Whether the last norm's first weight is zero, and not one.
    """

    def __init__(
        self,
        spatial_dims: SpatialDims,
        c_in: int,
        c_out: int,
        *,
        kernel: Sequence[int],
        stride: Sequence[int] | None = None,
        begins_as_shortcut: bool = True,
    ) -> None:
        super().__init__()
        d = spatial_dims
        self.first = conv_norm_act(d, c_in, c_out, kernel=kernel, stride=stride)
        self.second = he_conv(d, c_out, c_out, kernel=tuple(kernel))
        self.norm = instance_norm(d, c_out)
        if begins_as_shortcut:
            nn.init.zeros_(cast("Tensor", self.norm.weight))
        shortcut: list[nn.Module] = []
        if stride is not None and max(stride) > 1:
            shortcut.append(avg_pool(d, tuple(stride)))
        if c_in != c_out:
            shortcut.append(he_init(conv(d, c_in, c_out, kernel=1, bias=False)))
            shortcut.append(instance_norm(d, c_out))
        self.shortcut = nn.Sequential(*shortcut)
        self.act = leaky_relu()

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, *S) -> (B, c_out, *S / stride)."""
        return self.act(self.norm(self.second(self.first(x))) + self.shortcut(x))


def residual_stack(
    d: SpatialDims,
    c_in: int,
    c_out: int,
    *,
    kernel: Sequence[int],
    stride: Sequence[int] | None = None,
    depth: int,
    begins_as_shortcut: bool = True,
) -> nn.Sequential:
    """``depth`` residual blocks, perhaps none; the first one has the stride."""
    starts = [(c_in, stride), *[(c_out, None)] * (depth - 1)][:depth]
    return nn.Sequential(
        *[
            ResidualBlock(d, c, c_out, kernel=kernel, stride=steps, begins_as_shortcut=begins_as_shortcut)
            for c, steps in starts
        ]
    )


class StagedUNet(nn.Module):
    """(B, c, *S) -> logits (B, K, *S); S must be a multiple of `Topology.divisors`.

    In training with deep supervision the result is a list: logits at the input's size first, then at the
    size of each coarser stage of the decoder. All heads are there with and without it, so that the weights
    fit both.

    Args:
        topology: Sizes of the stages.
        num_classes: K.
        encoder: One module a stage, finest first; all maps but the last one are skips.
        ups: One module a stage of the decoder, deepest first; each enlarges the map from below to the
            channels and size of the skip.
        decoder: One module a stage of the decoder; it sees the enlarged map, then the skip, as channels.
        deep_supervision: Whether all heads answer in training.
        finest_skip: Whether the last stage of the decoder sees the finest skip too.
    """

    def __init__(
        self,
        topology: Topology,
        num_classes: int,
        *,
        encoder: Sequence[nn.Module],
        ups: Sequence[nn.Module],
        decoder: Sequence[nn.Module],
        deep_supervision: bool = True,
        finest_skip: bool = True,
    ) -> None:
        super().__init__()
        if not len(encoder) == topology.stages == len(ups) + 1 == len(decoder) + 1:
            raise ValueError(
                f"StagedUNet: {len(encoder)} modules down, {len(ups)} and {len(decoder)} up; the topology "
                f"has {topology.stages} stages, the last one without a way up"
            )
        if num_classes < 1:
            raise ValueError(f"StagedUNet: num_classes={num_classes}; give 1 or more")
        self.topology = topology
        self.deep_supervision = deep_supervision
        self.finest_skip = finest_skip
        self.encoder = nn.ModuleList(encoder)
        self.ups = nn.ModuleList(ups)
        self.decoder = nn.ModuleList(decoder)
        d = topology.spatial_dims
        self.heads = nn.ModuleList(
            he_conv(d, c, num_classes, kernel=1) for c in reversed(topology.features[:-1])
        )

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """(B, c, *S) -> logits (B, K, *S), or a list of logits, finest first."""
        self.topology.sizes(x.shape[2:])
        maps: list[Tensor] = []
        for stage in self.encoder:
            x = stage(x)
            maps.append(x)
        x = maps.pop()
        all_heads = self.training and self.deep_supervision
        logits: list[Tensor] = []
        for up, stage, head in zip(self.ups, self.decoder, self.heads, strict=True):
            x, skip = up(x), maps.pop()
            x = stage(torch.cat([x, skip], dim=1) if maps or self.finest_skip else x)
            if all_heads:
                logits.append(head(x))
        return logits[::-1] if all_heads else self.heads[-1](x)
