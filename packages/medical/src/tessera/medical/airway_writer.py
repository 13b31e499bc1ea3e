"""Files of airway masks: those of all volumes, and the branches of the tree.

Of the airway only the largest connected part is kept (26 neighbours), in all files and tables, unless the
option ``largest_component`` is off; a remark says how much that leaves out.

``branches/<case>.csv`` and ``branches/<case>.json``, for masks that hold a tree: generation, length,
diameters and place of each branch of the airway's largest part, as ``airway_branches`` measures them. Merged
branches follow the one they are merged into, and side branches shorter than ``SPUR_MM`` count as
roughness of the wall, so counts of this table are not those of the ATM'22 scores.

``summary.csv`` has the further columns branches, generations (the highest) and length_mm (of the whole tree).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tessera.core.data.atomic import replacing
from tessera.core.inference.interfaces import CaseResult, Written
from tessera.medical.airway_branches import branches_csv, branches_json
from tessera.medical.airway_flags import leak_remarks, look_at_lungs, lung_remarks
from tessera.medical.airway_mask import airway_class, keep_largest_airway
from tessera.medical.airway_skeleton import thin
from tessera.medical.airway_tree import AirwayTree, parse_airway, reference_airway
from tessera.medical.geometry import VolumeGeometry
from tessera.medical.output_config import AirwayOutput
from tessera.medical.quality import STRAY_SHARE, airway_remarks, mask_remarks
from tessera.medical.readers import VolumeSource
from tessera.medical.stored_volume import Stored
from tessera.medical.writers import Found, VolumeWriter

SPUR_MM = 2.0  # our own choice: less than the length of any branch down to the subsegments
LONGEST_TRACHEA = 2000  # centreline voxels; one of 15 cm has 500 at 0.3 mm
MOST_CENTRELINE = 200_000  # voxels; trees of 3 m have 10,000 at 0.3 mm, and measuring takes some kB for each
TOO_ROUGH = "airway too rough to be divided into branches"
MEASURES = ("branches", "generations", "length_mm")


class AirwayWriter(VolumeWriter):
    """Writes the files that this module's first lines describe."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the summary: those of all volumes, then the tree's."""
        return (*super().columns, *MEASURES)

    def write(self, result: CaseResult, out: Path) -> Written:
        """Write one case's files and return its rows; of the airway all parts only where asked for."""
        if result.mask is None or (
            isinstance(self.options, AirwayOutput) and not self.options.largest_component
        ):
            return super().write(result, out)
        mask, left_out = keep_largest_airway(result.mask, label=airway_class(self.classes))
        flags = result.flags
        if left_out > STRAY_SHARE:
            flags = (*flags, f"{left_out:.0%} of the airway's voxels left out: apart from its largest part")
        written = super().write(replace(result, mask=mask, flags=flags), out)
        return replace(written, flags=(*flags[len(result.flags) :], *written.flags))

    def measure(self, mask: Stored, grid: VolumeGeometry, out: Path, name: str) -> Found:
        """Divide the airway into branches, write them, and remark on the tree."""
        flags = mask_remarks(mask, self.classes, grid=grid, open_top=True)
        airway = np.asarray(mask == airway_class(self.classes))
        if not airway.any():
            return Found(flags=flags)
        if isinstance(self.options, AirwayOutput) and not self.options.branches:
            return Found(flags=(*flags, *airway_remarks(airway, grid, n_branches=None)))
        connected = reference_airway(airway)
        skeleton = thin(connected)
        tree = None
        if len(skeleton) <= MOST_CENTRELINE:
            tree = parse_airway(connected, grid, as_published=False, prune_mm=SPUR_MM, skeleton=skeleton)
        if tree is None or np.count_nonzero(tree.skeleton_ids == tree.trachea) > LONGEST_TRACHEA:
            return Found(flags=(*flags, TOO_ROUGH, *airway_remarks(airway, grid, n_branches=None)))
        with np.errstate(invalid="ignore"):  # where nothing lies outside the mask there is no distance to it
            files = {f"branches/{name}.csv": branches_csv(tree), f"branches/{name}.json": branches_json(tree)}
        for path, text in files.items():
            with replacing(out / path) as temporary:
                temporary.write_bytes(text.encode())
        record = json.loads(files[f"branches/{name}.json"])
        remarks = airway_remarks(airway, grid, n_branches=tree.n_branches)
        flags = (*flags, *remarks, *leak_remarks(record["branches"]))
        return Found(files=tuple(files), flags=flags, cells=_cells(tree, record))

    def look(self, source: VolumeSource, mask: Stored) -> tuple[str, ...]:
        """Remarks on a scan, its lungs among them."""
        return (*super().look(source, mask), *lung_remarks(look_at_lungs(source)))


def _cells(tree: AirwayTree, record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "branches": tree.n_branches,
        "generations": int(tree.generations.max(initial=-1)) if tree.n_branches else "",
        "length_mm": record["length_mm"],
    }
