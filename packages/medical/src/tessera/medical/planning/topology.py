"""Depth, strides, kernels and patch of a U-Net from voxel spacing and image size: the nnU-Net v2 rules.

Isensee et al., Nature Methods 18 (2021) 203-211; constants as in the public code of version 2.8.1. Vectors
are in the network's order of axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Shape = tuple[int, ...]
Rule = Literal["current", "old"]

MIN_EDGE = 4  # no axis is halved below this many voxels
FIRST_FEATURES = 32
MOST_FEATURES = {2: 512, 3: 320}
START_VOXELS = {2: 2048**2, 3: 256**3}  # of the first patch that is tried
REFERENCE_BATCH = {2: 12, 3: 2}
RESIDUAL_BLOCKS = (1, 3, 4, 6, 6, 6, 6, 6, 6, 6)  # of the encoder's stages
LEAST_BATCH = 2


@dataclass(frozen=True)
class Preset:
    """How much memory a plan may take, and by which network.

    Args:
        name: For a person.
        residual: Residual encoder, one convolution a decoder stage; else two plain ones everywhere.
        elements: Network dimensions to the largest memory proxy at the reference batch size.
        memory_gb: Memory of the card that this proxy fits.
        data_share: Largest share of all training voxels that a batch may hold.
        rule: When a patch shrinks: ``old`` when the proxy exceeds the reference, ``current`` when the proxy
            at batch size 2 does (the same in 3-D, up to six times more in 2-D).
    """

    name: str
    residual: bool
    elements: dict[int, float]
    memory_gb: float
    data_share: float
    rule: Rule


PRESETS = {
    preset.name: preset
    for preset in (
        Preset("default", False, {2: 85e6, 3: 560e6}, 8.0, 0.05, "current"),
        Preset("resenc-m", True, {2: 135e6, 3: 680e6}, 8.0, 1.0, "old"),
        Preset("resenc-l", True, {2: 380e6, 3: 2100e6}, 24.0, 1.0, "old"),
        Preset("resenc-xl", True, {2: 560e6, 3: 3600e6}, 40.0, 1.0, "old"),
    )
}


@dataclass(frozen=True)
class Topology:
    """A U-Net's shape: one stride and one kernel a stage, the first stride all ones.

    Args:
        patch: Size of the input, divisible by the product of the strides.
        strides: Of each stage's first convolution.
        kernels: Of each stage's convolutions.
    """

    patch: Shape
    strides: tuple[Shape, ...]
    kernels: tuple[Shape, ...]

    @property
    def pools(self) -> Shape:
        """Number of halvings of each axis."""
        return tuple(sum(stride[axis] == 2 for stride in self.strides) for axis in range(len(self.patch)))

    @property
    def divisor(self) -> Shape:
        """What each axis of an input must be divisible by."""
        return tuple(2**n for n in self.pools)

    @property
    def features(self) -> Shape:
        """Feature maps of each stage."""
        most = MOST_FEATURES[len(self.patch)]
        return tuple(min(FIRST_FEATURES * 2**stage, most) for stage in range(len(self.strides)))


def topology_of(spacing: Sequence[float], patch: Sequence[float]) -> Topology:
    """Strides and kernels by the rule, and the patch padded up to what they divide.

    The finer axes are halved alone until the spacings are within a factor of two; a kernel spans an axis as
    soon as its spacing is within a factor of two of the finest.
    """
    step, size = list(spacing), list(patch)
    kernel = [1] * len(size)
    strides, kernels = [(1,) * len(size)], []
    while True:
        valid = [axis for axis, n in enumerate(size) if n >= 2 * MIN_EDGE]
        finest = min((step[axis] for axis in valid), default=0.0)
        valid = [axis for axis in valid if step[axis] / finest < 2]
        if not valid or (len(valid) == 1 and size[valid[0]] < 3 * MIN_EDGE):
            break
        kernel = [3 if k == 3 or step[axis] / min(step) < 2 else 1 for axis, k in enumerate(kernel)]
        kernels.append(tuple(kernel))
        strides.append(tuple(2 if axis in valid else 1 for axis in range(len(size))))
        for axis in valid:
            step[axis] *= 2
            size[axis] = math.ceil(size[axis] / 2)
    kernels.append((3,) * len(size))
    divisor = np.prod(strides, axis=0)
    padded = tuple(int(math.ceil(n / d) * d) for n, d in zip(patch, divisor, strict=True))
    return Topology(padded, tuple(strides), tuple(kernels))


def memory_elements(net: Topology, *, classes: int, residual: bool = False) -> int:
    """Elements of all convolutions' outputs at batch size 1: the proxy of the memory of a training step.

    Heads of deep supervision are left out, only the last is counted.
    """
    voxels = [math.prod(size) for size in stage_sizes(net)]
    maps = [n * f for n, f in zip(voxels, net.features, strict=True)]
    if not residual:
        return 2 * sum(maps) + 3 * sum(maps[:-1]) + classes * voxels[0]  # 3: upsampled, then two convolutions
    total = maps[0]  # the stem
    for stage, (size, blocks) in enumerate(zip(maps, RESIDUAL_BLOCKS, strict=False)):
        changes = stage > 0  # the first block halves the grid or changes the width: one map for its skip
        total += (2 * blocks + changes) * size
    return total + 2 * sum(maps[:-1]) + classes * voxels[0]


def stage_sizes(net: Topology) -> list[Shape]:
    """Size of the grid in each stage of the encoder."""
    sizes, size = [], net.patch
    for stride in net.strides:
        size = tuple(n // s for n, s in zip(size, stride, strict=True))
        sizes.append(size)
    return sizes


def first_patch(spacing: Sequence[float], shape: Sequence[float]) -> tuple[float, ...]:
    """A patch of equal extents in mm and the starting volume, cut to the median image."""
    dims = len(spacing)
    edge = (START_VOXELS[dims] * math.prod(spacing)) ** (1 / dims)
    return tuple(min(round(edge / step), n) for step, n in zip(spacing, shape, strict=True))


def fit_patch(
    spacing: Sequence[float], shape: Sequence[float], *, classes: int, preset: Preset, limit: float
) -> Topology:
    """The largest network whose memory proxy stays below the limit, shrunk step by step.

    The axis that covers most of the median image shrinks, by the divisor that holds after shrinking, so that
    no valid size is skipped.
    """
    net = topology_of(spacing, first_patch(spacing, shape))
    scale = LEAST_BATCH / REFERENCE_BATCH[len(spacing)] if preset.rule == "current" else 1.0
    while memory_elements(net, classes=classes, residual=preset.residual) * scale > limit:
        covered = [n / whole for n, whole in zip(net.patch, shape, strict=True)]
        axis = max(range(len(covered)), key=lambda a: (covered[a], a))
        smaller = topology_of(spacing, _less(net.patch, axis, net.divisor[axis]))
        shrunk = _less(net.patch, axis, smaller.divisor[axis])
        if min(shrunk) < 1 or shrunk == net.patch:
            break
        net = topology_of(spacing, shrunk)
    return net


def _less(patch: Shape, axis: int, by: int) -> Shape:
    return tuple(n - by if place == axis else n for place, n in enumerate(patch))


def batch_size(
    net: Topology, shape: Sequence[float], *, cases: int, elements: int, preset: Preset, limit: float
) -> tuple[int, int]:
    """Samples a batch, and what the data alone would allow.

    Args:
        net: The planned network.
        shape: Median image after resampling; for 2-D networks that of a slice.
        cases: Training cases; for 2-D networks slices.
        elements: The network's memory proxy.
        preset: Whose share of the data counts.
        limit: Largest proxy at the reference batch size.
    """
    by_memory = round(limit / elements * REFERENCE_BATCH[len(net.patch)])
    by_data = round(preset.data_share * math.prod(shape) * cases / math.prod(net.patch))
    return max(min(by_memory, by_data), LEAST_BATCH), by_data
