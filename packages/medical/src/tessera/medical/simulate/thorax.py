"""A chest as signed distances in RAS mm: skin, rib cage, lungs, heart, diaphragm; the carina is the origin.

The organs are superellipsoids and domes whose sizes are those of an adult, times one scale. Distances are
along a ray through the organ's centre, so they are exact at the surface and only there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tessera.medical.simulate.tree import Points
from tessera.medical.simulate.tubes import Tube

Field = npt.NDArray[np.floating]
Axes = tuple[Field, Field, Field]

SKIN_CENTRE, SKIN_RADII, SKIN_POWER = (0.0, 8.0), (168.0, 118.0), 2.5
CAGE_CENTRE, CAGE_RADII, CAGE_POWER = (0.0, 8.0, -70.0), (143.0, 93.0, 152.0), 2.4
HEART = ((-20.0, 40.0, -84.0), (52.0, 38.0, 46.0))
ATRIUM = ((-2.0, 8.0, -68.0), (28.0, 20.0, 18.0))
COLUMN = ((-1.0, 2.0), (25.0, 52.0))
SPINE = ((0.0, -60.0), (23.0, 30.0))
DOMES = ((66.0, -106.0), (-62.0, -116.0))
"""Side and height of the top of the diaphragm, right and left."""
DOME_RADII, DOME_DROP = (80.0, 90.0), 62.0
JUNCTION_MM = 4.0
"""Half of what separates the lungs in front of the heart's vessels."""


