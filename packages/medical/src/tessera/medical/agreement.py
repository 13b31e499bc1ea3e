"""Whether two files lie on the same grid, and a table of what differs when they do not."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from tessera.core.errors import PlacementError
from tessera.medical.geometry import VolumeGeometry

TOLERANCE = 0.25  # of the smallest spacing: beyond it an index no longer means the same voxel

Row = tuple[str, str, str, str]


def check_same_grid(
    name: str,
    image: VolumeGeometry,
    other: VolumeGeometry,
    *,
    second: str = "label",
    fix_affine: bool = False,
) -> None:
    """Refuse two grids that differ, with a table of fields.

    Args:
        name: The case, for the message.
        image: The image's grid.
        other: The grid of the file that goes with it.
        second: What that file is.
        fix_affine: Accept grids that only lie elsewhere in space.
    """
    same_shape = image.shape == other.shape
    if same_place(image, other) or (same_shape and fix_affine):
        return
    hint = "give the labels of this image; resample them if they belong to it"
    if same_shape and second == "label":
        hint = "if the voxels do belong together, --fix-affine gives the labels the image's place in space"
    raise PlacementError(
        f"case {name}: image and {second} do not lie on the same grid",
        found="\n" + difference_table(image, other, second=second),
        expected=f"the same shape, and no corner farther off than {TOLERANCE} of a voxel",
        hint=hint,
    )


def same_place(image: VolumeGeometry, other: VolumeGeometry) -> bool:
    """Whether an index means the same voxel on both grids."""
    return image.shape == other.shape and displacement_mm(image, other) <= TOLERANCE * min(image.spacing)


def displacement_mm(image: VolumeGeometry, other: VolumeGeometry) -> float:
    """Largest distance in space between corners of two grids of the same shape, mm."""
    corners = np.array(list(product(*((0, n - 1) for n in image.shape))))
    return float(np.linalg.norm(image.to_world(corners) - other.to_world(corners), axis=1).max())


def difference_table(image: VolumeGeometry, other: VolumeGeometry, *, second: str = "label") -> str:
    """Fields that differ, one a line: field, image, the other, difference."""
    rows: list[Row] = [("field", "image", second, "difference"), *_differences(image, other)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(f"    {line.rstrip()}" for line in lines)


def axis_codes(grid: VolumeGeometry) -> str:
    """Where the axes point, as three letters of R/L, A/P and S/I."""
    axes, flips = grid.towards_ras()
    letters = {
        axis: "LPI"[world] if reverse else "RAS"[world]
        for world, (axis, reverse) in enumerate(zip(axes, flips, strict=True))
    }
    return "".join(letters[axis] for axis in range(3))


def _differences(image: VolumeGeometry, other: VolumeGeometry) -> Iterator[Row]:
    if image.shape != other.shape:
        steps = [b - a for a, b in zip(image.shape, other.shape, strict=True)]
        yield "shape", str(image.shape), str(other.shape), _listed(steps, "+d")
    codes = axis_codes(image), axis_codes(other)
    if codes[0] != codes[1]:
        yield "axes", *codes, "other order or direction"
    for field, one, two in (
        ("spacing mm", image.spacing, other.spacing),
        ("origin mm", image.matrix[:3, 3], other.matrix[:3, 3]),
        ("direction", image.matrix[:3, :3] / image.spacing, other.matrix[:3, :3] / other.spacing),
    ):
        a, b = np.ravel(one), np.ravel(two)
        if np.abs(a - b).max() > 1e-4:
            yield field, _listed(a, ".5g"), _listed(b, ".5g"), _listed(b - a, "+.4g")


def _listed(values: object, form: str) -> str:
    return f"({', '.join(format(value, form) for value in np.asarray(values).tolist())})"
