"""What the report shows of a scan: its axial slices to leaf through, and three planes of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tessera.core.data.case import Case
from tessera.core.report.media import CaseMedia
from tessera.medical.dicom_seg import read_seg
from tessera.medical.geometry import VolumeGeometry
from tessera.medical.label_files import open_labels
from tessera.medical.pictures import UprightScan, palette_png, scale_for, three_planes
from tessera.medical.readers import VolumeReader
from tessera.medical.slice_stack import axial_stack
from tessera.medical.stored_volume import Stored
from tessera.medical.volume_files import is_volume_file

if TYPE_CHECKING:
    from tessera.medical.config import AirwayConfig, VolumeConfig

PANE = 160  # dots


class VolumeFigures:
    """Draws scans for the report."""

    def __init__(self, config: VolumeConfig | AirwayConfig) -> None:
        self.reader = VolumeReader(config)
        self.target = config.data.target
        self.scale = scale_for(config)

    def draw(self, case: Case) -> CaseMedia:
        """The scan with its own mask, where there is one."""
        return self.draw_mask(case, classes=())

    def draw_mask(self, case: Case, *, classes: tuple[str, ...], files: tuple[Path, ...] = ()) -> CaseMedia:
        """The scan with the mask that a prediction wrote, or else with its own one, where there is one."""
        source = self.reader.open(case)
        try:
            mask, name = _written(files, source.grid), "predicted mask"
            if mask is None and self.target in case.targets:
                mask, name = self.reader.open_mask(case, self.target).labels, "reference mask"
            scan = UprightScan(source, mask)
            stack = axial_stack(scan, self.scale, classes=classes, mask_name="" if mask is None else name)
            planes = palette_png(three_planes(scan, self.scale, pane=PANE))
        finally:
            source.close()
        return CaseMedia(images=(("Sagittal, coronal and axial plane", planes),), stacks=(stack,))


def _written(files: tuple[Path, ...], grid: VolumeGeometry) -> Stored | None:
    """The mask among the files of a prediction, on the scan's grid; None when there is none."""
    for path in files:
        if is_volume_file(path):
            return open_labels(path).labels
    for path in files:
        if path.suffix == ".dcm":
            return read_seg(path, grid)[0]
    return None
