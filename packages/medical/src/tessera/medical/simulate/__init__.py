"""Airway trees of known geometry in a chest, as a CT scanner would show them.

``tables`` holds the symmetric trees of Weibel and Horsfield, ``bronchi`` the named airways, ``growth`` grows
a tree in the lungs of ``thorax``, ``pathology`` adds findings, ``vessels`` arteries and veins. ``tubes``
measures distances on a grid, ``airway_volume`` makes lumen, wall and label, ``tissue`` and ``scanner`` the
image, ``phantom`` puts all together, ``scan_files`` and ``dataset`` write it.
Results on them are always labelled as simulated.
"""

from tessera.medical.simulate.airway_config import AirwayConfig, Densities, PathologyConfig
from tessera.medical.simulate.dataset import airway_phantom, simulate_airway, simulate_small_airway
from tessera.medical.simulate.growth import grow_tree
from tessera.medical.simulate.phantom import Phantom, simulate_phantom
from tessera.medical.simulate.tables import symmetric_tree
from tessera.medical.simulate.tree import Branch, Tree

__all__ = [
    "AirwayConfig",
    "Branch",
    "Densities",
    "PathologyConfig",
    "Phantom",
    "Tree",
    "airway_phantom",
    "grow_tree",
    "simulate_airway",
    "simulate_phantom",
    "simulate_small_airway",
    "symmetric_tree",
]
