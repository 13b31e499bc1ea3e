"""Symmetric airway trees of Weibel (1963) and after Horsfield: every branch of a generation is the same."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np

from tessera.medical.simulate.tree import ROOT, Branch, Points, Tree, bent

TableName = Literal["weibel", "horsfield"]


class Row(NamedTuple):
    """One generation: lumen diameter and length in mm, angle to the parent's continuation in degrees."""

    diameter_mm: float
    length_mm: float
    angle: float


WEIBEL = (
    Row(18.0, 120.0, 0.0),
    Row(12.2, 47.6, 35.0),
    Row(8.3, 19.0, 35.0),
    Row(5.6, 7.6, 35.0),
    Row(4.5, 12.7, 35.0),
    Row(3.5, 10.7, 35.0),
    Row(2.8, 9.0, 35.0),
    Row(2.3, 7.6, 35.0),
    Row(1.86, 6.4, 35.0),
    Row(1.54, 5.4, 35.0),
    Row(1.30, 4.6, 35.0),
)
"""Lung of 4800 cm3, about 75 % of the total capacity. The model has no angles: 35 degrees is ours."""

HORSFIELD = (
    Row(16.5, 91.0, 0.0),
    Row(12.0, 38.0, 36.0),
    Row(8.5, 15.0, 35.0),
    Row(6.1, 8.3, 28.0),
    Row(4.4, 9.0, 35.0),
    Row(3.6, 8.1, 39.0),
    Row(2.9, 6.6, 34.0),
)
"""Lung of 3300 cm3."""

TABLES: dict[TableName, tuple[Row, ...]] = {"weibel": WEIBEL, "horsfield": HORSFIELD}


def weibel_closed_form(generation: int) -> tuple[float, float]:
    """Weibel's fit to his table: (diameter, length) in mm."""
    z = generation
    if z <= 3:
        return 18.0 * math.exp(-0.388 * z), 120.0 * math.exp(-0.92 * z)
    return 13.0 * math.exp(-(0.293 - 0.00624 * z) * z), 25.0 * math.exp(-0.17 * z)


def symmetric_tree(table: TableName, *, generations: int = 6) -> Tree:
    """A tree of 2^(generations + 1) - 1 branches; the trachea ends at the origin and points down.

    The plane of each bifurcation is normal to the one before.
    """
    rows = TABLES[table]
    if not 0 <= generations < len(rows):
        raise ValueError(f"the table {table} has generations 0 to {len(rows) - 1}, not {generations}")
    down = np.array([0.0, 0.0, -1.0])
    top = -rows[0].length_mm * down
    branches = [_straight(0, ROOT, rows[0], generation=0, start=top, direction=down)]
    planes = [np.array([1.0, 0.0, 0.0])]
    for parent in range(2**generations - 1):
        branch = branches[parent]
        axis, plane = branch.direction, planes[parent]
        row = rows[branch.generation + 1]
        for side in (1.0, -1.0):
            direction = bent(axis, side * plane, degrees=row.angle)
            branches.append(
                _straight(
                    len(branches),
                    parent,
                    row,
                    generation=branch.generation + 1,
                    start=branch.points_mm[-1],
                    direction=direction,
                )
            )
            planes.append(np.cross(axis, plane))
    return Tree(tuple(branches))


def _straight(id: int, parent: int, row: Row, *, generation: int, start: Points, direction: Points) -> Branch:
    points = np.stack([start, start + row.length_mm * direction])
    radius = np.full(2, row.diameter_mm / 2)
    return Branch(id=id, parent=parent, generation=generation, name="", points_mm=points, radius_mm=radius)
