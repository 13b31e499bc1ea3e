"""Patches of a chest CT with what Qin's networks are told beside it: depth inside the lungs, and place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tessera.core.data.cache import ArraySource
from tessera.core.data.case import Source
from tessera.core.data.geometry import Region
from tessera.core.errors import ConfigError
from tessera.medical.config import AIR_BELOW_HU, air_edge
from tessera.medical.geometry import VolumeGeometry
from tessera.medical.lungs import depth_in_lungs, lung_box, lung_mask
from tessera.medical.windows import VolumeWindows, volume_grid

if TYPE_CHECKING:
    from tessera.core.data.sample import Sample
    from tessera.medical.config import AirwayConfig

AXES = 3
SUPERIOR = 2  # of the RAS axes


class AirwayWindows(VolumeWindows):
    """Channels: the scan; with ``data.depth`` the depth in the lungs; with ``data.coordinates`` three places.

    With ``data.lung_margin_mm`` all that lies beside and below the lungs is cut off first: nothing is looked
    for there. Depth is kept with the prepared scan. A mask is cut alike; its class is the first channel.
    """

    def __init__(self, config: AirwayConfig) -> None:
        super().__init__(config)
        self.lung_margin_mm = config.data.lung_margin_mm
        self.depth = config.data.depth
        self.coordinates = config.data.coordinates
        self.air_edge = air_edge(self.normalisation[0])
        if self.depth and self.air_edge is None:  # of a plan; the config has refused what a person gave
            raise ConfigError(
                f"data.depth looks for lungs below {AIR_BELOW_HU:g} HU, but the planned normalisation clips",
                found=self.normalisation[0],
                expected="kind ct, with low below and high above that",
                hint="give data.normalisation, for instance [{kind: ct, low: -1000, high: 600, mean: -1000, "
                "std: 1600}], or --set data.depth=false",
            )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(C, *patch), the further channels among the C."""
        channels, *patch = super().input_shape
        return (channels + int(self.depth) + AXES * int(self.coordinates), *patch)

    def prepare(self, source: Source) -> tuple[npt.NDArray[np.float32], VolumeGeometry]:
        """The scan and, where asked for, the depth in its lungs (1 or 2, *S), and their grid."""
        if self.lung_margin_mm is not None:
            source = _around_lungs(source, self.lung_margin_mm)
        image, grid = super().prepare(source)
        if not self.depth or self.air_edge is None:
            return image, grid
        head_axis = self.axes.index(SUPERIOR)
        lungs = lung_mask(image[0], grid.spacing, air_below=self.air_edge, head_axis=head_axis)
        both = np.empty((len(image) + 1, *image.shape[1:]), dtype=np.float32)
        both[:-1] = image
        del image  # before the distances, which need much memory
        both[-1] = depth_in_lungs(lungs, grid.spacing)
        return both, grid

    def read(self, source: Source, region: Region) -> Sample:
        """One patch (C, *patch) of a prepared scan."""
        import torch

        sample = super().read(source, region)
        if self.coordinates:
            places = torch.from_numpy(self.places(source.grid.shape, region.start))
            sample["input"] = torch.cat([sample["input"], places])
        return sample

    def places(self, shape: tuple[int, ...], start: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Coordinates (3, *patch) of a patch: -1 at the volume's first face, 1 behind its last one.

        Qin et al., arXiv 2012.05767, as in the release: the step is a little more than 2 / N.
        """
        lines = []
        for n, first, side in zip(shape, start, self.patch, strict=True):
            low = 2 * (first / n - 0.5)
            lines.append(np.linspace(low, low + 2 * side / n, side, dtype=np.float32))
        return np.stack(np.meshgrid(*lines, indexing="ij"))


def _around_lungs(source: Source, margin_mm: float) -> Source:
    """The scan's box around its lungs, open to the head; the whole scan where no lungs are found."""
    grid = volume_grid(source.grid)
    image = source.read()["input"].numpy()
    axes, flips = grid.towards_ras()
    box = lung_box(
        image[0],
        grid.spacing,
        margin_mm=margin_mm,
        head_axis=axes[SUPERIOR],
        head_last=not flips[SUPERIOR],
    )
    if box is None:
        return ArraySource(image, grid)
    region = Region(tuple(side.start for side in box), tuple(side.stop for side in box))
    return ArraySource(np.ascontiguousarray(image[:, *box]), grid.crop(region))
