"""Rotation, scaling and mirroring of images and their masks together, one to three axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tessera.core.errors import ConfigError


@dataclass(frozen=True)
class AffineParams:
    """One draw for a batch.

    Args:
        rows: (R,) the rows that are changed.
        matrix: (R, d, d) from a place in the result to one in the row, in elements from the centre.
    """

    rows: Tensor
    matrix: Tensor


class RotateScale:
    """Turn and enlarge rows about their centre by one interpolation; what comes from outside is 0.

    Images are interpolated linearly, masks take the nearest element. Angles are uniform, and so is the
    factor, which is the same for all axes.

    Args:
        angles_deg: Largest angle about each of three axes, the one of two axes, none of one axis.
        rotation: Probability of a rotation.
        scale: Least and greatest factor.
        scaling: Probability of a scaling.
    """

    def __init__(
        self,
        angles_deg: Sequence[float],
        *,
        rotation: float,
        scale: tuple[float, float],
        scaling: float,
    ) -> None:
        self.angles = tuple(math.radians(angle) for angle in angles_deg)
        self.rotation = rotation
        self.scale = scale
        self.scaling = scaling

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> AffineParams:
        """Parameters for a batch of ``shape`` (B, C, *S)."""
        n, d = shape[0], len(shape) - 2
        chance = torch.rand((n, 2), generator=generator)
        turned, scaled = chance[:, 0] < self.rotation, chance[:, 1] < self.scaling
        low, high = self.scale
        factor = low + (high - low) * torch.rand(n, generator=generator)
        factor = torch.where(scaled, factor, torch.ones(n))
        matrix = self._turns(n, d, turned, generator) / factor[:, None, None]
        rows = (turned | scaled if d > 1 else scaled).nonzero()[:, 0]
        return AffineParams(rows, matrix[rows])

    def _turns(self, n: int, d: int, turned: Tensor, generator: torch.Generator) -> Tensor:
        """(n, d, d) rotations, the identity where a row is not turned."""
        matrix = torch.eye(d).repeat(n, 1, 1)
        if d == 1:
            return matrix
        planes = [(0, 1)] if d == 2 else [(1, 2), (0, 2), (0, 1)]
        if len(self.angles) < len(planes):
            raise ConfigError(
                "augment.rotation_deg has too few angles",
                found=len(self.angles),
                expected=f"{len(planes)} for {d} axes",
            )
        for (a, b), largest in zip(planes, self.angles, strict=False):
            angle = largest * (2 * torch.rand(n, generator=generator) - 1) * turned
            turn = torch.eye(d).repeat(n, 1, 1)
            turn[:, a, a] = turn[:, b, b] = angle.cos()
            turn[:, a, b], turn[:, b, a] = -angle.sin(), angle.sin()
            matrix = turn @ matrix
        return matrix

    @staticmethod
    def apply(input: Tensor, target: Tensor, params: AffineParams) -> tuple[Tensor, Tensor]:
        """Images (B, C, *S) and masks (B, *S) with the drawn rows changed."""
        if not len(params.rows):
            return input, target
        rows = params.rows.to(input.device)
        grid = _grid(params.matrix.to(input.device), tuple(input.shape[2:]))
        images = _sample(input[rows], grid, mode="bilinear")
        masks = _sample(target[rows][:, None].to(images.dtype), grid, mode="nearest")[:, 0]
        input, target = input.clone(), target.clone()
        input[rows], target[rows] = images, masks.round().to(target.dtype)
        return input, target


def _grid(matrix: Tensor, size: tuple[int, ...]) -> Tensor:
    """Where each element of the result comes from, (R, *S, d), as grid_sample counts: -1 to 1, x first."""
    half = torch.tensor(size, dtype=matrix.dtype, device=matrix.device) / 2
    scaled = matrix * half / half[:, None]  # in halves of each axis
    flipped = scaled.flip(1, 2)  # axes backwards
    if len(size) == 1:  # grid_sample knows two and three axes
        flat = torch.zeros((len(matrix), 2, 3), dtype=matrix.dtype, device=matrix.device)
        flat[:, 0, 0], flat[:, 1, 1] = flipped[:, 0, 0], 1.0
        return F.affine_grid(flat, [len(matrix), 1, 1, *size], align_corners=False)
    theta = F.pad(flipped, (0, 1))
    return F.affine_grid(theta, [len(matrix), 1, *size], align_corners=False)


def _sample(x: Tensor, grid: Tensor, *, mode: str) -> Tensor:
    """(R, C, *S) at the grid's places; 0 outside."""
    if x.ndim == 3:
        return F.grid_sample(x[:, :, None], grid, mode=mode, align_corners=False)[:, :, 0]
    return F.grid_sample(x, grid, mode=mode, align_corners=False)


@dataclass(frozen=True)
class MirrorParams:
    """One draw for a batch.

    Args:
        flipped: (B, d) which rows are mirrored along which axis.
    """

    flipped: Tensor


class Mirror:
    """Mirror each row along each axis half of the time; classes of a pair trade places with left and right.

    Args:
        axes: The axes that are mirrored; None: all.
        swap_axis: The axis along which pairs of classes trade places.
        swap_classes: The pairs.
    """

    def __init__(
        self,
        axes: Sequence[int] | None = None,
        *,
        swap_axis: int | None = None,
        swap_classes: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.axes = None if axes is None else tuple(axes)
        self.swap_axis = swap_axis
        self.swap_classes = tuple(swap_classes)

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> MirrorParams:
        """Parameters for a batch of ``shape`` (B, C, *S)."""
        d = len(shape) - 2
        axes = range(d) if self.axes is None else self.axes
        if max((*axes, self.swap_axis or 0), default=0) >= d:
            raise ConfigError(
                "augment.mirror_axes or augment.swap_axis names an axis that is not there",
                found=[*axes, self.swap_axis],
                expected=f"axes 0 to {d - 1}",
            )
        flipped = torch.rand((shape[0], d), generator=generator) < 0.5
        allowed = torch.tensor([axis in axes for axis in range(d)])
        return MirrorParams(flipped & allowed)

    def apply(self, input: Tensor, target: Tensor, params: MirrorParams) -> tuple[Tensor, Tensor]:
        """Images (B, C, *S) and masks (B, *S)."""
        for axis, flipped in enumerate(params.flipped.T):
            rows = flipped.nonzero()[:, 0].to(input.device)
            if not len(rows):
                continue
            input = input.index_copy(0, rows, input[rows].flip(2 + axis))
            masks = target[rows].flip(1 + axis)
            if axis == self.swap_axis:
                masks = self._swapped(masks)
            target = target.index_copy(0, rows, masks)
        return input, target

    def _swapped(self, target: Tensor) -> Tensor:
        changed = target.clone()
        for one, other in self.swap_classes:
            changed[target == one] = other
            changed[target == other] = one
        return changed
