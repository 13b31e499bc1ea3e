"""The named airways, down to 10 right and 8 left segments: directions, lengths and widths.

Numbers of the trachea and the main bronchi are textbook ranges; directions and sizes below are ours, from the
anatomical order: the right upper lobe bronchus leaves first, then the intermediate bronchus feeds the middle
and the lower lobe; the left side has an upper (with lingula) and a lower lobe.
"""

from __future__ import annotations

from typing import NamedTuple

Pair = tuple[float, float]


class Named(NamedTuple):
    """A named airway: direction right, anterior, superior (any length), ranges in mm."""

    name: str
    parent: str
    direction: tuple[float, float, float]
    length_mm: Pair
    diameter_mm: Pair


TRACHEA_LENGTH_MM: Pair = (100.0, 120.0)
TRACHEA_DIAMETER_MM: Pair = (16.5, 19.5)
TRACHEA_OVAL: Pair = (0.8, 1.1)
RING_MM = 4.0
"""Distance of the rings of cartilage, which vary the radius by 1.5 %."""
RING_PART = 0.015

MAIN_ANGLES = {"right main": (22.0, 28.0), "left main": (41.0, 49.0)}
"""Degrees from the vertical."""
MAIN = (
    Named("right main", "trachea", (1, -0.1, 0), (20, 25), (13.5, 16)),
    Named("left main", "trachea", (-1, -0.15, 0), (40, 50), (10.5, 13)),
)

LOBAR = (
    Named("right upper", "right main", (0.95, 0.05, -0.05), (12, 16), (8.8, 10)),
    Named("intermediate", "right main", (0.3, -0.08, -1), (22, 28), (10, 11.5)),
    Named("middle", "intermediate", (0.55, 0.75, -0.55), (14, 20), (6.2, 7.2)),
    Named("right lower", "intermediate", (0.2, -0.3, -1), (8, 12), (8.5, 9.5)),
    Named("right basal", "right lower", (0.35, -0.15, -1), (12, 16), (7.4, 8.2)),
    Named("right 9+10", "right basal", (0.45, -0.45, -0.9), (8, 12), (6, 6.8)),
    Named("left upper", "left main", (-0.85, 0.4, 0.05), (10, 13), (8.8, 9.8)),
    Named("left lower", "left main", (-0.2, -0.35, -1), (9, 13), (8.4, 9.4)),
    Named("upper division", "left upper", (-0.45, 0.05, 0.9), (8, 11), (7, 7.8)),
    Named("lingula", "left upper", (-0.6, 0.6, -0.55), (14, 19), (6, 6.8)),
    Named("left basal", "left lower", (-0.35, -0.1, -1), (14, 18), (7, 7.8)),
    Named("left 9+10", "left basal", (-0.45, -0.45, -0.9), (8, 12), (6, 6.8)),
)

SEGMENTS = (
    Named("right 1", "right upper", (0.15, 0, 1), (14, 21), (5.2, 6)),
    Named("right 2", "right upper", (0.7, -0.75, 0.4), (14, 21), (5.2, 6)),
    Named("right 3", "right upper", (0.6, 0.85, 0.05), (14, 21), (5.2, 6)),
    Named("right 4", "middle", (0.95, 0.35, -0.4), (14, 21), (4.6, 5.2)),
    Named("right 5", "middle", (0.1, 0.85, -0.6), (14, 21), (4.6, 5.2)),
    Named("right 6", "right lower", (0.45, -0.9, 0.25), (14, 20), (5.4, 6)),
    Named("right 7", "right basal", (0.0, 0.45, -0.95), (12, 17), (4.4, 5)),
    Named("right 8", "right basal", (0.75, 0.5, -0.75), (15, 22), (5, 5.8)),
    Named("right 9", "right 9+10", (0.85, -0.15, -0.65), (15, 22), (4.8, 5.4)),
    Named("right 10", "right 9+10", (0.15, -0.6, -0.9), (15, 22), (5, 5.8)),
    Named("left 1+2", "upper division", (-0.15, -0.45, 0.95), (14, 21), (5.2, 6)),
    Named("left 3", "upper division", (-0.65, 0.75, 0.4), (14, 21), (5.2, 6)),
    Named("left 4", "lingula", (-0.95, 0.3, -0.25), (14, 20), (4.6, 5.2)),
    Named("left 5", "lingula", (-0.45, 0.75, -0.7), (14, 20), (4.6, 5.2)),
    Named("left 6", "left lower", (-0.45, -0.9, 0.25), (14, 20), (5.4, 6)),
    Named("left 8", "left basal", (-0.8, 0.55, -0.7), (15, 22), (5, 5.8)),
    Named("left 9", "left 9+10", (-0.85, -0.15, -0.65), (15, 22), (4.8, 5.4)),
    Named("left 10", "left 9+10", (-0.15, -0.6, -0.9), (15, 22), (5, 5.8)),
)
