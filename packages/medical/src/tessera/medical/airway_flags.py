"""Remarks on chest CTs and airway trees: leaks, lungs that are cut off, scans in expiration.

A leak is suspected where a branch is much wider than the one it comes from, or where the whole tree holds
much air for its length (a widened bronchus looks the same), or where the largest branch, which counts as the
trachea, does not reach highest. Lungs are looked for on every n-th voxel of an
axis, as coarse as ``COARSE_MM`` allows. A remark is no verdict, and a tree without remarks can leak.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tessera.core.data.case import Source
from tessera.medical.lungs import COARSE_MM, lung_mask
from tessera.medical.quality import FEWEST_BRANCHES
from tessera.medical.scan_facts import sampled_values
from tessera.medical.windows import volume_grid

NO_LUNGS = "no lungs found"
NAMED = 3  # branches that a remark names at most

# A symmetric tree of six generations after the trachea has 57.35 cm3 on 147.36 cm: 39 mm2, and each branch is
# narrower than its parent by a fifth (Weibel 1963). Traced and simulated trees stay below 56 mm2 and 1.3.
WIDENING = 1.4  # of the diameter of equal area from parent to child
WIDEST_MM2 = 80.0  # volume of a tree over its length
ABOVE_MM = 10.0  # a branch this much higher than the largest one: that one is no trachea; our own choice

# Lungs of adults without lung disease in CT: 4.07 l with a standard deviation of 1.19 (100 scans, Cressoni et
# al., Critical Care 17:R93, 2013), 4.47 with 1.27 (564 scans, Cheng et al., Int J COPD 14:1657, 2019). The
# limit is two standard deviations below the mean of the latter.
LEAST_LITRES = 1.9
# Between lung in inspiration, near -860, and in expiration, near -700 HU; here with its vessels and walls.
DENSEST_HU = -750.0
CUT_CM2 = 4.0  # of lung in the outermost slice: more than a trachea 22 mm wide, which is air as well


@dataclass(frozen=True)
class LungFacts:
    """What a coarse look finds of the lungs.

    Args:
        litres: Volume, vessels and airways inside them included.
        mean_hu: Mean value in them.
        cut_cm2: Their area in the outermost slices looked at, towards the feet and the head.
    """

    litres: float
    mean_hu: float
    cut_cm2: tuple[float, float]


def look_at_lungs(source: Source) -> LungFacts | None:
    """Facts of the lungs of a CT in Hounsfield units; None where there are none."""
    grid = volume_grid(source.grid)
    steps = [max(1, int(COARSE_MM // mm)) for mm in grid.spacing]
    places = [slice((step - 1) // 2, n, step) for n, step in zip(grid.size, steps, strict=True)]
    values = sampled_values(source, places)[0]
    spacing = [step * mm for step, mm in zip(steps, grid.spacing, strict=True)]
    axes, flips = grid.towards_ras()
    up = axes[2]
    lungs = lung_mask(values, spacing, head_axis=up)
    if not lungs.any():
        return None
    voxel_mm3 = grid.voxel_mm3 * math.prod(steps)
    ends = [int(lungs.take(end, up).sum()) * voxel_mm3 / spacing[up] / 100 for end in (0, -1)]
    feet, head = reversed(ends) if flips[2] else ends
    return LungFacts(int(lungs.sum()) * voxel_mm3 / 1e6, float(values[lungs].mean()), (feet, head))


def lung_remarks(facts: LungFacts | None) -> tuple[str, ...]:
    """Remarks on the lungs: none found, cut off by the scan, in expiration."""
    if facts is None:
        return (NO_LUNGS,)
    ends = zip(("lower", "upper"), facts.cut_cm2, strict=True)
    cut = [f"lungs cut off at the {name} end of the scan" for name, area in ends if area >= CUT_CM2]
    found = []
    if facts.litres < LEAST_LITRES and not cut:
        found.append(f"lungs of {facts.litres:.1f} l, less than {LEAST_LITRES:g}: perhaps in expiration")
    if facts.mean_hu > DENSEST_HU:
        found.append(f"lungs of {facts.mean_hu:.0f} HU, more than {DENSEST_HU:g}: perhaps in expiration")
    return (*cut, *found)


def leak_remarks(branches: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Remarks on branches as ``airway_branches`` measures them: too wide, too much air, no trachea on top."""
    area = {branch["id"]: branch["diameter_area_mm"] for branch in branches}
    wide = [
        f"{branch['id']} ({branch['diameter_area_mm']:.1f} mm after {area[branch['parent']]:.1f})"
        for branch in branches
        if branch["diameter_area_mm"] is not None
        and (area.get(branch["parent"]) or math.inf) * WIDENING < branch["diameter_area_mm"]
    ]
    found = []
    if wide:
        more = f" and {len(wide) - NAMED} more" if len(wide) > NAMED else ""
        found.append(f"perhaps a leak: branches wider than their parent: {', '.join(wide[:NAMED])}{more}")
    tops = {branch["id"]: max(branch["start_mm"][2], branch["end_mm"][2]) for branch in branches}
    root = [tops[branch["id"]] for branch in branches if branch["generation"] == 0]
    if root and max(tops.values()) > root[0] + ABOVE_MM:
        found.append("perhaps a leak: the largest branch is not the uppermost, as the trachea is")
    length_mm = sum(branch["length_mm"] for branch in branches)
    mean_mm2 = sum(branch["volume_mm3"] for branch in branches) / length_mm if length_mm else 0.0
    if len(branches) >= FEWEST_BRANCHES and mean_mm2 > WIDEST_MM2:
        found.append(f"perhaps a leak: {mean_mm2:.0f} mm3 of airway a mm of its length, not {WIDEST_MM2:g}")
    return tuple(found)