@dataclass(frozen=True, kw_only=True)
class Thorax:
    """One person's chest.

    Args:
        scale: Size over that of the numbers above.
        fat_mm: Thickness of the fat below the skin.
    """

    scale: float
    fat_mm: float

    def skin(self, x: Field, y: Field) -> Field:
        """Signed distance to the skin, negative inside, the same at all heights."""
        return self._radial((x, y), SKIN_CENTRE, SKIN_RADII, SKIN_POWER)

    def cage(self, at: Axes) -> Field:
        """Signed distance to the inside of the ribs: a cylinder with a rounded top."""
        x, y, z = at
        low = self.scale * CAGE_CENTRE[2]
        return self._radial((x, y, np.maximum(z, low)), CAGE_CENTRE, CAGE_RADII, CAGE_POWER)

    def diaphragm(self, at: Axes) -> Field:
        """Signed distance to the diaphragm, negative above it."""
        x, y, z = (axis / self.scale for axis in at)
        heights = []
        for side, top in DOMES:
            u, v = (x - side) / DOME_RADII[0], (y - SKIN_CENTRE[1]) / DOME_RADII[1]
            steep2 = (2 * DOME_DROP) ** 2 * ((u / DOME_RADII[0]) ** 2 + (v / DOME_RADII[1]) ** 2)
            heights.append((top - DOME_DROP * (u * u + v * v) - z) / np.sqrt(1 + steep2))
        return self.scale * np.maximum(*heights)

    def heart(self, at: Axes) -> Field:
        """Signed distance to the heart."""
        return np.minimum(self._radial(at, *HEART, 2.0), self._radial(at, *ATRIUM, 2.0))

    def mediastinum(self, at: Axes) -> Field:
        """Signed distance to what lies between the lungs."""
        x, y, _ = at
        column = self._radial((x, y), *COLUMN, 2.5)
        spine = self._radial((x, y), *SPINE, 2.5)
        front = np.maximum(np.abs(x) - self.scale * JUNCTION_MM, self.scale * 20.0 - y)
        middle = np.minimum(np.minimum(column, spine), front)
        return _rounded_minimum(middle, self.heart(at) - 2.0, width=self.scale * 12.0)

    def lungs(self, at: Axes) -> Field:
        """Signed distance to both lungs, negative inside."""
        outside = np.maximum(self.cage(at), self.diaphragm(at))
        return np.maximum(outside, -self.mediastinum(at))

    def soft_tissue(self, at: Axes) -> Field:
        """Signed distance to muscle, heart and abdomen; the rest of the body is fat."""
        x, y, _ = at
        muscle = np.maximum(self.skin(x, y) + self.fat_mm, 1.0 - self.cage(at))
        abdomen = np.maximum(1.5 - self.diaphragm(at), self.cage(at))
        return np.minimum(np.minimum(muscle, abdomen), self.heart(at))

    def in_lungs(self, points_mm: Points) -> Points:
        """Signed distance to the lungs at points (N, 3)."""
        x, y, z = points_mm.T
        return np.asarray(self.lungs((x, y, z)), dtype=np.float64)

    def rib_cage(self) -> list[Tube]:
        """Ribs, sternum and vertebrae."""
        tubes = [self._tube([(0, 99, 28), (0, 104, -30), (0, 104, -90)], (9, 10, 8), oval=0.5)]
        for level in range(11):
            tubes += [self._rib(level, side) for side in (1.0, -1.0)]
        for level in range(14):
            tubes += self._vertebra(z=100.0 - 24.0 * level)
        return tubes

    def great_vessels(self) -> list[Tube]:
        """Aorta with its branches, superior vena cava, pulmonary trunk and its two arteries, oesophagus."""
        aorta = [(4, 38, -70), (9, 40, -25), (5, 36, 12), (-10, 27, 27), (-27, 4, 29), (-29, -22, 20)]
        return [
            self._tube([*aorta, (-25, -36, -8), (-21, -40, -90), (-16, -38, -190)], (13,) * 6 + (12,) * 3),
            self._tube([(-8, 27, 34), (10, 22, 60), (16, 18, 130)], (6, 6, 5)),
            self._tube([(-22, 12, 38), (-17, 14, 130)], (4, 4)),
            self._tube([(-28, -8, 36), (-30, -6, 130)], (5, 5)),
            self._tube([(22, 20, 130), (24, 18, 40), (25, 17, -40)], (8, 9, 10)),
            self._tube([(-14, 44, -60), (-17, 30, -24), (-18, 22, -16)], (14, 13, 12)),
            self._tube([(-18, 22, -18), (6, 20, -26), (30, 8, -32)], (10, 9, 8)),
            self._tube([(-18, 22, -16), (-38, 0, -13), (-45, -18, -26)], (11, 10, 8)),
            self._tube([(-4, -21, 130), (-6, -24, -10), (-10, -28, -190)], (6, 6, 7)),
        ]

    def _rib(self, level: int, side: float) -> Tube:
        """One rib: around the cage from the spine to the front, falling."""
        top = 66.0 - 21.0 * level
        fall = 25.0 + 6.0 * min(level, 8)
        turn = np.linspace(0.16, 2.55 - 0.06 * max(level - 5, 0), 26)
        z = top - fall * (1 - np.cos(turn)) / 2
        height = np.maximum(z - CAGE_CENTRE[2], 0) / CAGE_RADII[2]
        level_size = np.maximum(1 - height**CAGE_POWER, 0.02) ** (1 / CAGE_POWER)
        u, v = np.sin(turn), -np.cos(turn)
        shape = (np.abs(u) / CAGE_RADII[0]) ** CAGE_POWER + (np.abs(v) / CAGE_RADII[1]) ** CAGE_POWER
        reach = level_size * shape ** (-1 / CAGE_POWER) + 7.0
        points = np.stack([side * reach * u, CAGE_CENTRE[1] + reach * v, z], axis=1)
        return Tube(self.scale * points, np.full(len(turn), self.scale * 5.0))

    def _vertebra(self, *, z: float) -> list[Tube]:
        """A vertebra: body, arch, spinous and transverse processes."""
        tubes = [
            self._tube([(0, -52, z + 5), (0, -52, z - 5)], (15, 15), oval=0.9),
            self._tube([(0, -88, z - 4), (0, -106, z - 18)], (3.5, 3)),
        ]
        for side in (1, -1):
            arch = [(side * 12, -62, z), (side * 13, -78, z - 2), (0, -89, z - 5)]
            tubes.append(self._tube(arch, (4.5, 4, 3.5)))
            tubes.append(self._tube([(side * 13, -76, z), (side * 33, -84, z + 3)], (4.5, 4)))
        return tubes

    def _tube(
        self, points: Sequence[tuple[float, ...]], radius: tuple[float, ...], oval: float = 1.0
    ) -> Tube:
        return Tube(self.scale * np.array(points, float), self.scale * np.array(radius, float), oval)

    def _radial(
        self,
        at: tuple[Field, ...],
        centre: tuple[float, ...],
        radii: tuple[float, ...],
        power: float,
    ) -> Field:
        """Distance along the ray from the centre to the surface of a superellipsoid."""
        shifted = [axis - self.scale * middle for axis, middle in zip(at, centre, strict=True)]
        inside = sum(
            np.abs(axis / (self.scale * radius)) ** power for axis, radius in zip(shifted, radii, strict=True)
        )
        size = np.maximum(np.asarray(inside) ** (1 / power), 1e-3)
        length = np.sqrt(sum(axis * axis for axis in shifted))
        return length * (1 - 1 / size)


def _rounded_minimum(one: Field, other: Field, *, width: float) -> Field:
    near = np.maximum(width - np.abs(one - other), 0)
    return np.minimum(one, other) - near * near / (4 * width)
