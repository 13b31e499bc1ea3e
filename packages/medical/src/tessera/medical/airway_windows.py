"""Patches of a chest CT with what Qin's networks are told beside it: depth inside the lungs, and place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tessera.core.data.case import Source
from tessera.core.data.geometry import Region
from tessera.medical.config import AIR_BELOW_HU
from tessera.medical.geometry import VolumeGeometry
from tessera.medical.lungs import depth_in_lungs, lung_mask
from tessera.medical.planning.data_config import CTConfig
from tessera.medical.windows import VolumeWindows

if TYPE_CHECKING:
    from tessera.core.data.sample import Sample
    from tessera.medical.config import AirwayConfig

AXES = 3
SUPERIOR = 2  # of the RAS axes


class AirwayWindows(VolumeWindows):
    """Channels: the scan; with ``data.depth`` the depth in the lungs; with ``data.coordinates`` three places.

    Depth is kept with the prepared scan. A mask is cut alike; its class is the first channel.
    """

    def __init__(self, config: AirwayConfig) -> None:
        super().__init__(config)
        self.depth = config.data.depth
        self.coordinates = config.data.coordinates

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(C, *patch), the further channels among the C."""
        channels, *patch = super().input_shape
        return (channels + int(self.depth) + AXES * int(self.coordinates), *patch)

    def prepare(self, source: Source) -> tuple[npt.NDArray[np.float32], VolumeGeometry]:
        """The scan and, where asked for, the depth in its lungs (1 or 2, *S), and their grid."""
        image, grid = super().prepare(source)
        scheme = self.normalisation[0]
        if not self.depth or not isinstance(scheme, CTConfig):  # the config has refused anything else
            return image, grid
        edge = (AIR_BELOW_HU - scheme.mean) / scheme.std
        lungs = lung_mask(image[0], grid.spacing, air_below=edge, head_axis=self.axes.index(SUPERIOR))
        return np.concatenate([image, depth_in_lungs(lungs, grid.spacing)[None]]), grid

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
