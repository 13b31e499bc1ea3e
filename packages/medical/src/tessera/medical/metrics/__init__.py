"""Measures of masks: overlap, surfaces in mm, and the airway measures of ATM'22."""

from tessera.medical.mask_components import Connectivity, filled, largest_component
from tessera.medical.metrics.airway import (
    AirwayCounts,
    Leakage,
    branches_detected,
    count_airway,
    leakage,
    length_found_mm,
)
from tessera.medical.metrics.overlap import Overlap, count_overlap
from tessera.medical.metrics.surface import SurfaceDistances, surface_distances

__all__ = [
    "AirwayCounts",
    "Connectivity",
    "Leakage",
    "Overlap",
    "SurfaceDistances",
    "branches_detected",
    "count_airway",
    "count_overlap",
    "filled",
    "largest_component",
    "leakage",
    "length_found_mm",
    "surface_distances",
]
