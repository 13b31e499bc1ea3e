"""What the report shows of a scan: three slices through its middle."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tessera.core.data.case import Case
from tessera.core.report.media import CaseMedia
from tessera.medical.readers import VolumeReader

if TYPE_CHECKING:
    from tessera.medical.config import AirwayConfig, VolumeConfig

PLANES = ("sagittal", "coronal", "axial")
LOW, HIGH = 0.5, 99.5  # percentiles shown as black and white
INCH, DPI = 2.2, 100


class VolumeFigures:
    """Draws scans for the report."""

    def __init__(self, config: VolumeConfig | AirwayConfig) -> None:
        self.reader = VolumeReader(config)

    def draw(self, case: Case) -> CaseMedia:
        """The middle sagittal, coronal and axial slice of the first channel, right way up."""
        source = self.reader.open(case)
        try:
            grid = source.grid
            volume = source.read()["input"][0].numpy()
        finally:
            source.close()
        axes, flips = grid.towards_ras()
        volume = np.flip(volume.transpose(axes), tuple(axis for axis, back in enumerate(flips) if back))
        return CaseMedia(images=(("middle slices", slices_png(volume, grid.canonical().spacing)),))


def slices_png(
    volume: npt.NDArray[Any], spacing: tuple[float, ...], mask: npt.NDArray[Any] | None = None
) -> bytes:
    """Middle slices of a volume (I, J, K) in RAS order as PNG, a mask's outline on top."""
    from matplotlib.figure import Figure

    low, high = np.percentile(volume, [LOW, HIGH])
    figure = Figure(figsize=(3 * INCH, INCH), dpi=DPI, layout="constrained")
    for axis, (name, place) in enumerate(zip(PLANES, figure.subplots(1, 3), strict=True)):
        across, up = (other for other in range(3) if other != axis)
        middle = volume.shape[axis] // 2
        options = {"origin": "lower", "aspect": spacing[up] / spacing[across]}
        place.imshow(
            volume.take(middle, axis).T, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), **options
        )
        if mask is not None and mask.take(middle, axis).any():
            place.contour(mask.take(middle, axis).T > 0, levels=[0.5], colors="tab:orange", linewidths=0.8)
        place.set_title(name, fontsize=8)
        place.set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
